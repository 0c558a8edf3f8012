//! Runs the Malachite core (Tendermint), one height at a time, behind a few plain calls.
//!
//! Owns: the consensus position within one height, its timers, and which
//! signatures have been verified. What always holds: it reads no clock and
//! waits for nothing; whatever must survive a crash leaves as
//! [`Output::Record`] before the message that depends on it. It must never know: what
//! a block holds, which peers there are, and where the journal is.

mod context;
mod effects;
mod engine;
mod io;
mod signer;
mod timeouts;
mod wal_entry;

pub use engine::{Consensus, ReplayError};
pub use io::{Config, ConsensusMessage, Output};
pub use timeouts::Timeouts;
pub use wal_entry::{Candidate, height as record_height};

#[cfg(test)]
mod tests;
