//! New blocks and pool admissions, for subscriptions, filters and waiting callers:
//! the node's events, gathered once for all of them.
//!
//! What always holds: blocks come in order without a gap, however far behind
//! this follower fell, since missed blocks are read from the snapshot; what subscribers are told is
//! written once for all of them, and wakes none of them on the node's thread.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use alloy_eips::Encodable2718 as _;
use alloy_primitives::{B256, Log};
use axum::body::Bytes;
use serde::Serialize;
use serde_json::json as value;
use tokio::sync::{broadcast::error::RecvError, watch};
use trefoil_ledger::{Snapshot, StoredBlock};
use trefoil_node::{Event, NodeStatus};
use trefoil_types::{Height, Transaction};

use crate::{
    backend::RpcBackend,
    block_logs::BlockLogs,
    convert,
    event_ring::{EventReader, EventRing},
    recent_tips::RecentTips,
    sync_progress::{behind, progress},
};

// One ring of blocks serves all subscribers, and holds a block until the slowest has read it.
// A subscriber waits for its client only for some seconds (`limits::ROOM_TIME_MAX`), so it falls
// behind only on an overloaded machine: by two minutes at the default interval.
/// Blocks that a subscriber may be behind.
const BLOCKS_MAX: usize = 256;
// Attack: 256 blocks of half a million logs each are 15 GiB.
/// What those take, beside the newest, bytes.
const BLOCKS_BYTES_MAX: usize = 64 << 20;
// As many as the node's events that may wait (`EVENTS_MAX`): when the follower has caught up
// with a burst of them, no subscriber has lost one.
/// Pool admissions that a subscriber may be behind.
const TXS_MAX: usize = 8_192;
// Of 128 KiB each they would be 1 GiB, and three times that with their notifications.
/// What those take, bytes.
const TXS_BYTES_MAX: usize = 16 << 20;
// Filters poll, so the node keeps for them the hashes that subscribers were sent: 512 KiB.
/// The newest pool admissions, kept for filters.
const RECENT_MAX: usize = 16_384;

// A block may have 80,000 of them, which are 43 MB of JSON, and wait for the slowest subscriber.
/// Logs of a block whose notifications are kept for all subscribers.
const SHARED_LOGS_MAX: usize = 4_096;
/// What these take, for each log that the block has, bytes: one with four topics has 0.8 KiB beside
/// its data.
const SHARED_LOG_BYTES: usize = 1 << 10;

/// The end of a notification, from its result on: it is the same for all subscribers.
fn ending(result: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(result).expect("what is notified of is plain data");
    text.extend_from_slice(b"}}");
    text.into()
}

/// A new block, for many readers.
pub struct NewBlock {
    pub stored: StoredBlock,
    pub logs: BlockLogs,
    head: OnceLock<Bytes>,
    /// The notifications of its first logs; made when one of them is asked for.
    texts: OnceLock<Box<[OnceLock<Bytes>]>>,
    /// What these take.
    text_bytes: AtomicUsize,
}

impl NewBlock {
    fn new(stored: StoredBlock) -> Self {
        let (head, texts, text_bytes) = (OnceLock::new(), OnceLock::new(), AtomicUsize::new(0));
        let logs = BlockLogs::new(stored.receipts.clone());
        Self { stored, logs, head, texts, text_bytes }
    }

    /// Logs whose notifications are kept.
    fn shared(&self) -> usize {
        self.logs.count().min(SHARED_LOGS_MAX)
    }

    /// About what it takes, with what readers make of it.
    fn bytes(&self) -> usize {
        let StoredBlock { block, receipts } = &self.stored;
        let txs = block.transactions.iter().map(|tx| 1_024 + tx.encode_2718_len());
        let of = |log: &Log| size_of::<Log>() + 64 * log.topics().len() + log.data.data.len();
        let logs = receipts.iter().flat_map(|receipt| receipt.logs()).map(of);
        txs.sum::<usize>() + logs.sum::<usize>() + self.shared() * SHARED_LOG_BYTES
    }

    /// The notification of its header.
    pub fn head(&self) -> Bytes {
        let block = &self.stored.block;
        self.head.get_or_init(|| ending(&convert::header(block.hash, &block.header))).clone()
    }

    /// The notification of its log with this number.
    pub fn log(&self, number: u32) -> Bytes {
        let places = || vec![OnceLock::new(); self.shared()].into_boxed_slice();
        let place = self.texts.get_or_init(places).get(number as usize);
        if let Some(text) = place.and_then(OnceLock::get) {
            return text.clone();
        }
        let (tx, log) = self.logs.get(number);
        let text = ending(&convert::log_json(&self.stored.block, tx, number as usize, log));
        let bytes = self.text_bytes.load(Ordering::Relaxed) + text.len();
        if let Some(place) = place.filter(|_| bytes <= self.shared() * SHARED_LOG_BYTES) {
            self.text_bytes.fetch_add(text.len(), Ordering::Relaxed);
            // Another reader may have been faster.
            let _ = place.set(text.clone());
        }
        text
    }
}

/// An admission to the pool, for many readers.
pub struct NewTx {
    tx: Transaction,
    whole: OnceLock<Bytes>,
}

impl NewTx {
    /// The notification of its hash.
    pub fn hash(&self) -> Bytes {
        ending(self.tx.tx_hash())
    }

    /// The notification of the whole transaction.
    pub fn whole(&self) -> Bytes {
        self.whole.get_or_init(|| ending(&convert::pooled_tx(&self.tx))).clone()
    }
}

pub struct EventHub {
    blocks: EventRing<NewBlock>,
    txs: EventRing<NewTx>,
    /// Of the blocks committed since the start.
    pub tips: RecentTips,
    // The node's own status changes with each batch of its inputs, and the node's thread wakes all who
    // wait for it: they could be 65,536 subscriptions.
    /// Whether the node is catching up, and the notification of that.
    syncing: watch::Sender<(bool, Bytes)>,
    recent: Mutex<Recent>,
    committed_txs: AtomicU64,
}

impl Default for EventHub {
    fn default() -> Self {
        Self {
            blocks: EventRing::new(BLOCKS_MAX, BLOCKS_BYTES_MAX),
            txs: EventRing::new(TXS_MAX, TXS_BYTES_MAX),
            tips: RecentTips::default(),
            syncing: watch::Sender::new((false, ending(&false))),
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
    pub fn blocks(&self) -> EventReader<NewBlock> {
        self.blocks.read()
    }

    pub fn txs(&self) -> EventReader<NewTx> {
        self.txs.read()
    }

    pub fn syncing(&self) -> watch::Receiver<(bool, Bytes)> {
        self.syncing.subscribe()
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
        self.tips.add(stored.block.header.number, Some(&stored.block));
        if self.blocks.has_readers() {
            let block = NewBlock::new(stored);
            let bytes = block.bytes();
            self.blocks.send(block, bytes);
        }
    }

    fn admitted(&self, tx: Transaction) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.hashes.push_back(*tx.tx_hash());
        if recent.hashes.len() > RECENT_MAX {
            recent.hashes.pop_front();
            recent.first += 1;
        }
        drop(recent);
        if self.txs.has_readers() {
            // With its notification, in which it stands as hex.
            let bytes = 1_024 + 3 * tx.encode_2718_len();
            self.txs.send(NewTx { tx, whole: OnceLock::new() }, bytes);
        }
    }

    /// The node's status changed.
    fn stands(&self, status: &NodeStatus) {
        let now = behind(status).is_some();
        self.syncing.send_if_modified(|(before, told)| {
            let changed = *before != now;
            if changed {
                *before = now;
                *told = match now {
                    false => ending(&false),
                    true => ending(&value!({ "syncing": true, "status": progress(status) })),
                };
            }
            changed
        });
    }

    /// Publishes the blocks after `last` up to the snapshot's tip.
    async fn catch_up(&self, backend: &RpcBackend, snapshot: Snapshot, last: &mut Height) {
        while *last < snapshot.tip().number {
            let (chain, height) = (snapshot.clone(), *last + 1);
            // Not here: a block may take a second to decode.
            match backend.read(move || chain.block(height)).await {
                Ok(Some(stored)) => self.block(stored),
                // Pruned, or the disk failed: the node's own business.
                Ok(None) | Err(_) => tracing::warn!(height, "block not readable"),
            }
            *last = height;
        }
    }
}

/// Follows the node until it stops.
pub async fn follow(hub: Arc<EventHub>, backend: RpcBackend) {
    let (mut events, mut statuses) = (backend.events.subscribe(), backend.status.clone());
    let mut last = backend.snapshot().tip().number;
    hub.stands(&backend.status());
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            changed = statuses.changed() => match changed {
                Ok(()) => {
                    let status = statuses.borrow_and_update().clone();
                    hub.stands(&status);
                    continue;
                }
                // The node's thread has ended.
                Err(_) => return,
            },
        };
        match event {
            Ok(Event::Committed { block, receipts, snapshot }) => {
                let height = block.header.number;
                // After a lag the queue may still hold events that the snapshot was already
                // read for.
                if height == last + 1 {
                    hub.block(StoredBlock { block, receipts });
                    last = height;
                } else {
                    hub.catch_up(&backend, snapshot, &mut last).await;
                }
            }
            Ok(Event::Admitted(tx)) => hub.admitted(tx),
            Ok(Event::Equivocation { .. } | Event::SignedElsewhere { .. }) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "subscriptions fell behind the node");
                hub.catch_up(&backend, backend.snapshot(), &mut last).await;
            }
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{CONTRACT, SENDER, TestServer, tx};

    use super::*;

    /// Thousands of equal subscriptions cost one text.
    #[tokio::test]
    async fn what_subscribers_are_told_is_written_once() {
        let server = TestServer::new().await;
        let (mut one, mut other) = (server.rpc.events.blocks(), server.rpc.events.blocks());
        let mut txs = server.rpc.events.txs();
        let contract = SENDER.create(0);
        server.submit(&tx(0, alloy_primitives::TxKind::Create, 0, CONTRACT)).await;
        server.submit(&tx(1, contract.into(), 0, alloy_primitives::Bytes::new())).await;
        server.mine();
        let (one, other) = (one.recv().await.unwrap(), other.recv().await.unwrap());
        assert_eq!(one.head().as_ptr(), other.head().as_ptr());
        let told = [one.log(0), other.log(0)];
        assert_eq!(told[0].as_ptr(), told[1].as_ptr());
        assert!(told[0].ends_with(b"}}}"), "an object, and what stands around it");
        server.events.send(Event::Admitted(one.stored.block.transactions[0].clone())).unwrap();
        let tx = txs.recv().await.unwrap();
        assert_eq!(tx.whole().as_ptr(), tx.whole().as_ptr());
    }
}
