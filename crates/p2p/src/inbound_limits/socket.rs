//! Sockets to peers: refused when they are accepted, ended when they lose their place or
//! the chain speaks against the peer, closed when they say nothing.
//!
//! What always holds: a socket is in the table from its acceptance, or its dial, until it is
//! closed, whatever becomes of the connection above it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
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

use crate::{
    connection_table::{ConnectionHandle, SharedTable},
    inbound_limits::slots::SocketId,
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

/// A TCP socket to a peer, under one kill switch. TLS would say goodbye, a muxer's close
/// waits for a peer that does not read, and the kernel goes on sending what it was given;
/// the switch lies below all of them.
pub struct PeerSocket {
    /// `None` once it was cut. Dropped in this order: the place is free only when the socket is
    /// closed.
    open: Option<(tcp::tokio::TcpStream, ConnectionHandle)>,
    pub(crate) connection: SocketId,
    pub(crate) kill_switch: Arc<KillSwitch>,
    /// Runs until the socket's next byte, while it has no identity, if others opened it.
    quiet: Option<Pin<Box<Sleep>>>,
    spoke: bool,
}

impl PeerSocket {
    fn new(stream: tcp::tokio::TcpStream, handle: ConnectionHandle) -> Self {
        // Not every system has it; without it votes wait longer behind content.
        #[cfg(target_os = "linux")]
        if let Err(error) = SockRef::from(&stream.0).set_tcp_notsent_lowat(UNSENT_BYTES_MAX) {
            tracing::debug!(%error, "no bound on what the kernel holds unsent");
        }
        let (connection, kill_switch) = (handle.id, handle.kill_switch.clone());
        let quiet = handle.counted.then(|| Box::pin(tokio::time::sleep(QUIET)));
        Self { open: Some((stream, handle)), connection, kill_switch, quiet, spoke: false }
    }

    /// Notes what a read came to, and ends a silence that is too long.
    fn on_read(&mut self, cx: &mut Context<'_>, read: &Poll<io::Result<usize>>) -> io::Result<()> {
        if self.kill_switch.proven.load(Ordering::Relaxed) {
            self.quiet = None;
        }
        // Once only: the table's lock is not for every read.
        if matches!(read, Poll::Ready(Ok(1..))) && !self.spoke {
            self.spoke = true;
            self.open.iter().for_each(|(_, handle)| handle.on_first_byte());
        }
        let Some(quiet) = &mut self.quiet else { return Ok(()) };
        if read.is_ready() {
            quiet.as_mut().reset(tokio::time::Instant::now() + QUIET);
        } else if quiet.poll_unpin(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// The socket, unless it was cut. The waker must be with the switch already.
    fn open(&mut self) -> io::Result<Pin<&mut tcp::tokio::TcpStream>> {
        if self.kill_switch.is_cut()
            && let Some((stream, _)) = &self.open
        {
            // The close becomes a reset, so that the kernel drops what waits to be sent. A
            // socket that is no longer connected has nothing, and the call fails.
            let _ = stream.0.set_zero_linger();
            self.open = None;
        }
        let open = self.open.as_mut().map(|(stream, _)| Pin::new(stream));
        open.ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }

    /// As [`Self::open`], unless its place was given to another.
    fn in_place(&mut self) -> io::Result<Pin<&mut tcp::tokio::TcpStream>> {
        let evicted = self.kill_switch.is_evicted();
        let open = self.open()?;
        if evicted { Err(io::Error::other("its place was given to another")) } else { Ok(open) }
    }

    fn writing(&mut self, cx: &Context<'_>) -> io::Result<Pin<&mut tcp::tokio::TcpStream>> {
        self.kill_switch.writer.register(cx.waker());
        self.open()
    }
}

impl AsyncRead for PeerSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.kill_switch.reader.register(cx.waker());
        let read = self.in_place()?.poll_read(cx, buf);
        self.on_read(cx, &read)?;
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
        self.in_place()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing(cx)?.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing(cx)?.poll_close(cx)
    }
}

/// TCP whose sockets are in the table.
pub(crate) struct GatedTcp {
    tcp: tcp::tokio::Transport,
    table: SharedTable,
}

impl GatedTcp {
    pub fn new(table: SharedTable) -> Self {
        // Votes are small and urgent: Nagle's algorithm would hold them for an acknowledgement.
        Self { tcp: tcp::tokio::Transport::new(tcp::Config::new().nodelay(true)), table }
    }

    /// A place for a connection from `address`; `None`: it is turned away.
    fn accept(&self, address: &Multiaddr) -> Option<ConnectionHandle> {
        let accepted = ConnectionHandle::accept(&self.table, to_socket(address)?);
        accepted.inspect_err(|full| tracing::trace!(from = %address, %full, "turned away")).ok()
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
        let to: SocketAddr = to_socket(&address)
            .ok_or_else(|| TransportError::MultiaddrNotSupported(address.clone()))?;
        let (dial, table) = (self.tcp.dial(address, opts)?, self.table.clone());
        let socket = move |stream| PeerSocket::new(stream, ConnectionHandle::dialled(&table, to));
        Ok(dial.map(|stream| stream.map(socket)).boxed())
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
            if let Some(handle) = self.accept(send_back_addr) {
                return Poll::Ready(event.map_upgrade(|stream| {
                    let socket = |stream| PeerSocket::new(stream, handle);
                    stream.map(|stream| stream.map(socket)).boxed()
                }));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::{
        io::AsyncReadExt as _,
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::*;
    use crate::connection_table::ConnectionTable;

    /// A peer that is revoked gets no more of what waits in the kernel.
    #[tokio::test]
    async fn a_socket_that_is_cut_is_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, from) = listener.accept().await.unwrap();
        let table = Arc::new(Mutex::new(ConnectionTable::new(None, [], None)));
        let handle = ConnectionHandle::accept(&table, from).unwrap();
        let mut socket = PeerSocket::new(tcp::tokio::TcpStream(stream), handle);
        socket.write_all(&[7; 1_000]).await.unwrap();
        socket.kill_switch.cut("its key is revoked".into());
        let cut = socket.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::ConnectionAborted);
        let mut heard = vec![];
        let end = timeout(Duration::from_secs(10), peer.read_to_end(&mut heard)).await;
        assert_eq!(end.expect("an end").unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
