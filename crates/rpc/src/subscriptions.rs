//! `eth_subscribe`: notifications to a WebSocket.
//!
//! What always holds: the answer to `eth_subscribe` goes out before the first
//! notification, nothing between the two is missed, and a socket that does not keep up
//! is closed with the reason rather than waited for. All notifications of one event share its text.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy_primitives::U128;
use axum::body::Bytes;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::{AbortHandle, yield_now},
    time::{sleep, timeout},
};

use crate::{
    Limits, Params, Rpc, RpcError, RpcResult,
    answer::RpcAnswer,
    block_logs::{LOGS_AT_ONCE, MatchingLogs},
    connections::HttpConnectionTable,
    event_hub::{NewBlock, NewTx},
    event_ring::EventReader,
    http_connection::{HttpConnection, InFlight},
    json, limits,
    log_filter::{LogFilter, LogMatcher},
    memory::{Claim, MemoryAccount},
    params::member,
};

/// A subscription's name within its socket: random, so that it reveals nothing.
pub type SubscriptionId = u128;

// A filter of 1,000 addresses and 4,000 topics takes 300 kB, and a socket has 128 of them.
/// The filters of one socket's subscriptions, bytes.
const SOCKET_FILTERS_BYTES_MAX: usize = 1 << 20;

/// A subscription without its filter: its task, its places in lists, and the numbers of logs that it
/// sends.
const SUBSCRIPTION_BYTES: usize = 3 << 10;

/// Sends a subscription's notifications, for as long as the client reads them.
type Work = BoxFuture<'static, Result<(), Stalled>>;

/// What a subscription holds as long as it lives.
struct Place {
    _permit: OwnedSemaphorePermit,
    _claim: Claim,
    /// Idle sockets of the same source yield before it.
    _in_flight: InFlight,
}

/// An answer or a notification on its way to a client.
pub struct SocketText {
    /// What it has of its own: of a notification, the subscription's name.
    pub head: String,
    /// What notifications of one event share, or an answer.
    pub rest: Bytes,
    pub claim: Claim,
}

/// The state that the requests of one WebSocket share.
pub struct SocketSession {
    /// To the socket's writer; bounded by `memory`.
    out: mpsc::UnboundedSender<SocketText>,
    /// Holds the answers and notifications that wait on this connection.
    pub memory: MemoryAccount,
    /// Holds its subscriptions and their filters.
    filters: MemoryAccount,
    /// Held by the subscription that waits for room.
    waits: Arc<tokio::sync::Mutex<()>>,
    /// Notified when the socket must be closed, since its client cannot keep up.
    lagging: Notify,
    /// Notified when the client has read something.
    read: Notify,
    pub connection: Arc<HttpConnection>,
    // A long message is answered on a thread that is for long messages only.
    /// Where subscriptions run: where the socket does.
    threads: Handle,
    max: usize,
    // Messages are answered at once, so none of them knows what the others began.
    /// For each subscription that the socket may begin.
    places: Arc<Semaphore>,
    running: Mutex<BTreeMap<SubscriptionId, (AbortHandle, Place)>>,
}

/// One message from a WebSocket while it is being answered.
pub struct SocketMessage {
    session: Arc<SocketSession>,
    /// Subscriptions that start when the answer is on its way.
    created: Mutex<Vec<(SubscriptionId, Work, Place)>>,
}

/// Told in the close frame (at most 123 bytes).
pub const LAGGED: &str =
    "this connection reads too slowly for its subscriptions; subscribe again and read faster";

impl SocketSession {
    pub fn new(
        connection: Arc<HttpConnection>,
        limits: &Limits,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<SocketText>) {
        let (out, queue) = mpsc::unbounded_channel();
        let cure = "read the answers and notifications that wait on this connection";
        let memory = connection.memory.within(limits.socket_bytes, cure);
        let cure = "unsubscribe, or name fewer addresses and topics";
        let filters = connection.memory.within(SOCKET_FILTERS_BYTES_MAX, cure);
        let max = limits.subscriptions;
        let session = Self {
            out,
            memory,
            filters,
            waits: Arc::default(),
            lagging: Notify::new(),
            read: Notify::new(),
            connection,
            threads: Handle::current(),
            max,
            places: Arc::new(Semaphore::new(max)),
            running: Mutex::default(),
        };
        (Arc::new(session), queue)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<SubscriptionId, (AbortHandle, Place)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an answer, whose memory is claimed already.
    pub fn put(&self, RpcAnswer { text, claim }: RpcAnswer) {
        // A socket that has ended needs no answer.
        let _ = self.out.send(SocketText { head: String::new(), rest: text.into(), claim });
    }

    /// The writer has sent something.
    pub fn was_read(&self) {
        self.read.notify_one();
    }

    /// Waits until no more than `bytes` wait for the client.
    pub async fn until_read(&self, bytes: usize) {
        // A notice that comes between the look and the wait is kept by `Notify`.
        while self.memory.used() > bytes {
            self.read.notified().await;
        }
    }

    /// Waits until the socket has to be closed, since a subscription fell behind.
    pub async fn lagged(&self) {
        self.lagging.notified().await;
    }
}

impl Drop for SocketSession {
    fn drop(&mut self) {
        self.running().values().for_each(|(task, _)| task.abort());
    }
}

impl SocketMessage {
    pub fn new(session: Arc<SocketSession>) -> Self {
        Self { session, created: Mutex::default() }
    }

    /// Holds the answers that wait on the message's connection.
    pub fn memory(&self) -> &MemoryAccount {
        &self.session.memory
    }

    /// Holds all of the message's connection.
    pub fn account(&self) -> &MemoryAccount {
        &self.session.connection.memory
    }

    /// Where its connection comes from.
    pub fn source(&self) -> IpAddr {
        self.session.connection.source
    }

    fn created(&self) -> MutexGuard<'_, Vec<(SubscriptionId, Work, Place)>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what the frame subscribed to; call when its answer is queued. A
    /// subscription ends by itself only when its client does not keep up.
    pub fn start(self) {
        // A client learns the id from the answer: a notification before it would belong to
        // nothing.
        let created = std::mem::take(&mut *self.created());
        let mut running = self.session.running();
        for (id, work, place) in created {
            // Weak: the session ends its subscriptions, and none of them keeps it.
            let session = Arc::downgrade(&self.session);
            let task = self.session.threads.spawn(async move {
                let _ = work.await;
                if let Some(session) = session.upgrade() {
                    session.lagging.notify_one();
                }
            });
            running.insert(id, (task.abort_handle(), place));
        }
    }
}

pub fn subscribe(rpc: &Rpc, frame: &SocketMessage, params: &Params) -> RpcResult {
    let session = &frame.session;
    let Ok(permit) = session.places.clone().try_acquire_owned() else {
        let max = session.max;
        let text = format!("this connection has {max} subscriptions, the most that are allowed");
        return Err(RpcError::Rejected(text));
    };
    let claim = session.filters.claim(params.bytes() + SUBSCRIPTION_BYTES)?;
    let in_flight = session.connection.request();
    let place = Place { _permit: permit, _claim: claim, _in_flight: in_flight };
    let id = rand::random::<SubscriptionId>();
    let feed = Feed {
        id,
        out: session.out.clone(),
        memory: session.memory.clone(),
        waits: session.waits.clone(),
        connections: rpc.connections.clone(),
    };
    // The receivers are made now, not when first polled: nothing between the answer and the
    // first poll may be missed.
    let work: Work = match params.get::<String>(0)?.as_str() {
        "newHeads" => Box::pin(heads(feed, rpc.events.blocks())),
        "logs" => {
            let filter: LogFilter = params.opt(1)?.unwrap_or_default();
            Box::pin(logs(feed, rpc.events.blocks(), filter.matcher.into()))
        }
        "newPendingTransactions" => Box::pin(pending(feed, rpc.events.txs(), wants_whole(params)?)),
        "syncing" => Box::pin(syncing(feed, rpc.events.syncing())),
        other => {
            let name: String = other.chars().take(64).collect();
            let text = format!(
                "no {name:?} subscription; there are newHeads, logs, newPendingTransactions and syncing"
            );
            return Err(RpcError::InvalidParams(text));
        }
    };
    frame.created().push((id, work, place));
    json(&U128::from(id))
}

pub fn unsubscribe(_: &Rpc, frame: &SocketMessage, params: &Params) -> RpcResult {
    let id: SubscriptionId = params.get(0)?;
    let task = frame.session.running().remove(&id);
    let (task, _place) = task.ok_or_else(|| RpcError::Rejected("subscription not found".into()))?;
    task.abort();
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
    out: mpsc::UnboundedSender<SocketText>,
    memory: MemoryAccount,
    waits: Arc<tokio::sync::Mutex<()>>,
    connections: Arc<HttpConnectionTable>,
}

/// The client does not read, or is gone.
struct Stalled;

impl Feed {
    /// `rest`: the notification from its result on.
    async fn send(&self, rest: Bytes) -> Result<(), Stalled> {
        let head = format!(
            r#"{{"jsonrpc":"2.0","method":"eth_subscription","params":{{"subscription":"{:#x}","result":"#,
            self.id
        );
        // One that is passed over would leave a gap that the client cannot see. It sees a
        // closed socket.
        let bytes = head.len() + rest.len();
        let claim = match self.memory.claim(bytes) {
            Ok(claim) => claim,
            Err(_) => {
                let room = timeout(limits::ROOM_TIME_MAX, self.room(bytes));
                room.await.unwrap_or(Err(Stalled))?
            }
        };
        self.out.send(SocketText { head, rest, claim }).map_err(|_| Stalled)
    }

    // Others hold the room: that is no fault of this client.
    /// Waits for room, unless this socket alone holds too much.
    async fn room(&self, bytes: usize) -> Result<Claim, Stalled> {
        // One subscription looks for all of its socket: thousands would look 20 times a second each.
        let _waits = self.waits.lock().await;
        self.connections.relieve();
        loop {
            match self.memory.claim(bytes) {
                Ok(claim) => return Ok(claim),
                Err(_) if self.memory.fits(bytes) => sleep(limits::ROOM_PAUSE).await,
                Err(_) => return Err(Stalled),
            }
        }
    }
}

/// Each new block's header.
async fn heads(feed: Feed, mut blocks: EventReader<NewBlock>) -> Result<(), Stalled> {
    // A receiver that fell behind gets an error here, and the socket ends as with a full queue.
    while let Ok(block) = blocks.recv().await {
        feed.send(block.head()).await?;
    }
    Ok(())
}

async fn logs(
    feed: Feed,
    mut blocks: EventReader<NewBlock>,
    matcher: Arc<LogMatcher>,
) -> Result<(), Stalled> {
    while let Ok(block) = blocks.recv().await {
        if !matcher.may_be_in(&block.stored.block.header.logs_bloom) {
            continue;
        }
        match block.logs.matching(&matcher).await {
            MatchingLogs::Few(numbers) => {
                for number in numbers.iter() {
                    feed.send(block.log(*number)).await?;
                }
            }
            MatchingLogs::Many => send_each(&feed, &block, &matcher).await?,
        }
        // Thousands of subscriptions look at the same block.
        yield_now().await;
    }
    Ok(())
}

/// Sends all logs of a block that match, by a look at each.
async fn send_each(feed: &Feed, block: &NewBlock, matcher: &LogMatcher) -> Result<(), Stalled> {
    for number in 0..block.logs.count() as u32 {
        let (_, log) = block.logs.get(number);
        if matcher.matches(log) {
            feed.send(block.log(number)).await?;
        }
        if (number as usize).is_multiple_of(LOGS_AT_ONCE) {
            yield_now().await;
        }
    }
    Ok(())
}

async fn pending(feed: Feed, mut txs: EventReader<NewTx>, whole: bool) -> Result<(), Stalled> {
    while let Ok(tx) = txs.recv().await {
        feed.send(if whole { tx.whole() } else { tx.hash() }).await?;
    }
    Ok(())
}

/// Whether the node is catching up: now, and whenever that changes.
async fn syncing(feed: Feed, mut states: watch::Receiver<(bool, Bytes)>) -> Result<(), Stalled> {
    let mut sent = None;
    loop {
        let (now, told) = states.borrow_and_update().clone();
        if sent.replace(now) != Some(now) {
            feed.send(told).await?;
        }
        if states.changed().await.is_err() {
            return Ok(());
        }
    }
}
