//! The command line of a trefoil node: its commands, the chain client that they use,
//! and how a network and a node are founded.
//!
//! What it owns: the commands and their arguments ([`commands`]); the client that asks a
//! running node over JSON-RPC and signs transactions ([`chain_client`]); the making of a
//! chain specification, its keys and invites ([`genesis`]); and the errors that end a
//! command ([`error`]).
//!
//! What always holds:
//! - A command that could not do its work prints the fact and the cure, and exits with 1.
//! - Secrets leave a keystore only in the process that needs them, and are printed by
//!   `trefoil keys export` alone. (The keys of a devnet are known to all.)
//! - What a command asks of a chain or decides on it, any wallet can ask or decide with
//!   the same calls: there is no private way into a node for it.
//!
//! What it must never know: the rules by which blocks are decided and executed, and the
//! messages of peers. Commands that need them (`run`, `verify`, `repair`, `snapshot`) call
//! the crates that own them. No crate knows this one, so that a change of it builds
//! nothing else.

pub mod chain_client;
pub mod commands;
pub mod error;
pub mod genesis;
