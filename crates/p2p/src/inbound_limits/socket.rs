//! Sockets as the gate lets them in: refused when they are accepted, cut when
//! they lose their place, closed when they say nothing.
//!
//! What always holds: a socket that others opened is counted in the [`Gate`]
//! from its acceptance until it is closed, whatever becomes of the connection
//! above it.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _, future::BoxFuture, task::AtomicWaker};
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
    crowd::{Full, Ticket},
    gate::Gate,
    handle::Misdeeds,
    transport::to_socket,
};

/// The longest silence of a socket that has not proven an identity. With the
/// handshake's own end (5 s after acceptance) it bounds what one byte now and
/// then can hold.
const QUIET: Duration = Duration::from_secs(2);

/// What the kernel takes of a socket before it is sent. What is not there yet the
/// muxer can still overtake: a vote waits behind so much content at most, and a turn of
/// each stream (`mux::TURN_BYTES`).
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// Refusals at a time: other connections have their turn in between.
const REFUSALS_A_TURN: usize = 64;

/// The gate, shared by all who count, and a switch for each socket inside.
#[derive(Clone, Debug)]
pub(crate) struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    inside: Mutex<Inside>,
    turned_away: AtomicU64,
}

#[derive(Debug)]
struct Inside {
    gate: Gate,
    switches: BTreeMap<Ticket, Arc<Switch>>,
}

/// Ends a socket from elsewhere.
#[derive(Debug, Default)]
struct Switch {
    cut: AtomicBool,
    authenticated: AtomicBool,
    waker: AtomicWaker,
}

impl Door {
    pub fn new(gate: Gate) -> Self {
        let inside = Mutex::new(Inside { gate, switches: BTreeMap::new() });
        Self(Arc::new(Inner { inside, turned_away: AtomicU64::new(0) }))
    }

    /// Keeps places for these peers besides the configured.
    pub fn favour(&self, validators: impl IntoIterator<Item = PeerId>) {
        self.lock().gate.favour(validators);
    }

    pub fn is_favoured(&self, peer: PeerId) -> bool {
        self.lock().gate.is_favoured(peer)
    }

    /// The connection from `address` proved to be `peer`'s.
    pub fn authenticated(&self, address: SocketAddr, peer: PeerId) -> Result<(), Full> {
        let mut inside = self.lock();
        let (ticket, evicted) = inside.gate.authenticated(address, peer, Instant::now())?;
        if let Some(switch) = ticket.and_then(|ticket| inside.switches.get(&ticket)) {
            switch.authenticated.store(true, Ordering::Relaxed);
        }
        evicted.into_iter().for_each(|ticket| inside.cut(ticket));
        Ok(())
    }

    /// Whether the connection from `address` may be admitted.
    pub fn room(
        &self,
        address: SocketAddr,
        organisation: Option<OrganisationId>,
    ) -> Result<(), Full> {
        self.lock().gate.room(address, organisation)
    }

    pub fn admit(&self, address: SocketAddr, organisation: Option<OrganisationId>) {
        let mut inside = self.lock();
        let evicted = inside.gate.admit(address, organisation, Instant::now());
        evicted.into_iter().for_each(|ticket| inside.cut(ticket));
    }

    /// The peer was the first to tell of something good.
    pub fn useful(&self, peer: PeerId) {
        self.lock().gate.useful(peer, Instant::now());
    }

    /// Sources whose handshakes failed: what of it counts, and for how long they
    /// are refused.
    pub fn failed(&self) -> Vec<Misdeeds> {
        let (inside, now) = (self.lock(), Instant::now());
        let records = inside.gate.failed().records();
        records.map(|(source, record)| Misdeeds::of(source.to_string(), record, now)).collect()
    }

    /// Sockets that were closed as soon as they were accepted.
    pub fn turned_away(&self) -> u64 {
        self.0.turned_away.load(Ordering::Relaxed)
    }

    fn knock(&self, address: SocketAddr) -> Result<Pass, Full> {
        let mut inside = self.lock();
        let (ticket, evicted) = inside.gate.knock(address, Instant::now()).inspect_err(|_| {
            self.0.turned_away.fetch_add(1, Ordering::Relaxed);
        })?;
        evicted.into_iter().for_each(|ticket| inside.cut(ticket));
        let switch = Arc::new(Switch::default());
        inside.switches.insert(ticket, switch.clone());
        let quiet = Some(Box::pin(tokio::time::sleep(QUIET)));
        Ok(Pass { door: self.clone(), ticket, switch, quiet, spoke: false })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn cut(&mut self, ticket: Ticket) {
        if let Some(switch) = self.switches.get(&ticket) {
            switch.cut.store(true, Ordering::Release);
            switch.waker.wake();
        }
    }
}

/// An accepted socket's place. Given back when the socket is closed.
#[derive(Debug)]
struct Pass {
    door: Door,
    ticket: Ticket,
    switch: Arc<Switch>,
    /// Runs until the socket's next byte, while it has no identity.
    quiet: Option<Pin<Box<Sleep>>>,
    spoke: bool,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.door.lock();
        inside.gate.leave(self.ticket, Instant::now());
        inside.switches.remove(&self.ticket);
    }
}

impl Pass {
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.switch.waker.register(cx.waker());
        if self.switch.cut.load(Ordering::Acquire) {
            return Err(io::Error::other("its place was given to another"));
        }
        Ok(())
    }

    /// Notes what a read came to, and ends a silence that is too long.
    fn heard(&mut self, cx: &mut Context<'_>, read: &Poll<io::Result<usize>>) -> io::Result<()> {
        if self.switch.authenticated.load(Ordering::Relaxed) {
            self.quiet = None;
        }
        if matches!(read, Poll::Ready(Ok(1..))) && !self.spoke {
            self.spoke = true;
            self.door.lock().gate.spoke(self.ticket);
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

/// A TCP socket, with its place if others opened it.
pub struct Socket {
    stream: tcp::tokio::TcpStream,
    pass: Option<Pass>,
}

impl Socket {
    fn new(stream: tcp::tokio::TcpStream, pass: Option<Pass>) -> Self {
        // Not every system has it; without it votes wait longer behind content.
        #[cfg(target_os = "linux")]
        if let Err(error) = SockRef::from(&stream.0).set_tcp_notsent_lowat(UNSENT_BYTES_MAX) {
            tracing::debug!(%error, "no bound on what the kernel holds unsent");
        }
        Self { stream, pass }
    }

    /// Makes the close a reset: the kernel drops what waits to be sent. A socket
    /// that is no longer connected has nothing.
    pub(crate) fn abort(&self) {
        let _ = self.stream.0.set_zero_linger();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, pass } = &mut *self;
        if let Some(pass) = pass {
            pass.check(cx)?;
        }
        let read = Pin::new(stream).poll_read(cx, buf);
        if let Some(pass) = pass {
            pass.heard(cx, &read)?;
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, pass } = &mut *self;
        if let Some(pass) = pass {
            pass.check(cx)?;
        }
        Pin::new(stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// TCP behind the gate, if there is one.
pub(crate) struct Guarded {
    tcp: tcp::tokio::Transport,
    door: Option<Door>,
}

impl Guarded {
    pub fn new(door: Option<Door>) -> Self {
        Self { tcp: tcp::tokio::Transport::new(tcp::Config::new().nodelay(true)), door }
    }

    /// A place for a connection from `address`, where places are counted;
    /// `None`: it is turned away.
    fn knock(&self, address: &Multiaddr) -> Option<Option<Pass>> {
        let Some(door) = &self.door else { return Some(None) };
        let knocked = door.knock(to_socket(address)?);
        knocked
            .inspect_err(|full| tracing::trace!(from = %address, %full, "turned away"))
            .ok()
            .map(Some)
    }
}

impl Transport for Guarded {
    type Output = Socket;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<Socket>>;
    type Dial = BoxFuture<'static, io::Result<Socket>>;

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
        Ok(dial.map(|stream| Ok(Socket::new(stream?, None))).boxed())
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
            // The place is held from now on, and not from the first poll.
            if let Some(pass) = self.knock(send_back_addr) {
                return Poll::Ready(event.map_upgrade(|stream| {
                    let socket = |stream| Socket::new(stream, pass);
                    stream.map(|stream| stream.map(socket)).boxed()
                }));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
