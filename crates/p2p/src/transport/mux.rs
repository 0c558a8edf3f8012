//! Streams over one connection: yamux with bounded windows, few streams, and a
//! close that ends.
//!
//! libp2p's own wrapper leaves a connection's receive windows at 1 GiB, and its
//! close waits for ever on a peer that does not read. yamux itself ends a
//! connection over one stream too many: here the stream waits its turn.

use std::{
    collections::VecDeque,
    future::{Ready, ready},
    io, iter,
    ops::{Deref, DerefMut},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _, task::AtomicWaker};
use libp2p::core::{
    muxing::{StreamMuxer, StreamMuxerEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
};
use tokio::time::Sleep;

/// Streams that this node opens at a time on one connection: those of the lanes, of
/// content, and two questions for providers. More wait.
// yamux ends a connection over one stream too many, and Kademlia opens one for each question
// (ADR 19).
const OURS_MAX: usize = 6;

/// Streams of one connection: as many each way, and room for four that one side
/// has ended and the other not yet.
const STREAMS_MAX: usize = 2 * OURS_MAX + 4;

/// Beyond the 256 KiB that each stream starts with, what a peer may make the node hold unread
/// on one connection, for streams that a long way needs; bytes.
// libp2p's own wrapper allows 1 GiB (ADR 4): a peer could fill it on streams that nobody reads.
const WINDOW_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The same of all connections that strangers dialled, and of all others.
// Attack: many connections that pretend a long way, have their windows widened while they are
// read, and fill them when they are not. They leave a validator that comes later its own part.
const STRANGERS_BYTES_MAX: usize = 16 * 1024 * 1024;
const OTHERS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// So much of what is left of it a new connection may have: the first ones all that they can
/// use, and the hundredth some.
const WINDOW_SHARE: usize = 16;

/// The most that a stream sends in its turn, bytes.
// Each piece is handed over and woken for by itself, so that small ones cost more than their
// bytes; and a vote waits behind one, so that large ones cost latency.
const TURN_BYTES: usize = 64 * 1024;

/// How long a close may take to send what is left, a refusal for example.
// Attack: a peer that does not read. yamux would wait for it for ever, with its descriptor.
pub(crate) const CLOSE_MAX: Duration = Duration::from_secs(1);

/// yamux's name in multistream-select.
pub(crate) const PROTOCOL: &str = "/yamux/1.0.0";

/// Turns an authenticated connection into one with streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Yamux {
    /// What its connections have of [`STRANGERS_BYTES_MAX`] and [`OTHERS_BYTES_MAX`].
    strangers: Arc<AtomicUsize>,
    others: Arc<AtomicUsize>,
    favoured: bool,
}

impl Yamux {
    /// For a connection with a peer that is favoured, or is not.
    pub fn favouring(&self, favoured: bool) -> Self {
        Self { favoured, ..self.clone() }
    }
}

/// A connection's part of all windows. Given back when it is dropped.
#[derive(Debug)]
struct ReceiveWindow {
    bytes: usize,
    windows: Arc<AtomicUsize>,
}

impl ReceiveWindow {
    /// A part of `max` bytes.
    fn take(windows: &Arc<AtomicUsize>, max: usize) -> Self {
        let share = |taken: usize| (max.saturating_sub(taken) / WINDOW_SHARE).min(WINDOW_BYTES_MAX);
        let add = |taken| Some(taken + share(taken));
        let before = windows.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        let bytes = before.map_or(0, share);
        Self { bytes, windows: windows.clone() }
    }
}

impl Drop for ReceiveWindow {
    fn drop(&mut self) {
        self.windows.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A connection with streams.
pub(crate) struct Mux<C> {
    connection: yamux::Connection<C>,
    /// Streams that the peer opened while nobody asked for one; at most
    /// [`STREAMS_MAX`], also when the peer resets and opens them again.
    arrived: VecDeque<yamux::Stream>,
    awaited_by: Option<Waker>,
    ours: Arc<Ours>,
    /// Runs from the first attempt to close.
    closing: Option<Pin<Box<Sleep>>>,
    _window: ReceiveWindow,
}

/// How many streams we opened that are open still.
#[derive(Debug, Default)]
struct Ours {
    open: AtomicUsize,
    waiting: AtomicWaker,
}

/// A stream; one of ours makes room for another when it is dropped. `Pin` of it reads and
/// writes as yamux's does.
#[derive(Debug)]
pub(crate) struct MuxStream {
    stream: yamux::Stream,
    ours: Option<Arc<Ours>>,
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        if let Some(ours) = &self.ours {
            ours.open.fetch_sub(1, Ordering::AcqRel);
            ours.waiting.wake();
        }
    }
}

impl Deref for MuxStream {
    type Target = yamux::Stream;

    fn deref(&self) -> &yamux::Stream {
        &self.stream
    }
}

impl DerefMut for MuxStream {
    fn deref_mut(&mut self) -> &mut yamux::Stream {
        &mut self.stream
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once(PROTOCOL)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Yamux {
    type Output = Mux<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Mux<C>>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        let window = match self.favoured {
            true => ReceiveWindow::take(&self.others, OTHERS_BYTES_MAX),
            false => ReceiveWindow::take(&self.strangers, STRANGERS_BYTES_MAX),
        };
        ready(Ok(Mux::new(socket, yamux::Mode::Server, window)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Mux<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Mux<C>>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        let window = ReceiveWindow::take(&self.others, OTHERS_BYTES_MAX);
        ready(Ok(Mux::new(socket, yamux::Mode::Client, window)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Mux<C> {
    fn new(socket: C, mode: yamux::Mode, window: ReceiveWindow) -> Self {
        let mut config = yamux::Config::default();
        // In this order: the window must have room for every stream's first 256 KiB.
        config.set_max_num_streams(STREAMS_MAX);
        config.set_max_connection_receive_window(Some(STREAMS_MAX * 256 * 1024 + window.bytes));
        config.set_split_send_size(TURN_BYTES);
        Self {
            connection: yamux::Connection::new(socket, config, mode),
            arrived: VecDeque::new(),
            awaited_by: None,
            ours: Arc::default(),
            closing: None,
            _window: window,
        }
    }

    /// yamux moves bytes only while it is asked for the peer's next stream.
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_next_inbound(cx).map(|stream| match stream {
            Some(stream) => stream.map_err(io::Error::other),
            None => Err(io::ErrorKind::ConnectionAborted.into()),
        })
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Mux<C> {
    type Substream = Pin<MuxStream>;
    type Error = io::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<MuxStream>>> {
        let polled = match self.arrived.pop_front() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => self.poll_connection(cx),
        };
        if polled.is_pending() {
            self.awaited_by = Some(cx.waker().clone());
        }
        polled.map_ok(|stream| Pin::new(MuxStream { stream, ours: None }))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<MuxStream>>> {
        self.ours.waiting.register(cx.waker());
        if self.ours.open.load(Ordering::Acquire) >= OURS_MAX {
            return Poll::Pending;
        }
        let ours = self.ours.clone();
        self.connection.poll_new_outbound(cx).map_err(io::Error::other).map_ok(|stream| {
            ours.open.fetch_add(1, Ordering::AcqRel);
            Pin::new(MuxStream { stream, ours: Some(ours) })
        })
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        while let Poll::Ready(stream) = self.poll_connection(cx) {
            self.arrived.push_back(stream?);
            // A stream that the peer resets counts for yamux no more, and waits here still: without
            // this bound a peer could pile them up.
            if self.arrived.len() > STREAMS_MAX {
                return Poll::Ready(Err(io::Error::other("the peer opens streams over and over")));
            }
            if let Some(waker) = self.awaited_by.take() {
                waker.wake();
            }
        }
        Poll::Pending
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let deadline = self.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_MAX)));
        if deadline.poll_unpin(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.connection.poll_close(cx).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_that_come_first_leave_validators_their_windows() {
        let yamux = Yamux::default();
        let inbound = |favoured| {
            let socket = futures::io::Cursor::new(vec![]);
            let muxer = yamux.favouring(favoured).upgrade_inbound(socket, PROTOCOL);
            muxer.now_or_never().expect("at once").expect("a muxer")
        };
        let strangers: Vec<_> = (0..128).map(|_| inbound(false)).collect();
        let taken = |windows: &AtomicUsize| windows.load(Ordering::Relaxed);
        assert!((STRANGERS_BYTES_MAX / 2..=STRANGERS_BYTES_MAX).contains(&taken(&yamux.strangers)));
        let validator = inbound(true);
        assert_eq!(taken(&yamux.others), WINDOW_BYTES_MAX);
        drop((strangers, validator));
        assert_eq!(taken(&yamux.strangers) + taken(&yamux.others), 0);
    }
}
