//! `/trefoil/member/1`: the wire of private and consortium networks, from a TCP
//! connection to a judged peer with streams.
//!
//! libp2p's TLS 1.3 upgrade, unmodified, proves who the peer is. Within it each
//! side then says which network it is of and shows its certificate, and each
//! tells its verdict, before a muxer or any protocol speaks. All of it is under
//! the transport's one deadline. `docs/wire.md` has the bytes.

use std::{io, sync::Arc};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, io::copy};
use libp2p::{
    core::{
        ConnectedPoint,
        upgrade::{InboundConnectionUpgrade as _, OutboundConnectionUpgrade as _, Version},
    },
    multiaddr::Protocol,
    tls,
};
use multistream_select::{
    Negotiated, NegotiationError, dialer_select_proto, listener_select_proto,
};
use tokio::time::timeout;
use trefoil_types::PeerId;

use crate::{
    inbound_limits::socket::PeerSocket,
    membership::{
        admission::{AdmissionEntry, AdmissionTable, RefusedHandshake, RemoteEndpoint},
        proof::{self, ADMITTED, Objection, PROOF_BYTES_MAX, Proof, meaning},
    },
    network::VersionMismatch,
    transport::{
        libp2p_types,
        mux::{self, CLOSE_MAX, Mux, Yamux},
    },
};

const PROTOCOL: &str = "/trefoil/member/1";

/// What libp2p's upgrade calls itself; it is not negotiated again.
const TLS: &str = "/tls/1.0.0";

/// The one key exchange that is taken, as TLS numbers it: X25519MLKEM768.
// Attack: traffic that is recorded today and decrypted by a quantum computer later. rustls
// prefers this one, but takes weaker ones too, so what was agreed on is looked at (ADR 11).
const KEY_EXCHANGE: u16 = 0x11ec;

/// What a refused peer may still send while it reads why, bytes.
// Its proof may be under way (2 KiB); more than twice that is not read for its sake.
const LAST_BYTES_MAX: u64 = 4096;

type Secured = tls::TlsStream<Negotiated<PeerSocket>>;

/// A judged connection with streams.
pub(crate) type MemberMux = Mux<Negotiated<Secured>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemberError {
    #[error("no protocol in common: {0}")]
    Negotiation(#[from] NegotiationError),
    #[error("TLS: {0}")]
    Tls(#[from] tls::UpgradeError),
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    #[error("refused: {0}")]
    Refused(Objection),
    #[error("the peer refuses us: {} (code {code})", meaning(*.code))]
    RefusedByPeer { code: u8 },
}

/// What every handshake needs.
#[derive(Clone)]
pub(crate) struct MemberHandshake {
    pub tls: tls::Config,
    pub admissions: Arc<AdmissionTable>,
}

impl MemberHandshake {
    /// From a TCP connection to a peer with streams.
    pub async fn establish(
        self,
        mut socket: PeerSocket,
        point: ConnectedPoint,
    ) -> Result<(libp2p::PeerId, MemberMux), MemberError> {
        let inbound = point.is_listener();
        let endpoint =
            RemoteEndpoint { address: libp2p_types::printed(point.get_remote_address()), inbound };
        let kill_switch = socket.kill_switch.clone();
        let admissions = &self.admissions;
        let entry = admissions.enter(endpoint.clone(), expected(&point), kill_switch.clone());
        let entry = Arc::new(entry);
        // The table must know of the connection for as long as its socket is open.
        socket.hold(entry.clone());
        let (id, mut stream) = self.secure(socket, inbound).await?;
        let peer = libp2p_types::from_libp2p(&id);
        let met = self.exchange_proofs(&entry, peer, &id, &mut stream).await;
        if let (Err(error), Some(peer)) = (&met, peer) {
            self.report(peer, endpoint.address, error, kill_switch.reason());
        }
        met?;
        Ok((id, self.streams(stream, inbound).await?))
    }

    /// Who the peer is.
    async fn secure(
        &self,
        socket: PeerSocket,
        inbound: bool,
    ) -> Result<(libp2p::PeerId, Secured), MemberError> {
        let tls = self.tls.clone();
        Ok(if inbound {
            let (_, socket) = listener_select_proto(socket, [PROTOCOL]).await?;
            tls.upgrade_inbound(socket, TLS).await?
        } else {
            let (_, socket) = dialer_select_proto(socket, [PROTOCOL], Version::V1).await?;
            tls.upgrade_outbound(socket, TLS).await?
        })
    }

    /// Whether it belongs here, and whether it takes us.
    async fn exchange_proofs(
        &self,
        entry: &AdmissionEntry,
        peer: Option<PeerId>,
        id: &libp2p::PeerId,
        stream: &mut Secured,
    ) -> Result<(), MemberError> {
        // Before anything is read of the peer: what the handshake alone tells against it.
        let known = check_key_exchange(stream)
            .and_then(|()| peer.ok_or_else(|| Objection::Identity(id.to_string())))
            .and_then(|peer| entry.identify(peer).map(|()| peer));
        let peer = match known {
            Ok(peer) => peer,
            Err(objection) => {
                return Err(refuse(stream, &[0, 0, objection.code()], objection).await);
            }
        };
        send(stream, &self.admissions.proof().encode()).await?;
        let theirs = match read_answer(stream).await? {
            Answer::Proof(bytes) => bytes,
            Answer::Refusal(code) => return Err(MemberError::RefusedByPeer { code }),
            Answer::TooLong(bytes) => {
                let objection = Objection::Length { bytes };
                return Err(refuse(stream, &[objection.code()], objection).await);
            }
        };
        let judged = Proof::decode(&theirs, &self.admissions.network)
            .and_then(|proof| entry.admit(peer, proof));
        if let Err(objection) = judged {
            return Err(refuse(stream, &[objection.code()], objection).await);
        }
        send(stream, &[ADMITTED]).await?;
        let mut verdict = [0];
        stream.read_exact(&mut verdict).await?;
        match verdict {
            [ADMITTED] => Ok(()),
            [code] => Err(MemberError::RefusedByPeer { code }),
        }
    }

    async fn streams(&self, stream: Secured, inbound: bool) -> Result<MemberMux, MemberError> {
        let name = [mux::PROTOCOL];
        Ok(if inbound {
            let (name, stream) = listener_select_proto(stream, name).await?;
            Yamux.upgrade_inbound(stream, name).await?
        } else {
            let (name, stream) = dialer_select_proto(stream, name, Version::V1).await?;
            Yamux.upgrade_outbound(stream, name).await?
        })
    }

    /// Shows the operator what became of a peer that is known.
    fn report(&self, peer: PeerId, address: String, error: &MemberError, cut: Option<&str>) {
        let versions = match error {
            MemberError::Refused(Objection::Version { theirs }) => {
                Some(VersionMismatch { theirs: *theirs, ours: proof::VERSION })
            }
            _ => None,
        };
        let reason = match (error, cut) {
            (MemberError::Refused(objection), _) => objection.to_string(),
            (MemberError::RefusedByPeer { .. }, _) => error.to_string(),
            (_, Some(reason)) => reason.into(),
            (_, None) => return,
        };
        let refused = RefusedHandshake { peer, address, reason, versions };
        let _ = self.admissions.refused.try_send(refused);
    }
}

/// Whom a dial is for.
fn expected(point: &ConnectedPoint) -> Option<PeerId> {
    let ConnectedPoint::Dialer { address, .. } = point else { return None };
    address.iter().find_map(|part| match part {
        Protocol::P2p(peer) => libp2p_types::from_libp2p(&peer),
        _ => None,
    })
}

/// rustls offers other groups as well, behind the one that we want. A peer that
/// agreed on another is no peer of this protocol.
fn check_key_exchange(stream: &Secured) -> Result<(), Objection> {
    let group = stream.get_ref().1.negotiated_key_exchange_group().map(|group| group.name());
    match group {
        Some(group) if u16::from(group) == KEY_EXCHANGE => Ok(()),
        group => Err(Objection::KeyExchange(format!("{group:?}"))),
    }
}

async fn send(stream: &mut Secured, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// What comes where a proof should be.
enum Answer {
    Proof(Vec<u8>),
    Refusal(u8),
    TooLong(usize),
}

/// Reads a proof: its length is checked before memory is taken.
async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Answer> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    match usize::from(u16::from_be_bytes(length)) {
        0 => {
            let mut code = [0];
            stream.read_exact(&mut code).await?;
            Ok(Answer::Refusal(code[0]))
        }
        length if length > PROOF_BYTES_MAX => Ok(Answer::TooLong(length)),
        length => {
            let mut bytes = vec![0; length];
            stream.read_exact(&mut bytes).await?;
            Ok(Answer::Proof(bytes))
        }
    }
}

/// Tells a refusal, and reads on for a moment: a socket that is closed with
/// something unread is reset, and the refusal may not arrive.
async fn refuse(stream: &mut Secured, word: &[u8], objection: Objection) -> MemberError {
    let told = async {
        send(stream, word).await?;
        stream.close().await?;
        copy(stream.take(LAST_BYTES_MAX), &mut futures::io::sink()).await
    };
    // The connection ends either way.
    let _ = timeout(CLOSE_MAX, told).await;
    MemberError::Refused(objection)
}
