//! From an address to an authenticated connection with streams: the one place that
//! decides how the bytes of each kind of network are protected.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use libp2p::{
    Transport as _,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, timeout::TransportTimeout},
        upgrade,
    },
    tls,
};
use tokio::sync::mpsc;
use trefoil_crypto::SecretKey;
use trefoil_types::PeerId;

use crate::{
    config::{Config, NetworkAccess},
    connection_table::{ConnectionTable, SharedTable, lock},
    inbound_limits::socket::GatedTcp,
    membership::handshake::{MemberHandshake, REFUSED_HANDSHAKES_MAX, RefusedHandshake},
    transport::{
        libp2p_types::{from_libp2p, keypair},
        mux::Yamux,
        public::Public,
    },
};

/// The transport as libp2p takes it.
pub type PeerTransport = Boxed<(libp2p::PeerId, StreamMuxerBox)>;

/// From the first byte to an authenticated connection, either way.
// Attack: slow handshakes that hold half-open places. Absolute, and not from byte to byte, so
// that a byte now and then buys nothing (ADR 13).
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How the network of this node protects its connections, which are in the table; and, in
/// a network of members, the handshakes that are refused.
pub(crate) fn transport(
    config: &Config,
    table: SharedTable,
) -> (PeerTransport, mpsc::Receiver<RefusedHandshake>) {
    let (refused, refusals) = mpsc::channel(REFUSED_HANDSHAKES_MAX);
    let transport = match &config.access {
        NetworkAccess::Public { encrypt } => public(&config.identity, *encrypt, table),
        NetworkAccess::Private(_) | NetworkAccess::Consortium(_) => members(config, table, refused),
    };
    (transport, refusals)
}

/// The wire of a node that counts no places, for the programs that measure and
/// attack it.
pub fn ungated(config: &Config) -> PeerTransport {
    let membership = config.access.membership().cloned();
    let table = ConnectionTable::new(None, config.peers.clone(), membership);
    transport(config, Arc::new(Mutex::new(table))).0
}

/// `/trefoil/clear/1`, or Noise.
fn public(identity: &SecretKey, encrypt: bool, table: SharedTable) -> PeerTransport {
    let yamux = Yamux::default();
    GatedTcp::new(table.clone())
        .upgrade(upgrade::Version::V1)
        .authenticate(Public::new(identity, encrypt))
        .multiplex_ext(move |peer, _| {
            let favoured = from_libp2p(peer).is_some_and(|peer| lock(&table).is_favoured(peer));
            yamux.favouring(favoured)
        })
        .timeout(HANDSHAKE_MAX)
        .map(|(peer, mux), _| (peer, StreamMuxerBox::new(mux)))
        .boxed()
}

/// `/trefoil/member/1`.
fn members(
    config: &Config,
    table: SharedTable,
    refused: mpsc::Sender<RefusedHandshake>,
) -> PeerTransport {
    let identity = &config.identity;
    let member = MemberHandshake {
        me: PeerId(identity.public()),
        network: config.network(),
        tls: tls::Config::new(&keypair(identity)).expect("an ed25519 key signs the TLS key"),
        table: table.clone(),
        refused,
        yamux: Yamux::default(),
    };
    let connections =
        GatedTcp::new(table).and_then(move |socket, point| member.clone().establish(socket, point));
    TransportTimeout::new(connections, HANDSHAKE_MAX)
        .map(|(peer, mux), _| (peer, StreamMuxerBox::new(mux)))
        .boxed()
}
