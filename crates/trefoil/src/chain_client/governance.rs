//! The command line's client of the contract that governs a network.
//!
//! Owns: its calls and errors (from the artifacts that genesis places), and
//! its proposals in words.

pub mod abi;
mod organisations;
mod proposals;
mod words;

pub use organisations::{Offer, Organisations, SealingKeys, status};
pub use proposals::OpenProposal;
pub use words::{keys, peer, words};

#[cfg(test)]
mod tests;
