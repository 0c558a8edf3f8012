//! The process around a node: its directory, its settings, its thread and inbox,
//! and how it comes to the chain.
//!
//! Owns: the node's thread, which alone steps the state machine and writes the journal;
//! the inbox before that thread; state sync; the snapshots for newcomers; the settings; the
//! renewal of the node's certificate.
//!
//! What always holds: nothing leaves the process before the records that it follows from
//! are on disk.
//!
//! It must never know the command line: it takes settings and keys as values, and reports by
//! an error with its cure or by a line of the log. (A cure may name the command or the flag
//! that the operator types.)

// A node may have a stdout or stderr that nobody reads: `println!` panics there.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod absence_log;
mod certificate_renewal;
mod disk_room;
mod error;
mod gossip_queue;
pub mod home;
mod host;
mod inbox;
mod key_rotation;
mod log_queue;
pub mod logging;
mod network_config;
mod node_thread;
#[cfg(test)]
mod refusing_disk;
pub mod settings;
pub mod snapshots;
mod state_sync;

pub use self::network_config::{NodeKeys, fork_id};
pub use self::{error::HostError, host::Host};
