//! What the muxer of a connection holds in memory: frames that came and nobody has read, and
//! frames that its socket has not taken.
//!
//! What always holds: each connection has a part of its own, and what it holds beyond that is of
//! a room that all connections of its kind share. Without room, no further frame of it is read, so
//! that its streams wait for each other, and the peer for all that it left unread or sent for
//! nobody. Nor do its streams take more to send, but for the first bytes of each: what a vote takes
//! waits for no other stream.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures::task::AtomicWaker;
use trefoil_types::limits::VALIDATORS_MAX;

use super::frames::MuxFrame;

const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;

/// Streams that this node opens at a time on one connection: those of the lanes, of
/// content, and two questions for providers. More wait.
// yamux ends a connection over one stream too many, and Kademlia opens one for each question
// (ADR 19).
pub(super) const OURS_MAX: usize = 6;

/// Streams of one connection: as many each way, and room for four that one side
/// has ended and the other not yet.
pub(super) const STREAMS_MAX: usize = 2 * OURS_MAX + 4;

/// The longest frame of the muxer that is read, bytes: the longest that a node sends.
// Attack: the body of a frame of 1 MiB is held by yamux before it looks whether it fits the window.
pub(crate) const FRAME_BYTES_MAX: usize = 64 * KIB;

/// What yamux holds for each frame beside its bytes: its place in a queue that doubles, and the
/// least that an allocator gives.
// Attack: a window full of frames of one byte, each of which takes 96.
const FRAME_OVERHEAD: usize = 96;

/// What each connection may hold whatever the others hold: unread, and unsent.
pub(crate) const OWN_UNREAD: usize = 32 * KIB;
pub(crate) const OWN_UNSENT: usize = 32 * KIB;

/// What one connection may hold at most. Bytes that are still on their way take none of it.
// It is what yamux's windows allow the three lanes and content: while the room of all lasts, no
// stream that waits (content for a disk, say) holds up the votes of the same connection.
pub(super) const PEER_UNREAD_MAX: usize = 2 * MIB;
const PEER_UNSENT_MAX: usize = 512 * KIB;

// Attack: peers that read slowly until the room of all is used up. The streams of every connection
// then wait for the same few bytes, and the votes behind blocks, transactions and content, which
// take whatever becomes free. yamux itself sends a frame of each stream in its turn. 2 KiB are ten
// votes.
/// What each stream that this node opened may hold unsent, whatever the others hold.
const STREAM_UNSENT: usize = 2 * KIB;
/// The part of what a connection may hold unsent that is kept for that.
const RESERVED_UNSENT: usize = OURS_MAX * STREAM_UNSENT;
/// What its streams may always hold unsent beyond that.
const OWN_BULK: usize = OWN_UNSENT - RESERVED_UNSENT;

/// What all connections that strangers dialled may hold beyond their own parts, but for the frame
/// that each of them has begun.
pub(crate) const STRANGERS_UNREAD: usize = 16 * MIB;
/// The same, of those that this node dialled.
const DIALLED_UNREAD: usize = 12 * MIB;
/// The same, of each of these kinds.
pub(crate) const KIND_UNSENT: usize = 8 * MIB;

// Attack: members that leave bulk unread until the room is used up, so that the votes of all others
// wait behind their own bulk. With a third of the validators every promise about votes and blocks
// ends anyway.
/// The same, of favoured peers: as much as a third of the validators may hold.
pub(crate) const FAVOURED_UNREAD: usize = (VALIDATORS_MAX / 3 + 1) * PEER_UNREAD_MAX;
pub(crate) const FAVOURED_UNSENT: usize = (VALIDATORS_MAX / 3 + 1) * PEER_UNSENT_MAX;

/// What all connections of one kind share.
#[derive(Debug)]
pub(crate) struct MuxPool {
    unread_max: usize,
    unsent_max: usize,
    unread: AtomicUsize,
    unsent: AtomicUsize,
}

/// What the muxer of one connection holds.
#[derive(Debug)]
pub(crate) struct MuxMemory {
    pool: Arc<MuxPool>,
    table: Mutex<MuxTable>,
    /// The task that reads the socket, while it waits for room.
    pub reader: AtomicWaker,
}

#[derive(Debug, Default)]
struct MuxTable {
    /// By the stream's number.
    streams: BTreeMap<u32, StreamBytes>,
    /// The cost of what nobody has read, of all streams.
    unread: usize,
    unsent: usize,
    /// The part of it whose streams are gone.
    abandoned: usize,
    /// Streams that wait to send.
    writers: Vec<Waker>,
}

/// What is held of a stream.
#[derive(Debug, Default)]
struct StreamBytes {
    /// Bytes that nobody has read, and what they cost.
    unread: usize,
    cost: usize,
    unsent: usize,
    /// Whether this node opened it.
    is_ours: bool,
    /// Who waits for bytes of the peer, and for its window.
    waits: [Option<Waker>; 2],
}

/// What a stream may wait for in yamux.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StreamWait {
    Bytes,
    Window,
}

impl MuxPool {
    /// Of the connections that strangers dialled.
    pub fn strangers() -> Arc<Self> {
        Self::new(STRANGERS_UNREAD, KIND_UNSENT)
    }

    /// Of those that this node dialled.
    pub fn dialled() -> Arc<Self> {
        Self::new(DIALLED_UNREAD, KIND_UNSENT)
    }

    /// Of those with favoured peers.
    pub fn favoured() -> Arc<Self> {
        Self::new(FAVOURED_UNREAD, FAVOURED_UNSENT)
    }

    fn new(unread_max: usize, unsent_max: usize) -> Arc<Self> {
        let (unread, unsent) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { unread_max, unsent_max, unread, unsent })
    }
}

/// Changes what a connection holds, and what it has of the room of all: what is beyond its own.
fn change(held: &mut usize, to: usize, own: usize, shared: &AtomicUsize) {
    let (before, after) = (held.saturating_sub(own), to.saturating_sub(own));
    // Wrapping, so that less is added as well.
    shared.fetch_add(after.wrapping_sub(before), Ordering::AcqRel);
    *held = to;
}

impl MuxMemory {
    pub fn new(pool: Arc<MuxPool>) -> Arc<Self> {
        Arc::new(Self { pool, table: Mutex::default(), reader: AtomicWaker::new() })
    }

    fn lock(&self) -> MutexGuard<'_, MuxTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_unread(&self, table: &mut MuxTable, to: usize) {
        change(&mut table.unread, to, OWN_UNREAD, &self.pool.unread);
    }

    fn set_unsent(&self, table: &mut MuxTable, to: usize) {
        change(&mut table.unsent, to, OWN_BULK, &self.pool.unsent);
    }

    /// Whether a further frame may be read.
    pub fn may_read(&self) -> bool {
        let unread = self.lock().unread;
        let shared = self.pool.unread.load(Ordering::Acquire) < self.pool.unread_max;
        unread < OWN_UNREAD || shared && unread < PEER_UNREAD_MAX
    }

    /// A frame has begun to come.
    ///
    /// # Errors
    /// It is longer than any that a node sends, or opens one stream too many.
    pub fn begin(&self, frame: MuxFrame) -> io::Result<()> {
        if frame.body > FRAME_BYTES_MAX {
            let what = format!("a frame of the muxer of {} bytes", frame.body);
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        let mut table = self.lock();
        if frame.opens {
            // Attack: yamux answers a stream too many, or of a number that is not the peer's, and
            // reads on; each would be remembered here. yamux has no fewer streams than are here.
            if table.streams.len() >= STREAMS_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, "too many streams"));
            }
            table.streams.entry(frame.stream).or_default();
        }
        // Of a stream that is gone it is dropped when it is here.
        let stream = table.streams.get_mut(&frame.stream).filter(|_| frame.body > 0);
        let Some(stream) = stream else { return Ok(()) };
        let cost = frame.body + FRAME_OVERHEAD;
        stream.unread += frame.body;
        stream.cost += cost;
        let to = table.unread + cost;
        self.set_unread(&mut table, to);
        Ok(())
    }

    /// A stream was opened from here.
    pub fn open(&self, stream: u32) {
        self.lock().streams.entry(stream).or_default().is_ours = true;
    }

    /// So many bytes of a stream were read.
    pub fn read(&self, stream: u32, bytes: usize) {
        let mut table = self.lock();
        let Some(held) = table.streams.get_mut(&stream) else { return };
        let left = held.unread.saturating_sub(bytes);
        // What its frames cost beside their bytes goes in proportion.
        let cost = (held.cost as u64 * left as u64).div_ceil(held.unread.max(1) as u64) as usize;
        let freed = held.cost - cost;
        (held.unread, held.cost) = (left, cost);
        let to = table.unread - freed;
        self.set_unread(&mut table, to);
        drop(table);
        self.reader.wake();
    }

    /// Nobody reads a stream any more.
    pub fn close(&self, stream: u32) {
        let mut table = self.lock();
        let Some(held) = table.streams.remove(&stream) else { return };
        table.abandoned += held.unsent;
        let to = table.unread - held.cost;
        self.set_unread(&mut table, to);
        drop(table);
        self.reader.wake();
    }

    /// How many bytes a stream may give to be sent.
    pub fn poll_send_room(&self, stream: u32, cx: &mut Context<'_>) -> Poll<usize> {
        let shared = self.pool.unsent.load(Ordering::Acquire) < self.pool.unsent_max;
        let most = if shared { PEER_UNSENT_MAX - RESERVED_UNSENT } else { OWN_BULK };
        let mut table = self.lock();
        match most.saturating_sub(table.unsent).max(table.reserve(stream)) {
            0 => {
                if !table.writers.iter().any(|writer| writer.will_wake(cx.waker())) {
                    table.writers.push(cx.waker().clone());
                }
                Poll::Pending
            }
            room => Poll::Ready(room),
        }
    }

    /// So many bytes of a stream wait to be sent from now on.
    pub fn accepted(&self, stream: u32, bytes: usize) {
        let mut table = self.lock();
        if let Some(held) = table.streams.get_mut(&stream) {
            held.unsent += bytes;
        }
        let to = table.unsent + bytes;
        self.set_unsent(&mut table, to);
    }

    /// The socket has taken so many of them.
    pub fn sent(&self, stream: u32, bytes: usize) {
        let mut table = self.lock();
        let MuxTable { streams, abandoned, .. } = &mut *table;
        let of_stream = streams.get_mut(&stream).map_or(abandoned, |held| &mut held.unsent);
        *of_stream = of_stream.saturating_sub(bytes);
        self.leave(table, bytes);
    }

    /// The task that is about to wait for yamux on a stream.
    pub fn waits(&self, stream: u32, wait: StreamWait, cx: &Context<'_>) {
        let mut table = self.lock();
        let Some(held) = table.streams.get_mut(&stream) else { return };
        let waker = &mut held.waits[wait as usize];
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    // yamux ends a connection that fails and wakes all its streams. One that this side closes it
    // ends too, but a stream that waits for the peer then waits for ever.
    /// This side has closed the connection: whatever is asked of a stream from now on has ended.
    pub fn closed(&self) {
        let waits = |held: &mut StreamBytes| std::mem::take(&mut held.waits);
        let wakers: Vec<_> = self.lock().streams.values_mut().flat_map(waits).flatten().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    // A stream that waits for room would wait for ever: yamux wakes only those that wait for it.
    /// The socket is gone, and whatever waits to be sent with it.
    pub fn end(&self) {
        self.leave(self.lock(), usize::MAX);
    }

    /// So many bytes do not wait to be sent any more.
    fn leave(&self, mut table: MutexGuard<'_, MuxTable>, bytes: usize) {
        let to = table.unsent.saturating_sub(bytes);
        self.set_unsent(&mut table, to);
        let writers = std::mem::take(&mut table.writers);
        drop(table);
        writers.into_iter().for_each(Waker::wake);
    }
}

impl MuxTable {
    // What streams left unsent that are gone is taken from all: streams that are opened over and
    // over hold no more than those that stay.
    /// What a stream may give to be sent whatever the others hold.
    fn reserve(&self, stream: u32) -> usize {
        let held = self.streams.get(&stream).filter(|held| held.is_ours);
        held.map_or(0, |held| STREAM_UNSENT.saturating_sub(held.unsent + self.abandoned))
    }
}

impl Drop for MuxMemory {
    fn drop(&mut self) {
        let mut table =
            std::mem::take(self.table.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.set_unread(&mut table, 0);
        self.set_unsent(&mut table, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(stream: u32, body: usize) -> MuxFrame {
        MuxFrame { stream, opens: false, body }
    }

    fn opened(pool: &Arc<MuxPool>) -> Arc<MuxMemory> {
        let memory = MuxMemory::new(pool.clone());
        memory.open(1);
        memory
    }

    fn send_room(memory: &MuxMemory, stream: u32) -> usize {
        match memory.poll_send_room(stream, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(room) => room,
            Poll::Pending => 0,
        }
    }

    /// Sends frames for as long as they are read; how many bytes of them.
    fn fill(memory: &MuxMemory, body: usize) -> usize {
        let mut bytes = 0;
        while memory.may_read() {
            memory.begin(data(1, body)).unwrap();
            bytes += body;
        }
        bytes
    }

    #[test]
    fn what_is_not_read_is_bounded_for_each_and_for_all() {
        let pool = MuxPool::strangers();
        let hostile: Vec<_> = (0..128).map(|_| opened(&pool)).collect();
        let held: Vec<_> = hostile.iter().map(|memory| fill(memory, FRAME_BYTES_MAX)).collect();
        assert!(held.iter().all(|bytes| *bytes <= PEER_UNREAD_MAX + FRAME_BYTES_MAX));
        let bound = STRANGERS_UNREAD + 128 * (OWN_UNREAD + FRAME_BYTES_MAX);
        assert!(held.iter().sum::<usize>() <= bound);
        // Others are read all the same, a frame at a time, and whoever reads has room again.
        let honest = opened(&pool);
        for _ in 0..100 {
            assert!(honest.may_read());
            honest.begin(data(1, FRAME_BYTES_MAX)).unwrap();
            honest.read(1, FRAME_BYTES_MAX);
        }
        hostile[0].read(1, held[0]);
        assert!(hostile[0].may_read());
        drop(hostile);
        assert_eq!(pool.unread.load(Ordering::Relaxed), 0);
        assert!(fill(&honest, FRAME_BYTES_MAX) >= PEER_UNREAD_MAX / 2);
    }

    #[test]
    fn a_third_of_the_favoured_peers_takes_no_room_from_the_others() {
        let pool = MuxPool::favoured();
        let hostile: Vec<_> = (0..VALIDATORS_MAX / 3).map(|_| opened(&pool)).collect();
        for memory in &hostile {
            fill(memory, FRAME_BYTES_MAX);
            fill_unsent(memory);
        }
        // All that its own windows allow.
        let honest = opened(&pool);
        assert!(fill(&honest, FRAME_BYTES_MAX) >= PEER_UNREAD_MAX - FRAME_BYTES_MAX);
        assert!(fill_unsent(&honest) >= PEER_UNSENT_MAX - RESERVED_UNSENT);
    }

    #[test]
    fn frames_of_a_byte_cost_what_they_take() {
        let memory = opened(&MuxPool::new(0, KIND_UNSENT));
        let bytes = fill(&memory, 1);
        assert!(bytes * FRAME_OVERHEAD <= OWN_UNREAD, "{bytes}");
        for _ in 0..bytes {
            memory.read(1, 1);
        }
        assert_eq!(memory.lock().unread, 0, "and give it back");
        assert!(memory.begin(data(1, FRAME_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn streams_that_yamux_refuses_are_not_remembered_without_end() {
        let memory = opened(&MuxPool::new(0, KIND_UNSENT));
        let open = |stream| memory.begin(MuxFrame { stream, opens: true, body: 0 });
        assert!((2..=STREAMS_MAX as u32).all(|stream| open(stream).is_ok()));
        assert!(open(1_000).is_err());
        memory.close(2);
        assert!(open(1_000).is_ok(), "in its place");
    }

    #[test]
    fn a_writer_does_not_wait_when_the_socket_is_gone() {
        struct Woken(AtomicUsize);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let memory = opened(&MuxPool::new(0, KIND_UNSENT));
        fill_unsent(&memory);
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = woken.clone().into();
        assert!(memory.poll_send_room(1, &mut Context::from_waker(&waker)).is_pending());
        memory.end();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(send_room(&memory, 1) > 0, "yamux says that the connection is gone");
    }

    #[test]
    fn a_stream_that_is_gone_takes_nothing() {
        let memory = opened(&MuxPool::new(0, KIND_UNSENT));
        fill(&memory, 1_000);
        memory.close(1);
        assert!(memory.may_read());
        memory.begin(data(1, 1_000)).unwrap();
        assert_eq!(memory.lock().unread, 0);
        memory.begin(MuxFrame { stream: 2, opens: true, body: 1_000 }).unwrap();
        assert_eq!(memory.lock().unread, 1_000 + FRAME_OVERHEAD);
    }

    /// Gives to be sent on a stream for as long as it is taken; how many bytes wait then.
    fn fill_stream(memory: &MuxMemory, stream: u32) -> usize {
        while let room @ 1.. = send_room(memory, stream) {
            memory.accepted(stream, room.min(FRAME_BYTES_MAX));
        }
        memory.lock().unsent
    }

    fn fill_unsent(memory: &MuxMemory) -> usize {
        fill_stream(memory, 1)
    }

    #[test]
    fn what_the_socket_does_not_take_is_bounded_for_each_and_for_all() {
        let pool = MuxPool::new(0, KIND_UNSENT);
        let silent: Vec<_> = (0..128).map(|_| opened(&pool)).collect();
        let held: Vec<_> = silent.iter().map(|memory| fill_unsent(memory)).collect();
        assert!(held.iter().all(|bytes| (OWN_BULK..=PEER_UNSENT_MAX).contains(bytes)));
        silent[127].sent(1, 1_000);
        assert_eq!(send_room(&silent[127], 1), 1_000);
        // Each of their streams has its first bytes beside that.
        let all = |memory: &Arc<MuxMemory>| {
            (0..OURS_MAX as u32).for_each(|n| memory.open(2 * n + 1));
            (0..STREAMS_MAX as u32).map(|stream| fill_stream(memory, stream)).max().unwrap()
        };
        let held: Vec<_> = silent.iter().map(all).collect();
        let least = OWN_UNSENT - STREAM_UNSENT;
        assert!(held.iter().all(|bytes| (least..=PEER_UNSENT_MAX).contains(bytes)));
        assert!(held.iter().sum::<usize>() <= KIND_UNSENT + 128 * OWN_UNSENT + PEER_UNSENT_MAX);
        drop(silent);
        assert_eq!(pool.unsent.load(Ordering::Relaxed), 0);
    }

    /// Of a connection whose bulk waits, and of one that filled the room of all before.
    #[test]
    fn a_vote_waits_for_no_bulk_when_the_room_of_all_is_used_up() {
        let pool = MuxPool::new(0, KIND_UNSENT);
        let others: Vec<_> = (0..128).map(|_| opened(&pool)).collect();
        others.iter().for_each(|memory| _ = fill_unsent(memory));
        for memory in [&others[0], &others[127]] {
            assert_eq!(send_room(memory, 1), 0, "its bulk waits");
            memory.open(3);
            assert_eq!(send_room(memory, 3), STREAM_UNSENT);
            memory.accepted(3, STREAM_UNSENT);
            assert_eq!(send_room(memory, 3), 0);
            // Bulk that leaves makes no room for it, and what it sent itself does.
            memory.sent(1, 100);
            assert_eq!(send_room(memory, 3), 0);
            memory.sent(3, 200);
            assert_eq!(send_room(memory, 3), 200);
            assert_eq!(send_room(memory, 1), 0, "it is no room for bulk");
            assert_eq!(send_room(memory, 2), 0, "nor for a stream that the peer opened");
        }
    }

    #[test]
    fn streams_that_are_opened_over_and_over_hold_no_more_than_those_that_stay() {
        let memory = opened(&MuxPool::new(0, 0));
        fill_unsent(&memory);
        for stream in 2..100 {
            memory.open(stream);
            fill_stream(&memory, stream);
            memory.close(stream);
        }
        assert!(memory.lock().unsent <= OWN_UNSENT);
        memory.sent(2, STREAM_UNSENT);
        memory.open(100);
        assert_eq!(send_room(&memory, 100), STREAM_UNSENT, "what they left is sent");
    }
}
