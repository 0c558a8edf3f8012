//! State sync: how a new node gets the chain's state and history without executing all of
//! it. Two kinds of files, with the same bytes on every node.
//!
//! Owns: the *state snapshot* ([`write_state`], [`restore`]) and the *history archive*
//! ([`write_archive`], [`import_archive`]). What always holds: nothing is accepted that
//! does not follow from the chain specification. A snapshot brings the way from genesis to
//! its block: each change of validators, proven in a state that the validators before it
//! signed. An archive must end at a block that is already known. A directory in which a
//! restore was not finished cannot be opened. The layouts are in `docs/disk.md`, the
//! reasons in ADR 18.

mod archive;
mod as_of;
mod frames;
mod restore;
mod sorter;
mod state_file;
mod trail;
mod trie_builder;

use trefoil_types::{B256, Height};

use crate::LedgerError;

pub use archive::{Archived, Recover, import_archive, write_archive};
pub use restore::{ChainOnDisk, Restored, peek, restore, standing};
pub use state_file::{StateCounts, snapshot_height, write_state};
pub(crate) use trail::prove_validators;

// A pure rule on overlapping validator sets (Tendermint's skipping verification) would be
// unsound here: these headers do not commit to the validator set, so a signature vouches
// for no set.
/// Why a file was not written, or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot read or write the file: {0}")]
    File(#[from] std::io::Error),
    #[error("this is no {wanted} of a format that this program knows")]
    NotOurs { wanted: &'static str },
    #[error("the file ends in the middle, at byte {offset}: fetch it again")]
    Truncated { offset: u64 },
    #[error("the file is damaged at byte {offset} ({why}): fetch it again")]
    Damaged { offset: u64, why: &'static str },
    #[error("the file is of another chain: genesis {found}, the specification's is {wanted}")]
    OtherChain { found: B256, wanted: B256 },
    #[error("the file is not proven: {0}; do not rely on where it came from")]
    Unproven(String),
    #[error("the directory holds a chain already, up to block {tip}; restore into a new one")]
    Taken { tip: Height },
    #[error(
        "this node cannot make it: {0}; nodes that were there, or have imported the history, can"
    )]
    Missing(String),
    #[error(
        "the archive ends at block {last}, and what this node lacks ends at {wanted}: import archives from the newest to the oldest"
    )]
    NotNext { last: Height, wanted: Height },
}

fn unproven(why: impl Into<String>) -> JoinError {
    JoinError::Unproven(why.into())
}

#[cfg(test)]
mod tests;
