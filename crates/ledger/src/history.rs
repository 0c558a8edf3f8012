//! How much of the past can be read.

/// Which states of the past can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// The state of every block.
    Archive,
    /// The states of at least this many of the newest blocks.
    Window(u64),
}

// A proof of an older block undoes the trie block by block. The row of each such block is
// kept, and a proof reads up to 128 of them (ADR 8). geth, too, keeps 128 blocks' tries.
/// The number of newest blocks whose trie stays readable, so that their state can be
/// proven.
pub const PROOFS_WINDOW: u64 = 128;
