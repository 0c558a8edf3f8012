//! The order in which the pool offers its transactions to a block.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_set},
    iter::Peekable,
};

use trefoil_types::Time;

use super::{
    Mempool,
    sender_queue::{Pooled, QueueHead, SenderQueue},
};

/// Effective tip, then arrival; no two transactions arrive at once.
type Rank = (u128, Reverse<u64>);

/// Executable transactions, the best effective tip first, then the earliest
/// arrival; those of one sender by nonce.
///
/// Heads are indexed by the most that they can tip. At this base fee they pay no more than
/// that. So only heads whose bound beats the best seen are looked at, and nothing scans the
/// pool.
pub struct Best<'a> {
    pool: &'a Mempool,
    heads: Peekable<btree_set::Iter<'a, QueueHead>>,
    seen: BTreeMap<Rank, (&'a SenderQueue, &'a Pooled)>,
    base_fee: u64,
    admitted_by: Time,
}

impl Mempool {
    /// Executable transactions in the order in which a block takes them, of
    /// those admitted no later than `admitted_by`.
    pub fn best(&self, base_fee: u64, admitted_by: Time) -> Best<'_> {
        let heads = self.heads.iter().peekable();
        Best { pool: self, heads, seen: BTreeMap::new(), base_fee, admitted_by }
    }
}

impl<'a> Best<'a> {
    /// A transaction that cannot pay, or is too young, holds back those behind it.
    fn consider(&mut self, queue: &'a SenderQueue, pooled: Option<&'a Pooled>) {
        // Skipping it would offer a nonce that cannot run.
        let Some(pooled) = pooled.filter(|p| p.admitted_at <= self.admitted_by) else { return };
        if let Some(tip) = pooled.effective_tip(self.base_fee) {
            self.seen.insert((tip, Reverse(pooled.arrival)), (queue, pooled));
        }
    }
}

impl<'a> Iterator for Best<'a> {
    type Item = &'a Pooled;

    fn next(&mut self) -> Option<&'a Pooled> {
        while let Some(head) = self.heads.peek() {
            let bound = (head.tip.0, Reverse(head.arrival));
            if self.seen.last_key_value().is_some_and(|(rank, _)| *rank > bound) {
                break;
            }
            let queue = self.pool.queues.get(&head.sender);
            self.heads.next();
            if let Some(queue) = queue {
                self.consider(queue, queue.head());
            }
        }
        let (_, (queue, pooled)) = self.seen.pop_last()?;
        self.consider(queue, queue.executable(pooled.nonce + 1));
        Some(pooled)
    }
}
