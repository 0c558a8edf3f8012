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
mod error;
mod frames;
mod restore;
mod sorter;
mod state_file;
mod state_rows;
mod trail;
mod trie_builder;

pub use archive::{Archived, Recover, import_archive, write_archive};
pub use error::JoinError;
pub use restore::{ChainOnDisk, Restored, abandon, peek, prove, restore, standing};
pub use state_file::{StateCounts, snapshot_height, write_state};
pub(crate) use trail::prove_validators;

#[cfg(test)]
mod tests;
