//! A socket that carries frames, as the stream that they carry.
//!
//! What always holds:
//! - A byte is handed out only from a frame whose tag was good.
//! - After one error there are only errors, both ways.
//! - The end is clean only after the peer's close frame. So an attacker who cuts the
//!   connection cannot pass a part for the whole.

use std::{
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};

use super::{
    frames::{ClearFrameError, FRAME_MAX, LENGTH_BYTES, PAYLOAD_MAX, TAG_BYTES, frame_bytes},
    handshake::ClearSession,
};

/// Two of the longest frames: one system call reads many short ones, and what
/// is left of a long one seldom has to be moved. Pages are taken on first use.
const READ_BYTES: usize = 2 * FRAME_MAX;

/// A connection after the key exchange.
pub struct ClearStream<S> {
    socket: S,
    session: ClearSession,
    reading: Reading,
    writing: Writing,
    /// A frame was bad or the socket failed.
    broken: bool,
}

/// The bytes that came and are not handed out yet.
struct Reading {
    buffer: Box<[u8]>,
    /// Of a frame that was checked: its payload that is left.
    payload: Range<usize>,
    /// Of frames that were not.
    raw: Range<usize>,
    /// The peer's close frame came.
    closed: bool,
}

/// The frame that is being filled, or leaves.
struct Writing {
    /// Length, payload, tag, in place.
    buffer: Box<[u8]>,
    /// Payload so far.
    filled: usize,
    /// Of a sealed frame: what has not left yet.
    leaving: Range<usize>,
    /// Our close frame was sealed: nothing may follow it.
    closed: bool,
}

impl<S> ClearStream<S> {
    pub fn new(socket: S, session: ClearSession) -> Self {
        let reading =
            Reading { buffer: vec![0; READ_BYTES].into(), payload: 0..0, raw: 0..0, closed: false };
        let writing =
            Writing { buffer: vec![0; FRAME_MAX].into(), filled: 0, leaving: 0..0, closed: false };
        Self { socket, session, reading, writing, broken: false }
    }

    fn alive(&self) -> io::Result<()> {
        if self.broken { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Opens the next frame if all of it is here; an empty one is the close.
    fn open(&mut self) -> Result<bool, ClearFrameError> {
        let Reading { buffer, payload, raw, closed } = &mut self.reading;
        let Some(length) = buffer[raw.clone()].first_chunk::<LENGTH_BYTES>() else {
            return Ok(false);
        };
        let end = raw.start + frame_bytes(*length);
        if end > raw.end {
            return Ok(false);
        }
        let within = self.session.opener.open(&buffer[raw.start..end])?;
        *payload = raw.start + within.start..raw.start + within.end;
        *closed = within.is_empty();
        raw.start = end;
        Ok(true)
    }

    /// Closes the frame that was filled.
    fn seal(&mut self) -> Result<(), ClearFrameError> {
        let Writing { buffer, filled, leaving, .. } = &mut self.writing;
        let bytes = LENGTH_BYTES + *filled + TAG_BYTES;
        self.session.sealer.seal(&mut buffer[..bytes])?;
        (*filled, *leaving) = (0, 0..bytes);
        Ok(())
    }
}

impl Reading {
    /// Room for at least the frame that has begun.
    fn make_room(&mut self) {
        if self.raw.is_empty() {
            self.raw = 0..0;
        } else if self.buffer.len() - self.raw.start < FRAME_MAX {
            self.buffer.copy_within(self.raw.clone(), 0);
            self.raw = 0..self.raw.len();
        }
    }
}

impl<S: AsyncRead + Unpin> ClearStream<S> {
    fn poll_payload(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.reading.payload.is_empty() && !self.reading.closed {
            match self.open() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    // The muxer above reports no more than that the stream ended.
                    tracing::warn!(peer = %self.session.peer, %error, "connection cut");
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            }
            self.reading.make_room();
            let Reading { buffer, raw, .. } = &mut self.reading;
            let room = &mut buffer[raw.end..];
            match ready!(Pin::new(&mut self.socket).poll_read(cx, room))? {
                0 => return Poll::Ready(Err(cut())),
                bytes => raw.end += bytes,
            }
        }
        let Reading { buffer, payload, .. } = &mut self.reading;
        let bytes = payload.len().min(out.len());
        out[..bytes].copy_from_slice(&buffer[payload.start..payload.start + bytes]);
        payload.start += bytes;
        Poll::Ready(Ok(bytes))
    }
}

impl<S: AsyncWrite + Unpin> ClearStream<S> {
    /// Hands the sealed frame to the socket.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Writing { buffer, leaving, .. } = &mut self.writing;
        while !Range::is_empty(leaving) {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &buffer[leaving.clone()]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => leaving.start += bytes,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.writing.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.writing.filled == PAYLOAD_MAX {
            self.seal().map_err(io::Error::other)?;
        }
        ready!(self.poll_leave(cx))?;
        let Writing { buffer, filled, .. } = &mut self.writing;
        let count = bytes.len().min(PAYLOAD_MAX - *filled);
        let start = LENGTH_BYTES + *filled;
        buffer[start..start + count].copy_from_slice(&bytes[..count]);
        *filled += count;
        Poll::Ready(Ok(count))
    }

    /// Everything that was written, to the socket.
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing.filled > 0 {
            self.seal().map_err(io::Error::other)?;
        }
        self.poll_leave(cx)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.writing.closed {
            ready!(self.poll_empty(cx))?;
            self.seal().map_err(io::Error::other)?;
            self.writing.closed = true;
        }
        ready!(self.poll_leave(cx))?;
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

/// A failure is the end of both directions.
// After a forged frame nothing is read from this connection, nor written to it.
fn note<T>(broken: &mut bool, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    *broken |= matches!(polled, Poll::Ready(Err(_)));
    polled
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "cut without the peer's close frame")
}

impl<S: AsyncRead + Unpin> AsyncRead for ClearStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.alive()?;
        let polled = self.poll_payload(cx, out);
        note(&mut self.broken, polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClearStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.alive()?;
        let polled = self.poll_fill(cx, bytes);
        note(&mut self.broken, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive()?;
        let polled = self.poll_empty(cx);
        ready!(note(&mut self.broken, polled))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive()?;
        let polled = self.poll_end(cx);
        note(&mut self.broken, polled)
    }
}

#[cfg(test)]
mod tests;
