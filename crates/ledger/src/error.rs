//! Why the ledger cannot be opened, read or written.

use trefoil_types::{B256, Height};

use crate::history::PROOFS_WINDOW;

/// A failed disk, a damaged database, a part of the past that is not here, or a chain that
/// this program cannot follow.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(
        "the data directory holds another chain: genesis {found}, the specification's is {wanted}; use another --dir or --reset"
    )]
    OtherChain { found: B256, wanted: B256 },
    #[error("ledger: {0}")]
    Storage(String),
    /// As [`Self::Storage`], and with more room it would succeed.
    #[error("ledger: {0}")]
    NoRoom(String),
    #[error(
        "the ledger's database ledger.redb is damaged: {0}; restore it from the node's peers with `trefoil repair --dir DIR`"
    )]
    Damaged(String),
    #[error("there is no block {height} yet; the newest is {tip}")]
    Unknown { height: Height, tip: Height },
    #[error("the state of block {height} is pruned; this node keeps it from block {oldest} on")]
    Pruned { height: Height, oldest: Height },
    #[error(
        "proofs are kept for the newest {} blocks: block {height} is before {oldest}",
        PROOFS_WINDOW
    )]
    Unproven { height: Height, oldest: Height },
    #[error(
        "block {height} is not here: this node joined by a snapshot and has blocks from {oldest} on; \
         import the history, or ask another node"
    )]
    NoBlock { height: Height, oldest: Height },
    #[error(
        "a restore into this directory was not finished, and nothing of it is believed; \
         run `trefoil restore` again"
    )]
    Unfinished,
    #[error("the governing contract refuses the founders of chain.toml: {0}")]
    Founding(String),
    #[error(
        "the governing contract is broken, which nothing on the chain can cause: {0}; \
         is the database of another version of trefoil?"
    )]
    Governing(String),
    #[error(
        "this network has the rules `{name}` from block {height} on, by its own vote, and this \
         program does not know them; install a newer trefoil"
    )]
    UnknownFork { name: String, height: Height },
    #[error(
        "the call holds more memory at a time than the {0} bytes that it may; do less in one call"
    )]
    CallMemory(usize),
}

impl LedgerError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}
