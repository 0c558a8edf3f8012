//! A socket that can be cut from elsewhere, at once and for good.
//!
//! A muxer's close waits for a peer that does not read, TLS says goodbye, and
//! the kernel goes on sending what it was given. A revoked peer gets none of it:
//! the switch lies under them all, and the socket is reset.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite, task::AtomicWaker};

use crate::guard::Socket;

/// Cuts one socket.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    /// Why it was cut, once it is.
    off: OnceLock<String>,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Switch {
    /// Whoever waits for the socket is woken and finds it gone. The first reason
    /// counts.
    pub fn cut(&self, reason: String) {
        let _ = self.off.set(reason);
        self.reader.wake();
        self.writer.wake();
    }

    /// Why it was cut, if it was.
    pub fn reason(&self) -> Option<&str> {
        self.off.get().map(String::as_str)
    }
}

/// A socket under a switch, with what must be kept as long as it (`K`).
pub(crate) struct Cuttable<K> {
    /// `None` once it was cut.
    socket: Option<Socket>,
    switch: Arc<Switch>,
    _kept: K,
}

impl<K: Unpin> Cuttable<K> {
    pub fn new(socket: Socket, switch: Arc<Switch>, kept: K) -> Self {
        Self { socket: Some(socket), switch, _kept: kept }
    }

    /// The socket, unless it is cut. The waker of `cx` must be in its place
    /// already: a cut that comes between is then not missed.
    fn socket(&mut self) -> io::Result<Pin<&mut Socket>> {
        if self.switch.reason().is_some()
            && let Some(socket) = self.socket.take()
        {
            socket.abort();
        }
        self.socket.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }

    fn reading(&mut self, cx: &Context<'_>) -> io::Result<Pin<&mut Socket>> {
        self.switch.reader.register(cx.waker());
        self.socket()
    }

    fn writing(&mut self, cx: &Context<'_>) -> io::Result<Pin<&mut Socket>> {
        self.switch.writer.register(cx.waker());
        self.socket()
    }
}

impl<K: Unpin> AsyncRead for Cuttable<K> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.reading(cx)?.poll_read(cx, buf)
    }
}

impl<K: Unpin> AsyncWrite for Cuttable<K> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writing(cx)?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writing(cx)?.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing(cx)?.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing(cx)?.poll_close(cx)
    }
}
