//! The content streams of a connection, which are handed out whole: bulk bytes cross no
//! queue of this crate. They end with their connection.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::Stream;
use trefoil_types::{PeerId, Standing};

use crate::{connection::send_queue::SendQueue, transport::kill_switch::KillSwitch};

/// An admitted connection's two streams of content.
#[derive(Debug)]
pub struct ContentLink {
    pub peer: PeerId,
    /// Unjudged peers have content streams with newcomers only (`start_newcomer`), which give
    /// them nothing.
    pub standing: Standing,
    pub write: ContentWriter,
    pub read: ContentReader,
    pub connection: ContentConnection,
}

/// The connection of content streams.
// Not by its peer, which may have another connection by now.
#[derive(Debug)]
pub struct ContentConnection(Arc<KillSwitch>);

impl ContentConnection {
    /// Ends the session, if it has not ended: without content streams the connection would go on,
    /// and the peer would have no content until it ends.
    pub fn hang_up(&self, reason: &str) {
        self.0.stop(reason);
    }
}

impl ContentLink {
    pub(crate) fn new(
        peer: PeerId,
        standing: Standing,
        [write, read]: [Stream; 2],
        send_queue: Arc<SendQueue>,
        kill_switch: Arc<KillSwitch>,
    ) -> Self {
        let write = ContentWriter { stream: write, traffic: send_queue.clone() };
        let read = ContentReader { stream: read, traffic: send_queue };
        Self { peer, standing, write, read, connection: ContentConnection(kill_switch) }
    }
}

/// What this node says to a peer's swarm.
#[derive(Debug)]
pub struct ContentWriter {
    stream: Stream,
    traffic: Arc<SendQueue>,
}

/// What a peer's swarm says.
#[derive(Debug)]
pub struct ContentReader {
    stream: Stream,
    traffic: Arc<SendQueue>,
}

impl ContentWriter {
    /// Ends when the peer writes where only we write.
    // Attack: a stream that nobody reads. The muxer would hold a whole window of it.
    pub async fn speaks(&mut self) {
        poll_fn(|cx| self.poll_speaks(cx)).await;
    }

    fn poll_speaks(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match Pin::new(&mut self.stream).poll_read(cx, &mut [0]) {
            Poll::Ready(Ok(1..)) => Poll::Ready(()),
            // Its end is seen where content is read.
            _ => Poll::Pending,
        }
    }
}

fn count(counter: &AtomicU64, moved: &Poll<io::Result<usize>>) {
    if let Poll::Ready(Ok(bytes)) = moved {
        counter.fetch_add(*bytes as u64, Ordering::Relaxed);
    }
}

impl AsyncRead for ContentReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_read(cx, buf);
        count(&self.traffic.bytes_in, &moved);
        moved
    }
}

impl AsyncWrite for ContentWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.poll_speaks(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer wrote on our content stream",
            )));
        }
        let moved = Pin::new(&mut self.stream).poll_write(cx, buf);
        count(&self.traffic.bytes_out, &moved);
        moved
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
