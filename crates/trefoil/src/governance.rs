//! The contract that governs a network, as the command line speaks with it.
//!
//! Owns: its calls and errors (from the artifacts that genesis places), reading
//! its views over a node's JSON-RPC, sending it transactions, and saying its
//! proposals and refusals in words. What always holds: what is asked here any
//! wallet can ask, with the same `to` and `data`.

pub mod abi;
mod contract;
mod organisations;
mod proposals;
mod refusal;
mod words;

pub use contract::{Contract, GovernanceError, Receipt};
pub use organisations::{Organisations, status};
pub use proposals::Proposal;
pub use refusal::refusal;
pub use words::{ether, keys, words};

#[cfg(test)]
mod tests;
