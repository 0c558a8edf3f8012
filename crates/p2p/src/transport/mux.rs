//! Streams over one connection: yamux with bounded windows, few streams, and a
//! close that ends.
//!
//! libp2p's own wrapper leaves a connection's receive windows at 1 GiB, and its
//! close waits for ever on a peer that does not read. yamux itself ends a
//! connection over one stream too many: here the stream waits its turn. And it holds whatever its
//! windows allow; here that is counted ([`memory`]).

mod counted_socket;
mod frames;
pub(crate) mod memory;

use std::{
    collections::VecDeque,
    future::{Ready, ready},
    io, iter,
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

use self::{
    counted_socket::CountedSocket,
    memory::{FRAME_BYTES_MAX, MuxMemory, MuxPool, OURS_MAX, STREAMS_MAX, StreamWait},
};

/// Beyond the 256 KiB that each stream starts with, what a peer may have under way on one
/// connection, where the way is long; bytes. yamux widens the windows of streams that are read.
// libp2p's own wrapper allows 1 GiB (ADR 4): a peer could fill it on streams that nobody reads.
// With it, a long way of 100 ms takes 12 MB/s of a stream. More than `PEER_UNREAD_MAX` leaves to
// it would let content that waits for this disk hold up the votes behind it.
const WINDOW_BYTES_MAX: usize = 1024 * 1024;

/// The most that a stream sends in its turn, bytes.
// Each piece is handed over and woken for by itself, so that small ones cost more than their
// bytes; and a vote waits behind one, so that large ones cost latency.
const TURN_BYTES: usize = FRAME_BYTES_MAX;

/// How long a close may take to send what is left, a refusal for example.
// Attack: a peer that does not read. yamux would wait for it for ever, with its descriptor.
pub(crate) const CLOSE_MAX: Duration = Duration::from_secs(1);

/// yamux's name in multistream-select.
pub(crate) const PROTOCOL: &str = "/yamux/1.0.0";

/// Turns an authenticated connection into one with streams.
#[derive(Clone, Debug)]
pub(crate) struct Yamux {
    /// Of the connections that strangers dialled.
    strangers: Arc<MuxPool>,
    /// Of those that this node dialled.
    dialled: Arc<MuxPool>,
    /// Of favoured peers, whoever dialled.
    // Attack: strangers whose addresses this node dials, and that read nothing: votes would wait.
    of_favoured: Arc<MuxPool>,
    favoured: bool,
}

impl Default for Yamux {
    fn default() -> Self {
        Self {
            strangers: MuxPool::strangers(),
            dialled: MuxPool::dialled(),
            of_favoured: MuxPool::favoured(),
            favoured: false,
        }
    }
}

impl Yamux {
    /// For a connection with a peer that is favoured, or is not.
    pub fn favouring(&self, favoured: bool) -> Self {
        Self { favoured, ..self.clone() }
    }

    fn pool(self, dialled: bool) -> Arc<MuxPool> {
        match (self.favoured, dialled) {
            (true, _) => self.of_favoured,
            (false, true) => self.dialled,
            (false, false) => self.strangers,
        }
    }
}

/// A connection with streams.
pub(crate) struct Mux<C> {
    connection: yamux::Connection<CountedSocket<C>>,
    memory: Arc<MuxMemory>,
    /// Streams that the peer opened while nobody asked for one; at most
    /// [`STREAMS_MAX`], also when the peer resets and opens them again.
    arrived: VecDeque<MuxStream>,
    awaited_by: Option<Waker>,
    ours: Arc<Ours>,
    /// Runs from the first attempt to close.
    closing: Option<Pin<Box<Sleep>>>,
}

/// How many streams we opened that are open still.
#[derive(Debug, Default)]
struct Ours {
    open: AtomicUsize,
    waiting: AtomicWaker,
}

/// A stream; one of ours makes room for another when it is dropped.
#[derive(Debug)]
pub(crate) struct MuxStream {
    stream: yamux::Stream,
    number: u32,
    memory: Arc<MuxMemory>,
    ours: Option<Arc<Ours>>,
}

impl MuxStream {
    fn new(stream: yamux::Stream, memory: Arc<MuxMemory>, ours: Option<Arc<Ours>>) -> Self {
        // yamux tells a stream's number in no other way.
        let number = stream.id().to_string().parse().unwrap_or_default();
        Self { stream, number, memory, ours }
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        self.memory.close(self.number);
        if let Some(ours) = &self.ours {
            ours.open.fetch_sub(1, Ordering::AcqRel);
            ours.waiting.wake();
        }
    }
}

impl AsyncRead for MuxStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.memory.waits(self.number, StreamWait::Bytes, cx);
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(bytes)) = read {
            self.memory.read(self.number, bytes);
        }
        read
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = std::task::ready!(self.memory.poll_send_room(self.number, cx));
        let some = &buf[..buf.len().min(room)];
        self.memory.waits(self.number, StreamWait::Window, cx);
        let accepted = Pin::new(&mut self.stream).poll_write(cx, some);
        if let Poll::Ready(Ok(bytes)) = accepted {
            self.memory.accepted(self.number, bytes);
        }
        accepted
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
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
        ready(Ok(Mux::new(socket, yamux::Mode::Server, self.pool(false))))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Mux<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Mux<C>>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(Mux::new(socket, yamux::Mode::Client, self.pool(true))))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Mux<C> {
    fn new(socket: C, mode: yamux::Mode, pool: Arc<MuxPool>) -> Self {
        let mut config = yamux::Config::default();
        // In this order: the window must have room for every stream's first 256 KiB.
        config.set_max_num_streams(STREAMS_MAX);
        config.set_max_connection_receive_window(Some(STREAMS_MAX * 256 * 1024 + WINDOW_BYTES_MAX));
        config.set_split_send_size(TURN_BYTES);
        let memory = MuxMemory::new(pool);
        let socket = CountedSocket::new(socket, memory.clone());
        Self {
            connection: yamux::Connection::new(socket, config, mode),
            memory,
            arrived: VecDeque::new(),
            awaited_by: None,
            ours: Arc::default(),
            closing: None,
        }
    }

    /// yamux moves bytes only while it is asked for the peer's next stream.
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<MuxStream>> {
        self.connection.poll_next_inbound(cx).map(|stream| match stream {
            Some(stream) => {
                let stream = stream.map_err(io::Error::other)?;
                Ok(MuxStream::new(stream, self.memory.clone(), None))
            }
            None => Err(io::ErrorKind::ConnectionAborted.into()),
        })
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Mux<C> {
    type Substream = MuxStream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<MuxStream>> {
        let polled = match self.arrived.pop_front() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => self.poll_connection(cx),
        };
        if polled.is_pending() {
            self.awaited_by = Some(cx.waker().clone());
        }
        polled
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<MuxStream>> {
        self.ours.waiting.register(cx.waker());
        if self.ours.open.load(Ordering::Acquire) >= OURS_MAX {
            return Poll::Pending;
        }
        let (ours, memory) = (self.ours.clone(), self.memory.clone());
        self.connection.poll_new_outbound(cx).map_err(io::Error::other).map_ok(|stream| {
            ours.open.fetch_add(1, Ordering::AcqRel);
            let stream = MuxStream::new(stream, memory, Some(ours));
            stream.memory.open(stream.number);
            stream
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
        let closed = self.connection.poll_close(cx).map_err(io::Error::other);
        self.memory.closed();
        closed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::poll_fn};
    use tokio::time::timeout;

    use super::{frames::FrameBoundaries, memory::PEER_UNREAD_MAX, *};

    #[test]
    fn an_honest_peer_fills_the_windows_of_its_lanes_and_of_content_and_is_still_read() {
        const { assert!(4 * 256 * 1024 + WINDOW_BYTES_MAX <= PEER_UNREAD_MAX) };
        let pools = [(false, false), (false, true), (true, false), (true, true)];
        let yamux = Yamux::default();
        let [strangers, dialled, inbound, outbound] =
            pools.map(|(favoured, dials)| yamux.favouring(favoured).pool(dials));
        assert!(Arc::ptr_eq(&inbound, &outbound));
        assert!(!Arc::ptr_eq(&inbound, &dialled) && !Arc::ptr_eq(&strangers, &dialled));
    }

    /// Has sent these bytes, and takes whatever it is sent.
    struct Peer {
        bytes: Vec<u8>,
        read: Arc<AtomicUsize>,
    }

    impl AsyncRead for Peer {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let at = self.read.load(Ordering::Relaxed);
            let some = (self.bytes.len() - at).min(buf.len());
            buf[..some].copy_from_slice(&self.bytes[at..at + some]);
            self.read.store(at + some, Ordering::Relaxed);
            if some == 0 { Poll::Pending } else { Poll::Ready(Ok(some)) }
        }
    }

    impl AsyncWrite for Peer {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The first window of a stream, in frames of `body` bytes.
    fn window(stream: u32, body: usize) -> Vec<u8> {
        let mut bytes = vec![];
        for n in 0..(256 << 10) / body {
            bytes.extend([0, 0, 0, u8::from(n == 0)]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend((body as u32).to_be_bytes());
            bytes.resize(bytes.len() + body, 7);
        }
        bytes
    }

    /// A peer that fills so many streams, and how much of that was read.
    fn muxer(streams: usize, body: usize) -> (Mux<Peer>, Arc<AtomicUsize>) {
        let read = Arc::<AtomicUsize>::default();
        let streams = (0..streams as u32).map(|n| window(2 * n + 1, body));
        let peer = Peer { bytes: streams.collect::<Vec<_>>().concat(), read: read.clone() };
        let muxer = Yamux::default().upgrade_inbound(peer, PROTOCOL);
        (muxer.now_or_never().expect("at once").expect("a muxer"), read)
    }

    #[tokio::test]
    async fn streams_that_nobody_reads_are_filled_to_a_bound_and_no_further() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut muxer, read) = muxer(STREAMS_MAX, FRAME_BYTES_MAX);
        assert!(Pin::new(&mut muxer).poll(cx).is_pending());
        let before = read.load(Ordering::Relaxed);
        let bound = PEER_UNREAD_MAX / 2..PEER_UNREAD_MAX + 2 * FRAME_BYTES_MAX;
        assert!(bound.contains(&before), "{before}");
        // One that is read, or let go, makes room.
        let mut streams: Vec<_> = (0..2)
            .map(|_| match Pin::new(&mut muxer).poll_inbound(cx) {
                Poll::Ready(Ok(stream)) => stream,
                _ => panic!("the peer opened it"),
            })
            .collect();
        let mut buf = vec![0; 200 << 10];
        assert!(Pin::new(&mut streams[0]).poll_read(cx, &mut buf).is_ready());
        assert!(Pin::new(&mut muxer).poll(cx).is_pending());
        let more = read.load(Ordering::Relaxed);
        assert!(more > before, "{more}");
        drop(streams);
        assert!(Pin::new(&mut muxer).poll(cx).is_pending());
        assert!(read.load(Ordering::Relaxed) > more);
    }

    #[tokio::test]
    async fn frames_of_a_byte_are_not_let_in_by_the_hundred_thousand() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut muxer, read) = muxer(1, 1);
        assert!(Pin::new(&mut muxer).poll(cx).is_pending());
        // Each is 13 bytes on the wire, and some 100 in memory.
        let frames = read.load(Ordering::Relaxed) / 13;
        assert!((1_000..PEER_UNREAD_MAX / 90).contains(&frames), "{frames}");
    }

    /// A peer that takes nothing until it is told to, and says nothing.
    #[derive(Clone, Default)]
    struct SlowPeer {
        takes: Arc<AtomicUsize>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl AsyncRead for SlowPeer {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for SlowPeer {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let some = buf.len().min(self.takes.load(Ordering::Relaxed));
            self.taken.lock().unwrap().extend(&buf[..some]);
            if some == 0 { Poll::Pending } else { Poll::Ready(Ok(some)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// yamux would leave them waiting: for a window that never grows, for bytes that never come.
    #[tokio::test]
    async fn streams_that_wait_for_the_peer_end_when_this_side_closes() {
        let peer = SlowPeer::default();
        peer.takes.store(usize::MAX, Ordering::Relaxed);
        let mut muxer = Mux::new(peer, yamux::Mode::Client, MuxPool::strangers());
        let [mut writer, mut reader] = [(); 2].map(|()| {
            let cx = &mut Context::from_waker(Waker::noop());
            match Pin::new(&mut muxer).poll_outbound(cx) {
                Poll::Ready(Ok(stream)) => stream,
                _ => panic!("there are few"),
            }
        });
        let write = tokio::spawn(async move { writer.write_all(&[7; 300 << 10]).await });
        let read = tokio::spawn(async move { reader.read(&mut [0; 1]).await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut muxer).poll(cx).is_pending());
        }
        assert!(!write.is_finished() && !read.is_finished());
        poll_fn(|cx| Pin::new(&mut muxer).poll_close(cx)).await.unwrap();
        let ended = async { (write.await.unwrap(), read.await.unwrap()) };
        let (written, bytes) = timeout(Duration::from_secs(20), ended).await.expect("woken");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::WriteZero);
        assert!(bytes.is_err() || bytes.is_ok_and(|bytes| bytes == 0));
    }

    /// Whoever fills it, the muxer takes a vote, and sends it before what waits.
    #[tokio::test]
    async fn a_vote_waits_for_a_frame_of_each_other_stream_at_most() {
        let cx = &mut Context::from_waker(Waker::noop());
        let peer = SlowPeer::default();
        let mut muxer = Mux::new(peer.clone(), yamux::Mode::Client, MuxPool::strangers());
        let mut streams: Vec<_> = (0..4)
            .map(|_| match Pin::new(&mut muxer).poll_outbound(cx) {
                Poll::Ready(Ok(stream)) => stream,
                _ => panic!("there are few"),
            })
            .collect();
        let mut votes = streams.pop().expect("the last");
        // More than a stream's window: all that the muxer takes.
        let bulk = vec![7; FRAME_BYTES_MAX];
        for stream in &mut streams {
            while let Poll::Ready(taken) = Pin::new(&mut *stream).poll_write(cx, &bulk) {
                assert!(taken.is_ok_and(|bytes| bytes > 0));
                assert!(Pin::new(&mut muxer).poll(cx).is_pending());
            }
        }
        let vote = Pin::new(&mut votes).poll_write(cx, &[1; 200]);
        assert!(matches!(vote, Poll::Ready(Ok(200))), "{vote:?}");
        peer.takes.store(usize::MAX, Ordering::Relaxed);
        let mut frames = vec![];
        for _ in 0..100 {
            assert!(Pin::new(&mut muxer).poll(cx).is_pending());
        }
        let begin = |frame| {
            frames.push(frame);
            Ok(())
        };
        let taken = std::mem::take(&mut *peer.taken.lock().unwrap());
        FrameBoundaries::default().pass(&taken, begin, |_, _| {}).unwrap();
        let data: Vec<_> = frames.iter().filter(|frame| frame.body > 0).collect();
        let place = data.iter().position(|frame| frame.stream == votes.number);
        // One that was being written, one that was to be the next, and one of each stream.
        assert!(place.is_some_and(|place| place <= 5), "{place:?} of {}", data.len());
        assert!(data.len() > 6);
    }
}
