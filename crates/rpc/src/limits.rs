//! Every bound on what callers may make the server do or hold; bytes are in [`crate::memory`].

use std::time::Duration;

use trefoil_ledger::CALL_FREE_BYTES;

// Each takes a file descriptor, and the p2p service of the same process needs some too.
/// Connections of clients: they sent a whole request. For one more, the one that is idle for the
/// longest time is closed.
pub const CONNECTIONS_MAX: usize = 1_024;
// A flood of 5,000 sockets a second leaves each a fifth of a second for its first request. A silent
// one costs its socket and a task.
/// Connections besides those that sent no whole request yet, or ask for the node's health only.
pub const NEWCOMERS_MAX: usize = 1_024;
// A connection that was upgraded no longer counts among the HTTP connections, and it may
// stay open for days.
/// Open WebSockets; for one more, one of the address that holds the most is closed.
pub const SOCKETS_MAX: usize = 512;
/// All places.
pub const PLACES_MAX: usize = CONNECTIONS_MAX + NEWCOMERS_MAX + SOCKETS_MAX;
/// File descriptors of all that, with those that are closing.
pub const FILES_MAX: usize = PLACES_MAX + 128;
// tokio's default (1,024) overflows in a burst of 5,000 sockets: the kernel drops the SYN, and the
// client sends it again after a second. The kernel caps this at `net.core.somaxconn` (4,096).
/// Connections that the kernel holds until they are accepted.
pub const BACKLOG: u32 = 4_096;
// A burst that is accepted faster than it is read would close connections whose request is here
// already.
/// Accepted connections that no thread has looked at yet; beyond, the kernel holds them.
pub const UNHEARD_MAX: usize = 64;
// A body of 10 MiB keeps a thread busy for longer than a thousand short ones: callers and health
// checks would wait behind each.
/// A request of more bytes is worked on by a thread that serves such only.
pub const LONG_BYTES: usize = 64 << 10;
// Each is a task: a client can send faster than it is answered.
/// Requests of one WebSocket being worked on.
pub const SOCKET_REQUESTS_MAX: usize = 64;
// Each can take a core for seconds. Work whose caller gave up still counts, since it still
// runs.
/// Scans and executions at once, on a machine with as many processors.
pub const HEAVY_MAX: usize = 32;
// The memory of a call's frame costs 3w + w²/512 gas for w words of 32 bytes (yellow paper,
// appendix H): `CALL_GAS_MAX` buys one frame 5 MiB, and what it returns is as long again. What else
// a call holds is counted, and claimed from `CALL_FREE_BYTES` on. So is what a decoded block takes
// (`caches`), and an answer while it is written.
/// Memory that is claimed for one of them before it begins, besides what its answer takes, bytes.
pub const HEAVY_BYTES: usize = (10 << 20) + CALL_FREE_BYTES;
// Nested frames, and tables of what it looked at and wrote: gas hardly bounds them.
/// What a call may hold besides what its gas buys one frame, bytes.
pub const CALL_BYTES_MAX: usize = 64 << 20;
// They hold their connections for `HEAVY_TIME_MAX`. With `SYNC_WAITS_MAX` and `GATEWAY_GETS_MAX`
// they take 928 of the `CONNECTIONS_MAX`, so that there always is one for a short question.
/// Callers that wait for their turn, half of them from one source; more are refused at once.
pub const HEAVY_WAITS_MAX: usize = 256;
// geth ends an execution after 5 s (`--rpc.evmtimeout`). Here the wait for a turn counts too.
/// How long one may take, waiting for its turn included.
pub const HEAVY_TIME_MAX: Duration = Duration::from_secs(10);
// geth's default (`--rpc.gascap`).
/// Gas of an `eth_call` and the like.
pub const CALL_GAS_MAX: u64 = 50_000_000;
// reth's default (`--rpc.max-logs-per-response`). The log of a token's transfer is about 0.6 KiB
// of JSON: 12 MiB an answer.
/// Logs in one answer.
pub const LOGS_MAX: usize = 20_000;
// The caller holds a connection all the while. Both times are geth's
// (`TxSyncDefaultTimeout`, `TxSyncMaxTimeout`).
/// How long `eth_sendRawTransactionSync` waits, if the caller does not say.
pub const SYNC_WAIT: Duration = Duration::from_secs(20);
// One caller could otherwise hold its connection, one of `CONNECTIONS_MAX`, for ever.
/// And at most.
pub const SYNC_WAIT_MAX: Duration = Duration::from_secs(60);
// All connections waiting so would leave none to ask anything else.
/// Of them at once, half of them from one source.
pub const SYNC_WAITS_MAX: usize = CONNECTIONS_MAX / 2;
// A download or a search lasts for minutes.
/// Requests to the gateway that are answered at once, half of them from one source.
pub const GATEWAY_GETS_MAX: usize = CONNECTIONS_MAX / 8;
/// How often a caller that waits for memory looks whether there is room.
pub const ROOM_PAUSE: Duration = Duration::from_millis(50);
// What waits holds the blocks and transactions of all subscriptions, which no account counts.
/// How long a notification waits for room that others hold.
pub const ROOM_TIME_MAX: Duration = Duration::from_secs(5);
// Each takes about 300 kB that no account counts: 19 MiB. The others are answered uncompressed.
/// Answers that are compressed at once.
pub const GZIPS_MAX: usize = 64;
// Slowloris: a client that sends a byte now and then would hold its connection for ever.
/// Time for each of these to come: the first byte, from the accept on; a request's head; the first
/// bytes of its body or of a WebSocket's message.
pub const READ_TIME_MAX: Duration = Duration::from_secs(30);
// A flat 30 s for all of it refused 10 MiB to whoever has less than 3 Mbit/s. At this pace they take
// eleven minutes; who sends more slowly is let go as soon as that is certain, and a byte a second
// after 30 s.
/// Bytes of a body or message that give its sender one second more.
pub const READ_BYTES_PER_SECOND: usize = 16 << 10;
// A head is read into memory whole, on each of the connections.
/// Bytes of a request's head, and of what is read or written at a time.
pub const HEAD_BYTES_MAX: usize = 32 << 10;
// A client that stopped reading would hold its answer for ever, and one that takes a byte now
// and then as good as for ever.
/// Time for a client to take [`WRITE_BYTES_MIN`], or all that waits for it.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(20);
/// 800 bytes a second: slower than any line that a wallet is used on.
pub const WRITE_BYTES_MIN: usize = 16 << 10;
// The log's bytes count, not the logs: one can be as large as its block's gas allows.
/// An answer that is gathered from many blocks or transactions, bytes.
pub const ANSWER_BYTES_MAX: usize = 25 << 20;
// While it is made, a step costs several times the stack that it shows.
/// What one trace may take while it is made, bytes.
pub const TRACE_BYTES_MAX: usize = 64 << 20;
// The node's thread lists its whole pool: 100,000 transactions take some 10 ms of it.
/// The node is asked for its pool no more often; whoever asks meanwhile shares the next list.
pub const POOL_PAUSE: Duration = Duration::from_millis(100);

/// How long a body or message may take of which so many bytes came, if its first may take so long.
pub fn read_time(first: Duration, bytes: usize) -> Duration {
    first + Duration::from_secs((bytes / READ_BYTES_PER_SECOND) as u64)
}

/// The limits that tests reach by setting them low.
#[derive(Clone, Debug)]
pub struct Limits {
    // It is read into memory whole before it is parsed.
    /// A request's body, bytes.
    pub body_bytes: usize,
    /// Time for the first of them to come; more of them have more ([`read_time`]).
    pub body_time: Duration,
    // Twice its memory is kept for the socket's life (`ws_input`). A transaction of 128 KiB is 256 KiB
    // of hex, and a full batch (`batch`) of calls with 2 KiB of data each is 4 MiB; what is longer has
    // POST. geth takes 32 MiB.
    /// A WebSocket message, bytes.
    pub message_bytes: usize,
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
    // A client that reads more slowly than the chain grows, or than it asks, would fill the
    // memory. It is room for the largest answer of a batch.
    /// Answers and notifications that wait on one WebSocket, bytes.
    pub socket_bytes: usize,
    // A client that does not read is not read. A MiB is 7,000 short answers.
    /// While more than this waits, the WebSocket's requests are not read, bytes.
    pub socket_pause_bytes: usize,
    // A filter costs its creator nothing, and HTTP has no connection whose end would free it.
    /// Filters alive at once, half of them from one source.
    pub filters: usize,
    // geth's figure.
    /// A filter that nobody polls is dropped after this.
    pub filter_idle: Duration,
    // Each block of the range that the index names is read and decoded.
    /// Blocks of one log query.
    pub log_blocks: u64,
    // A list of a million heights takes 12 MB, and the time limit is looked at between two lists only.
    /// Blocks that the index is asked for at once.
    pub log_step: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 << 20,
            body_time: READ_TIME_MAX,
            message_bytes: 4 << 20,
            batch: 1_000,
            batch_reply_bytes: 25 << 20,
            subscriptions: 128,
            socket_bytes: 32 << 20,
            socket_pause_bytes: 64 << 10,
            filters: 1_000,
            filter_idle: Duration::from_secs(300),
            log_blocks: 1_000_000,
            log_step: 16_384,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_for_a_call_is_what_its_gas_buys_one_frame() {
        let costs = |words: u64| 3 * words + words * words / 512;
        let words = (1..).take_while(|words| costs(*words) <= CALL_GAS_MAX).last();
        let memory = 32 * words.expect("some") as usize;
        assert!(2 * memory + CALL_FREE_BYTES <= HEAVY_BYTES, "{memory}");
    }
}
