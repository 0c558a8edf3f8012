//! The order in which the pool offers its transactions to a block.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, btree_set},
    iter::Peekable,
};

use trefoil_types::{Address, Time};

use super::{Mempool, Pooled, SenderQueue};

/// A sender's first executable transaction in the pool's index: the highest
/// tip first, then the earliest arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueHead {
    pub tip: Reverse<u128>,
    pub arrival: u64,
    pub sender: Address,
}

/// Executable transactions, the best effective tip first, then the earliest
/// arrival; those of one sender by nonce.
///
/// Heads are indexed by the tip they offer at most. What a head pays at this
/// base fee is no more than that, so it is enough to look at heads whose bound
/// beats the best seen: no scan of the pool.
pub struct Best<'a> {
    pool: &'a Mempool,
    heads: Peekable<btree_set::Iter<'a, QueueHead>>,
    seen: BinaryHeap<BestHead<'a>>,
    base_fee: u64,
    admitted_by: Time,
}

struct BestHead<'a> {
    tip: u128,
    queue: &'a SenderQueue,
    pooled: &'a Pooled,
}

impl<'a> Best<'a> {
    pub(super) fn new(
        pool: &'a Mempool,
        heads: btree_set::Iter<'a, QueueHead>,
        base_fee: u64,
        admitted_by: Time,
    ) -> Self {
        Self { pool, heads: heads.peekable(), seen: BinaryHeap::new(), base_fee, admitted_by }
    }

    /// A transaction that cannot pay, or is too young, holds back those behind it.
    fn consider(&mut self, queue: &'a SenderQueue, pooled: Option<&'a Pooled>) {
        // Skipping it would offer a nonce that cannot run.
        let Some(pooled) = pooled.filter(|p| p.admitted_at <= self.admitted_by) else { return };
        if let Some(tip) = pooled.effective_tip(self.base_fee) {
            self.seen.push(BestHead { tip, queue, pooled });
        }
    }
}

impl<'a> Iterator for Best<'a> {
    type Item = &'a Pooled;

    fn next(&mut self) -> Option<&'a Pooled> {
        while let Some(head) = self.heads.peek() {
            let bound = (head.tip.0, Reverse(head.arrival));
            if self.seen.peek().is_some_and(|best| best.rank() > bound) {
                break;
            }
            let queue = self.pool.queue(&head.sender);
            self.heads.next();
            if let Some(queue) = queue {
                self.consider(queue, queue.head());
            }
        }
        let BestHead { queue, pooled, .. } = self.seen.pop()?;
        self.consider(queue, queue.executable(pooled.nonce + 1));
        Some(pooled)
    }
}

impl BestHead<'_> {
    fn rank(&self) -> (u128, Reverse<u64>) {
        (self.tip, Reverse(self.pooled.arrival))
    }
}

impl Ord for BestHead<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for BestHead<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for BestHead<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for BestHead<'_> {}
