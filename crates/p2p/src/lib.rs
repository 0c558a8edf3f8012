//! Connections and bytes to messages and back.
//!
//! Owns sockets, the transport, the hello that binds a connection to one
//! network, frames and bounded lanes, redialling, and the peers' good names.
//! What always holds: a frame's length is checked before memory is taken;
//! every queue has a bound and says what it does when full; no message passes
//! before both sides said a hello of the same network; a peer has one
//! connection; what the chain revokes is cut, and nothing of it is read or sent
//! any more; of who cannot be judged a member yet only blocks are taken, and it
//! is told nothing. `docs/wire.md` states the protocol.

mod behaviour;
mod board;
pub mod book;
pub mod book_file;
pub mod clear;
mod content;
mod crowd;
mod cut;
mod dial;
mod discovery;
mod engine;
mod files;
pub mod frame;
mod gate;
mod guard;
mod handle;
pub mod hello;
mod lane;
mod link;
mod member;
mod mux;
mod outbox;
mod pace;
pub mod proof;
mod providers;
mod public;
pub mod record;
mod reputation;
pub mod seek;
mod source;
pub mod transport;
mod trial;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, time::Duration};

use trefoil_crypto::{NodeCertificate, SecretKey};
use trefoil_types::{Admission, B256, Message, PeerId, Standing, spec::Kind};

pub use content::{ContentLink, ContentReader, ContentWriter};
pub use discovery::Discovery;
pub use handle::{Misdeeds, NetHandle, NetPeer, Refusal};
pub use lane::{Inbox, Lanes};
pub use providers::PROVIDED_MAX;
pub use source::Provider;

pub struct Config {
    pub identity: SecretKey,
    pub listen: SocketAddr,
    /// Peers to keep connected to: `(peer, address)`; dialled for ever with backoff.
    pub peers: Vec<(PeerId, SocketAddr)>,
    pub genesis: B256,
    /// As in [`Network`].
    pub fork_id: [u8; 4],
    pub access: Access,
    /// The most peers that dialled us and are not favoured.
    pub inbound_max: usize,
    /// The most of those from one IPv4 address or IPv6 /64; twice as many from
    /// one /24 or /48.
    pub inbound_per_source_max: usize,
    /// Without it only configured peers are dialled.
    pub discovery: Option<Discovery>,
}

impl Config {
    pub fn network(&self) -> Network {
        Network { kind: self.access.kind(), genesis: self.genesis, fork_id: self.fork_id }
    }
}

/// The kind of network, with who may connect and how the wire is protected.
#[derive(Clone, Debug)]
pub enum Access {
    /// Anyone may connect, and read the wire. `encrypt`: speak Noise only.
    Public { encrypt: bool },
    /// Members only, always encrypted.
    Private(Membership),
    /// Members only, always encrypted.
    Consortium(Membership),
}

impl Access {
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Public { .. } => Kind::Public,
            Self::Private(_) => Kind::Private,
            Self::Consortium(_) => Kind::Consortium,
        }
    }

    /// Of a network of members.
    pub const fn membership(&self) -> Option<&Membership> {
        match self {
            Self::Public { .. } => None,
            Self::Private(membership) | Self::Consortium(membership) => Some(membership),
        }
    }
}

/// What a node of a private or consortium network shows and judges by. Both
/// change as it runs: [`NetHandle::set_certificate`], [`NetHandle::set_admission`].
#[derive(Clone, Debug)]
pub struct Membership {
    pub certificate: NodeCertificate,
    pub admission: Admission,
}

/// What two nodes must agree on before they speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub kind: Kind,
    pub genesis: B256,
    /// EIP-2124-like checksum of genesis and the fork schedule.
    pub fork_id: [u8; 4],
}

/// What the network tells the node. `Message`s arrive in lane order per peer,
/// between its `Connected` and its `Disconnected` (both on the consensus lane;
/// what still waits on the other lanes may be read after `Disconnected`). Of a peer
/// that the chain has revoked no `Message` arrives after `set_admission`.
#[derive(Debug)]
pub enum NetEvent {
    Connected {
        peer: PeerId,
        address: String,
        inbound: bool,
        /// Of one that is not judged only [`Message::brings_blocks`] arrive, and it is
        /// sent nothing but `GetBlocks`. See [`NetHandle::brought`].
        standing: Standing,
    },
    Disconnected {
        peer: PeerId,
        reason: String,
    },
    Message {
        peer: PeerId,
        message: Message,
    },
    /// A peer that was turned away, or turned us away, and why. Told when there
    /// is room: a flood of strangers must not fill the consensus lane.
    Refused {
        peer: Option<PeerId>,
        address: String,
        reason: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error(
        "cannot listen on {address}: {reason}; another program may use the port: stop it, or choose another (node: --p2p; share, fetch: --listen)"
    )]
    Listen { address: SocketAddr, reason: String },
    #[error(
        "SSLKEYLOGFILE is set, and TLS would write the keys of every connection there for others to read; unset it and start again"
    )]
    KeyLog,
    #[error(
        "this node may need {needed} open files and the system allows it {allowed}; raise the limit (LimitNOFILE=, ulimit -Hn) or lower p2p.inbound_max"
    )]
    Files { needed: u64, allowed: u64 },
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// From an authenticated connection to admission.
    hello: Duration,
    /// A consensus lane idle for this long carries a ping.
    ping: Duration,
    /// A peer that says nothing for this long is gone: three pings.
    silence: Duration,
    /// A write that moves no byte for this long ends the connection.
    stall: Duration,
    /// Redialling: the first wait, doubled up to the longest.
    redial_min: Duration,
    redial_max: Duration,
    /// An unjudged peer that brings no block that verifies for this long is cut.
    patience: Duration,
}

const TIMING: Timing = Timing {
    hello: Duration::from_secs(5),
    ping: Duration::from_secs(5),
    silence: Duration::from_secs(15),
    stall: Duration::from_secs(15),
    redial_min: Duration::from_millis(200),
    redial_max: Duration::from_secs(5),
    patience: trial::PATIENCE,
};

/// Starts listening and dialling on the current tokio runtime.
///
/// # Errors
/// When the address cannot be listened on, or too few files may be open.
pub async fn start(config: Config) -> Result<(NetHandle, Lanes), NetError> {
    engine::start(config, TIMING, Givers::Judged).await
}

/// As [`start`], for a node that has no chain yet and joins by a snapshot: unjudged
/// peers give it content too. What is in a snapshot proves it, and nobody else may
/// be there who could bring this node to where it can judge.
///
/// # Errors
/// As [`start`].
pub async fn start_newcomer(config: Config) -> Result<(NetHandle, Lanes), NetError> {
    engine::start(config, TIMING, Givers::All).await
}

/// Whose content streams are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Givers {
    Judged,
    /// Unjudged peers' too; it is for who takes them up to give them nothing.
    All,
}
