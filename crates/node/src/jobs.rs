//! Work that is out with worker threads, and what its results are for.

use std::collections::BTreeMap;

use trefoil_types::{B256, PeerId};

use crate::block_sync::FetchedBlocks;

/// What recovered transactions are for.
#[derive(Debug)]
pub(crate) enum RecoveryPurpose {
    Gossip { peer: PeerId, hashes: Vec<B256> },
    Proposal { block: B256 },
    BlockSync(FetchedBlocks),
}

/// Jobs that workers have not finished.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    last: u64,
    open: BTreeMap<u64, RecoveryPurpose>,
}

impl Jobs {
    /// A number for a new job.
    pub fn open(&mut self, purpose: RecoveryPurpose) -> u64 {
        self.last += 1;
        self.open.insert(self.last, purpose);
        self.last
    }

    pub fn close(&mut self, id: u64) -> Option<RecoveryPurpose> {
        self.open.remove(&id)
    }
}
