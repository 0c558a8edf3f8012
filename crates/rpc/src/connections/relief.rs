//! Which connection is let go when the memory of all callers is short.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::HttpConnectionTable;
use crate::{
    http_connection::{HttpConnection, SENDING_KEPT, millis, now},
    limits,
    memory::SMALL_BYTES,
};

// Long enough for a slow line to take its next packet.
/// A connection that has not read for so long may be closed.
const STALLED_AFTER: Duration = Duration::from_secs(2);

// As long as a heavy answer takes: until then the message that it was needed for may be at work.
/// A WebSocket whose large message is so old may be closed.
const KEPT_FOR: Duration = limits::HEAVY_TIME_MAX;

impl HttpConnectionTable {
    // What is kept for the next large message, and what a client does not read, are the things in
    // the account that do not end by themselves soon.
    /// If the account of all callers refused somebody since this was last called: closes the
    /// WebSocket that keeps the most for messages that do not come, or else the connection that
    /// holds memory and has not read for the longest time, or else the one that holds the most of
    /// those that read or send slowly.
    pub fn relieve(&self) {
        if !self.memory.has_refused() {
            return;
        }
        let mut open = self.open();
        let before = |time| now(self.began).saturating_sub(millis(time));
        let (unneeded, stalled) = (before(KEPT_FOR), before(STALLED_AFTER));
        let late = before(SENDING_KEPT);
        let kinds = open.each_kind();
        let all = || kinds.iter().flat_map(|kind| kind.values());
        let yields = greatest_keeper(all(), unneeded)
            .or_else(|| stalled_longest(all(), stalled))
            .or_else(|| greatest_slow(all(), late));
        if let Some(connection) = yields.cloned() {
            for kind in kinds {
                kind.remove(&connection.number);
            }
            connection.close();
        }
    }
}

// A subscription or a request that waits is no reason to keep it: with one each, a dozen sockets
// would hold the account for ever.
/// The WebSocket that keeps the most, if no message needed it since `limit`.
fn greatest_keeper<'a>(
    all: impl Iterator<Item = &'a Arc<HttpConnection>>,
    limit: u64,
) -> Option<&'a Arc<HttpConnection>> {
    let keepers = all.filter(|one| one.kept() > SMALL_BYTES);
    let unneeded = keepers.filter(|one| one.needed.load(Relaxed) <= limit);
    unneeded.max_by_key(|one| one.kept())
}

/// The connection that holds memory and has not read since before `limit`, for the longest time.
fn stalled_longest<'a>(
    all: impl Iterator<Item = &'a Arc<HttpConnection>>,
    limit: u64,
) -> Option<&'a Arc<HttpConnection>> {
    let since = |one: &Arc<HttpConnection>| one.blocked.load(Relaxed);
    let stalled = all.filter(|one| (1..=limit).contains(&since(one)) && one.memory.used() > 0);
    stalled.min_by_key(|one| since(one))
}

// Three that take a packet now and then would hold all that large answers may take, for hours; and
// eight bodies that do not end, or some WebSocket messages that wait for each other's room, for 30 s.
/// The connection that holds the most, of those that read slowly, or send what is not whole
/// since `limit`.
fn greatest_slow<'a>(
    all: impl Iterator<Item = &'a Arc<HttpConnection>>,
    limit: u64,
) -> Option<&'a Arc<HttpConnection>> {
    let sends_since = |one: &HttpConnection| one.receiving.load(Relaxed);
    let is_slow = |one: &HttpConnection| {
        one.slow_since().is_some() || (1..=limit).contains(&sends_since(one))
    };
    let slow = all.filter(|one| one.memory.used() > SMALL_BYTES && is_slow(one));
    slow.max_by_key(|one| one.memory.used())
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::Mutex,
        time::Instant,
    };

    use super::*;
    use crate::{connections::Places, memory::MemoryAccount};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// So long after its beginning.
    fn aged(age: Duration) -> HttpConnectionTable {
        HttpConnectionTable {
            open: Mutex::default(),
            began: Instant::now() - age,
            memory: MemoryAccount::new(1 << 20),
            places: Places { newcomers: 4, clients: 4, sockets: 2 },
        }
    }

    /// Somebody is refused what would fit at another time.
    fn refuse(table: &HttpConnectionTable) {
        let _all = table.memory.claim_anyway(1 << 20);
        assert!(table.memory.claim(1 << 10).is_err());
    }

    fn closing(connection: &HttpConnection) -> bool {
        connection.is_closing(futures::task::noop_waker_ref())
    }

    #[test]
    fn who_has_not_read_for_the_longest_time_is_let_go_when_memory_is_short() {
        let table = aged(Duration::from_secs(10));
        let [reads, slow, stuck, empty] = [(); 4].map(|()| table.admit(HERE));
        let all = [&reads, &slow, &stuck, &empty];
        all.iter().for_each(|one| one.blocked.store(1, Relaxed));
        assert!(table.enter(&stuck));
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
            refuse(&table);
            table.relieve();
        }
        assert_eq!(all.map(|one| closing(one)), [false, false, true, false]);
        assert_eq!(table.count(), 3);
    }

    #[test]
    fn who_reads_or_sends_slowly_and_holds_the_most_is_let_go_when_memory_is_short() {
        let table = aged(Duration::from_secs(60));
        let [small, slow, fast] = [(); 3].map(|()| table.admit(HERE));
        let all = [&small, &slow, &fast];
        for (one, taken) in all.into_iter().zip([1 << 19, 1 << 19, 1 << 20]) {
            one.sending.store(1, Relaxed);
            one.took(taken);
        }
        let _held = [(&small, 1), (&slow, 2), (&fast, 3)]
            .map(|(one, times)| one.memory.claim(times * SMALL_BYTES).unwrap());
        for _ in 0..3 {
            refuse(&table);
            table.relieve();
        }
        assert_eq!(all.map(|one| closing(one)), [false, true, false]);
        // What it sends is not whole for a minute.
        for (since, yields) in [(0, false), (1, true)] {
            fast.receiving.store(since, Relaxed);
            refuse(&table);
            table.relieve();
            assert_eq!(closing(&fast), yields);
        }
    }

    /// With a subscription or a request each, a dozen of them would hold the account for ever.
    #[test]
    fn who_keeps_the_most_for_no_message_yields_first_when_memory_is_short() {
        let table = aged(2 * KEPT_FOR);
        let [small, large, larger, needed] = [(); 4].map(|()| table.admit(HERE));
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
            refuse(&table);
            table.relieve();
            yielded.push(all.map(|one| closing(one)));
        }
        let both = [false, true, true, false];
        assert_eq!(yielded, [[false, false, true, false], both, both]);
    }
}
