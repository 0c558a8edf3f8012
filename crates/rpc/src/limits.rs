//! Who may call, and every bound on what callers may make the server do or hold.

use std::time::Duration;

/// Who may call, besides what [`Limits`] bounds.
#[derive(Clone, Debug, Default)]
pub struct HttpAccess {
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
