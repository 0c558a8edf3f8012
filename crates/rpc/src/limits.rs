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
    // It is read into memory whole before it is parsed.
    /// A request's body or WebSocket message, bytes.
    pub body_bytes: usize,
    // One small body could otherwise ask for any amount of work.
    /// Requests in a batch.
    pub batch: usize,
    // They are joined in memory and can be far longer than what asked for them.
    /// The answers of a batch together, bytes.
    pub batch_reply_bytes: usize,
    // Each takes a file descriptor, and the p2p service of the same process needs some too.
    /// Open HTTP connections; more wait to be accepted.
    pub connections: usize,
    // A connection that was upgraded no longer counts among the HTTP connections, and it may
    // stay open for days.
    /// Open WebSockets; more are refused.
    pub sockets: usize,
    /// Subscriptions of one WebSocket.
    pub subscriptions: usize,
    // A client that reads more slowly than the chain grows would fill the memory.
    /// Messages that wait for a slow WebSocket before it is dropped.
    pub socket_queue: usize,
    // Each is a task: a client can send faster than it is answered.
    /// Requests of one WebSocket being worked on.
    pub socket_requests: usize,
    // A filter costs its creator nothing, and HTTP has no connection whose end would free it.
    /// Filters alive at once.
    pub filters: usize,
    // geth's figure.
    /// A filter that nobody polls is dropped after this.
    pub filter_idle: Duration,
    // Each can take a core for seconds. Work whose caller gave up still counts, since it still
    // runs.
    /// Scans and executions at once.
    pub heavy: usize,
    /// How long one may take, waiting for its turn included.
    pub heavy_time: Duration,
    // geth's default (`--rpc.gascap`).
    /// Gas of an `eth_call` and the like.
    pub call_gas: u64,
    // Each block of the range that the index names is read and decoded.
    /// Blocks of one log query.
    pub log_blocks: u64,
    /// Logs in one answer.
    pub logs: usize,
    // The caller holds a connection all the while.
    /// How long `eth_sendRawTransactionSync` waits by default, and at most.
    pub sync_wait: Duration,
    pub sync_wait_max: Duration,
    // Slowloris: a client that sends a byte now and then would hold its connection for ever.
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
