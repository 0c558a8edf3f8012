//! What an admitted peer may do to cost as much as it can. None of them reads.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use alloy_primitives::B256;
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{interval, timeout};
use trefoil_crypto::{Claims, NodeCertificate};
use trefoil_types::{
    Message,
    message::{GetBlocks, Lane},
};

use crate::support::{
    ca, claims, key,
    peer::{self, Session, Told, Wire},
};

#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Holds back the last byte of the longest frame on every lane.
    Lacking,
    /// Asks and asks.
    Asking,
    /// Says the same and again.
    Saying,
    /// Opens as many streams as it may, or a thousand, and is silent.
    Streams,
    /// Lets the node send 2 GiB on every stream, asks, and never reads a byte
    /// from its socket.
    Windows,
}

const MANNERS: [Manner; 5] =
    [Manner::Lacking, Manner::Asking, Manner::Saying, Manner::Streams, Manner::Windows];

/// The longest frames of the lanes, `docs/wire.md`.
const LONGEST: [usize; 3] = [9 << 20, 9 << 20, 4 << 20];

/// An admitted peer.
pub struct Hostile {
    manner: Manner,
    few: bool,
    session: Session,
    tap: Tap,
}

impl Hostile {
    /// The peer of key `n`, the `turn`th; half are another organisation's, as one
    /// has no room for all.
    pub async fn admitted(n: u8, turn: u8, address: SocketAddr) -> Self {
        let claims = Claims { organisation: 1 + u32::from(turn % 2), ..claims(n) };
        let certificate = NodeCertificate::issue(&claims, &ca(1 + turn % 2)).expect("sound claims");
        let mut wire = peer::dial(address, &key(n)).await.expect("TLS");
        let told = peer::show(&mut wire, &peer::proof(&certificate.to_der())).await;
        assert_eq!(told, Told::Admitted);
        let tap = Tap::default();
        let session = Session::greet(Tapped { wire, tap: tap.clone() }).await.expect("admitted");
        let manner = MANNERS[usize::from(turn) % MANNERS.len()];
        Self { manner, few: turn < 50, session, tap }
    }

    pub async fn misbehave(mut self) {
        match self.manner {
            Manner::Lacking => self.lack().await,
            Manner::Asking => self.repeat(&ask()).await,
            Manner::Saying => self.repeat(&Message::TxHashes(vec![B256::repeat_byte(1)])).await,
            Manner::Streams => self.open(if self.few { 2 } else { 1000 }).await,
            Manner::Windows => {
                self.tap.deafen(windows());
                self.repeat(&ask()).await;
            }
        }
        // It stays, whatever happened.
        std::future::pending().await
    }

    async fn lack(&mut self) {
        for lane in [Lane::CatchUp, Lane::Gossip, Lane::Consensus] {
            let longest = LONGEST[lane as usize];
            let mut bytes = (longest as u32).to_be_bytes().to_vec();
            bytes.push(32);
            bytes.resize(longest + 3, 0);
            // More than its window ends the wait for the other lanes.
            let _ = timeout(Duration::from_secs(2), self.write(lane, &bytes)).await;
        }
    }

    /// 2,000 times a second, which is above what a lane allows; faster only
    /// starves the attackers of their own processor.
    async fn repeat(&mut self, message: &Message) {
        let body = message.encode();
        let frame = [(body.len() as u32).to_be_bytes().as_slice(), &body].concat();
        let (lane, frames) = (message.lane(), frame.repeat(100));
        let mut ticks = interval(Duration::from_millis(50));
        while self.write(lane, &frames).await.is_ok() {
            ticks.tick().await;
        }
    }

    async fn open(&mut self, count: u32) {
        // After the three lanes, 1 to 5; odd, as of who dialled.
        let opened = (0..count).flat_map(|n| yamux_frame(SYN, 7 + 2 * n, 0));
        self.tap.deafen(opened.collect());
        // Something must be written to take them along.
        let _ = self.write(Lane::CatchUp, &ask_frame()).await;
    }

    async fn write(&mut self, lane: Lane, bytes: &[u8]) -> io::Result<()> {
        let stream = &mut self.session.write[lane as usize];
        stream.write_all(bytes).await?;
        stream.flush().await
    }
}

fn ask() -> Message {
    Message::GetBlocks(GetBlocks { from: 1, count: 1 })
}

fn ask_frame() -> Vec<u8> {
    let body = ask().encode();
    [(body.len() as u32).to_be_bytes().as_slice(), &body].concat()
}

const SYN: u16 = 1;

/// A window update, yamux's specification: version 0, type 1.
fn yamux_frame(flags: u16, stream: u32, credit: u32) -> Vec<u8> {
    let (flags, stream) = (flags.to_be_bytes(), stream.to_be_bytes());
    [&[0, 1], flags.as_slice(), &stream, &credit.to_be_bytes()].concat()
}

/// For the three streams of the node's.
fn windows() -> Vec<u8> {
    [2, 4, 6].into_iter().flat_map(|stream| yamux_frame(0, stream, 1 << 31)).collect()
}

/// What is done beneath the muxer.
#[derive(Clone, Default)]
struct Tap(Arc<Mutex<Tampering>>);

#[derive(Default)]
struct Tampering {
    /// To be written before the muxer's next frame.
    inject: Vec<u8>,
    /// Nothing is read.
    deaf: bool,
}

impl Tap {
    fn deafen(&self, inject: Vec<u8>) {
        *self.0.lock().expect("nobody panics") = Tampering { inject, deaf: true };
    }
}

/// A wire that the muxer does not have for itself.
struct Tapped {
    wire: Wire,
    tap: Tap,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.tap.0.lock().expect("nobody panics").deaf {
            return Poll::Pending;
        }
        Pin::new(&mut self.wire).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { wire, tap } = &mut *self;
        let inject = &mut tap.0.lock().expect("nobody panics").inject;
        // yamux begins a frame by writing its header of 12 bytes.
        while !inject.is_empty() && buf.len() == 12 {
            match Pin::new(&mut *wire).poll_write(cx, inject) {
                Poll::Ready(Ok(written)) => drop(inject.drain(..written)),
                other => return other,
            }
        }
        Pin::new(wire).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_close(cx)
    }
}
