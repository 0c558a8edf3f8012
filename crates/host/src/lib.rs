//! The process around a node: its directory, its settings, its thread and inbox,
//! and how it comes to the chain.
//!
//! Owns the node's thread, the only one that steps the state machine and writes the
//! journal. What always holds: nothing leaves the process before the records that it
//! follows from are on disk. It knows no command line: what it has to say is an error
//! with its cure, or a line of the log.

pub mod certificate_renewal;
mod error;
pub mod home;
pub mod host;
pub mod inbox;
pub mod logging;
pub mod network_config;
pub mod node_thread;
pub mod settings;
pub mod snapshots;
pub mod state_sync;

pub use self::{error::HostError, host::Host, network_config::NodeKeys};
