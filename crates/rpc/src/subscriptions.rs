//! `eth_subscribe`: notifications to a WebSocket.
//!
//! What always holds: the answer to `eth_subscribe` goes out before the first
//! notification, and nothing between the two is missed. A socket that does not read
//! is dropped rather than waited for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy_primitives::U128;
use axum::extract::ws::Message;
use futures::future::BoxFuture;
use serde_json::{Value, json as value, value::RawValue};
use tokio::{
    sync::{Notify, broadcast::Receiver, mpsc},
    task::AbortHandle,
};
use trefoil_types::Transaction;

use crate::{
    Params, Rpc, RpcError, RpcResult,
    backend::RpcBackend,
    convert,
    event_hub::NewBlock,
    json, net,
    params::{LogFilter, LogMatcher, member},
};

/// A subscription's name within its socket: random, so that it reveals nothing.
pub type SubscriptionId = u128;

/// Sends a subscription's notifications, for as long as the client reads them.
type Work = BoxFuture<'static, Result<(), Stalled>>;

/// The state that the requests of one WebSocket share.
pub struct SocketSession {
    /// To the socket's writer; full means that the client does not read.
    pub out: mpsc::Sender<Message>,
    /// Notified when the socket must be dropped, since its client cannot keep up.
    pub stalled: Arc<Notify>,
    max: usize,
    running: Mutex<BTreeMap<SubscriptionId, AbortHandle>>,
}

/// One message from a WebSocket while it is being answered.
pub struct SocketMessage {
    session: Arc<SocketSession>,
    /// Subscriptions that start when the answer is on its way.
    created: Mutex<Vec<(SubscriptionId, Work)>>,
}

impl SocketSession {
    pub fn new(out: mpsc::Sender<Message>, max: usize) -> Arc<Self> {
        Arc::new(Self { out, stalled: Arc::default(), max, running: Mutex::default() })
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<SubscriptionId, AbortHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SocketSession {
    fn drop(&mut self) {
        self.running().values().for_each(AbortHandle::abort);
    }
}

impl SocketMessage {
    pub fn new(session: Arc<SocketSession>) -> Self {
        Self { session, created: Mutex::default() }
    }

    fn created(&self) -> MutexGuard<'_, Vec<(SubscriptionId, Work)>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what the frame subscribed to; call when its answer is queued. A
    /// subscription ends by itself only when its client does not keep up.
    pub fn start(self) {
        // A client learns the id from the answer: a notification before it would belong to
        // nothing.
        let created = std::mem::take(&mut *self.created());
        let mut running = self.session.running();
        for (id, work) in created {
            let stalled = self.session.stalled.clone();
            let task = tokio::spawn(async move {
                let _ = work.await;
                stalled.notify_one();
            });
            running.insert(id, task.abort_handle());
        }
    }
}

pub fn subscribe(rpc: &Rpc, frame: &SocketMessage, params: &Params) -> RpcResult {
    let mut created = frame.created();
    let max = frame.session.max;
    if created.len() + frame.session.running().len() >= max {
        let text = format!("this connection has {max} subscriptions, the most that are allowed");
        return Err(RpcError::Rejected(text));
    }
    let id = rand::random::<SubscriptionId>();
    let feed = Feed { id, out: frame.session.out.clone() };
    // The receivers are made now, not when first polled: nothing between the answer and the
    // first poll may be missed.
    let work: Work = match params.get::<String>(0)?.as_str() {
        "newHeads" => Box::pin(heads(feed, rpc.events.blocks())),
        "logs" => {
            let filter: LogFilter = params.opt(1)?.unwrap_or_default();
            Box::pin(logs(feed, rpc.events.blocks(), filter.matcher))
        }
        "newPendingTransactions" => Box::pin(pending(feed, rpc.events.txs(), wants_whole(params)?)),
        "syncing" => Box::pin(syncing(feed, rpc.backend.clone())),
        other => {
            let name: String = other.chars().take(64).collect();
            let text = format!(
                "no {name:?} subscription; there are newHeads, logs, newPendingTransactions and syncing"
            );
            return Err(RpcError::InvalidParams(text));
        }
    };
    created.push((id, work));
    json(&U128::from(id))
}

pub fn unsubscribe(_: &Rpc, frame: &SocketMessage, params: &Params) -> RpcResult {
    let id: SubscriptionId = params.get(0)?;
    let task = frame.session.running().remove(&id);
    task.ok_or_else(|| RpcError::Rejected("subscription not found".into()))?.abort();
    json(&true)
}

/// Whether `newPendingTransactions` sends whole transactions: `true`, or
/// `{"hashesOnly": false}`.
fn wants_whole(params: &Params) -> RpcResult<bool> {
    match params.opt::<Value>(1)? {
        Some(Value::Object(options)) => member(&options, "hashesOnly")
            .map(|hashes| hashes.is_some_and(|hashes: bool| !hashes))
            .map_err(|why| RpcError::InvalidParams(format!("invalid argument 1: {why}"))),
        _ => Ok(params.opt(1)?.unwrap_or(false)),
    }
}

/// Where one subscription's notifications go.
struct Feed {
    id: SubscriptionId,
    out: mpsc::Sender<Message>,
}

/// The client does not read, or is gone.
struct Stalled;

impl Feed {
    fn send(&self, result: &RawValue) -> Result<(), Stalled> {
        let id = self.id;
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"eth_subscription","params":{{"subscription":"{id:#x}","result":{result}}}}}"#
        );
        // One that is passed over would leave a gap that the client cannot see. It sees a
        // closed socket.
        self.out.try_send(Message::text(text)).map_err(|_| Stalled)
    }

    fn send_value(&self, value: &impl serde::Serialize) -> Result<(), Stalled> {
        json(value).map_err(|_| Stalled).and_then(|json| self.send(&json))
    }
}

/// Each new block's header.
async fn heads(feed: Feed, mut blocks: Receiver<Arc<NewBlock>>) -> Result<(), Stalled> {
    // A receiver that fell behind gets an error here, and the socket ends as with a full queue.
    while let Ok(block) = blocks.recv().await {
        feed.send(block.head())?;
    }
    Ok(())
}

async fn logs(
    feed: Feed,
    mut blocks: Receiver<Arc<NewBlock>>,
    matcher: LogMatcher,
) -> Result<(), Stalled> {
    while let Ok(block) = blocks.recv().await {
        let mut wanted = convert::logs(&block.stored).filter(|(log, _)| matcher.matches(log));
        wanted.try_for_each(|(_, json)| feed.send_value(&json))?;
    }
    Ok(())
}

async fn pending(feed: Feed, mut txs: Receiver<Transaction>, whole: bool) -> Result<(), Stalled> {
    while let Ok(tx) = txs.recv().await {
        match whole {
            true => feed.send_value(&convert::pooled_tx(&tx))?,
            false => feed.send_value(tx.tx_hash())?,
        }
    }
    Ok(())
}

/// Whether the node is catching up: now, and whenever that changes.
async fn syncing(feed: Feed, backend: RpcBackend) -> Result<(), Stalled> {
    let mut statuses = backend.status.clone();
    let mut sent = None;
    loop {
        let status = statuses.borrow_and_update().clone();
        let now = net::behind(&status).is_some();
        if sent != Some(now) {
            sent = Some(now);
            let value = match now {
                false => value!(false),
                true => value!({ "syncing": true, "status": net::sync_progress(&status) }),
            };
            feed.send_value(&value)?;
        }
        if statuses.changed().await.is_err() {
            return Ok(());
        }
    }
}
