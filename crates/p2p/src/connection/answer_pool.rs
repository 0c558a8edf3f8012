//! Frames that wait to be written, and the room that the answers to all peers of one kind
//! share.
//!
//! What always holds: the bytes of a frame are charged for as long as they are in memory, to
//! the broadcasts, to its peer's reserve, or to this room. When the room is full, the answers of
//! whoever has most of it are dropped: so nobody's unread answers keep another from its own.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use alloy_primitives::bytes::Bytes;
use futures::AsyncWrite;
use tokio::sync::OwnedSemaphorePermit;

/// A peer's answers are not dropped for another's before its oldest has waited so long.
// Peers that read fast do not drop each other's. Attack: peers that renew all of it each second.
// A node answers strangers with 16 MiB of blocks a second at most (`message_rule::GET_BLOCKS`).
const KEPT: Duration = Duration::from_secs(1);

/// After an answer found no room, those that read slowly are let go for so long.
const CONTENDED: Duration = Duration::from_secs(10);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the answers to all peers of one kind may have.
#[derive(Debug)]
pub(crate) struct AnswerPool {
    max: usize,
    table: Mutex<AnswerTable>,
}

#[derive(Debug, Default)]
struct AnswerTable {
    taken: usize,
    last: u64,
    of: BTreeMap<u64, PeerPart>,
    /// When an answer last found no room.
    refused: Option<Instant>,
}

#[derive(Debug, Default)]
struct PeerPart {
    bytes: usize,
    /// The oldest first.
    frames: VecDeque<(Instant, Weak<Frame>)>,
    /// When there are so many, those that were sent are taken out.
    sweep_at: usize,
}

impl PeerPart {
    // Attack: a peer reads one answer byte by byte, and a thousand others behind it: each left 150
    // bytes here for as long as the first was not read.
    fn push(&mut self, now: Instant, frame: &Arc<Frame>) {
        if self.frames.len() >= self.sweep_at {
            self.frames.retain(|(_, frame)| frame.strong_count() > 0);
            self.sweep_at = 2 * self.frames.len().max(16);
        }
        self.frames.push_back((now, Arc::downgrade(frame)));
    }
}

/// One peer's part of the room.
#[derive(Debug)]
pub(crate) struct PeerAnswers {
    pool: Arc<AnswerPool>,
    number: u64,
    max: usize,
}

/// A part of the room that is taken. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct AnswerCharge {
    peer: Arc<PeerAnswers>,
    bytes: usize,
}

impl AnswerPool {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, table: Mutex::default() })
    }
}

impl AnswerTable {
    /// The frames of the peer that has most: more than `bytes`, and not since just now.
    fn largest(&mut self, bytes: usize, now: Instant) -> Option<VecDeque<(Instant, Weak<Frame>)>> {
        let old = |part: &PeerPart| part.frames.front().is_some_and(|(at, _)| *at + KEPT <= now);
        let parts = self.of.values_mut().filter(|part| part.bytes > bytes && old(part));
        parts.max_by_key(|part| part.bytes).map(|part| std::mem::take(&mut part.frames))
    }
}

impl PeerAnswers {
    /// Of one peer, which may have at most `max`.
    pub fn new(pool: Arc<AnswerPool>, max: usize) -> Arc<Self> {
        let number = {
            let mut table = lock(&pool.table);
            table.last += 1;
            let number = table.last;
            table.of.insert(number, PeerPart::default());
            number
        };
        Arc::new(Self { pool, number, max })
    }

    /// Bytes that the peer may still have.
    pub fn room(&self) -> usize {
        let table = lock(&self.pool.table);
        self.max - table.of.get(&self.number).map_or(0, |part| part.bytes)
    }

    /// Whether others found no room of late.
    pub fn is_contended(&self, now: Instant) -> bool {
        lock(&self.pool.table).refused.is_some_and(|at| now < at + CONTENDED)
    }

    /// Takes room for so many bytes, if there is some.
    fn try_take(self: &Arc<Self>, bytes: usize) -> Option<AnswerCharge> {
        let mut table = lock(&self.pool.table);
        let AnswerTable { taken, of, .. } = &mut *table;
        let part = of.get_mut(&self.number)?;
        if bytes > self.max - part.bytes || bytes > self.pool.max - *taken {
            return None;
        }
        part.bytes += bytes;
        *taken += bytes;
        Some(AnswerCharge { peer: self.clone(), bytes })
    }

    /// A frame for this peer alone, which costs so many bytes. If there is no room, it is made
    /// by whoever has most.
    pub fn frame(self: &Arc<Self>, bytes: Bytes, cost: usize, now: Instant) -> Option<Arc<Frame>> {
        let charge = loop {
            if let Some(charge) = self.try_take(cost) {
                break charge;
            }
            let left = self.room();
            if cost > left {
                return None;
            }
            let would_have = self.max - left + cost;
            let mut table = lock(&self.pool.table);
            let Some(frames) = table.largest(would_have, now) else {
                table.refused = Some(now);
                return None;
            };
            drop(table);
            frames.iter().filter_map(|(_, frame)| frame.upgrade()).for_each(|it| it.drop_bytes());
        };
        let frame = Frame::new(bytes, FrameCharge::Answer(charge));
        if let Some(part) = lock(&self.pool.table).of.get_mut(&self.number) {
            part.push(now, &frame);
        }
        Some(frame)
    }
}

impl Drop for AnswerCharge {
    fn drop(&mut self) {
        let mut table = lock(&self.peer.pool.table);
        table.taken -= self.bytes;
        if let Some(part) = table.of.get_mut(&self.peer.number) {
            part.bytes -= self.bytes;
            while part.frames.front().is_some_and(|(_, frame)| frame.strong_count() == 0) {
                part.frames.pop_front();
            }
        }
    }
}

impl Drop for PeerAnswers {
    fn drop(&mut self) {
        lock(&self.pool.table).of.remove(&self.number);
    }
}

/// What a frame's bytes are charged to.
#[derive(Debug)]
pub(crate) enum FrameCharge {
    /// It is for all, or for nobody yet: see `send_queue::Broadcasts`.
    Shared,
    Reserve(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit),
    Answer(#[expect(dead_code, reason = "held until it is dropped")] AnswerCharge),
}

/// A whole frame, with its length, that waits in one queue, or in those of all peers.
#[derive(Debug)]
pub(crate) struct Frame {
    pub len: usize,
    /// Whether others may wait for its room.
    pub is_answer: bool,
    held: Mutex<FrameBytes>,
}

#[derive(Debug)]
struct FrameBytes {
    /// `None` once it waited too long.
    bytes: Option<Bytes>,
    charge: FrameCharge,
    /// Who has written a part of it.
    begun: Vec<Weak<BegunFrame>>,
}

/// A frame that is written to a peer in part.
#[derive(Debug)]
pub(crate) struct BegunFrame {
    peer: Arc<PeerAnswers>,
    kept: Mutex<Option<(Bytes, AnswerCharge)>>,
}

impl Frame {
    pub fn new(bytes: Bytes, charge: FrameCharge) -> Arc<Self> {
        let is_answer = matches!(charge, FrameCharge::Answer(_));
        let (len, begun) = (bytes.len(), Vec::new());
        let held = Mutex::new(FrameBytes { bytes: Some(bytes), charge, begun });
        Arc::new(Self { len, is_answer, held })
    }

    /// Frees its bytes, whoever waits to send it. Who has begun to send what was said to all
    /// keeps it at its own cost, if it has room.
    // Without the rest of a frame its session ends, with the votes on its other streams.
    pub fn drop_bytes(&self) {
        let mut held = lock(&self.held);
        let Some(bytes) = held.bytes.take() else { return };
        if !self.is_answer {
            for begun in held.begun.drain(..).filter_map(|begun| begun.upgrade()) {
                let charge = begun.peer.try_take(self.len);
                *lock(&begun.kept) = charge.map(|charge| (bytes.clone(), charge));
            }
        }
        let charge = std::mem::replace(&mut held.charge, FrameCharge::Shared);
        drop(held);
        drop(charge);
    }

    pub fn is_dropped(&self) -> bool {
        lock(&self.held).bytes.is_none()
    }

    /// Writes some of it to `peer`, from `start` on.
    // The bytes are held only while they are written: else each peer that reads slowly could
    // hold a frame of its own of what was said to all.
    pub fn poll_write(
        &self,
        start: usize,
        (peer, begun): (&Arc<PeerAnswers>, &mut Option<Arc<BegunFrame>>),
        stream: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut held = lock(&self.held);
        let Some(bytes) = &held.bytes else {
            drop(held);
            let kept = begun.as_ref().map(|begun| lock(&begun.kept));
            return match kept.as_ref().and_then(|kept| kept.as_ref()) {
                Some((bytes, _)) => stream.poll_write(cx, &bytes[start..]),
                None => Poll::Ready(Err(io::Error::other("the peer reads too slowly"))),
            };
        };
        let written = stream.poll_write(cx, &bytes[start..]);
        if let Poll::Ready(Ok(bytes)) = &written
            && (1..self.len - start).contains(bytes)
            && begun.is_none()
        {
            let peer = peer.clone();
            let this = begun.insert(Arc::new(BegunFrame { peer, kept: Mutex::default() }));
            held.begun.retain(|begun| begun.strong_count() > 0);
            held.begun.push(Arc::downgrade(this));
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    const MIB: usize = 1 << 20;

    fn of(bytes: usize) -> Bytes {
        Bytes::from(vec![7; bytes])
    }

    /// Writes to a peer that takes at most `room`.
    fn write(
        frame: &Frame,
        start: usize,
        to: (&Arc<PeerAnswers>, &mut Option<Arc<BegunFrame>>),
        room: usize,
    ) -> Option<usize> {
        let mut sink = vec![0; room];
        let cx = &mut Context::from_waker(futures::task::noop_waker_ref());
        match frame.poll_write(start, to, Pin::new(&mut Cursor::new(&mut sink[..])), cx) {
            Poll::Ready(written) => written.ok(),
            Poll::Pending => None,
        }
    }

    /// Two that do not read hold all; whoever comes after gets its answer.
    #[test]
    fn at_the_bound_whoever_has_most_yields_and_not_the_newcomer() {
        let (pool, now) = (AnswerPool::new(24 * MIB), Instant::now());
        let peer = || PeerAnswers::new(pool.clone(), 12 * MIB);
        let hoarders = [peer(), peer()];
        let hoard = |it: &Arc<PeerAnswers>| it.frame(of(1), 6 * MIB, now).unwrap();
        let held: Vec<_> = hoarders.iter().flat_map(|it| [hoard(it), hoard(it)]).collect();
        let newcomer = peer();
        assert!(newcomer.frame(of(1), 2 * MIB, now).is_none(), "peers that read have some time");
        assert!(newcomer.is_contended(now));
        let later = now + KEPT;
        let answers: Vec<_> = (0..5).map(|_| newcomer.frame(of(1), 2 * MIB, later)).collect();
        assert!(answers.iter().all(Option::is_some));
        assert_eq!(held.iter().filter(|frame| frame.is_dropped()).count(), 2, "of one hoarder");
        // Nobody displaces whoever has less than he would have himself.
        let evicted = hoarders.iter().find(|it| it.room() == 12 * MIB).expect("one");
        assert!(evicted.frame(of(1), 12 * MIB, later).is_none());
        assert!(evicted.frame(of(1), 11 * MIB, later).is_some());
        drop((answers, held));
        assert_eq!(newcomer.room(), 12 * MIB);
    }

    /// Attack: one answer is read byte by byte, and thousands behind it at once.
    #[test]
    fn answers_that_were_read_leave_nothing_behind_one_that_is_not() {
        let (pool, now) = (AnswerPool::new(24 * MIB), Instant::now());
        let peer = PeerAnswers::new(pool.clone(), 12 * MIB);
        let unread = peer.frame(of(1), 6 * MIB, now).expect("room");
        for _ in 0..1_000 {
            drop(peer.frame(of(1), MIB, now).expect("room"));
        }
        assert!(lock(&pool.table).of[&peer.number].frames.len() <= 33);
        assert!(!unread.is_dropped());
    }

    #[test]
    fn what_is_left_of_a_begun_broadcast_moves_to_the_peer_that_has_begun_it() {
        let pool = AnswerPool::new(3 * MIB);
        let [slow, full] = [(); 2].map(|()| PeerAnswers::new(pool.clone(), 2 * MIB));
        let kept_busy = full.frame(of(1), 2 * MIB, Instant::now());
        let frame = Frame::new(of(MIB), FrameCharge::Shared);
        let (mut begun, mut without_room) = (None, None);
        assert_eq!(write(&frame, 0, (&slow, &mut begun), 1000), Some(1000));
        assert_eq!(write(&frame, 0, (&full, &mut without_room), 1000), Some(1000));
        frame.drop_bytes();
        assert!(frame.is_dropped(), "nobody else gets it");
        assert_eq!(write(&frame, 1000, (&slow, &mut begun), MIB), Some(MIB - 1000));
        assert_eq!(slow.room(), MIB, "it costs the peer its own room");
        assert_eq!(write(&frame, 1000, (&full, &mut without_room), MIB), None);
        assert_eq!(write(&frame, 0, (&slow, &mut None), MIB), None);
        drop((begun, kept_busy));
        assert_eq!(slow.room(), 2 * MIB);
    }
}
