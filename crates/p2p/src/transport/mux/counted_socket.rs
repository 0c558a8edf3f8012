//! The socket under a muxer.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _};
use tokio::time::Sleep;

use super::{frames::FrameBoundaries, memory::MuxMemory};

/// Between two looks at whether the others have left room.
const LOOK: Duration = Duration::from_millis(20);

/// A socket under a muxer, whose frames are counted as they pass.
#[derive(Debug)]
pub(crate) struct CountedSocket<C> {
    socket: C,
    memory: Arc<MuxMemory>,
    inbound: FrameBoundaries,
    outbound: FrameBoundaries,
    /// Runs while there is no room to read.
    look: Option<Pin<Box<Sleep>>>,
}

impl<C> CountedSocket<C> {
    pub fn new(socket: C, memory: Arc<MuxMemory>) -> Self {
        let (inbound, outbound) = (FrameBoundaries::default(), FrameBoundaries::default());
        Self { socket, memory, inbound, outbound, look: None }
    }

    /// Waits until a further frame may be read.
    fn poll_read_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.inbound.is_between() {
            self.memory.reader.register(cx.waker());
            while !self.memory.may_read() {
                let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
                ready!(look.poll_unpin(cx));
                self.look = None;
            }
        }
        self.look = None;
        Poll::Ready(())
    }
}

impl<C> Drop for CountedSocket<C> {
    fn drop(&mut self) {
        self.memory.end();
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for CountedSocket<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_read_room(cx));
        let Self { socket, memory, inbound, .. } = &mut *self;
        let read = ready!(Pin::new(socket).poll_read(cx, buf))?;
        inbound.pass(&buf[..read], |frame| memory.begin(frame), |_, _| {})?;
        Poll::Ready(Ok(read))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for CountedSocket<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { socket, memory, outbound, .. } = &mut *self;
        let written = ready!(Pin::new(socket).poll_write(cx, buf))?;
        outbound.pass(&buf[..written], |_| Ok(()), |stream, bytes| memory.sent(stream, bytes))?;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}
