//! The content streams of a connection, which are handed out whole: bulk bytes cross no
//! queue of this crate. They end with their connection.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::Stream;
use trefoil_types::{PeerId, Standing};

use crate::connection::send_queue::SendQueue;

/// An admitted connection's two streams of content.
#[derive(Debug)]
pub struct ContentLink {
    pub peer: PeerId,
    /// Unjudged peers have content streams with newcomers only (`start_newcomer`), which give
    /// them nothing.
    pub standing: Standing,
    pub write: ContentWriter,
    pub read: ContentReader,
}

impl ContentLink {
    pub(crate) fn new(
        peer: PeerId,
        standing: Standing,
        [write, read]: [Stream; 2],
        send_queue: Arc<SendQueue>,
    ) -> Self {
        let write = ContentWriter { stream: write, traffic: send_queue.clone() };
        Self { peer, standing, write, read: ContentReader { stream: read, traffic: send_queue } }
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
