//! The command line of a trefoil node: its commands, the chain client that they use,
//! and how a network and a node are founded.
//!
//! It knows every other crate and nothing knows it. What always holds: a command that
//! could not do its work says what happened and the cure, and exits with 1.

pub mod chain_client;
pub mod commands;
pub mod error;
pub mod genesis;
