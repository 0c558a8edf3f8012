//! Sockets to peers: refused when they are accepted, ended when they lose their place or
//! the chain speaks against the peer, closed when they say nothing.
//!
//! What always holds: a socket that others opened is counted in the [`Gate`]
//! from its acceptance until it is closed, whatever becomes of the connection
//! above it.

use std::{
    any::Any,
    collections::BTreeMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _, future::BoxFuture};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    tcp,
};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::time::Sleep;
use trefoil_types::{OrganisationId, PeerId};

use crate::{
    inbound_limits::{
        gate::Gate,
        peer_score::Misdeeds,
        slots::{Full, SocketId},
    },
    transport::{kill_switch::KillSwitch, libp2p_types::to_socket},
};

/// The longest silence of a socket that has not proven an identity.
// Attack: slowloris, a byte now and then. With the handshake's own end (5 s after
// acceptance) this bounds how long a socket can be held for a few bytes.
const QUIET: Duration = Duration::from_secs(2);

/// What the kernel takes of a socket before it is sent.
// A vote waits behind so much content at most, and behind a turn of each stream
// (`mux::TURN_BYTES`): what the kernel has not taken, the muxer can still overtake (ADR 17).
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// Refusals at a time.
// Attack: a flood of sockets that are all refused would keep this loop from ever returning,
// and the connections that are here would have no turn.
const REFUSALS_A_TURN: usize = 64;

/// The gate, shared by all who count, and a switch for each socket inside.
#[derive(Clone, Debug)]
pub(crate) struct InboundGate(Arc<Mutex<GateState>>);

#[derive(Debug)]
pub(crate) struct GateState {
    pub gate: Gate,
    controls: BTreeMap<SocketId, Controls>,
    /// Sockets that were closed as soon as they were accepted.
    pub turned_away: u64,
}

/// What the gate can do to a socket inside.
#[derive(Clone, Debug, Default)]
struct Controls {
    kill_switch: Arc<KillSwitch>,
    /// Its peer has proven an identity: the bound on silence ends.
    authenticated: Arc<AtomicBool>,
}

impl InboundGate {
    pub fn new(gate: Gate) -> Self {
        let inside = GateState { gate, controls: BTreeMap::new(), turned_away: 0 };
        Self(Arc::new(Mutex::new(inside)))
    }

    /// The connection from `address` proved to be `peer`'s.
    pub fn authenticated(&self, address: SocketAddr, peer: PeerId) -> Result<(), Full> {
        let mut inside = self.lock();
        let (id, evicted) = inside.gate.authenticated(address, peer, Instant::now())?;
        if let Some(controls) = id.and_then(|id| inside.controls.get(&id)) {
            controls.authenticated.store(true, Ordering::Relaxed);
        }
        evicted.into_iter().for_each(|id| inside.evict(id));
        Ok(())
    }

    pub fn admit(&self, address: SocketAddr, organisation: Option<OrganisationId>) {
        let mut inside = self.lock();
        let evicted = inside.gate.admit(address, organisation, Instant::now());
        evicted.into_iter().for_each(|id| inside.evict(id));
    }

    /// Sources whose handshakes failed: what of it counts, and for how long they
    /// are refused.
    pub fn failed(&self) -> Vec<Misdeeds> {
        let (inside, now) = (self.lock(), Instant::now());
        let records = inside.gate.failed.records();
        records.map(|(source, record)| Misdeeds::of(source.to_string(), record, now)).collect()
    }

    fn accept(&self, address: SocketAddr) -> Result<Permit, Full> {
        let mut inside = self.lock();
        let accepted = inside.gate.accept(address, Instant::now());
        let (id, evicted) = accepted.inspect_err(|_| inside.turned_away += 1)?;
        evicted.into_iter().for_each(|id| inside.evict(id));
        let controls = Controls::default();
        inside.controls.insert(id, controls.clone());
        let quiet = Some(Box::pin(tokio::time::sleep(QUIET)));
        Ok(Permit { gate: self.clone(), id, controls, quiet, spoke: false })
    }

    /// Held only for look-ups and changes of counts, never across a wait.
    pub fn lock(&self) -> MutexGuard<'_, GateState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GateState {
    fn evict(&mut self, id: SocketId) {
        if let Some(controls) = self.controls.get(&id) {
            controls.kill_switch.evict();
        }
    }
}

/// An accepted socket's place. Given back when the socket is closed.
#[derive(Debug)]
struct Permit {
    gate: InboundGate,
    id: SocketId,
    controls: Controls,
    /// Runs until the socket's next byte, while it has no identity.
    quiet: Option<Pin<Box<Sleep>>>,
    spoke: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inside = self.gate.lock();
        inside.gate.on_closed(self.id, Instant::now());
        inside.controls.remove(&self.id);
    }
}

impl Permit {
    /// Notes what a read came to, and ends a silence that is too long.
    fn on_read(&mut self, cx: &mut Context<'_>, read: &Poll<io::Result<usize>>) -> io::Result<()> {
        if self.controls.authenticated.load(Ordering::Relaxed) {
            self.quiet = None;
        }
        // Once only: the gate's lock is not for every read.
        if matches!(read, Poll::Ready(Ok(1..))) && !self.spoke {
            self.spoke = true;
            self.gate.lock().gate.on_first_byte(self.id);
        }
        let Some(quiet) = &mut self.quiet else { return Ok(()) };
        if read.is_ready() {
            quiet.as_mut().reset(tokio::time::Instant::now() + QUIET);
        } else if quiet.poll_unpin(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

/// A TCP socket to a peer, under one kill switch. TLS would say goodbye, a muxer's close
/// waits for a peer that does not read, and the kernel goes on sending what it was given;
/// the switch lies below all of them.
pub struct PeerSocket {
    /// `None` once it was cut.
    open: Option<OpenSocket>,
    pub(crate) kill_switch: Arc<KillSwitch>,
    /// Dropped with the socket.
    _held: Option<Arc<dyn Any + Send + Sync>>,
}

/// Dropped in this order: the place is free only when the socket is closed.
struct OpenSocket {
    stream: tcp::tokio::TcpStream,
    /// If others opened it.
    permit: Option<Permit>,
}

impl PeerSocket {
    fn new(stream: tcp::tokio::TcpStream, permit: Option<Permit>) -> Self {
        // Not every system has it; without it votes wait longer behind content.
        #[cfg(target_os = "linux")]
        if let Err(error) = SockRef::from(&stream.0).set_tcp_notsent_lowat(UNSENT_BYTES_MAX) {
            tracing::debug!(%error, "no bound on what the kernel holds unsent");
        }
        let controls = permit.as_ref().map(|permit| &permit.controls);
        let kill_switch = controls.map(|it| it.kill_switch.clone()).unwrap_or_default();
        Self { open: Some(OpenSocket { stream, permit }), kill_switch, _held: None }
    }

    /// Keeps something as long as the socket.
    pub(crate) fn hold(&mut self, held: Arc<dyn Any + Send + Sync>) {
        self._held = Some(held);
    }

    /// The socket, unless it was cut. The waker must be with the switch already.
    fn open(&mut self) -> io::Result<&mut OpenSocket> {
        if self.kill_switch.reason().is_some()
            && let Some(OpenSocket { stream, .. }) = &self.open
        {
            // The close becomes a reset, so that the kernel drops what waits to be sent. A
            // socket that is no longer connected has nothing, and the call fails.
            let _ = stream.0.set_zero_linger();
            self.open = None;
        }
        self.open.as_mut().ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }

    /// As [`Self::open`], unless its place was given to another.
    fn in_place(&mut self) -> io::Result<&mut OpenSocket> {
        let evicted = self.kill_switch.is_evicted();
        let open = self.open()?;
        if evicted { Err(io::Error::other("its place was given to another")) } else { Ok(open) }
    }

    fn writing(&mut self, cx: &Context<'_>) -> io::Result<Pin<&mut tcp::tokio::TcpStream>> {
        self.kill_switch.writer.register(cx.waker());
        Ok(Pin::new(&mut self.open()?.stream))
    }
}

impl AsyncRead for PeerSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.kill_switch.reader.register(cx.waker());
        let OpenSocket { stream, permit } = self.in_place()?;
        let read = Pin::new(stream).poll_read(cx, buf);
        if let Some(permit) = permit {
            permit.on_read(cx, &read)?;
        }
        read
    }
}

// After an eviction what was written before may still be flushed and closed.
impl AsyncWrite for PeerSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.kill_switch.writer.register(cx.waker());
        Pin::new(&mut self.in_place()?.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing(cx)?.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing(cx)?.poll_close(cx)
    }
}

/// TCP behind the gate, if there is one.
pub(crate) struct GatedTcp {
    tcp: tcp::tokio::Transport,
    gate: Option<InboundGate>,
}

impl GatedTcp {
    pub fn new(gate: Option<InboundGate>) -> Self {
        // Votes are small and urgent: Nagle's algorithm would hold them for an acknowledgement.
        Self { tcp: tcp::tokio::Transport::new(tcp::Config::new().nodelay(true)), gate }
    }

    /// A place for a connection from `address`, where places are counted;
    /// `None`: it is turned away.
    fn accept(&self, address: &Multiaddr) -> Option<Option<Permit>> {
        let Some(gate) = &self.gate else { return Some(None) };
        let permit = gate.accept(to_socket(address)?);
        permit
            .inspect_err(|full| tracing::trace!(from = %address, %full, "turned away"))
            .ok()
            .map(Some)
    }
}

impl Transport for GatedTcp {
    type Output = PeerSocket;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<PeerSocket>>;
    type Dial = BoxFuture<'static, io::Result<PeerSocket>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        at: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.tcp.listen_on(id, at)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.tcp.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let dial = self.tcp.dial(address, opts)?;
        Ok(dial.map(|stream| Ok(PeerSocket::new(stream?, None))).boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        for _ in 0..REFUSALS_A_TURN {
            let Poll::Ready(event) = Pin::new(&mut self.tcp).poll(cx) else { return Poll::Pending };
            let TransportEvent::Incoming { send_back_addr, .. } = &event else {
                return Poll::Ready(event.map_upgrade(|_| unreachable!("only that has one")));
            };
            // The place is held from now on, and not from the first poll: a flood would pass
            // through the time between.
            if let Some(permit) = self.accept(send_back_addr) {
                return Poll::Ready(event.map_upgrade(|stream| {
                    let socket = |stream| PeerSocket::new(stream, permit);
                    stream.map(|stream| stream.map(socket)).boxed()
                }));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
