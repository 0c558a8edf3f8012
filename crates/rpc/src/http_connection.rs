//! One HTTP connection, as its socket, its requests and the table of all know it.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::Waker,
    time::{Duration, Instant},
};

use axum::response::Response;
use futures::task::AtomicWaker;

use crate::{answer_body, memory::MemoryAccount};

// A client that takes 800 bytes a second is let go by nobody (`limits::WRITE_BYTES_MIN`), and
// 1,024 of them would keep all others out.
/// An answer that is on its way for so long, more slowly than [`SLOW_BYTES`], yields its place; so
/// does a body or message that is not whole by then, when memory is short.
pub const SENDING_KEPT: Duration = Duration::from_secs(5);
/// Bytes a second: slower than the slowest line that a video is watched on.
const SLOW_BYTES: u64 = 16 << 10;

/// One connection. Its times are milliseconds since the table began, from 1; 0: never, or not now.
pub struct HttpConnection {
    pub number: u64,
    /// Where it comes from ([`source`]).
    pub source: IpAddr,
    began: Instant,
    /// When a request last came whole.
    asked: AtomicU64,
    /// Requests and subscriptions.
    in_flight: AtomicU32,
    /// When a byte last moved.
    moved: AtomicU64,
    /// Since when the client does not read.
    pub blocked: AtomicU64,
    /// Since when an answer is on its way, or some wait on a WebSocket.
    pub sending: AtomicU64,
    /// Bytes that the client took of it.
    taken: AtomicUsize,
    /// Since when a body or message is on its way in.
    pub receiving: AtomicU64,
    /// Bytes of `memory` that are kept between messages.
    kept: AtomicUsize,
    /// When a message last needed as much.
    pub needed: AtomicU64,
    closing: AtomicBool,
    waker: AtomicWaker,
    /// Holds what its client sends and is to read.
    pub memory: MemoryAccount,
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the table's beginning, from 1.
pub fn now(began: Instant) -> u64 {
    millis(began.elapsed()) + 1
}

/// What a host has: an IPv4 address, or an IPv6 /64.
pub fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & (u128::MAX << 64)).into(),
        ip => ip,
    }
}

impl HttpConnection {
    pub fn new(number: u64, from: IpAddr, began: Instant, memory: MemoryAccount) -> Self {
        Self {
            number,
            source: source(from),
            began,
            asked: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            moved: AtomicU64::new(now(began)),
            blocked: AtomicU64::new(0),
            sending: AtomicU64::new(0),
            taken: AtomicUsize::new(0),
            receiving: AtomicU64::new(0),
            kept: AtomicUsize::new(0),
            needed: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            memory,
        }
    }

    /// A request came whole; it is in flight until the result is dropped.
    pub fn request(self: &Arc<Self>) -> InFlight {
        self.asked.store(now(self.began), Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self.clone())
    }

    pub fn asked(&self) -> u64 {
        self.asked.load(Relaxed)
    }

    pub fn is_idle(&self) -> bool {
        self.in_flight.load(Relaxed) == 0
    }

    pub fn moved(&self) {
        self.moved.store(now(self.began), Relaxed);
    }

    pub fn moved_at(&self) -> u64 {
        self.moved.load(Relaxed)
    }

    /// The client took something of what is written.
    pub fn took(&self, bytes: usize) {
        self.moved();
        self.blocked.store(0, Relaxed);
        self.taken.fetch_add(bytes, Relaxed);
    }

    /// From now on something is on its way to the client, if nothing was.
    pub fn sends(&self) {
        if self.sending.compare_exchange(0, now(self.began), Relaxed, Relaxed).is_ok() {
            self.taken.store(0, Relaxed);
        }
    }

    /// All that was on its way was handed over.
    pub fn sent(&self) {
        self.sending.store(0, Relaxed);
    }

    /// The first bytes of a body or message may come from now on.
    pub fn receives(&self) {
        self.receiving.store(now(self.began), Relaxed);
    }

    /// All of it came.
    pub fn received(&self) {
        self.receiving.store(0, Relaxed);
    }

    /// Since when its client reads too slowly what is on its way, if it does.
    pub fn slow_since(&self) -> Option<u64> {
        let since = self.sending.load(Relaxed);
        let time = now(self.began).saturating_sub(since);
        let taken = self.taken.load(Relaxed) as u64;
        let is_slow = time >= millis(SENDING_KEPT) && taken < time * SLOW_BYTES / 1_000;
        (since > 0 && is_slow).then_some(since)
    }

    /// The client does not take what is written.
    pub fn blocked(&self) {
        // Only the first time: it is since then that nothing moved.
        let _ = self.blocked.compare_exchange(0, now(self.began), Relaxed, Relaxed);
    }

    /// A message needed so many bytes, which are kept for the next one.
    pub fn keeps(&self, bytes: usize) {
        self.kept.store(bytes, Relaxed);
        self.needed.store(now(self.began), Relaxed);
    }

    pub fn kept(&self) -> usize {
        self.kept.load(Relaxed)
    }

    pub fn close(&self) {
        self.closing.store(true, Relaxed);
        self.waker.wake();
    }

    /// Whether the connection must end; if not now, `waker` is told when it must.
    pub fn is_closing(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.closing.load(Relaxed)
    }
}

/// A request that the node works on.
pub struct InFlight(Arc<HttpConnection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl InFlight {
    /// Until the whole body was handed to the connection.
    pub fn until_sent(self, response: Response) -> Response {
        self.0.sends();
        answer_body::holding(response, Sending(self))
    }
}

/// An answer on its way.
struct Sending(InFlight);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.0.sent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_what_a_host_has() {
        for (from, want) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            assert_eq!(source(from.parse().unwrap()), want.parse::<IpAddr>().unwrap());
        }
    }
}
