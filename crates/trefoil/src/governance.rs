//! The contract that governs a network, as the command line speaks with it.
//!
//! Owns: its calls and errors (from the artifacts that genesis places), and
//! saying its proposals and refusals in words.

pub mod abi;
mod organisations;
mod proposals;
mod refusal;
mod words;

pub use organisations::{Organisations, SealingKeys, status};
pub use proposals::Proposal;
pub use refusal::refusal;
pub use words::{ether, keys, words};

#[cfg(test)]
mod tests;
