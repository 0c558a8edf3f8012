//! From an address to an authenticated connection with streams: the one place
//! that decides how bytes are protected, and that turns our words for peers
//! and addresses into libp2p's.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use libp2p::{
    Multiaddr, Transport as _,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, timeout::TransportTimeout},
        upgrade,
    },
    identity::Keypair,
    multiaddr::Protocol,
    multihash::Multihash,
    tls,
};
use tokio::sync::mpsc;
use trefoil_crypto::SecretKey;
use trefoil_types::PeerId;

use crate::{
    Access, Config,
    board::{Board, Refused},
    guard::{Door, Guarded},
    member::Member,
    mux::Yamux,
    public::Public,
};

/// What swarms and examples know of a wire.
pub type Wire = Boxed<(libp2p::PeerId, StreamMuxerBox)>;

/// The board of a network of members, and what it refuses.
pub(crate) type Members = (Arc<Board>, mpsc::Receiver<Refused>);

/// From the first byte to an authenticated connection, either way.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How the network of this node protects its connections.
pub(crate) fn wire(config: &Config, door: Option<Door>) -> (Wire, Option<Members>) {
    match &config.access {
        Access::Public { encrypt } => (public(&config.identity, *encrypt, door), None),
        Access::Private(membership) | Access::Consortium(membership) => {
            let named = config.peers.iter().map(|(peer, _)| *peer);
            let me = PeerId(config.identity.public());
            let (board, refusals) = Board::new(me, config.network(), named, membership.clone());
            (members(&config.identity, board.clone(), door), Some((board, refusals)))
        }
    }
}

/// The wire of a node without its gate, for the programs that measure and
/// attack it.
pub fn ungated(config: &Config) -> Wire {
    wire(config, None).0
}

/// `/trefoil/clear/1`, or Noise.
fn public(identity: &SecretKey, encrypt: bool, door: Option<Door>) -> Wire {
    Guarded::new(door)
        .upgrade(upgrade::Version::V1)
        .authenticate(Public::new(identity, encrypt))
        .multiplex(Yamux)
        .timeout(HANDSHAKE_MAX)
        .map(|(peer, mux), _| (peer, StreamMuxerBox::new(mux)))
        .boxed()
}

/// `/trefoil/member/1`.
fn members(identity: &SecretKey, board: Arc<Board>, door: Option<Door>) -> Wire {
    let tls = tls::Config::new(&keypair(identity)).expect("an ed25519 key signs the TLS key");
    let member = Member { tls, board };
    let connections =
        Guarded::new(door).and_then(move |socket, point| member.establish(socket, point));
    TransportTimeout::new(connections, HANDSHAKE_MAX)
        .map(|(peer, mux), _| (peer, StreamMuxerBox::new(mux)))
        .boxed()
}

/// libp2p's word for an identity with its secret.
pub(crate) fn keypair(identity: &SecretKey) -> Keypair {
    Keypair::ed25519_from_bytes(*identity.seed()).expect("32 bytes are an ed25519 seed")
}

/// libp2p's word for a peer.
pub fn to_libp2p(peer: PeerId) -> libp2p::PeerId {
    let multihash = Multihash::from_bytes(&peer.multihash()).expect("an identity multihash");
    libp2p::PeerId::from_multihash(multihash).expect("an identity multihash names a peer")
}

/// Our word for a peer; `None` unless it is an Ed25519 identity.
pub fn from_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    PeerId::from_multihash(&peer.to_bytes())
}

pub fn to_multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

/// The socket address in a TCP multiaddress, if it is one.
pub fn to_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::from(ip),
        Protocol::Ip6(ip) => IpAddr::from(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// An address as people read it.
pub(crate) fn printed(address: &Multiaddr) -> String {
    to_socket(address).map_or_else(|| address.to_string(), |socket| socket.to_string())
}
