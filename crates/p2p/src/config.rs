//! The settings that the service starts with: identity, network, limits and time-outs.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use trefoil_crypto::{NodeCertificate, SecretKey};
use trefoil_types::{Admission, B256, PeerId, spec::Kind};

use crate::{discovery::address_book::DialCandidate, membership::trial, network::NetworkId};

pub struct Config {
    pub identity: SecretKey,
    pub listen: SocketAddr,
    /// Peers to keep connected to: `(peer, address)`; dialled for ever with backoff.
    pub peers: Vec<(PeerId, SocketAddr)>,
    pub genesis: B256,
    /// As in [`NetworkId`].
    pub fork_id: [u8; 4],
    pub access: NetworkAccess,
    /// The most peers that dialled this node and are not favoured.
    pub inbound_max: usize,
    /// The most of those from one IPv4 address or IPv6 /64; twice as many from
    /// one /24 or /48.
    pub inbound_per_source_max: usize,
    /// Without it only configured peers are dialled.
    pub discovery: Option<Discovery>,
}

impl Config {
    pub fn network(&self) -> NetworkId {
        NetworkId { kind: self.access.kind(), genesis: self.genesis, fork_id: self.fork_id }
    }
}

/// The kind of network, with who may connect and how the wire is protected.
#[derive(Clone, Debug)]
pub enum NetworkAccess {
    /// Anyone may connect, and read the wire. `encrypt`: speak Noise only.
    Public { encrypt: bool },
    /// Members only, always encrypted.
    Private(Membership),
    /// Members only, always encrypted.
    Consortium(Membership),
}

impl NetworkAccess {
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

/// A node of a private or consortium network shows this certificate, and judges its peers by
/// this admission. Both change as it runs: [`NetHandle::set_certificate`],
/// [`NetHandle::set_admission`].
#[derive(Clone, Debug)]
pub struct Membership {
    pub certificate: NodeCertificate,
    pub admission: Admission,
}

/// How a node finds others.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Where the address book is kept.
    pub file: PathBuf,
    /// Where to begin when the book is empty.
    pub bootstrap: Vec<DialCandidate>,
    /// Connections to keep, besides the configured peers.
    pub outbound: usize,
    /// Addresses at which others can reach this node. Without one it signs no peer record.
    pub advertise: Vec<SocketAddr>,
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
pub(crate) struct Timing {
    /// From an authenticated connection to admission.
    // Attack: identities are free, and a silent one would hold a place at its hello for ever.
    pub hello: Duration,
    /// A consensus lane idle for this long carries a ping.
    // TCP alone does not report that a machine is gone while nothing is sent.
    pub ping: Duration,
    /// A peer that sends nothing for this long is gone: three pings.
    // Three, so that one or two that are held up cost no connection.
    pub silence: Duration,
    /// A write that moves no byte for this long ends the connection.
    // Attack: a peer that never reads holds its whole budget.
    pub stall: Duration,
    /// Redialling: the first wait, doubled up to the longest.
    // Configured peers are few, and a validator that is back must be met within a round or two:
    // so both waits are short.
    pub redial_min: Duration,
    pub redial_max: Duration,
    /// An unjudged peer that brings no block that verifies for this long is cut.
    pub patience: Duration,
}

pub(crate) const TIMING: Timing = Timing {
    // As long as the whole handshake before it (`wire::HANDSHAKE_MAX`), for one message.
    hello: Duration::from_secs(5),
    // A machine that is gone is noticed after 15 s, three pings.
    ping: Duration::from_secs(5),
    silence: Duration::from_secs(15),
    // A peer that does not read has as long as one that does not write.
    stall: Duration::from_secs(15),
    // The others wait at least 1 s for a proposer that was there last time (consensus,
    // `Timeouts::propose`): two redials fit in.
    redial_min: Duration::from_millis(200),
    // Five doublings of the first.
    redial_max: Duration::from_secs(5),
    patience: trial::PATIENCE,
};

/// The peers whose content streams are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentFrom {
    Judged,
    /// Unjudged peers' too. Their receiver must give them nothing.
    All,
}
