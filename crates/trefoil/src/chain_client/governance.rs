//! The contract that governs a network, as the command line speaks with it.
//!
//! Owns: its calls and errors (from the artifacts that genesis places), and
//! saying its proposals and refusals in words.

pub mod abi;
mod organisations;
mod proposals;
mod revert_reasons;
mod words;

pub use organisations::{Organisations, SealingKeys, status};
pub use proposals::Proposal;
pub(crate) use revert_reasons::refusal;
pub use words::{ether, keys, words};

#[cfg(test)]
mod tests;
