//! From an address to an authenticated connection with streams: the one place
//! that decides how bytes are protected, and that turns our words for peers
//! and addresses into libp2p's.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use libp2p::{
    Multiaddr, Transport as _,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade},
    identity::Keypair,
    multiaddr::Protocol,
    multihash::Multihash,
    noise, tcp,
};
use trefoil_crypto::SecretKey;
use trefoil_types::{PeerId, spec::Kind};

use crate::{
    guard::{Door, Guarded},
    mux::Yamux,
};

/// From the first byte to an authenticated connection, either way.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How a network of `kind` protects its connections. Each kind offers exactly
/// one security protocol, so that there is nothing to downgrade to. All three
/// speak Noise XX for now; `/trefoil/clear/1` (public) and `/trefoil/member/1`
/// (private, consortium) take their arms here.
pub(crate) fn upgrade(
    kind: Kind,
    identity: &SecretKey,
    door: Door,
) -> Boxed<(libp2p::PeerId, StreamMuxerBox)> {
    let security = match kind {
        Kind::Public | Kind::Private | Kind::Consortium => {
            noise::Config::new(&keypair(identity)).expect("an ed25519 key signs the static key")
        }
    };
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
    Guarded::new(tcp, door)
        .upgrade(upgrade::Version::V1)
        .authenticate(security)
        .multiplex(Yamux)
        .timeout(HANDSHAKE_MAX)
        .map(|(peer, mux), _| (peer, StreamMuxerBox::new(mux)))
        .boxed()
}

fn keypair(identity: &SecretKey) -> Keypair {
    Keypair::ed25519_from_bytes(*identity.seed()).expect("32 bytes are an ed25519 seed")
}

/// libp2p's word for a peer.
pub(crate) fn to_libp2p(peer: PeerId) -> libp2p::PeerId {
    let multihash = Multihash::from_bytes(&peer.multihash()).expect("an identity multihash");
    libp2p::PeerId::from_multihash(multihash).expect("an identity multihash names a peer")
}

/// Our word for a peer; `None` unless it is an Ed25519 identity.
pub(crate) fn from_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    PeerId::from_multihash(&peer.to_bytes())
}

pub(crate) fn to_multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

/// The socket address in a TCP multiaddress, if it is one.
pub(crate) fn to_socket(address: &Multiaddr) -> Option<SocketAddr> {
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
