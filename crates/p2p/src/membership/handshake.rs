//! `/trefoil/member/1`: the wire of private and consortium networks, from a TCP
//! connection to a judged peer with streams.
//!
//! libp2p's TLS 1.3 upgrade, unmodified, proves who the peer is. Within it each
//! side then says which network it is of and shows its certificate, and each
//! tells its verdict, before a muxer or any protocol speaks. All of it is under
//! the transport's one deadline. `docs/wire.md` has the bytes.

use std::{io, time::Instant};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, io::copy};
use libp2p::{
    core::{
        ConnectedPoint,
        upgrade::{InboundConnectionUpgrade as _, OutboundConnectionUpgrade as _, Version},
    },
    tls,
};
use multistream_select::{
    Negotiated, NegotiationError, dialer_select_proto, listener_select_proto,
};
use tokio::{sync::mpsc, time::timeout};
use trefoil_types::PeerId;

use crate::{
    connection_table::{SharedTable, lock},
    inbound_limits::{slots::SocketId, socket::PeerSocket},
    membership::proof::{self, ADMITTED, Objection, PROOF_BYTES_MAX, Proof, meaning},
    network::{NetworkId, VersionMismatch},
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

/// Refusals that wait for the service. More are not shown: a peer that is refused over and
/// over must not make a handshake wait for the log.
pub(crate) const REFUSED_HANDSHAKES_MAX: usize = 256;

/// A handshake that ended with a refusal, ours or the peer's, for the service.
#[derive(Debug)]
pub(crate) struct RefusedHandshake {
    pub peer: PeerId,
    pub address: String,
    pub reason: String,
    /// If the versions of the membership proof are the reason.
    pub versions: Option<VersionMismatch>,
}

/// What every handshake needs.
#[derive(Clone)]
pub(crate) struct MemberHandshake {
    pub me: PeerId,
    pub network: NetworkId,
    pub tls: tls::Config,
    pub table: SharedTable,
    pub refused: mpsc::Sender<RefusedHandshake>,
    pub yamux: Yamux,
}

impl MemberHandshake {
    /// From a TCP connection to a peer with streams.
    pub async fn establish(
        self,
        socket: PeerSocket,
        point: ConnectedPoint,
    ) -> Result<(libp2p::PeerId, MemberMux), MemberError> {
        let inbound = point.is_listener();
        let (connection, kill_switch) = (socket.connection, socket.kill_switch.clone());
        let (id, mut stream) = self.secure(socket, inbound).await?;
        let peer = libp2p_types::from_libp2p(&id);
        let met = self.exchange_proofs(connection, peer, &id, &mut stream).await;
        if let (Err(error), Some(peer)) = (&met, peer) {
            let address = libp2p_types::printed(point.get_remote_address());
            let cut = kill_switch.reason().filter(|_| kill_switch.is_cut());
            self.report(peer, address, error, cut);
        }
        met?;
        Ok((id, self.streams(peer, stream, inbound).await?))
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
        connection: SocketId,
        peer: Option<PeerId>,
        id: &libp2p::PeerId,
        stream: &mut Secured,
    ) -> Result<(), MemberError> {
        // Before anything is read of the peer: what the handshake alone tells against it.
        let known = check_key_exchange(stream)
            .and_then(|()| peer.ok_or_else(|| Objection::Identity(id.to_string())))
            .and_then(|peer| self.identify(connection, peer).map(|()| peer));
        let peer = match known {
            Ok(peer) => peer,
            Err(objection) => {
                return Err(refuse(stream, &[0, 0, objection.code()], objection).await);
            }
        };
        send(stream, &self.proof()?.encode()).await?;
        let theirs = match read_answer(stream).await? {
            Answer::Proof(bytes) => bytes,
            Answer::Refusal(code) => return Err(MemberError::RefusedByPeer { code }),
            Answer::TooLong(bytes) => {
                let objection = Objection::Length { bytes };
                return Err(refuse(stream, &[objection.code()], objection).await);
            }
        };
        let judged = Proof::decode(&theirs, &self.network).and_then(|proof| {
            let shown = (proof.height, proof.certificate);
            Ok(lock(&self.table).judge(connection, peer, shown, Instant::now())?)
        });
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

    /// What the peer's key alone tells against it.
    fn identify(&self, connection: SocketId, peer: PeerId) -> Result<(), Objection> {
        if peer == self.me {
            return Err(Objection::Ourselves(peer));
        }
        Ok(lock(&self.table).identify(connection, peer)?)
    }

    /// What we say of ourselves now.
    fn proof(&self) -> io::Result<Proof> {
        let proof = lock(&self.table).proof();
        let (height, certificate) =
            proof.ok_or_else(|| io::Error::other("this node is of no network of members"))?;
        Ok(Proof { network: self.network.clone(), height, certificate })
    }

    async fn streams(
        &self,
        peer: Option<PeerId>,
        stream: Secured,
        inbound: bool,
    ) -> Result<MemberMux, MemberError> {
        let yamux =
            self.yamux.favouring(peer.is_some_and(|peer| lock(&self.table).is_favoured(peer)));
        let name = [mux::PROTOCOL];
        Ok(if inbound {
            let (name, stream) = listener_select_proto(stream, name).await?;
            yamux.upgrade_inbound(stream, name).await?
        } else {
            let (name, stream) = dialer_select_proto(stream, name, Version::V1).await?;
            yamux.upgrade_outbound(stream, name).await?
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
        let _ = self.refused.try_send(refused);
    }
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
