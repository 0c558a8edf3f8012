//! The state machine of the protocol: one value that takes inputs and gives effects.
//!
//! [`Node::step`] never waits, reads no clock, touches no socket and draws no random number.
//! The simulator runs this same code.
//!
//! Owns: consensus with its inputs, the pool, block sync, and which peer is sent which message.
//! Each is a part with a file of its own, and `node.rs` with `node/` joins them.
//!
//! What always holds: a block is executed once, and that outcome is what is
//! committed; a block is journalled before it is voted for; every map keyed by
//! a peer's bytes has a bound; nothing of one height remains in the next.
//!
//! It must never know: sockets, addresses and keys of peers, files, the time of day, and
//! JSON-RPC. Recovering senders and writing checkpoints leave as a [`WorkerJob`].

mod block_answers;
mod block_index;
mod block_producer;
mod block_requests;
mod block_sync;
mod candidates;
mod early_messages;
mod evidence_pool;
mod fetch_transactions;
mod height_messages;
pub mod io;
mod jobs;
pub mod node;
mod peer_bytes;
mod peers;
mod pending_requests;
mod pieces;
#[cfg(test)]
mod testing;
mod tx_gossip;

pub use io::{
    Call, Done, Effects, Event, Input, NodeStatus, PeerCommand, PeerHoldings, RecoveryJob, Reply,
    To, WorkerJob,
};
pub use node::{Config, Node, OpenError};
