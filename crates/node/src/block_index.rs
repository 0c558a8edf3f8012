//! The transactions of a block by their hashes.
//!
//! Attack: a request for one transaction of a block of 30,000, 5,000 times a second. Each made
//! this node look at all of them (1 to 2 ms): now the first request for a block does.

use std::sync::Arc;

use alloy_primitives::map::B256Map;
use trefoil_types::{B256, RecoveredBlock, Transaction};

#[derive(Debug)]
pub(crate) struct BlockIndex {
    block: Arc<RecoveredBlock>,
    /// For look-ups.
    places: B256Map<usize>,
}

impl BlockIndex {
    pub fn new(block: Arc<RecoveredBlock>) -> Self {
        let places = block.transactions.iter().enumerate().map(|(at, tx)| (*tx.tx_hash(), at));
        Self { places: places.collect(), block }
    }

    pub fn get(&self, hash: &B256) -> Option<&Transaction> {
        self.block.transactions.get(*self.places.get(hash)?)
    }
}
