//! The running node as its servers (JSON-RPC, metrics) see it.
//!
//! Owns nothing: it reads what the node's thread published and sends calls to
//! that thread's bounded lane. What always holds: a caller that learns of a block
//! (by an event or a reply) finds it in [`RpcBackend::snapshot`] already.

use std::{future::pending, sync::Arc, time::Duration};

use alloy_consensus::transaction::SignerRecoverable;
use alloy_primitives::Bytes;
use rayon::ThreadPool;
use tokio::{
    sync::{Semaphore, broadcast, mpsc, oneshot, watch},
    time::sleep,
};
use trefoil_crypto::NodeCertificate;
use trefoil_ledger::Snapshot;
use trefoil_node::{Call, Event, NodeStatus, Reply};
use trefoil_p2p::NetHandle;
use trefoil_types::{B256, ChainSpec, PeerId, PublicKey, Transaction, TxError, decode_tx};

use crate::{RpcError, memory::Claim};

// The node's thread may be executing a block; callers must not fill the memory meanwhile.
/// Calls that may wait for the node's thread.
pub const CALLS_MAX: usize = 4_096;

// Beyond it the event hub reads the missed blocks from the snapshot. Only the missed pool
// admissions are lost to subscriptions.
/// Events that a subscriber may be behind before its receiver reports a lag.
pub const EVENTS_MAX: usize = 8_192;

/// So long a call waits for a node that lacks room on its disk.
pub const ROOM_WAIT_MAX: Duration = Duration::from_secs(2);

// Attack: 512 WebSockets with 64 requests each, before the transactions of a proposal. 64 are 3 ms
// of a core.
/// Wallets' transactions that wait for the workers, or are with them. More wait for these.
pub const RECOVERIES_MAX: usize = 64;

/// The prefix of the names of [`RpcBackend::readers`]' threads.
pub const READERS: &str = "reader";

/// The running node as its servers see it; clone freely.
#[derive(Clone)]
pub struct RpcBackend {
    pub spec: Arc<ChainSpec>,
    pub genesis_hash: B256,
    /// This node's name on the network.
    pub peer: PeerId,
    /// This node's validator keys, oldest first.
    pub validator_keys: Vec<PublicKey>,
    pub net: NetHandle,
    /// For blocking work of callers (`eth_call`, traces, log scans), so that it
    /// delays neither the async runtime nor the node's own jobs.
    pub readers: Arc<ThreadPool>,
    /// For recovering senders; the node's own jobs run here too.
    pub workers: Arc<ThreadPool>,
    /// [`RECOVERIES_MAX`] places.
    pub recoveries: Arc<Semaphore>,
    pub snapshot: watch::Receiver<Snapshot>,
    pub status: watch::Receiver<Arc<NodeStatus>>,
    pub events: broadcast::Sender<Event>,
    pub calls: mpsc::Sender<NodeCall>,
    /// This node's certificate, on a network of members.
    pub certificate: Option<watch::Receiver<NodeCertificate>>,
    /// Why the node waits for room on its disk; `None`: it does not.
    pub lacks_room: watch::Receiver<Option<String>>,
}

/// A call on its way to the node's thread, with where its reply goes.
#[derive(Debug)]
pub struct NodeCall {
    pub call: Call,
    pub reply: oneshot::Sender<Reply>,
    // Attack: while the disk is full, 4,096 transactions of 0.7 MB each whose callers gave up.
    /// The room of what it holds, until the node's thread takes it.
    pub held: Option<Claim>,
}

/// Why the node did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("the node is overloaded: {CALLS_MAX} calls are waiting; try again")]
    Overloaded,
    #[error("the node is stopping")]
    Stopping,
    #[error(
        "the node waits for its disk: {0}; what it was asked, it does when there is room: a \
         transaction may still be taken"
    )]
    LacksRoom(String),
}

impl From<Unanswered> for RpcError {
    fn from(error: Unanswered) -> Self {
        match error {
            Unanswered::Overloaded | Unanswered::LacksRoom(_) => Self::Busy(error.to_string()),
            Unanswered::Stopping => Self::Internal(error.to_string()),
        }
    }
}

impl RpcBackend {
    /// The chain as of the newest committed block; cheap.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.borrow().clone()
    }

    /// This node's certificate, on a network of members.
    pub fn certificate(&self) -> Option<NodeCertificate> {
        self.certificate.as_ref().map(|held| held.borrow().clone())
    }

    /// Where the node stands; renewed after each batch of inputs.
    pub fn status(&self) -> Arc<NodeStatus> {
        self.status.borrow().clone()
    }

    /// This node's validator key in force (the oldest while the chain names none), and the one
    /// that is to take over from it; `None` where it has none.
    pub fn validator_keys_in_turn(&self) -> [Option<PublicKey>; 2] {
        let (keys, signing) = (&self.validator_keys, self.status().validator);
        let at = keys.iter().position(|key| signing == Some(*key)).unwrap_or(0);
        [at, at + 1].map(|at| keys.get(at).copied())
    }

    /// Asks the node's thread.
    ///
    /// # Errors
    /// When too many calls wait already, the node stops, or it lacks room on its disk and did not
    /// answer within [`ROOM_WAIT_MAX`].
    pub async fn call(&self, call: Call) -> Result<Reply, Unanswered> {
        self.call_holding(call, None).await
    }

    /// [`Self::call`] of one that holds so much.
    ///
    /// # Errors
    /// As of [`Self::call`].
    pub async fn call_holding(&self, call: Call, held: Option<Claim>) -> Result<Reply, Unanswered> {
        let (reply, answer) = oneshot::channel();
        // Refused at once instead of waited for: a queue of waiting callers has no bound.
        self.calls.try_send(NodeCall { call, reply, held }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Unanswered::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Unanswered::Stopping,
        })?;
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| Unanswered::Stopping),
            why = self.waits_for_room() => Err(Unanswered::LacksRoom(why)),
        }
    }

    // While the ledger alone lacks room, the node goes on in memory and answers at once.
    /// Why there is no room on the disk, after there was none for [`ROOM_WAIT_MAX`].
    async fn waits_for_room(&self) -> String {
        let mut reason = self.lacks_room.clone();
        loop {
            if reason.wait_for(Option::is_some).await.is_err() {
                // Whoever asks learns that the node stops.
                return pending().await;
            }
            sleep(ROOM_WAIT_MAX).await;
            if let Some(why) = reason.borrow_and_update().clone() {
                return why;
            }
        }
    }

    /// Decodes a wallet's raw transaction and recovers its sender, on a worker.
    ///
    /// # Errors
    /// The fault of the transaction.
    pub async fn recover(&self, raw: Bytes) -> Result<Transaction, TxError> {
        // Nobody closes it. A caller that gives up leaves its work behind, and the place with it.
        let place = self.recoveries.clone().acquire_owned().await;
        let work = move || {
            let recovered = recover(&raw);
            drop(place);
            recovered
        };
        run_on(&self.workers, work).await
    }

    /// Runs blocking work of a caller on the readers' pool.
    pub async fn read<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        run_on(&self.readers, work).await
    }
}

async fn run_on<T: Send + 'static>(
    pool: &ThreadPool,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, result) = oneshot::channel();
    pool.spawn(move || {
        // The caller may have hung up: then nobody needs the result.
        let _ = done.send(work());
    });
    result.await.expect("a pool answers: a panic there ends the process")
}

/// Decodes a transaction and recovers its sender (libsecp256k1, 40 µs).
///
/// # Errors
/// The fault of the transaction.
pub fn recover(raw: &[u8]) -> Result<Transaction, TxError> {
    let tx = decode_tx(raw)?;
    tx.try_into_recovered().map(Arc::new).map_err(|_| TxError::Signature)
}
