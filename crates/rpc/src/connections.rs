//! The connections to the port: their places, and who yields when all are taken.
//!
//! What always holds: a newcomer finds a place as long as some connection has no request in
//! flight or reads its answer slowly, so sockets that send or read nothing keep nobody out; and
//! health checks have places of their own, so they are answered even when every other one is in
//! use.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::response::Response;
use futures::task::AtomicWaker;

use crate::{
    answer_body, limits,
    memory::{MemoryAccount, SMALL_BYTES},
};

// 1,024 silent sockets must not be enough to displace a client between two of its requests.
/// Places that connections without a first request can take from those that had one.
const NEWCOMERS_MAX: usize = limits::CONNECTIONS_MAX / 4;

// Long enough for a slow line to take its next packet.
/// A connection that has not read for so long may be closed when memory is short.
const STALLED_AFTER: Duration = Duration::from_secs(2);

// A client that takes 800 bytes a second is let go by nobody (`limits::WRITE_BYTES_MIN`), and
// 1,024 of them would keep all others out.
/// An answer that is on its way for so long, more slowly than [`SLOW_BYTES`], yields its place.
const SENDING_KEPT: Duration = Duration::from_secs(5);
/// Bytes a second: slower than the slowest line that a video is watched on.
const SLOW_BYTES: u64 = 16 << 10;

// As long as a heavy answer takes: until then the message that it was needed for may be at work.
/// A WebSocket whose large message is so old may be closed when memory is short.
const KEPT_FOR: Duration = limits::HEAVY_TIME_MAX;

/// What a connection's account tells its user.
const READ: &str = "read the answers that wait on this connection";

/// Every open connection. One lock, held for a scan of 1,600 entries at most (10 µs).
pub struct HttpConnectionTable {
    open: Mutex<Open>,
    began: Instant,
    memory: MemoryAccount,
    places: Places,
}

/// How many connections there may be of each kind.
#[derive(Clone, Copy)]
pub struct Places {
    pub general: usize,
    pub health: usize,
    pub sockets: usize,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, Arc<HttpConnection>>,
}

/// One connection, as its socket and its requests share it.
pub struct HttpConnection {
    number: u64,
    began: Instant,
    /// It has a place for health checks and may ask for nothing else.
    pub health_only: bool,
    /// It is a WebSocket, which has a limit of its own.
    upgraded: AtomicBool,
    /// When a request last came whole, milliseconds after `began`; 0: none did.
    asked: AtomicU64,
    /// Requests and subscriptions.
    in_flight: AtomicU32,
    /// When a byte last moved, in the same way.
    moved: AtomicU64,
    /// Since when the client does not read, in the same way; 0: it does.
    blocked: AtomicU64,
    /// Since when an answer is on its way, in the same way; 0: none is.
    sending: AtomicU64,
    /// Bytes that the client took of it.
    taken: AtomicUsize,
    /// Bytes of `memory` that are kept between messages.
    kept: AtomicUsize,
    /// When a message last needed as much, in the same way.
    needed: AtomicU64,
    closing: AtomicBool,
    waker: AtomicWaker,
    /// Holds what its client sends and is to read.
    pub memory: MemoryAccount,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpConnectionTable {
    pub fn new(memory: MemoryAccount) -> Arc<Self> {
        let (general, health) = (limits::CONNECTIONS_MAX, limits::HEALTH_CONNECTIONS_MAX);
        Self::with(memory, Places { general, health, sockets: limits::SOCKETS_MAX })
    }

    pub fn with(memory: MemoryAccount, places: Places) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), began: Instant::now(), memory, places })
    }

    /// A place for a socket that was just accepted; `None`: every connection is at work for
    /// somebody.
    pub fn admit(&self) -> Option<Arc<HttpConnection>> {
        let mut open = lock(&self.open);
        let health_only = !open.has_place(self.places.general, false);
        if health_only && !open.has_place(self.places.health, true) {
            return None;
        }
        let number = open.next;
        open.next += 1;
        let connection = Arc::new(HttpConnection {
            number,
            began: self.began,
            health_only,
            upgraded: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            moved: AtomicU64::new(now(self.began)),
            blocked: AtomicU64::new(0),
            sending: AtomicU64::new(0),
            taken: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            needed: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            memory: self.memory.within(usize::MAX, READ),
        });
        open.connections.insert(number, connection.clone());
        Some(connection)
    }

    /// Closes the connection that is idle for the longest time, for its file descriptor.
    pub fn close_idle(&self) {
        let mut open = lock(&self.open);
        if let Some(number) = open.idle_longest(|_| true) {
            open.close(number);
        }
    }

    // A WebSocket may stay for days with nothing but pongs, and 512 of them would keep all wallets
    // out.
    /// Gives a connection a place among the WebSockets, if need be that of the one whose last
    /// request is the oldest. `false`: each has a request or a subscription.
    pub fn upgrade(&self, connection: &HttpConnection) -> bool {
        let mut open = lock(&self.open);
        let sockets = open.connections.values().filter(|one| one.upgraded.load(Relaxed));
        if sockets.clone().count() >= self.places.sockets {
            let idle = sockets.filter(|one| one.in_flight.load(Relaxed) == 0);
            let oldest = idle.min_by_key(|one| (one.asked.load(Relaxed), one.number));
            let Some(number) = oldest.map(|one| one.number) else { return false };
            open.close(number);
        }
        connection.upgraded.store(true, Relaxed);
        true
    }

    // What is kept for the next large message, and what a client does not read, are the things in
    // the account that do not end by themselves soon.
    /// If the account of all callers refused somebody since this was last called: closes the
    /// WebSocket that keeps the most for messages that do not come, or else the connection that
    /// holds memory and has not read for the longest time.
    pub fn relieve(&self) {
        if !self.memory.has_refused() {
            return;
        }
        let mut open = lock(&self.open);
        let before = |time| now(self.began).saturating_sub(millis(time));
        let keeper = open.greatest_keeper(before(KEPT_FOR));
        if let Some(number) = keeper.or_else(|| open.stalled_longest(before(STALLED_AFTER))) {
            open.close(number);
        }
    }

    pub fn remove(&self, connection: &HttpConnection) {
        lock(&self.open).connections.remove(&connection.number);
    }

    /// Open connections, without those that are about to close.
    pub fn count(&self) -> usize {
        lock(&self.open).connections.len()
    }
}

impl Open {
    /// Whether there is a place of a kind, if need be by closing a connection.
    fn has_place(&mut self, max: usize, health: bool) -> bool {
        let kind = |one: &HttpConnection| one.health_only == health && !one.upgraded.load(Relaxed);
        if self.connections.values().filter(|one| kind(one)).count() < max {
            return true;
        }
        let newcomer = |one: &HttpConnection| kind(one) && one.asked.load(Relaxed) == 0;
        let newcomers = self.connections.values().filter(|one| newcomer(one)).count();
        let idle = match newcomers > NEWCOMERS_MAX.min(max / 4) {
            true => self.idle_longest(newcomer),
            false => self.idle_longest(|one| kind(one) && one.asked.load(Relaxed) > 0),
        };
        let idle = idle.or_else(|| self.idle_longest(kind)).or_else(|| self.slowest(kind));
        idle.is_some_and(|number| self.close(number))
    }

    /// The connection whose client has read its answer slowly for the longest time.
    fn slowest(&self, wanted: impl Fn(&HttpConnection) -> bool) -> Option<u64> {
        let slow = self.connections.values().filter(|one| wanted(one) && one.is_slow());
        slow.min_by_key(|one| one.sending.load(Relaxed)).map(|one| one.number)
    }

    /// The connection without a request in flight on which nothing moved for the longest time.
    fn idle_longest(&self, wanted: impl Fn(&HttpConnection) -> bool) -> Option<u64> {
        let all = self.connections.values();
        let idle = all.filter(|one| one.in_flight.load(Relaxed) == 0 && wanted(one));
        let oldest = idle.min_by_key(|one| (one.moved.load(Relaxed), one.number));
        oldest.map(|one| one.number)
    }

    // A subscription or a request that waits is no reason to keep it: with one each, a dozen sockets
    // would hold the account for ever.
    /// The WebSocket that keeps the most, if no message needed it since `limit`.
    fn greatest_keeper(&self, limit: u64) -> Option<u64> {
        let keeps = |one: &HttpConnection| one.kept.load(Relaxed) > SMALL_BYTES;
        let all = self.connections.values().filter(|one| keeps(one));
        let unneeded = all.filter(|one| one.needed.load(Relaxed) <= limit);
        unneeded.max_by_key(|one| one.kept.load(Relaxed)).map(|one| one.number)
    }

    /// The connection that holds memory and has not read since before `limit`, for the longest time.
    fn stalled_longest(&self, limit: u64) -> Option<u64> {
        let holders = self.connections.values().filter(|one| one.memory.used() > 0);
        let blocked = holders.map(|one| (one.blocked.load(Relaxed), one.number));
        let longest = blocked.filter(|(since, _)| (1..=limit).contains(since)).min();
        longest.map(|(_, number)| number)
    }

    fn close(&mut self, number: u64) -> bool {
        let connection = self.connections.remove(&number);
        connection.inspect(|connection| connection.close()).is_some()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the table's beginning, from 1.
fn now(began: Instant) -> u64 {
    millis(began.elapsed()) + 1
}

impl HttpConnection {
    /// A request came whole; it is in flight until the result is dropped.
    pub fn request(self: &Arc<Self>) -> InFlight {
        self.asked.store(now(self.began), Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self.clone())
    }

    pub fn moved(&self) {
        self.moved.store(now(self.began), Relaxed);
    }

    /// The client took something of what is written.
    pub fn took(&self, bytes: usize) {
        self.moved();
        self.blocked.store(0, Relaxed);
        self.taken.fetch_add(bytes, Relaxed);
    }

    fn is_slow(&self) -> bool {
        let since = self.sending.load(Relaxed);
        let time = now(self.began).saturating_sub(since);
        let taken = self.taken.load(Relaxed) as u64;
        since > 0 && time >= millis(SENDING_KEPT) && taken < time * SLOW_BYTES / 1_000
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

    fn close(&self) {
        self.closing.store(true, Relaxed);
        self.waker.wake();
    }

    /// Whether the connection must end; if not now, `waker` is told when it must.
    pub fn is_closing(&self, waker: &std::task::Waker) -> bool {
        self.waker.register(waker);
        self.closing.load(Relaxed)
    }
}

/// A request that the node works on.
pub struct InFlight(Arc<HttpConnection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
        self.0.sending.store(0, Relaxed);
    }
}

impl InFlight {
    /// Until the whole body was handed to the connection.
    pub fn until_sent(self, response: Response) -> Response {
        self.0.taken.store(0, Relaxed);
        self.0.sending.store(now(self.0.began), Relaxed);
        answer_body::holding(response, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(general: usize, health: usize) -> Arc<HttpConnectionTable> {
        let places = Places { general, health, sockets: 2 };
        HttpConnectionTable::with(MemoryAccount::default(), places)
    }

    /// Ten seconds after its beginning.
    fn aged(memory: MemoryAccount) -> HttpConnectionTable {
        HttpConnectionTable {
            open: Mutex::default(),
            began: Instant::now() - Duration::from_secs(10),
            memory,
            places: Places { general: 4, health: 1, sockets: 2 },
        }
    }

    fn closing(connection: &HttpConnection) -> bool {
        connection.is_closing(futures::task::noop_waker_ref())
    }

    #[test]
    fn the_silent_ones_yield_to_newcomers_the_oldest_first() {
        let table = table(8, 1);
        let silent: Vec<_> = (0..8).map(|_| table.admit().unwrap()).collect();
        for newcomer in 0..8 {
            assert!(!table.admit().unwrap().health_only);
            let closed: Vec<_> = silent.iter().map(|one| closing(one)).collect();
            assert_eq!(closed, (0..8).map(|one| one <= newcomer).collect::<Vec<_>>());
        }
        assert_eq!(table.count(), 8);
    }

    #[test]
    fn a_request_in_flight_keeps_its_place() {
        let table = table(4, 1);
        let busy: Vec<_> = (0..4).map(|_| table.admit().unwrap()).collect();
        let in_flight: Vec<_> = busy.iter().map(HttpConnection::request).collect();
        let health = table.admit().unwrap();
        assert!(health.health_only);
        let check = health.request();
        assert!(table.admit().is_none());
        drop(check);
        // Silent sockets do not keep health checks out either.
        assert!(table.admit().unwrap().health_only && closing(&health));
        assert!(!busy.iter().any(|one| closing(one)));
        drop(in_flight);
        assert!(!table.admit().unwrap().health_only);
    }

    #[test]
    fn silent_sockets_take_a_quarter_from_clients_between_two_requests() {
        let table = table(8, 1);
        let clients: Vec<_> = (0..6).map(|_| table.admit().unwrap()).collect();
        clients.iter().for_each(|client| drop(client.request()));
        (0..100).for_each(|_| drop(table.admit()));
        let kept = clients.iter().filter(|client| !closing(client)).count();
        assert_eq!(kept, 5);
    }

    #[test]
    fn who_has_not_read_for_the_longest_time_is_let_go_when_memory_is_short() {
        let table = aged(MemoryAccount::new(1 << 20));
        let [reads, slow, stuck, empty] = [(); 4].map(|()| table.admit().unwrap());
        let all = [&reads, &slow, &stuck, &empty];
        all.iter().for_each(|one| one.blocked.store(1, Relaxed));
        reads.took(1);
        slow.took(1);
        slow.blocked();
        // To send is not to read.
        stuck.moved();
        let _held = [&reads, &slow, &stuck].map(|one| one.memory.claim(1).unwrap());
        table.relieve();
        assert!(!all.iter().any(|one| closing(one)), "memory is not short");
        // Who stopped only just now keeps its time, and so does who holds nothing.
        for _ in 0..3 {
            assert!(table.memory.claim(2 << 20).is_err());
            table.relieve();
        }
        assert_eq!(all.map(|one| closing(one)), [false, false, true, false]);
    }

    /// With a subscription or a request each, a dozen of them would hold the account for ever.
    #[test]
    fn who_keeps_the_most_for_no_message_yields_first_when_memory_is_short() {
        let began = Instant::now() - 2 * KEPT_FOR;
        let table = HttpConnectionTable { began, ..aged(MemoryAccount::new(1 << 20)) };
        let [small, large, larger, needed] = [(); 4].map(|()| table.admit().unwrap());
        let all = [&small, &large, &larger, &needed];
        let kept = [SMALL_BYTES, 2 * SMALL_BYTES, 3 * SMALL_BYTES, 4 * SMALL_BYTES];
        for (one, bytes) in all.into_iter().zip(kept) {
            one.keeps(bytes);
            one.needed.store(1, Relaxed);
        }
        // A message that came just now may be at work.
        needed.keeps(4 * SMALL_BYTES);
        let _subscription = larger.request();
        table.relieve();
        assert!(!all.iter().any(|one| closing(one)), "memory is not short");
        let mut yielded = Vec::new();
        for _ in 0..3 {
            assert!(table.memory.claim(2 << 20).is_err());
            table.relieve();
            yielded.push(all.map(|one| closing(one)));
        }
        let both = [false, true, true, false];
        assert_eq!(yielded, [[false, false, true, false], both, both]);
    }

    #[test]
    fn who_reads_an_answer_slowly_yields_when_all_places_are_taken() {
        let table = aged(MemoryAccount::default());
        let clients: Vec<_> = (0..4).map(|_| table.admit().unwrap()).collect();
        let _answers: Vec<_> =
            clients.iter().map(|client| client.request().until_sent(Response::default())).collect();
        assert!(table.admit().unwrap().health_only, "all answers were just begun");
        clients.iter().for_each(|client| client.sending.store(1, Relaxed));
        clients[0].took(1 << 20);
        assert!(!table.admit().unwrap().health_only);
        let closed: Vec<_> = clients.iter().map(|client| closing(client)).collect();
        assert_eq!(closed, [false, true, false, false]);
    }

    #[test]
    fn a_websocket_takes_no_place_of_the_others() {
        let table = table(1, 1);
        let socket = table.admit().unwrap();
        assert!(table.upgrade(&socket));
        assert!(!table.admit().unwrap().health_only && !closing(&socket));
    }

    #[test]
    fn a_websocket_without_a_request_or_subscription_yields_the_oldest_first() {
        let table = table(4, 1);
        let [first, second, third, fourth] = [(); 4].map(|()| table.admit().unwrap());
        assert!(table.upgrade(&first) && table.upgrade(&second));
        // Pongs are no requests.
        first.moved();
        let _subscription = second.request();
        assert!(table.upgrade(&third));
        assert!(closing(&first) && !closing(&second) && !closing(&third));
        let _request = third.request();
        assert!(!table.upgrade(&fourth) && !closing(&second) && !closing(&third));
    }
}
