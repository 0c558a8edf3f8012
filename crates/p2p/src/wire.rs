//! From an address to an authenticated connection with streams: the one place that
//! decides how the bytes of each kind of network are protected.

use std::{sync::Arc, time::Duration};

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
    inbound_limits::socket::{GatedTcp, InboundGate},
    membership::{
        admission::{AdmissionTable, RefusedHandshake},
        handshake::MemberHandshake,
    },
    transport::{libp2p_types::keypair, mux::Yamux, public::Public},
};

/// The transport as libp2p takes it.
pub type PeerTransport = Boxed<(libp2p::PeerId, StreamMuxerBox)>;

/// The admissions of a network of members, and the handshakes that they refuse.
pub(crate) type MemberAdmissions = (Arc<AdmissionTable>, mpsc::Receiver<RefusedHandshake>);

/// From the first byte to an authenticated connection, either way.
// Attack: slow handshakes that hold half-open places. Absolute, and not from byte to byte, so
// that a byte now and then buys nothing (ADR 13).
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How the network of this node protects its connections.
pub(crate) fn transport(
    config: &Config,
    gate: Option<InboundGate>,
) -> (PeerTransport, Option<MemberAdmissions>) {
    match &config.access {
        NetworkAccess::Public { encrypt } => (public(&config.identity, *encrypt, gate), None),
        NetworkAccess::Private(membership) | NetworkAccess::Consortium(membership) => {
            let named = config.peers.iter().map(|(peer, _)| *peer);
            let me = PeerId(config.identity.public());
            let (admissions, refusals) =
                AdmissionTable::new(me, config.network(), named, membership.clone());
            (members(&config.identity, admissions.clone(), gate), Some((admissions, refusals)))
        }
    }
}

/// The wire of a node without its gate, for the programs that measure and
/// attack it.
pub fn ungated(config: &Config) -> PeerTransport {
    transport(config, None).0
}

/// `/trefoil/clear/1`, or Noise.
fn public(identity: &SecretKey, encrypt: bool, gate: Option<InboundGate>) -> PeerTransport {
    GatedTcp::new(gate)
        .upgrade(upgrade::Version::V1)
        .authenticate(Public::new(identity, encrypt))
        .multiplex(Yamux)
        .timeout(HANDSHAKE_MAX)
        .map(|(peer, mux), _| (peer, StreamMuxerBox::new(mux)))
        .boxed()
}

/// `/trefoil/member/1`.
fn members(
    identity: &SecretKey,
    admissions: Arc<AdmissionTable>,
    gate: Option<InboundGate>,
) -> PeerTransport {
    let tls = tls::Config::new(&keypair(identity)).expect("an ed25519 key signs the TLS key");
    let member = MemberHandshake { tls, admissions };
    let connections =
        GatedTcp::new(gate).and_then(move |socket, point| member.establish(socket, point));
    TransportTimeout::new(connections, HANDSHAKE_MAX)
        .map(|(peer, mux), _| (peer, StreamMuxerBox::new(mux)))
        .boxed()
}
