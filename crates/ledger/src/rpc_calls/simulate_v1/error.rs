//! The limits of a simulation, and why there is none.

use crate::CallError;

// geth's limit. Attack: one request names a far block number, and every gap is a block to
// make.
/// The most blocks of one simulation, those that fill gaps included.
pub const BLOCKS_MAX: u64 = 256;

// geth's limit. All calls of a simulation share one gas cap, so far fewer than `BLOCKS_MAX`
// times this can run.
/// The most calls of one block.
pub const CALLS_MAX: usize = 5_000;

// Gas does not bound it well: returned memory costs 3 gas a word, and every call may return
// the same. In hex, 16 MiB make an answer of 32 MiB.
/// The most bytes that the calls of a simulation return and log.
pub(super) const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error("empty input")]
    Empty,
    #[error("too many blocks")]
    TooManyBlocks,
    #[error("too many calls in block: {0} > {CALLS_MAX}")]
    TooManyCalls(usize),
    #[error("what the calls return and log is over {OUTPUT_BYTES_MAX} bytes; ask for less at once")]
    TooMuchOutput,
    #[error("block numbers must be in order: {number} <= {before}")]
    Number { number: u64, before: u64 },
    #[error("block timestamps must be in order: {time} <= {before}")]
    Timestamp { time: u64, before: u64 },
    #[error("block gas limit reached: {used} >= {limit}")]
    BlockGas { used: u64, limit: u64 },
    /// A call that could be no transaction here.
    #[error("err: {text} (supplied gas {gas})")]
    Refused { kind: RefusedFor, text: String, gas: u64 },
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The fault of a call that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedFor {
    NonceTooLow,
    NonceTooHigh,
    BaseFee,
    TipAboveCap,
    IntrinsicGas,
    Funds,
    InitCode,
    Other,
}
