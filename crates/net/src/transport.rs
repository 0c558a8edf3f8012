//! From an address to an authenticated connection with streams: the one place
//! that decides how bytes are protected, and that turns our words for peers
//! and addresses into libp2p's.

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        Negotiated,
        muxing::StreamMuxerBox,
        transport::{Boxed, timeout::TransportTimeout},
        upgrade::{self, InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    },
    identity::Keypair,
    multiaddr::Protocol,
    multihash::Multihash,
    noise, tls,
};
use trefoil_crypto::SecretKey;
use trefoil_types::{PeerId, spec::Kind};

use crate::{
    board::Board,
    guard::{self, Door, Guarded},
    member::Member,
    mux::Yamux,
    public::Public,
};

/// What a security protocol is laid over.
type Socket = Negotiated<guard::Socket>;

/// From the first byte to an authenticated connection, either way.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How a network of `kind` protects its connections; `encrypt` makes a public
/// node speak Noise only ([`Public`]), the other kinds always encrypt.
/// Networks with a board of their members have a wire of their own: [`members`].
pub(crate) fn upgrade(
    kind: Kind,
    identity: &SecretKey,
    encrypt: bool,
    door: Option<Door>,
) -> Boxed<(libp2p::PeerId, StreamMuxerBox)> {
    let keypair = keypair(identity);
    match kind {
        Kind::Public => behind(door, Public::new(identity, &keypair, encrypt)),
        Kind::Private | Kind::Consortium => {
            behind(door, noise::Config::new(&keypair).expect("an ed25519 key signs the static key"))
        }
    }
}

/// As a network of `kind` does it, without a gate: for the programs that attack
/// the wires.
pub fn ungated(
    kind: Kind,
    identity: &SecretKey,
    encrypt: bool,
) -> Boxed<(libp2p::PeerId, StreamMuxerBox)> {
    upgrade(kind, identity, encrypt, None)
}

/// TCP without a gate, a security protocol, and streams over it: for the
/// programs that measure and attack the wires.
pub fn over<S, D, E>(security: S) -> Boxed<(libp2p::PeerId, StreamMuxerBox)>
where
    S: InboundConnectionUpgrade<Socket, Output = (libp2p::PeerId, D), Error = E>
        + OutboundConnectionUpgrade<Socket, Output = (libp2p::PeerId, D), Error = E>
        + Clone
        + Send
        + 'static,
    <S as InboundConnectionUpgrade<Socket>>::Future: Send,
    <S as OutboundConnectionUpgrade<Socket>>::Future: Send,
    <S as UpgradeInfo>::Info: Send,
    <<S as UpgradeInfo>::InfoIter as IntoIterator>::IntoIter: Send,
    D: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    behind(None, security)
}

fn behind<S, D, E>(door: Option<Door>, security: S) -> Boxed<(libp2p::PeerId, StreamMuxerBox)>
where
    S: InboundConnectionUpgrade<Socket, Output = (libp2p::PeerId, D), Error = E>
        + OutboundConnectionUpgrade<Socket, Output = (libp2p::PeerId, D), Error = E>
        + Clone
        + Send
        + 'static,
    <S as InboundConnectionUpgrade<Socket>>::Future: Send,
    <S as OutboundConnectionUpgrade<Socket>>::Future: Send,
    <S as UpgradeInfo>::Info: Send,
    <<S as UpgradeInfo>::InfoIter as IntoIterator>::IntoIter: Send,
    D: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    Guarded::new(door)
        .upgrade(upgrade::Version::V1)
        .authenticate(security)
        .multiplex(Yamux)
        .timeout(HANDSHAKE_MAX)
        .map(|(peer, mux), _| (peer, StreamMuxerBox::new(mux)))
        .boxed()
}

/// The wire of private and consortium networks, `/trefoil/member/1`.
pub(crate) fn members(
    identity: &SecretKey,
    board: Arc<Board>,
    door: Door,
) -> Boxed<(libp2p::PeerId, StreamMuxerBox)> {
    let tls = tls::Config::new(&keypair(identity)).expect("an ed25519 key signs the TLS key");
    let member = Member { tls, board };
    let connections =
        Guarded::new(Some(door)).and_then(move |socket, point| member.establish(socket, point));
    TransportTimeout::new(connections, HANDSHAKE_MAX)
        .map(|(peer, mux), _| (peer, StreamMuxerBox::new(mux)))
        .boxed()
}

/// libp2p's word for an identity with its secret.
pub fn keypair(identity: &SecretKey) -> Keypair {
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
