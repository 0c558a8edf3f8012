//! From a socket to a muxer, as an attacker likes: written from docs/wire.md, with none of the
//! node's handshakes.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

use alloy_primitives::Bytes;
use alloy_rlp::{Encodable, RlpEncodable};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{
    core::upgrade::OutboundConnectionUpgrade as _, identity::Keypair, noise, tcp::tokio::TcpStream,
    tls,
};
use multistream_select::{Negotiated, Version, dialer_select_proto};
use tokio::net::TcpSocket;
use trefoil_crypto::{NodeCertificate, Role, SecretKey};
use trefoil_os::certificate::claims;
use trefoil_types::{B256, PeerId, spec::Kind};

use crate::arena::Arena;

const NOISE: &str = "/noise";
const MEMBER: &str = "/trefoil/member/1";
const YAMUX: &str = "/yamux/1.0.0";

/// Something to read from and write to.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub type Wire = Box<dyn Io>;

/// A TCP connection whose bytes are counted, and which can go deaf.
pub struct Tapped {
    stream: TcpStream,
    arena: Arc<Arena>,
    /// Nothing is read any more, for good.
    deaf: Arc<AtomicBool>,
}

/// A secured connection, and the switch that makes it deaf.
pub struct Secured {
    pub wire: Wire,
    pub deaf: Arc<AtomicBool>,
}

/// Dials from an address of loopback that nobody used of late: the node counts by sources and
/// subnets, and this is not about its gate.
pub async fn socket(arena: &Arc<Arena>, to: SocketAddr) -> io::Result<tokio::net::TcpStream> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Each run, and each process of it, begins elsewhere.
    let begin = (seconds as u16).wrapping_mul(251);
    let [high, low] = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 16 | high & 0x7f, low, 1], 0)))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    arena.count(&arena.connections, 1);
    Ok(stream)
}

/// A connection to a node's p2p port, not yet secured.
pub async fn connect(arena: &Arc<Arena>, to: SocketAddr) -> io::Result<Tapped> {
    let stream = TcpStream(socket(arena, to).await?);
    Ok(Tapped { stream, arena: arena.clone(), deaf: Arc::default() })
}

/// The `n`th attacker's secured and admitted connection.
pub async fn secure(
    arena: &Arc<Arena>,
    n: usize,
    to: SocketAddr,
    key: &SecretKey,
) -> io::Result<Secured> {
    let certificate = arena.insider(n).map(|(organisation, ca)| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let peer = PeerId(key.public());
        let claims = claims(arena.target.genesis, organisation, peer, Role::Full, now, 30);
        NodeCertificate::issue(&claims, &ca).expect("sound claims").to_der()
    });
    if certificate.is_none() && arena.target.kind.has_members() {
        return Err(io::Error::other("no organisation has room for so many attackers"));
    }
    secure_as(arena, to, key, certificate.map(|der| (0, der))).await
}

/// The same with what is claimed: a height and a certificate, on a network of members.
pub async fn secure_as(
    arena: &Arc<Arena>,
    to: SocketAddr,
    key: &SecretKey,
    claim: Option<(u64, Vec<u8>)>,
) -> io::Result<Secured> {
    let socket = connect(arena, to).await?;
    let deaf = socket.deaf.clone();
    let keypair = Keypair::ed25519_from_bytes(*key.seed()).expect("32 bytes");
    let Some((height, certificate)) = claim else {
        let (_, socket) = dialer_select_proto(socket, [NOISE], Version::V1).await?;
        let noise = noise::Config::new(&keypair).map_err(io::Error::other)?;
        let (_, wire) = noise.upgrade_outbound(socket, NOISE).await.map_err(io::Error::other)?;
        return Ok(Secured { wire: Box::new(wire), deaf });
    };
    let (_, socket) = dialer_select_proto(socket, [MEMBER], Version::V1).await?;
    let tls = tls::Config::new(&keypair).map_err(io::Error::other)?;
    let upgraded = tls.upgrade_outbound(socket, "/tls/1.0.0").await;
    let (_, mut wire) = upgraded.map_err(io::Error::other)?;
    show(&mut wire, &proof(arena, height, &certificate)).await?;
    Ok(Secured { wire: Box::new(wire), deaf })
}

/// The same, and both ends agree on the muxer: what is written next is its frames.
pub async fn muxed(wire: Wire) -> io::Result<Negotiated<Wire>> {
    Ok(dialer_select_proto(wire, [YAMUX], Version::V1).await?.1)
}

#[derive(RlpEncodable)]
struct Body {
    kind: u8,
    genesis: B256,
    fork_id: [u8; 4],
    height: u64,
    certificate: Bytes,
}

/// A membership proof, with its length.
fn proof(arena: &Arena, height: u64, certificate: &[u8]) -> Vec<u8> {
    let kind = match arena.target.kind {
        Kind::Public => 1,
        Kind::Private => 2,
        Kind::Consortium => 3,
    };
    let (genesis, fork_id) = (arena.target.genesis, arena.target.fork_id);
    let mut body = 1u16.to_be_bytes().to_vec();
    Body { kind, genesis, fork_id, height, certificate: certificate.to_vec().into() }
        .encode(&mut body);
    [(body.len() as u16).to_be_bytes().as_slice(), &body].concat()
}

/// Shows a proof, takes the node's whatever it says, and reads its verdict.
async fn show(wire: &mut (impl AsyncRead + AsyncWrite + Unpin), proof: &[u8]) -> io::Result<()> {
    wire.write_all(proof).await?;
    wire.write_all(&[0]).await?;
    wire.flush().await?;
    let mut length = [0; 2];
    wire.read_exact(&mut length).await?;
    // None of a node that refuses us by our key alone.
    let mut theirs = vec![0; usize::from(u16::from_be_bytes(length))];
    wire.read_exact(&mut theirs).await?;
    let mut verdict = [0];
    wire.read_exact(&mut verdict).await?;
    match verdict {
        [0] => Ok(()),
        [code] => Err(io::Error::other(format!("refused with code {code}"))),
    }
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf.load(Ordering::Acquire) {
            // Nobody wakes it.
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(bytes)) = read {
            self.arena.count(&self.arena.read, bytes);
        }
        read
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = written {
            self.arena.count(&self.arena.written, bytes);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
