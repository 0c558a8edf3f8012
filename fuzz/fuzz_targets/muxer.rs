//! yamux under the limits of `p2p/src/transport/mux.rs`, and a peer that sends any frames:
//! six bytes are a frame's type, flags, stream and length, and data follows where it must. It
//! neither panics nor works on for ever, and holds no more than its windows.
#![no_main]

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};
use libfuzzer_sys::fuzz_target;

/// As in `mux.rs`.
const STREAMS_MAX: usize = 16;
const WINDOW_BYTES_MAX: usize = 2 << 20;
const TURN_BYTES: usize = 64 << 10;
/// Data that one frame brings along, at most; a longer length is a lie.
const DATA_MAX: usize = 4_096;

fuzz_target!(|bytes: &[u8]| {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS_MAX);
    config.set_max_connection_receive_window(Some(STREAMS_MAX * 256 * 1024 + WINDOW_BYTES_MAX));
    config.set_split_send_size(TURN_BYTES);
    let socket = Peer { bytes: frames(bytes), at: 0 };
    let mut muxer = yamux::Connection::new(socket, config, yamux::Mode::Server);
    let mut context = Context::from_waker(Waker::noop());
    let mut streams = vec![];
    // Each poll takes up a stream, or makes one of no use, or ends.
    for turn in 0..=bytes.len() {
        match muxer.poll_next_inbound(&mut context) {
            Poll::Ready(Some(Ok(stream))) => streams.push(stream),
            Poll::Ready(Some(Err(_)) | None) => break,
            Poll::Pending => {
                let open = streams.len();
                streams.retain_mut(|stream| use_up(stream, turn, &mut context));
                if streams.len() == open {
                    break;
                }
            }
        }
    }
});

/// Reads and answers; whether the stream is still of use.
fn use_up(stream: &mut yamux::Stream, turn: usize, context: &mut Context<'_>) -> bool {
    let mut buffer = [0; 1_024];
    if turn.is_multiple_of(2) {
        let _ = Pin::new(&mut *stream).poll_write(context, &buffer);
    }
    !matches!(Pin::new(stream).poll_read(context, &mut buffer), Poll::Ready(Ok(0) | Err(_)))
}

/// Frames with sound headers: version 0, a type, flags, a stream, a length.
fn frames(words: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    for [kind, flags, stream, length, high, data] in words.as_chunks().0.iter().copied() {
        let mut length = u32::from(length) << (high % 32);
        let kind = kind % 5;
        if kind == 0 && high < 0xe0 {
            length %= DATA_MAX as u32;
        }
        out.extend([u8::from(high == 0xff), kind, 0, flags % 32]);
        out.extend(u32::from(stream).to_be_bytes());
        out.extend(length.to_be_bytes());
        if kind == 0 {
            out.resize(out.len() + (length as usize).min(DATA_MAX), data);
        }
    }
    out
}

/// Has sent these bytes, and takes whatever it is sent.
struct Peer {
    bytes: Vec<u8>,
    at: usize,
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let rest = &self.bytes[self.at..];
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        Poll::Ready(Ok(length))
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
