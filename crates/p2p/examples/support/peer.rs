//! A peer that speaks `/trefoil/member/1` as a test likes: written from
//! docs/wire.md, with none of the node's handshake.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    task::Poll,
    time::Duration,
};

use alloy_rlp::{Encodable, RlpEncodable};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{
    core::upgrade::{InboundConnectionUpgrade as _, OutboundConnectionUpgrade as _},
    identity::Keypair,
    tcp::tokio::TcpStream,
    tls::{Config, TlsStream},
};
use multistream_select::{Negotiated, Version, dialer_select_proto, listener_select_proto};
use tokio::{net, sync::mpsc, task::JoinHandle};
use trefoil_crypto::{B256, SecretKey};
use trefoil_p2p::{
    frame::{self, CONTROL_BYTES_MAX, Control, LaneFrame},
    hello::Hello,
};
use trefoil_types::Message;

use super::network;

pub const PROTOCOL: &str = "/trefoil/member/1";
const YAMUX: &str = "/yamux/1.0.0";
/// What each side opens a stream for: the lanes, then content.
pub const USES: [&str; 4] =
    ["/trefoil/consensus/1", "/trefoil/catch-up/1", "/trefoil/gossip/1", "/trefoil/content/1"];

pub type Wire = TlsStream<Negotiated<TcpStream>>;

pub fn tls(identity: &SecretKey) -> Config {
    let keypair = Keypair::ed25519_from_bytes(*identity.seed()).expect("32 bytes");
    Config::new(&keypair).expect("an ed25519 key signs")
}

/// Each time from another /24 of loopback, as the gate counts by those and this
/// is not about the gate.
pub async fn socket(to: SocketAddr) -> io::Result<net::TcpStream> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let socket = net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 16 | high & 0x0f, low, 1], 0)))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    socket(to).await.map(TcpStream)
}

/// Negotiates and makes TLS, as the side that dialled.
pub async fn dial(to: SocketAddr, identity: &SecretKey) -> io::Result<Wire> {
    secure(connect(to).await?, identity).await
}

/// The same on a connection that is there.
pub async fn secure(socket: TcpStream, identity: &SecretKey) -> io::Result<Wire> {
    let selected = dialer_select_proto(socket, [PROTOCOL], Version::V1).await;
    let (_, socket) = selected.map_err(io::Error::other)?;
    let upgraded = tls(identity).upgrade_outbound(socket, "/tls/1.0.0").await;
    Ok(upgraded.map_err(io::Error::other)?.1)
}

/// The same as the side that was dialled.
pub async fn accept(listener: &net::TcpListener, identity: &SecretKey) -> io::Result<Wire> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let selected = listener_select_proto(TcpStream(stream), [PROTOCOL]).await;
    let (_, socket) = selected.map_err(io::Error::other)?;
    let upgraded = tls(identity).upgrade_inbound(socket, "/tls/1.0.0").await;
    Ok(upgraded.map_err(io::Error::other)?.1)
}

#[derive(RlpEncodable)]
struct Body {
    kind: u8,
    genesis: B256,
    fork_id: [u8; 4],
    height: u64,
    certificate: alloy_primitives::Bytes,
}

/// A proof of the test's network with whatever stands for a certificate.
pub fn proof(certificate: &[u8]) -> Vec<u8> {
    let network = network();
    proof_of(1, 3, network.genesis, network.fork_id, certificate)
}

/// As [`proof`], of a peer that says it is at `height`.
pub fn proof_at(height: u64, certificate: &[u8]) -> Vec<u8> {
    let network = network();
    frame_of(1, 3, network.genesis, network.fork_id, height, certificate)
}

pub fn proof_of(
    version: u16,
    kind: u8,
    genesis: B256,
    fork_id: [u8; 4],
    certificate: &[u8],
) -> Vec<u8> {
    frame_of(version, kind, genesis, fork_id, super::HEIGHT, certificate)
}

pub fn frame_of(
    version: u16,
    kind: u8,
    genesis: B256,
    fork_id: [u8; 4],
    height: u64,
    certificate: &[u8],
) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    let certificate = certificate.to_vec().into();
    Body { kind, genesis, fork_id, height, certificate }.encode(&mut body);
    [(body.len() as u16).to_be_bytes().as_slice(), &body].concat()
}

/// What became of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Admitted,
    Refused(u8),
    /// Closed without a word.
    Closed,
}

/// Shows a proof and takes the node's whatever it says; what the node says of us.
pub async fn show(wire: &mut Wire, proof: &[u8]) -> Told {
    let told = async {
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
        io::Result::Ok(verdict[0])
    };
    match told.await {
        Ok(0) => Told::Admitted,
        Ok(code) => Told::Refused(code),
        Err(_) => Told::Closed,
    }
}

/// Waits until the node has closed the connection; `false` if it has not in time.
pub async fn ends(wire: &mut Wire, limit: Duration) -> bool {
    let ended = async {
        let mut buf = [0; 4096];
        while wire.read(&mut buf).await.is_ok_and(|n| n > 0) {}
    };
    tokio::time::timeout(limit, ended).await.is_ok()
}

/// Tries to open a stream on a connection, refused or not.
pub async fn opens_a_stream(wire: &mut Wire) -> bool {
    let selected = dialer_select_proto(wire, [YAMUX], Version::V1);
    tokio::time::timeout(Duration::from_secs(5), selected).await.is_ok_and(|s| s.is_ok())
}

/// Whether the node takes a stream of this name on an admitted wire.
pub async fn takes(wire: Wire, name: &str) -> bool {
    let Ok((_, wire)) = dialer_select_proto(wire, [YAMUX], Version::V1).await else { return false };
    let mut muxer = yamux::Connection::new(wire, yamux::Config::default(), yamux::Mode::Client);
    let Ok(stream) = poll_fn(|cx| muxer.poll_new_outbound(cx)).await else { return false };
    let (arrived, _arrivals) = mpsc::channel(8);
    let driver = tokio::spawn(drive(muxer, Arc::default(), arrived));
    let selected = dialer_select_proto(stream, [name], Version::V1);
    let taken = tokio::time::timeout(Duration::from_secs(5), selected).await;
    driver.abort();
    taken.is_ok_and(|selected| selected.is_ok())
}

/// A peer at the end of its hello.
pub struct Session {
    pub write: Vec<Negotiated<yamux::Stream>>,
    pub read: Vec<Negotiated<yamux::Stream>>,
    /// The names of these, in the order in which the node opened them.
    pub opened: Vec<&'static str>,
    /// While set, nothing is read from or written to the socket.
    pub frozen: Arc<AtomicBool>,
    driver: JoinHandle<()>,
}

impl Session {
    /// From an admitted wire, as the side that dialled, to messages.
    pub async fn greet<W>(wire: W) -> io::Result<Self>
    where
        W: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::greet_as(wire, hello()).await
    }

    /// The same in another network.
    pub async fn greet_as<W>(wire: W, hello: Hello) -> io::Result<Self>
    where
        W: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let selected = dialer_select_proto(wire, [YAMUX], Version::V1).await;
        let (_, wire) = selected.map_err(io::Error::other)?;
        let mut muxer = yamux::Connection::new(wire, yamux::Config::default(), yamux::Mode::Client);
        let mut ours = vec![];
        for _ in USES {
            ours.push(poll_fn(|cx| muxer.poll_new_outbound(cx)).await.map_err(io::Error::other)?);
        }
        let frozen = Arc::new(AtomicBool::new(false));
        let (arrived, mut arrivals) = mpsc::channel(8);
        let driver = tokio::spawn(drive(muxer, frozen.clone(), arrived));
        let (mut write, mut read) = (vec![], vec![]);
        for (stream, lane) in ours.into_iter().zip(USES) {
            let selected = dialer_select_proto(stream, [lane], Version::V1).await;
            write.push(selected.map_err(io::Error::other)?.1);
        }
        let mut lanes = vec![];
        for _ in USES {
            let stream = arrivals.recv().await.ok_or(io::ErrorKind::UnexpectedEof)?;
            let selected = listener_select_proto(stream, USES).await;
            let (lane, stream) = selected.map_err(io::Error::other)?;
            lanes.push((lane, stream));
        }
        let opened = lanes.iter().map(|(lane, _)| *lane).collect();
        lanes.sort_by_key(|(lane, _)| USES.iter().position(|l| l == lane));
        read.extend(lanes.into_iter().map(|(_, stream)| stream));
        let mut session = Self { write, read, opened, frozen, driver };
        session.say(&Control::Hello(hello)).await?;
        session.say(&Control::Welcome).await?;
        session.hear().await?;
        session.hear().await?;
        Ok(session)
    }

    /// Sends a message on its lane.
    pub async fn tell(&mut self, message: &Message) -> io::Result<()> {
        let body = message.encode();
        let stream = &mut self.write[message.lane() as usize];
        stream.write_all(&(body.len() as u32).to_be_bytes()).await?;
        stream.write_all(&body).await?;
        stream.flush().await
    }

    async fn say(&mut self, control: &Control) -> io::Result<()> {
        self.write[0].write_all(&control.encode()).await?;
        self.write[0].flush().await
    }

    async fn hear(&mut self) -> io::Result<()> {
        let limit = Duration::from_secs(10);
        let bytes = frame::read(&mut self.read[0], CONTROL_BYTES_MAX, limit).await;
        match LaneFrame::decode(&bytes.map_err(io::Error::other)?) {
            Ok(LaneFrame::Control(Control::Hello(_) | Control::Welcome)) => Ok(()),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

pub fn hello() -> Hello {
    Hello { network: network(), instance: 7, software: "rogue/1".into(), listen_port: 0 }
}

/// Moves a muxer's bytes until the connection ends.
async fn drive<W: AsyncRead + AsyncWrite + Unpin>(
    mut muxer: yamux::Connection<Negotiated<W>>,
    frozen: Arc<AtomicBool>,
    arrived: mpsc::Sender<yamux::Stream>,
) {
    loop {
        let next = poll_fn(|cx| {
            if frozen.load(Ordering::Acquire) {
                // For good: nobody wakes it.
                return Poll::Pending;
            }
            muxer.poll_next_inbound(cx)
        });
        match next.await {
            Some(Ok(stream)) => _ = arrived.send(stream).await,
            Some(Err(_)) | None => return,
        }
    }
}
