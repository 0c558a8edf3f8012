//! The peer-to-peer service: connects this node to its peers and carries their messages.
//!
//! Owns the listening port, the transports and their handshakes, the limits on inbound
//! connections, membership, discovery of other nodes, and each peer's sessions, queues
//! and score.
//!
//! What always holds:
//! - A frame's length is checked before memory is taken for it.
//! - Every queue has a bound in bytes, and says what it does when it is full; what a peer
//!   makes the node hold is charged to the peer's budget (`connection::budget`).
//! - No message passes before both sides sent a hello of the same network.
//! - A peer has one connection that carries messages.
//! - A peer that the chain revokes is cut: nothing of it is read or sent any more.
//! - From a peer that cannot be judged a member yet, only blocks are taken, and it is
//!   sent nothing but questions for blocks.
//!
//! What it must never know: what a message means (consensus, transactions, blocks), the
//! chain's state, or the disk beside the address book. The node sets which peers the chain
//! admits ([`NetHandle::set_admission`]) and reports misdeeds ([`NetHandle::blame`]).
//!
//! Where to start reading: `connection_table` (every connection, and who judges it),
//! `service` (the event loop), `discovery::outbound` (which address is dialled),
//! `connection::session` (one connection's life). `docs/wire.md` states the protocol.

mod config;
mod connection;
mod connection_table;
mod discovery;
mod event;
mod handle;
mod inbound_limits;
mod membership;
mod network;
mod peer_table;
mod service;
mod transport;
pub mod wire;

#[cfg(test)]
mod tests;

pub use config::{Config, Discovery, Membership, NetError, NetworkAccess};
pub use connection::{
    content_streams::{ContentConnection, ContentLink, ContentReader, ContentWriter},
    frame, hello,
    lanes::LaneReceiver,
};
pub use discovery::{
    address_book, address_book_file, outbound, peer_record,
    providers::PROVIDED_MAX,
    reachability::{is_global, is_reachable},
};
pub use event::NetEvent;
pub use handle::{LaneReceivers, NetHandle};
pub use inbound_limits::{peer_score::Misdeeds, rate_limit::RateLimiter, subnet::NetGroup};
pub use membership::proof;
pub use network::{Difference, NetworkId, VersionMismatch};
pub use peer_table::{NetPeer, RefusedPeer};
pub use service::start::{start, start_newcomer};
pub use transport::{clear, libp2p_types};
