//! The order in which the pool offers its transactions to a block.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, btree_set},
    iter::Peekable,
};

use trefoil_types::{Address, Time};

use super::{Mempool, Pooled, Queue};

/// A sender's first executable transaction in the pool's index: the highest
/// tip first, then the earliest arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
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
    heads: Peekable<btree_set::Iter<'a, Head>>,
    seen: BinaryHeap<Choice<'a>>,
    base_fee: u64,
    admitted_by: Time,
}

struct Choice<'a> {
    tip: u128,
    queue: &'a Queue,
    pooled: &'a Pooled,
}

impl<'a> Best<'a> {
    pub(super) fn new(
        pool: &'a Mempool,
        heads: btree_set::Iter<'a, Head>,
        base_fee: u64,
        admitted_by: Time,
    ) -> Self {
        Self { pool, heads: heads.peekable(), seen: BinaryHeap::new(), base_fee, admitted_by }
    }

    /// A transaction that cannot pay, or is too young, holds back those behind it.
    fn see(&mut self, queue: &'a Queue, pooled: Option<&'a Pooled>) {
        let Some(pooled) = pooled.filter(|p| p.admitted_at <= self.admitted_by) else { return };
        if let Some(tip) = pooled.effective_tip(self.base_fee) {
            self.seen.push(Choice { tip, queue, pooled });
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
                self.see(queue, queue.head());
            }
        }
        let Choice { queue, pooled, .. } = self.seen.pop()?;
        self.see(queue, queue.executable(pooled.nonce + 1));
        Some(pooled)
    }
}

impl Choice<'_> {
    fn rank(&self) -> (u128, Reverse<u64>) {
        (self.tip, Reverse(self.pooled.arrival))
    }
}

impl Ord for Choice<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Choice<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Choice<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Choice<'_> {}
