//! The connections to the port: their places, and who yields when all are taken.
//!
//! A connection is a newcomer until its first request came whole, then a client, and a WebSocket
//! when it was upgraded; each kind has its places. What always holds: a newcomer finds a place at
//! once, so sockets that send nothing keep nobody out, and health checks, which need no other place,
//! are answered whatever the others do; a client finds one as long as some other is idle or reads its
//! answer slowly; no source keeps all of these or all WebSockets to itself.

mod relief;

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Instant,
};

use crate::{http_connection::HttpConnection, limits, memory::MemoryAccount};

/// What a connection's account tells its user.
const READ: &str = "read the answers that wait on this connection";

/// Every open connection. Its lock is held for some look-ups, and for a scan (10 µs) when somebody
/// must yield.
pub struct HttpConnectionTable {
    open: Mutex<OpenConnections>,
    began: Instant,
    memory: MemoryAccount,
    places: Places,
}

/// How many connections there may be of each kind.
#[derive(Clone, Copy)]
pub struct Places {
    pub newcomers: usize,
    pub clients: usize,
    pub sockets: usize,
}

type ByNumber = BTreeMap<u64, Arc<HttpConnection>>;

#[derive(Default)]
struct OpenConnections {
    next: u64,
    newcomers: ByNumber,
    clients: ByNumber,
    sockets: ByNumber,
}

impl HttpConnectionTable {
    pub fn new(memory: MemoryAccount) -> Arc<Self> {
        let (newcomers, clients) = (limits::NEWCOMERS_MAX, limits::CONNECTIONS_MAX);
        Self::with(memory, Places { newcomers, clients, sockets: limits::SOCKETS_MAX })
    }

    pub fn with(memory: MemoryAccount, places: Places) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), began: Instant::now(), memory, places })
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a socket that was just accepted.
    pub fn admit(&self, from: IpAddr) -> Arc<HttpConnection> {
        let mut open = self.open();
        if open.newcomers.len() >= self.places.newcomers {
            close_idle(&mut open.newcomers, self.at_once());
        }
        let (number, memory) = (open.next, self.memory.within(usize::MAX, READ));
        let connection = Arc::new(HttpConnection::new(number, from, self.began, memory));
        open.next += 1;
        open.newcomers.insert(number, connection.clone());
        connection
    }

    /// A connection's request came whole: gives the connection a place among the clients, if need be
    /// that of the one that is idle for the longest time, or else reads its answer slowly for the
    /// longest time, or else of the source that holds the most. `false`: each is at work for somebody.
    pub fn enter(&self, connection: &HttpConnection) -> bool {
        let mut open = self.open();
        if !open.newcomers.contains_key(&connection.number) {
            return true;
        }
        if open.clients.len() >= self.places.clients
            && !close_idle(&mut open.clients, 1)
            && !close_slowest(&mut open.clients)
            && !close_of_most(&mut open.clients, connection.source)
        {
            return false;
        }
        let own = open.newcomers.remove_entry(&connection.number);
        open.clients.extend(own);
        true
    }

    /// Gives a client a place among the WebSockets, if need be that of another.
    pub fn upgrade(&self, connection: &HttpConnection) {
        let mut open = self.open();
        if open.sockets.len() >= self.places.sockets
            && let Some(number) = socket_that_yields(&open.sockets, connection.source)
        {
            close(&mut open.sockets, number);
        }
        let own = open.clients.remove_entry(&connection.number);
        open.sockets.extend(own);
    }

    /// Closes the connections that are idle for the longest time, for their file descriptors.
    pub fn close_idle(&self) {
        let mut open = self.open();
        if !close_idle(&mut open.newcomers, self.at_once()) {
            close_idle(&mut open.clients, 1);
        }
    }

    // A flood would pay with a scan for each of its sockets: with one for 64 of them it pays little.
    /// Newcomers that yield at once.
    fn at_once(&self) -> usize {
        (self.places.newcomers / 16).max(1)
    }

    pub fn remove(&self, connection: &HttpConnection) {
        for kind in self.open().each_kind() {
            kind.remove(&connection.number);
        }
    }

    /// Open connections, without those that are about to close.
    pub fn count(&self) -> usize {
        self.open().each_kind().map(|kind| kind.len()).iter().sum()
    }
}

impl OpenConnections {
    fn each_kind(&mut self) -> [&mut ByNumber; 3] {
        [&mut self.newcomers, &mut self.clients, &mut self.sockets]
    }
}

/// Closes so many of those that are idle, those first on which nothing moved for the longest time.
fn close_idle(of: &mut ByNumber, count: usize) -> bool {
    let idle = of.values().filter(|one| one.is_idle());
    let mut idle: Vec<_> = idle.map(|one| (one.moved_at(), one.number)).collect();
    idle.sort_unstable();
    idle.truncate(count);
    idle.iter().for_each(|(_, number)| close(of, *number));
    !idle.is_empty()
}

/// Closes the connection whose client has read its answer slowly for the longest time.
fn close_slowest(of: &mut ByNumber) -> bool {
    let slow = of.values().filter_map(|one| Some((one.slow_since()?, one.number)));
    let slowest = slow.min();
    slowest.inspect(|(_, number)| close(of, *number)).is_some()
}

// Attack: one address with 448 callers that wait for their turn, and 576 that take nothing of an
// answer for almost as long as `SENDING_KEPT`, again and again: nobody is idle or slow.
/// Closes a connection of the source that holds the most, if that still holds no fewer than the
/// newcomer's then: two sources would otherwise take each other's place for ever, and neither have an
/// answer. One whose answer is on its way the longest, or else the one whose work is the youngest.
fn close_of_most(of: &mut ByNumber, newcomer: IpAddr) -> bool {
    let counts = counts(of);
    let own = counts.get(&newcomer).copied().unwrap_or(0);
    let Some(most) = counts.values().max().copied().filter(|most| *most > own + 1) else {
        return false;
    };
    let yields = of.values().filter(|one| counts.get(&one.source) == Some(&most));
    let rank = |one: &&Arc<HttpConnection>| {
        let sending = one.sending.load(Relaxed);
        (sending == 0, sending, Reverse(one.asked()), Reverse(one.number))
    };
    let first = yields.min_by_key(rank).map(|one| one.number);
    first.inspect(|number| close(of, *number)).is_some()
}

/// How many connections each source holds.
fn counts(of: &ByNumber) -> BTreeMap<IpAddr, usize> {
    let mut counts = BTreeMap::new();
    for one in of.values() {
        *counts.entry(one.source).or_default() += 1;
    }
    counts
}

// 512 sockets with a subscription each would keep all others out for ever. An address is a share
// and no permission: behind a proxy all callers have one, and yield to each other.
// Attack: one of the callers behind a proxy, or a program beside others on this machine, opens
// sockets over and over, each with a request: all subscriptions of the others would end within
// seconds. Those that have been open longest stay, and one that opens all first leaves half.
/// The WebSocket that yields to a newcomer: of the source that holds the most, or of the newcomer's
/// own if none holds more. Of them a socket without a request or subscription, and then, of the half
/// that is open for the shorter time, the one whose last request is the oldest.
fn socket_that_yields(sockets: &ByNumber, newcomer: IpAddr) -> Option<u64> {
    let counts = counts(sockets);
    let most = counts.values().max().copied();
    let holds_most = |source: &IpAddr| counts.get(source).copied() == most;
    let own = holds_most(&newcomer);
    let yields = |one: &&Arc<HttpConnection>| {
        if own { one.source == newcomer } else { holds_most(&one.source) }
    };
    // By age.
    let yielding: Vec<_> = sockets.values().filter(yields).collect();
    let rank = |(at, one): &(usize, &Arc<HttpConnection>)| {
        let in_use = !one.is_idle();
        (in_use, in_use && *at < yielding.len() / 2, one.asked(), one.number)
    };
    let first = yielding.iter().copied().enumerate().min_by_key(rank);
    first.map(|(_, one)| one.number)
}

fn close(of: &mut ByNumber, number: u64) {
    if let Some(connection) = of.remove(&number) {
        connection.close();
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use axum::response::Response;

    use super::*;
    use crate::http_connection::InFlight;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn table(newcomers: usize, clients: usize) -> Arc<HttpConnectionTable> {
        let places = Places { newcomers, clients, sockets: 2 };
        HttpConnectionTable::with(MemoryAccount::default(), places)
    }

    fn client(table: &HttpConnectionTable) -> Arc<HttpConnection> {
        let connection = table.admit(HERE);
        assert!(table.enter(&connection));
        connection
    }

    fn closing(connection: &HttpConnection) -> bool {
        connection.is_closing(futures::task::noop_waker_ref())
    }

    fn closed<const N: usize>(all: [&Arc<HttpConnection>; N]) -> [bool; N] {
        all.map(|one| closing(one))
    }

    #[test]
    fn the_silent_ones_yield_to_newcomers_the_oldest_first() {
        let table = table(8, 1);
        let silent: Vec<_> = (0..8).map(|_| table.admit(HERE)).collect();
        for newcomer in 0..8 {
            table.admit(HERE);
            let closed: Vec<_> = silent.iter().map(|one| closing(one)).collect();
            assert_eq!(closed, (0..8).map(|one| one <= newcomer).collect::<Vec<_>>());
        }
        assert_eq!(table.count(), 8);
    }

    /// One scan serves many of a flood.
    #[test]
    fn a_sixteenth_of_the_silent_ones_yields_at_once() {
        let table = table(64, 1);
        let silent: Vec<_> = (0..64).map(|_| table.admit(HERE)).collect();
        // A check that is answered just now.
        let _check = silent[0].request();
        for newcomer in 0..8 {
            table.admit(HERE);
            let closed = silent.iter().filter(|one| closing(one)).count();
            assert_eq!(closed, if newcomer < 4 { 4 } else { 8 });
        }
        assert!(!closing(&silent[0]) && closing(&silent[1]));
    }

    #[test]
    fn silent_sockets_take_no_place_of_clients() {
        let table = table(2, 2);
        let clients = [client(&table), client(&table)];
        (0..100).for_each(|_| drop(table.admit(HERE)));
        assert_eq!(closed([&clients[0], &clients[1]]), [false; 2]);
        // A client that asks again has its place, and a new one takes that of the idle one.
        clients[1].moved();
        assert!(table.enter(&clients[0]));
        let newest = client(&table);
        assert_eq!(closed([&clients[0], &clients[1], &newest]), [true, false, false]);
    }

    #[test]
    fn a_request_in_flight_keeps_its_place() {
        let table = table(2, 4);
        let busy: Vec<_> = (0..4).map(|_| client(&table)).collect();
        let in_flight: Vec<_> = busy.iter().map(HttpConnection::request).collect();
        // It has a place all the same, and may ask for the node's health.
        let newcomer = table.admit(HERE);
        assert!(!table.enter(&newcomer) && !closing(&newcomer));
        assert!(!busy.iter().any(|one| closing(one)));
        drop(in_flight);
        assert!(table.enter(&newcomer));
        assert_eq!(table.count(), 4);
    }

    #[test]
    fn who_reads_an_answer_slowly_yields_when_all_places_are_taken() {
        let table = HttpConnectionTable {
            open: Mutex::default(),
            began: Instant::now() - Duration::from_secs(10),
            memory: MemoryAccount::default(),
            places: Places { newcomers: 1, clients: 4, sockets: 2 },
        };
        let clients: Vec<_> = (0..4).map(|_| client(&table)).collect();
        let _answers: Vec<_> =
            clients.iter().map(|client| client.request().until_sent(Response::default())).collect();
        let newcomer = table.admit(HERE);
        assert!(!table.enter(&newcomer), "all answers were just begun");
        clients.iter().for_each(|client| client.sending.store(1, Relaxed));
        clients[0].took(1 << 20);
        assert!(table.enter(&newcomer));
        let closed: Vec<_> = clients.iter().map(|client| closing(client)).collect();
        assert_eq!(closed, [false, true, false, false]);
    }

    fn busy(table: &HttpConnectionTable, from: u8) -> Option<(Arc<HttpConnection>, InFlight)> {
        let connection = table.admit(Ipv4Addr::new(10, 0, 0, from).into());
        table.enter(&connection).then(|| (connection.clone(), connection.request()))
    }

    /// Of one address: callers that wait, and some that begin a new answer before they are slow.
    #[test]
    fn the_source_with_the_most_clients_yields_to_another_and_not_to_itself() {
        let table = table(1, 8);
        let mut many: Vec<_> = (0..8).filter_map(|_| busy(&table, 1)).collect();
        many[5].0.sends();
        assert!(busy(&table, 1).is_none(), "its own work is not dropped for more of it");
        let mut others = vec![busy(&table, 2).expect("a place")];
        let mut yields = |at: usize| closing(&many.remove(at).0);
        assert!(yields(5), "whoever is sent an answer waits for nothing that the node does");
        others.extend([2, 3].map(|from| busy(&table, from).expect("a place")));
        assert!(yields(6) && yields(5), "then those whose work has only begun");
        // Five and two: one more for the other. Four and three: whoever yielded would be back.
        others.push(busy(&table, 2).expect("a place"));
        assert!(yields(4) && busy(&table, 2).is_none());
        assert!(!many.iter().chain(&others).any(|(one, _)| closing(one)));
        assert_eq!(table.count(), 8 + 1);
    }

    #[test]
    fn a_websocket_takes_no_place_of_the_others() {
        let table = table(1, 1);
        let socket = client(&table);
        table.upgrade(&socket);
        client(&table);
        assert!(!closing(&socket));
    }

    fn socket(table: &HttpConnectionTable, from: [u8; 4]) -> Arc<HttpConnection> {
        let connection = table.admit(Ipv4Addr::from(from).into());
        assert!(table.enter(&connection));
        table.upgrade(&connection);
        connection
    }

    /// Behind a proxy all have one address.
    #[test]
    fn websockets_of_one_source_yield_to_each_other() {
        let table = table(4, 4);
        let [first, second] = [(); 2].map(|()| socket(&table, [10, 0, 0, 1]));
        // Pongs are no requests.
        first.moved();
        let _subscription = second.request();
        let third = socket(&table, [10, 0, 0, 1]);
        assert_eq!(closed([&first, &second, &third]), [true, false, false]);
        let _subscription = third.request();
        let fourth = socket(&table, [10, 0, 0, 1]);
        assert_eq!(closed([&second, &third, &fourth]), [false, true, false]);
    }

    /// A subscription has one request, at its beginning.
    #[test]
    fn sockets_that_come_over_and_over_leave_those_that_are_open_for_long() {
        let places = Places { newcomers: 1, clients: 1, sockets: 8 };
        let table = HttpConnectionTable::with(MemoryAccount::default(), places);
        let proxy = [127, 0, 0, 1];
        let old: Vec<_> = (0..4).map(|_| socket(&table, proxy)).collect();
        let _subscriptions: Vec<_> = old.iter().map(HttpConnection::request).collect();
        let mut requests = vec![];
        for _ in 0..100 {
            let newcomer = socket(&table, proxy);
            requests.push(newcomer.request());
            assert!(!closing(&newcomer), "each finds a place");
        }
        assert!(!old.iter().any(|one| closing(one)));
        // One that opened all places first yields half of them.
        let other = socket(&table, proxy);
        assert!(!closing(&other) && table.count() == 8);
    }

    #[test]
    fn the_source_with_the_most_websockets_yields_to_another() {
        let places = Places { newcomers: 1, clients: 1, sockets: 4 };
        let table = HttpConnectionTable::with(MemoryAccount::default(), places);
        let [one, two] = [[10, 0, 0, 1], [10, 0, 0, 2]];
        let many = [(); 3].map(|()| socket(&table, one));
        // Each has a subscription; the one that is alone asked for nothing.
        let _subscriptions = many.each_ref().map(HttpConnection::request);
        let alone = socket(&table, two);
        let second = socket(&table, two);
        let [a, b, c] = &many;
        assert_eq!(closed([a, b, c, &alone, &second]), [false, true, false, false, false]);
        // None has more than the newcomer's own source now.
        let third = socket(&table, two);
        assert_eq!(closed([a, c, &alone, &second, &third]), [false, false, true, false, false]);
        // A new source displaces one all the same.
        let stranger = socket(&table, [10, 0, 0, 3]);
        assert_eq!(closed([a, c, &second, &third]).iter().filter(|closed| **closed).count(), 1);
        assert!(!closing(&stranger));
        assert_eq!(table.count(), 4);
    }
}
