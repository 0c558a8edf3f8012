//! The command line: the commands by which an operator founds, runs, asks and changes
//! nodes and networks.
//!
//! It owns the commands and their arguments ([`commands`]), and the errors that end a
//! command ([`error`]). It also owns the client that asks a running node over JSON-RPC and
//! signs transactions ([`chain_client`]), and the making of a chain specification, its keys
//! and invites ([`genesis`]).
//!
//! What always holds:
//! - A command that could not do its work prints the fact and the cure, and exits with 1.
//! - Secrets leave a keystore only in the process that needs them, and are printed by
//!   `trefoil keys export` alone. (The keys of a devnet are known to all.)
//! - Any wallet can ask and decide the same on a chain, with the same calls: a command has
//!   no private way into a node for that.
//!
//! What it must never know: the rules by which blocks are decided and executed, and the
//! messages of peers. Commands that need them (`run`, `verify`, `repair`, `snapshot`) call
//! the crates that own them. No crate knows this one, so that a change of it builds
//! nothing else.

pub mod chain_client;
pub mod commands;
pub mod error;
pub mod genesis;
