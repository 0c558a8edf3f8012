//! libp2p's types for keys, peers and addresses, and ours: one place turns one into the
//! other.

use std::net::{IpAddr, SocketAddr};

use libp2p::{Multiaddr, identity::Keypair, multiaddr::Protocol, multihash::Multihash};
use trefoil_crypto::SecretKey;
use trefoil_types::PeerId;

/// libp2p's type of an identity with its secret.
pub(crate) fn keypair(identity: &SecretKey) -> Keypair {
    Keypair::ed25519_from_bytes(*identity.seed()).expect("32 bytes are an ed25519 seed")
}

/// libp2p's type of a peer.
pub fn to_libp2p(peer: PeerId) -> libp2p::PeerId {
    let multihash = Multihash::from_bytes(&peer.multihash()).expect("an identity multihash");
    libp2p::PeerId::from_multihash(multihash).expect("an identity multihash names a peer")
}

/// Our type of a peer; `None` unless it is an Ed25519 identity.
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
