//! Work that is out with worker threads, and what its results are for.

use std::collections::BTreeMap;

use alloy_primitives::Bytes;
use trefoil_types::{B256, PeerId};

use crate::{Effects, RecoveryJob, WorkerJob, block_sync::FetchedBlocks};

/// The purpose of recovered transactions.
#[derive(Debug)]
pub(crate) enum RecoveryPurpose {
    Gossip {
        peer: PeerId,
        hashes: Vec<B256>,
    },
    /// Named by the list of hashes that this peer sent, which answers for it.
    Proposal {
        block: B256,
        list_from: Option<PeerId>,
    },
    BlockSync(FetchedBlocks),
}

/// Jobs that workers have not finished.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    last: u64,
    open: BTreeMap<u64, RecoveryPurpose>,
}

impl Jobs {
    /// Has a worker recover transactions, for a purpose.
    pub fn recover(&mut self, txs: Vec<Bytes>, purpose: RecoveryPurpose, effects: &mut Effects) {
        self.last += 1;
        let from = match &purpose {
            RecoveryPurpose::Gossip { peer, .. } => Some(*peer),
            RecoveryPurpose::Proposal { .. } | RecoveryPurpose::BlockSync(_) => None,
        };
        self.open.insert(self.last, purpose);
        effects.jobs.push(WorkerJob::Recover(RecoveryJob { id: self.last, from, txs }));
    }

    pub fn close(&mut self, id: u64) -> Option<RecoveryPurpose> {
        self.open.remove(&id)
    }
}
