//! Who may call, and every bound on what callers may make the server do or hold.

use std::time::Duration;

/// Who may call.
#[derive(Clone, Debug, Default)]
pub struct HttpAccess {
    /// Names by which this server may be addressed, besides IP addresses and
    /// `localhost` (a `Host` check stops DNS rebinding).
    pub hosts: Vec<String>,
    /// Origins of web pages that may call; empty: any, since the server holds
    /// no keys and no cookies.
    pub origins: Vec<String>,
}

// Each takes a file descriptor, and the p2p service of the same process needs some too.
/// Open HTTP connections; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 1_024;
// A connection that was upgraded no longer counts among the HTTP connections, and it may
// stay open for days.
/// Open WebSockets; more are refused.
pub const SOCKETS_MAX: usize = 512;
// Each is a task: a client can send faster than it is answered.
/// Requests of one WebSocket being worked on.
pub const SOCKET_REQUESTS_MAX: usize = 64;
// Each can take a core for seconds. Work whose caller gave up still counts, since it still
// runs.
/// Scans and executions at once.
pub const HEAVY_MAX: usize = 32;
// geth ends an execution after 5 s (`--rpc.evmtimeout`). Here the wait for a turn counts too.
/// How long one may take, waiting for its turn included.
pub const HEAVY_TIME_MAX: Duration = Duration::from_secs(10);
// geth's default (`--rpc.gascap`).
/// Gas of an `eth_call` and the like.
pub const CALL_GAS_MAX: u64 = 50_000_000;
// reth's default (`--rpc.max-logs-per-response`). The log of a token's transfer is about 0.6 KiB
// of JSON: 12 MiB an answer, and 375 MiB if all `HEAVY_MAX` answers are that long.
/// Logs in one answer.
pub const LOGS_MAX: usize = 20_000;
// The caller holds a connection all the while. Both times are geth's
// (`TxSyncDefaultTimeout`, `TxSyncMaxTimeout`).
/// How long `eth_sendRawTransactionSync` waits, if the caller does not say.
pub const SYNC_WAIT: Duration = Duration::from_secs(20);
// One caller could otherwise hold its connection, one of `CONNECTIONS_MAX`, for ever.
/// And at most.
pub const SYNC_WAIT_MAX: Duration = Duration::from_secs(60);
// Slowloris: a client that sends a byte now and then would hold its connection for ever.
/// Time for a request to arrive whole.
pub const READ_TIME_MAX: Duration = Duration::from_secs(30);

/// The limits that tests reach by setting them low.
#[derive(Clone, Debug)]
pub struct Limits {
    // It is read into memory whole before it is parsed.
    /// A request's body or WebSocket message, bytes.
    pub body_bytes: usize,
    // One small body could otherwise ask for any amount of work. geth's default
    // (`--rpc.batch-request-limit`).
    /// Requests in a batch.
    pub batch: usize,
    // They are joined in memory and can be far longer than what asked for them. geth's default
    // is 25 MB (`--rpc.batch-response-max-size`).
    /// The answers of a batch together, bytes.
    pub batch_reply_bytes: usize,
    // Each is a task that handles every block or admission: `SOCKETS_MAX` × 128 = 65,536.
    /// Subscriptions of one WebSocket.
    pub subscriptions: usize,
    // A client that reads more slowly than the chain grows would fill the memory.
    /// Messages that wait for a slow WebSocket before it is dropped.
    pub socket_queue: usize,
    // A filter costs its creator nothing, and HTTP has no connection whose end would free it.
    /// Filters alive at once.
    pub filters: usize,
    // geth's figure.
    /// A filter that nobody polls is dropped after this.
    pub filter_idle: Duration,
    // Each block of the range that the index names is read and decoded.
    /// Blocks of one log query.
    pub log_blocks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 << 20,
            batch: 1_000,
            batch_reply_bytes: 25 << 20,
            subscriptions: 128,
            socket_queue: 4_096,
            filters: 1_000,
            filter_idle: Duration::from_secs(300),
            log_blocks: 1_000_000,
        }
    }
}
