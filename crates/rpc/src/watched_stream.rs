//! A client's socket, watched: when it last moved, and how long it may keep the server waiting.
//!
//! What always holds: HTTP, the gateway and WebSockets are written through here, so a client
//! that does not read is let go by one rule, whatever it asked for.

use std::{
    future::poll_fn,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep, timeout},
};

use crate::{connections::HttpConnectionTable, http_connection::HttpConnection, limits};

// The kernel takes megabytes for a client that does not read: what it has not acknowledged would
// look like what it read.
/// Bytes that the kernel takes ahead of what it sends.
const UNSENT_BYTES_MAX: u32 = 64 << 10;

/// A socket and its place in the table, which it gives back when it is dropped.
pub struct WatchedStream {
    stream: TcpStream,
    pub connection: Arc<HttpConnection>,
    pub table: Arc<HttpConnectionTable>,
    /// Runs while the client does not take all that is written.
    stall: Option<Stall>,
}

struct Stall {
    until: Pin<Box<Sleep>>,
    /// Bytes taken since it began.
    taken: usize,
}

impl WatchedStream {
    pub fn new(
        stream: TcpStream,
        connection: Arc<HttpConnection>,
        table: Arc<HttpConnectionTable>,
    ) -> Self {
        // A kernel without it is told the truth later.
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        Self { stream, connection, table, stall: None }
    }

    /// Waits for the client's first byte.
    ///
    /// # Errors
    /// None came in time, or the connection yields to another.
    pub async fn first_byte(&self) -> io::Result<()> {
        let ready = poll_fn(|cx| {
            self.check(cx)?;
            self.stream.poll_read_ready(cx)
        });
        timeout(limits::READ_TIME_MAX, ready).await?
    }

    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        match self.connection.is_closing(cx.waker()) {
            true => Err(io::Error::new(ErrorKind::ConnectionAborted, "it yields to another")),
            false => Ok(()),
        }
    }

    /// What a write came to, with the client's time for it.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => {
                self.connection.took(*bytes);
                if let Some(stall) = &mut self.stall {
                    stall.taken += bytes;
                    if stall.taken >= limits::WRITE_BYTES_MIN {
                        stall.taken = 0;
                        stall.until.as_mut().reset(Instant::now() + limits::WRITE_TIME_MAX);
                    }
                }
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                self.connection.blocked();
                let begin = || Stall { until: Box::pin(sleep(limits::WRITE_TIME_MAX)), taken: 0 };
                match self.stall.get_or_insert_with(begin).until.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Err(ErrorKind::TimedOut.into())),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        self.table.remove(&self.connection);
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.connection.moved();
        }
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // All that was to be written is with the kernel: the next write has its own time.
        self.stall = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::task::noop_waker_ref;
    use tokio::net::TcpListener;

    use super::*;
    use crate::MemoryAccount;

    /// A connection to a client, and the client.
    async fn watched() -> (WatchedStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let table = HttpConnectionTable::new(MemoryAccount::default());
        let (stream, from) = listener.accept().await.unwrap();
        let connection = table.admit(from.ip());
        (WatchedStream::new(stream, connection, table), client)
    }

    impl WatchedStream {
        fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
            self.written(&mut Context::from_waker(noop_waker_ref()), written)
        }

        fn until(&mut self) -> Pin<&mut Sleep> {
            self.stall.as_mut().expect("the client does not read").until.as_mut()
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_in_its_time_is_let_go() {
        let (mut stream, _client) = watched().await;
        assert!(matches!(stream.wrote(Poll::Ready(Ok(1))), Poll::Ready(Ok(1))));
        assert!(stream.stall.is_none(), "it reads");
        assert!(stream.wrote(Poll::Pending).is_pending());
        stream.until().reset(Instant::now());
        sleep(Duration::from_millis(10)).await;
        let Poll::Ready(Err(error)) = stream.wrote(Poll::Pending) else { panic!("it is kept") };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_byte_now_and_then_buys_no_time() {
        let (mut stream, _client) = watched().await;
        assert!(stream.wrote(Poll::Pending).is_pending());
        let before = stream.until().deadline();
        for taken in [1, limits::WRITE_BYTES_MIN - 2] {
            assert!(stream.wrote(Poll::Ready(Ok(taken))).is_ready());
            assert_eq!(stream.until().deadline(), before);
        }
        assert!(stream.wrote(Poll::Ready(Ok(1))).is_ready());
        assert!(stream.until().deadline() > before, "it took enough in all");
        // What it takes next counts anew.
        let before = stream.until().deadline();
        assert!(stream.wrote(Poll::Ready(Ok(1))).is_ready());
        assert_eq!(stream.until().deadline(), before);
    }
}
