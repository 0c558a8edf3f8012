//! JSON-RPC over HTTP and WebSocket on one port, with health and metrics.
//!
//! Owns: the wire rules of JSON-RPC 2.0, the table of methods, subscriptions
//! and filters, and the limits on all of them. What always holds: it reads a
//! published [`trefoil_ledger::Snapshot`] and asks the node's thread through
//! [`Backend`], so no caller can delay consensus; when a caller has heard of
//! block N from this node, the receipts, logs and state of N are readable here.

pub mod backend;
pub mod content;
mod convert;
mod debug;
mod dispatch;
mod error;
mod eth;
mod http;
mod metrics;
mod net;
mod news;
mod params;
mod subscriptions;
mod trace;
mod trefoil;
mod txpool;
mod ws;

#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Semaphore;
use trefoil_ledger::Snapshot;
use trefoil_types::Height;

pub use self::{
    error::RpcError,
    eth::simulate::simulate_on,
    http::{From, accept},
};
use self::{
    error::RpcResult,
    eth::{blocks::BlockCache, fees::TipCache, filters::Filters},
    metrics::Metrics,
    news::News,
    params::BlockRef,
};
use crate::backend::Backend;

/// A finished answer: JSON text, written once.
type Json = Box<RawValue>;

/// Who may call, besides what [`Limits`] bounds.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Names by which this server may be addressed, besides IP addresses and
    /// `localhost` (a `Host` check stops DNS rebinding).
    pub hosts: Vec<String>,
    /// Origins of web pages that may call; empty: any, since the server holds
    /// no keys and no cookies.
    pub origins: Vec<String>,
}

/// Every bound on what callers may make the server do or hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A request's body or WebSocket message, bytes.
    pub body_bytes: usize,
    /// Requests in a batch.
    pub batch: usize,
    /// The answers of a batch together, bytes.
    pub batch_reply_bytes: usize,
    /// Open HTTP connections; more wait to be accepted.
    pub connections: usize,
    /// Open WebSockets; more are refused.
    pub sockets: usize,
    /// Subscriptions of one WebSocket.
    pub subscriptions: usize,
    /// Messages that wait for a slow WebSocket before it is dropped.
    pub socket_queue: usize,
    /// Requests of one WebSocket being worked on.
    pub socket_requests: usize,
    /// Filters alive at once.
    pub filters: usize,
    /// A filter that nobody polls is dropped after this.
    pub filter_idle: Duration,
    /// Scans and executions at once.
    pub heavy: usize,
    /// How long one may take, waiting for its turn included.
    pub heavy_time: Duration,
    /// Gas of an `eth_call` and the like.
    pub call_gas: u64,
    /// Blocks of one log query.
    pub log_blocks: u64,
    /// Logs in one answer.
    pub logs: usize,
    /// How long `eth_sendRawTransactionSync` waits by default, and at most.
    pub sync_wait: Duration,
    pub sync_wait_max: Duration,
    /// Time for a request to arrive whole.
    pub read_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 << 20,
            batch: 1_000,
            batch_reply_bytes: 25 << 20,
            connections: 1_024,
            sockets: 512,
            subscriptions: 128,
            socket_queue: 4_096,
            socket_requests: 64,
            filters: 1_000,
            filter_idle: Duration::from_secs(300),
            heavy: 32,
            heavy_time: Duration::from_secs(10),
            call_gas: 50_000_000,
            log_blocks: 1_000_000,
            logs: 20_000,
            sync_wait: Duration::from_secs(20),
            sync_wait_max: Duration::from_secs(60),
            read_time: Duration::from_secs(30),
        }
    }
}

/// The server: everything a handler can reach.
struct Rpc {
    backend: Backend,
    limits: Limits,
    access: Access,
    news: Arc<News>,
    filters: Filters,
    metrics: Metrics,
    tips: TipCache,
    blocks: BlockCache,
    heavy: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
}

/// Serves on `address`, with `content` beside, until the node stops or the returned task is aborted;
/// the address returned has the port, if 0 was asked for.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    backend: Backend,
    address: SocketAddr,
    access: Access,
    limits: Limits,
    content: Router,
) -> io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (connections, read_time) = (limits.connections, limits.read_time);
    let rpc = Rpc::new(backend, access, limits);
    let router = http::router(rpc.clone(), content);
    let server = tokio::spawn(async move {
        let news = news::follow(rpc.news.clone(), rpc.backend.clone());
        // The news end when the node stops, and the server with them.
        tokio::select! {
            () = news => {}
            () = http::accept(router, connections, read_time, listener) => {}
        }
    });
    Ok((address, server))
}

impl Rpc {
    fn new(backend: Backend, access: Access, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            news: Arc::new(News::default()),
            filters: Filters::default(),
            metrics: Metrics::default(),
            tips: TipCache::default(),
            blocks: BlockCache::default(),
            heavy: Arc::new(Semaphore::new(limits.heavy)),
            sockets: Arc::new(Semaphore::new(limits.sockets)),
            backend,
            access,
            limits,
        })
    }

    /// The height that a caller means (absent: the tip), and a view of the
    /// chain that has it. `None`: no such block.
    fn find(&self, block: Option<BlockRef>) -> RpcResult<(Snapshot, Option<Height>)> {
        let snapshot = self.backend.snapshot();
        let tip = snapshot.tip().number;
        let height = match block.unwrap_or(BlockRef::Latest) {
            BlockRef::Latest | BlockRef::Pending => Some(tip),
            BlockRef::Number(number) => Some(number).filter(|n| *n <= tip),
            BlockRef::Hash(hash) => snapshot.height_of(&hash)?,
        };
        Ok((snapshot, height))
    }

    /// As [`Rpc::find`], for state: a block that is not there is an error.
    fn at(&self, block: Option<BlockRef>) -> RpcResult<(Snapshot, Height)> {
        let (snapshot, height) = self.find(block)?;
        let asked = || match block {
            Some(BlockRef::Number(number)) => format!("{number}"),
            Some(BlockRef::Hash(hash)) => hash.to_string(),
            _ => "latest".into(),
        };
        match height {
            Some(height) => Ok((snapshot, height)),
            None => Err(RpcError::BlockNotFound { asked: asked(), head: snapshot.tip().number }),
        }
    }
}

/// Writes an answer.
fn json<T: Serialize + ?Sized>(value: &T) -> RpcResult {
    to_raw_value(value).map_err(|e| RpcError::Internal(e.to_string()))
}
