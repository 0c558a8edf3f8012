//! What the swarm holds in memory of its peers, in bytes: of each peer, and of all together.
//!
//! What always holds: a peer that does not read is not read either, and is let go before it
//! costs more than its bounds; at the bound of all, the peer goes for which most waits, so that
//! nobody is let go for what others leave unread.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use trefoil_content::message::FRAME_BYTES_MAX;

// The longest honest backlog: news of the largest directory (400 kB), and 64 offers of what a
// peer sought and was then put (1.2 MB).
/// Bytes that wait to be written to one peer. Beyond them its streams end.
const BACKLOG_BYTES_MAX: usize = 2 << 20;

// With 128 peers that read nothing, all of content then holds less than 50 MiB: a tenth of what
// hostile peers may cost a validator (512 MiB).
/// Bytes that wait to be written to all peers together.
const ALL_BACKLOGS_BYTES_MAX: usize = 32 << 20;

// Attack: 16 identities that read a frame each 29 s, just before a write ends without a byte, kept
// that bound for as long as they liked (issue 15).
/// What a peer must take of what is written to it, in this time of waiting for it: 2 KiB a second.
const DRAIN_BYTES: usize = 64 << 10;
const DRAIN: Duration = Duration::from_secs(30);

/// A write that takes no longer waits for the processor, and not for the peer.
const DRAIN_WAIT: Duration = Duration::from_millis(100);

// Attack: Finds whose answers are not read cost 134 MB for each identity (issue 15).
/// Finds are taken up while less than this waits to be written to their peer: 13 offers.
const ANSWERS_BYTES_MAX: usize = 256 << 10;

// Attack: a page asks for what nobody has, thousands of times: what waits for this node's own rate
// of Finds (50 a second) filled the backlogs, and honest peers were let go as if they did not read.
/// Finds are sent while less than this waits to be written to their peer: 16 s of that rate, and
/// a quarter of the bound of all with 128 peers.
const FINDS_BYTES_MAX: usize = 64 << 10;

/// Bytes of a peer's messages that the service has not handled yet, with those of their
/// answers: the longest message fits, and so do 19 Finds.
pub const HELD_BYTES_MAX: usize = FRAME_BYTES_MAX + (64 << 10);

// A held message is set free by this node's own work alone, so that no peer can keep the others
// waiting.
/// The same of all peers together: 32 of the longest messages.
const ALL_HELD_BYTES_MAX: usize = 16 << 20;

/// What all peers share.
#[derive(Clone, Debug)]
pub struct AllBacklogs {
    waiting: Arc<Mutex<BacklogTable>>,
    held: Arc<Semaphore>,
}

/// Bytes that wait to be written, by the numbers of the peers' connections. Who is let go is no
/// more among them.
#[derive(Debug, Default)]
struct BacklogTable {
    all: usize,
    of: BTreeMap<u64, (usize, Arc<Notify>)>,
    last: u64,
}

impl BacklogTable {
    fn of(&self, number: u64) -> Option<usize> {
        self.of.get(&number).map(|(bytes, _)| *bytes)
    }

    fn change(&mut self, number: u64, change: impl Fn(usize) -> usize) {
        if let Some((bytes, _)) = self.of.get_mut(&number) {
            *bytes = change(*bytes);
            self.all = change(self.all);
        }
    }

    fn let_go(&mut self, number: u64) {
        if let Some((bytes, overrun)) = self.of.remove(&number) {
            self.all -= bytes;
            overrun.notify_one();
        }
    }

    fn largest(&self) -> Option<u64> {
        let largest = self.of.iter().max_by_key(|(_, (bytes, _))| *bytes);
        largest.map(|(number, _)| *number)
    }
}

impl Default for AllBacklogs {
    fn default() -> Self {
        Self { waiting: Arc::default(), held: Arc::new(Semaphore::new(ALL_HELD_BYTES_MAX)) }
    }
}

impl AllBacklogs {
    fn lock(&self) -> MutexGuard<'_, BacklogTable> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One peer's.
#[derive(Debug)]
pub struct PeerBacklog {
    all: AllBacklogs,
    /// Among all.
    number: u64,
    held: Arc<Semaphore>,
    /// Something was written.
    drained: Notify,
    /// More was to wait than may.
    overrun: Arc<Notify>,
}

/// Room that a message has until it is handled.
#[derive(Debug)]
pub struct HeldBytes {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl PeerBacklog {
    pub fn new(all: AllBacklogs) -> Self {
        let held = Arc::new(Semaphore::new(HELD_BYTES_MAX));
        let overrun = Arc::new(Notify::new());
        let number = {
            let mut waiting = all.lock();
            waiting.last += 1;
            let number = waiting.last;
            waiting.of.insert(number, (0, overrun.clone()));
            number
        };
        Self { all, number, held, drained: Notify::new(), overrun }
    }

    /// So many bytes more are to wait for the peer. `false`: it reads too slowly, and its
    /// streams end.
    #[must_use]
    pub fn add(&self, bytes: usize) -> bool {
        let mut waiting = self.all.lock();
        waiting.change(self.number, |waits| waits + bytes);
        if waiting.of(self.number) > Some(BACKLOG_BYTES_MAX) {
            waiting.let_go(self.number);
        }
        while waiting.all > ALL_BACKLOGS_BYTES_MAX
            && let Some(largest) = waiting.largest()
        {
            waiting.let_go(largest);
        }
        waiting.of(self.number).is_some()
    }

    /// So many bytes that waited were written, or never will be.
    pub fn remove(&self, bytes: usize) {
        self.all.lock().change(self.number, |waits| waits - bytes);
        self.drained.notify_one();
    }

    /// Whether there is room for the answers to requests.
    pub fn has_room(&self) -> bool {
        self.waits_below(ANSWERS_BYTES_MAX)
    }

    /// Whether there is room for requests of this node.
    pub fn has_room_for_finds(&self) -> bool {
        self.waits_below(FINDS_BYTES_MAX)
    }

    fn waits_below(&self, bytes: usize) -> bool {
        self.all.lock().of(self.number).is_some_and(|waits| waits < bytes)
    }

    /// Until there is room for the answer to a Find. For one caller. (Who is let go has none, and
    /// its streams end.)
    pub async fn reads(&self) {
        while !self.has_room() {
            self.drained.notified().await;
        }
    }

    /// Until more was to wait than may.
    pub async fn overrun(&self) {
        self.overrun.notified().await;
    }

    /// Room for a message of so many bytes, until it is handled.
    pub async fn hold(&self, bytes: usize) -> HeldBytes {
        let bytes = bytes.min(HELD_BYTES_MAX) as u32;
        let own = self.held.clone().acquire_many_owned(bytes).await;
        let all = self.all.held.clone().acquire_many_owned(bytes).await;
        let open = "nobody closes it";
        HeldBytes { _own: own.expect(open), _all: all.expect(open) }
    }
}

impl Drop for PeerBacklog {
    /// What still waited for the peer goes with its queue.
    fn drop(&mut self) {
        let mut waiting = self.all.lock();
        waiting.let_go(self.number);
    }
}

/// How fast a peer takes what is written to it.
#[derive(Debug, Default)]
pub struct DrainRate {
    waited: Duration,
    bytes: usize,
}

impl DrainRate {
    /// A write of so many bytes took so long. `false`: the peer is too slow.
    #[must_use]
    pub fn wrote(&mut self, bytes: usize, took: Duration) -> bool {
        self.bytes += bytes;
        if took >= DRAIN_WAIT {
            self.waited += took;
        }
        if self.waited < DRAIN {
            return true;
        }
        std::mem::take(self).bytes >= DRAIN_BYTES
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_peer_that_reads_nothing_costs_no_more_than_its_bound() {
        let all = AllBacklogs::default();
        let peer = PeerBacklog::new(all.clone());
        let offer = 20_000;
        let mut waits = 0;
        while peer.reads().now_or_never().is_some() {
            assert!(peer.add(offer));
            waits += offer;
        }
        assert!(waits < ANSWERS_BYTES_MAX + offer, "its Finds are not taken up any more");
        assert!(peer.overrun().now_or_never().is_none());
        while peer.add(offer) {
            waits += offer;
        }
        assert!(waits <= BACKLOG_BYTES_MAX && waits + offer > BACKLOG_BYTES_MAX);
        assert!(peer.overrun().now_or_never().is_some(), "it is let go");
        assert!(!peer.add(1) && peer.reads().now_or_never().is_none());
        assert_eq!(all.lock().all, 0, "what waits goes with it");
        peer.remove(offer);
        drop(peer);
        assert_eq!(all.lock().all, 0);
    }

    #[test]
    fn at_the_bound_of_all_who_leaves_most_unread_is_let_go() {
        let all = AllBacklogs::default();
        let hostile: Vec<_> = (0..16).map(|_| PeerBacklog::new(all.clone())).collect();
        for peer in &hostile {
            // 16 of them make the bound.
            assert!(peer.add(BACKLOG_BYTES_MAX));
        }
        // As the whole news of the largest directory, and more.
        let honest = PeerBacklog::new(all.clone());
        for _ in 0..10 {
            assert!(honest.add(100_000));
        }
        assert!(honest.overrun().now_or_never().is_none());
        let gone = |peer: &&PeerBacklog| peer.overrun().now_or_never().is_some();
        assert_eq!(hostile.iter().filter(gone).count(), 1);
        assert!(all.lock().all <= ALL_BACKLOGS_BYTES_MAX);
        honest.remove(1_000_000);
        drop(hostile);
        assert_eq!(all.lock().all, 0);
    }

    /// This node may write 50 a second.
    #[test]
    fn finds_alone_let_nobody_go() {
        let all = AllBacklogs::default();
        let peers: Vec<_> = (0..128).map(|_| PeerBacklog::new(all.clone())).collect();
        for peer in &peers {
            while peer.has_room_for_finds() {
                assert!(peer.add(81));
            }
        }
        assert!(all.lock().all <= ALL_BACKLOGS_BYTES_MAX / 3);
        assert!(peers.iter().all(PeerBacklog::has_room), "their own Finds are taken up");
    }

    #[test]
    fn a_peer_that_reads_a_frame_now_and_then_is_too_slow() {
        let second = Duration::from_secs(1);
        let cut = |bytes: usize, took: Duration| {
            let mut rate = DrainRate::default();
            (0..10_000).position(|_| !rate.wrote(bytes, took))
        };
        assert_eq!(cut(100, 29 * second), Some(1), "after a minute");
        assert_eq!(cut(1_000, second), Some(29));
        assert_eq!(cut(128 << 10, 29 * second), None);
        assert_eq!(cut(4 << 10, second), None);
        assert_eq!(cut(10, second / 20), None, "this node was slow");
    }

    #[test]
    fn a_peer_is_read_again_when_it_reads() {
        let peer = PeerBacklog::new(AllBacklogs::default());
        assert!(peer.add(ANSWERS_BYTES_MAX));
        let mut reads = Box::pin(peer.reads());
        assert!(reads.as_mut().now_or_never().is_none());
        peer.remove(1);
        assert!(reads.as_mut().now_or_never().is_some());
    }

    #[test]
    fn messages_that_are_not_handled_are_bounded_in_bytes() {
        let all = AllBacklogs::default();
        let held = |peer: &PeerBacklog| {
            std::iter::from_fn(|| peer.hold(FRAME_BYTES_MAX).now_or_never()).collect::<Vec<_>>()
        };
        let peers: Vec<_> = (0..128).map(|_| PeerBacklog::new(all.clone())).collect();
        let one = held(&peers[0]);
        assert_eq!(one.len(), 1, "the longest message fits, and one only");
        assert!(peers[1..].iter().all(|peer| held(peer).len() == 1), "each is handled at once");
        let kept: Vec<_> = peers[1..].iter().map(held).collect();
        let count: usize = one.len() + kept.iter().map(Vec::len).sum::<usize>();
        assert_eq!(count, ALL_HELD_BYTES_MAX / FRAME_BYTES_MAX);
    }
}
