//! Values that were computed or decoded once, for callers that ask for them again.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use trefoil_ledger::{Snapshot, StoredBlock};
use trefoil_types::Height;

use crate::RpcResult;

// Callers wait for the receipts of a block one by one, and decoding a large block takes
// milliseconds. An encoded block has at most 8 MiB (`BLOCK_BYTES_MAX`): 128 MiB in all.
/// Blocks that stay decoded.
const CACHED_MAX: usize = 16;

/// The blocks read last. A final block never changes, so its height names it.
#[derive(Default)]
pub struct BlockCache(Mutex<VecDeque<StoredBlock>>);

impl BlockCache {
    pub fn get(&self, snapshot: &Snapshot, height: Height) -> RpcResult<Option<StoredBlock>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |stored: &&StoredBlock| stored.block.header.number == height;
        if let Some(stored) = lock().iter().find(is_it) {
            return Ok(Some(stored.clone()));
        }
        // Not under the lock: decoding a large block takes milliseconds, and others would wait.
        let stored = snapshot.block(height)?;
        if let Some(stored) = &stored {
            let mut cached = lock();
            cached.truncate(CACHED_MAX - 1);
            cached.push_front(stored.clone());
        }
        Ok(stored)
    }
}
