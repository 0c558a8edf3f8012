//! New blocks and pool admissions, for subscriptions, filters and waiting callers:
//! the node's events, gathered once for all of them.
//!
//! What always holds: blocks come in order without a gap, however far behind
//! this follower fell, since missed blocks are read from the snapshot.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use alloy_primitives::B256;
use tokio::sync::broadcast::{self, error::RecvError};
use trefoil_ledger::{Snapshot, StoredBlock};
use trefoil_node::Event;
use trefoil_types::{Height, Transaction};

use crate::{Json, backend::RpcBackend, convert, json};

// One ring of blocks serves all subscribers, and holds a block until the slowest has read it.
// No subscriber waits for its client, so it falls behind only on an overloaded machine: by
// two minutes at the default interval.
/// Blocks that a subscriber may be behind.
const BLOCKS_MAX: usize = 256;
// As many as the node's events that may wait (`EVENTS_MAX`): when the follower has caught up
// with a burst of them, no subscriber has lost one.
/// Pool admissions that a subscriber may be behind.
const TXS_MAX: usize = 8_192;
// Filters poll, so the node keeps for them the hashes that subscribers were sent: 512 KiB.
/// The newest pool admissions, kept for filters.
const RECENT_MAX: usize = 16_384;

/// A new block, for many readers.
pub struct NewBlock {
    pub stored: StoredBlock,
    // Hundreds of subscribers get the same text.
    head: OnceLock<Json>,
}

impl NewBlock {
    /// The header as JSON, written once for all subscribers.
    pub fn head(&self) -> &Json {
        let block = &self.stored.block;
        self.head.get_or_init(|| {
            json(&convert::header(block.hash, &block.header)).expect("a header is plain data")
        })
    }
}

pub struct EventHub {
    blocks: broadcast::Sender<Arc<NewBlock>>,
    txs: broadcast::Sender<Transaction>,
    recent: Mutex<Recent>,
    committed_txs: AtomicU64,
}

impl Default for EventHub {
    fn default() -> Self {
        Self {
            blocks: broadcast::channel(BLOCKS_MAX).0,
            txs: broadcast::channel(TXS_MAX).0,
            recent: Mutex::default(),
            committed_txs: AtomicU64::default(),
        }
    }
}

/// Hashes of the newest admissions; the first one has number `first`.
#[derive(Default)]
struct Recent {
    first: u64,
    hashes: VecDeque<B256>,
}

impl EventHub {
    pub fn blocks(&self) -> broadcast::Receiver<Arc<NewBlock>> {
        self.blocks.subscribe()
    }

    pub fn txs(&self) -> broadcast::Receiver<Transaction> {
        self.txs.subscribe()
    }

    /// Transactions in blocks committed since the start.
    pub fn committed_txs(&self) -> u64 {
        self.committed_txs.load(Ordering::Relaxed)
    }

    /// The hashes admitted to the pool from number `since` on, as many as are
    /// still kept, and the number to ask from next.
    pub fn admitted_since(&self, since: u64) -> (Vec<B256>, u64) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = usize::try_from(since.saturating_sub(recent.first)).unwrap_or(usize::MAX);
        let hashes = recent.hashes.iter().skip(skip).copied().collect();
        (hashes, recent.first + recent.hashes.len() as u64)
    }

    fn block(&self, stored: StoredBlock) {
        self.committed_txs.fetch_add(stored.block.transactions.len() as u64, Ordering::Relaxed);
        // Nobody listening is no error.
        let _ = self.blocks.send(Arc::new(NewBlock { stored, head: OnceLock::new() }));
    }

    fn admitted(&self, tx: Transaction) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.hashes.push_back(*tx.tx_hash());
        if recent.hashes.len() > RECENT_MAX {
            recent.hashes.pop_front();
            recent.first += 1;
        }
        drop(recent);
        let _ = self.txs.send(tx);
    }

    /// Publishes the blocks after `last` up to the snapshot's tip.
    fn catch_up(&self, snapshot: &Snapshot, last: &mut Height) {
        while *last < snapshot.tip().number {
            match snapshot.block(*last + 1) {
                Ok(Some(stored)) => self.block(stored),
                // Pruned, or the disk failed: the node's own business.
                Ok(None) | Err(_) => tracing::warn!(height = *last + 1, "block not readable"),
            }
            *last += 1;
        }
    }
}

/// Follows the node until it stops.
pub async fn follow(hub: Arc<EventHub>, backend: RpcBackend) {
    let mut events = backend.events.subscribe();
    let mut last = backend.snapshot().tip().number;
    loop {
        match events.recv().await {
            Ok(Event::Committed { block, receipts, snapshot }) => {
                let height = block.header.number;
                // After a lag the queue may still hold events that the snapshot was already
                // read for.
                if height == last + 1 {
                    hub.block(StoredBlock { block, receipts });
                    last = height;
                } else {
                    hub.catch_up(&snapshot, &mut last);
                }
            }
            Ok(Event::Admitted(tx)) => hub.admitted(tx),
            Ok(Event::Equivocation { .. }) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "subscriptions fell behind the node");
                hub.catch_up(&backend.snapshot(), &mut last);
            }
            Err(RecvError::Closed) => return,
        }
    }
}
