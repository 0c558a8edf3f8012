//! What waits to be sent to one peer: a bounded queue a lane.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use alloy_primitives::bytes::Bytes;
use tokio::sync::Notify;
use trefoil_types::message::Lane;

use crate::connection::{
    answer_pool::{Frame, FrameCharge},
    budget::{OVERHEAD, PeerBudget},
    frame::Control,
    lane_limits::limits,
};

/// One peer's queues and byte counts.
#[derive(Debug)]
pub(crate) struct SendQueue {
    pub budget: Arc<PeerBudget>,
    lanes: [Queue; 3],
    /// Whether an answer to `GetPeers` is due.
    asked: AtomicBool,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    frames: Mutex<Frames>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Frames {
    waiting: VecDeque<Arc<Frame>>,
    bytes: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The frames of one lane that were said to all and are not written to all yet.
///
/// What always holds: they have at most `max` bytes, however many peers do not read. Beyond
/// that the oldest are dropped from all queues; who has begun to write one keeps its rest, at
/// its peer's cost.
#[derive(Debug)]
pub(crate) struct Broadcasts {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    max: usize,
}

/// Bytes of a lane's broadcasts that are not written to all yet. One of any length is kept.
// Seven of the largest proposals: three seconds of blocks of the largest size. Timers say votes
// again. On the catch-up lane nothing large is said to all.
pub(crate) const fn broadcasts_max(lane: Lane) -> usize {
    match lane {
        Lane::Consensus | Lane::Gossip => 8 * 1024 * 1024,
        Lane::CatchUp => 1024 * 1024,
    }
}

impl Broadcasts {
    pub fn new(lane: Lane) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, max: broadcasts_max(lane) }
    }

    /// Says a frame to all: `push` puts it in their queues, and counts those that it drops
    /// there. Returns how many were dropped in all.
    pub fn add(&mut self, bytes: Bytes, push: impl FnOnce(&Arc<Frame>) -> u64) -> u64 {
        let waits = |frame: &Arc<Frame>| Arc::strong_count(frame) > 1;
        let frame = Frame::new(bytes, FrameCharge::Shared);
        let mut dropped = push(&frame);
        while self.frames.front().is_some_and(|first| !waits(first)) {
            self.pop();
        }
        if waits(&frame) {
            self.bytes += frame.len + OVERHEAD;
            self.frames.push_back(frame);
        }
        if self.bytes <= self.max {
            return dropped;
        }
        // Seldom: half of it is free after that, and peers that read wait for none of it.
        self.frames.retain(waits);
        self.bytes = self.frames.iter().map(|frame| frame.len + OVERHEAD).sum();
        while self.bytes > self.max / 2 && self.frames.len() > 1 {
            self.pop().into_iter().for_each(|frame| frame.drop_bytes());
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<Arc<Frame>> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len + OVERHEAD;
        Some(frame)
    }
}

impl SendQueue {
    pub fn new(budget: Arc<PeerBudget>) -> Self {
        Self {
            budget,
            lanes: Default::default(),
            asked: AtomicBool::default(),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
        }
    }

    /// Asks the peer for other nodes.
    pub fn ask_for_peers(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.push_own(Lane::Gossip, Control::GetPeers.encode());
    }

    /// An answer came; whether it was asked for.
    pub fn answered(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    /// Puts a frame that is this peer's alone in its lane. Counts as [`Self::push`].
    // Attack: peers that ask for large answers and do not read them. What finds no room in
    // the budget is dropped: who asked asks again, or another.
    pub fn push_own(&self, lane: Lane, bytes: Bytes) -> u64 {
        self.budget.send(lane, bytes).map_or(1, |frame| self.push(lane, frame))
    }

    /// Puts a frame in its lane and returns how many were dropped for it, or
    /// 1 if the lane is full and it was itself dropped.
    pub fn push(&self, lane: Lane, frame: Arc<Frame>) -> u64 {
        let limits = limits(lane);
        let queue = &self.lanes[lane as usize];
        let mut frames = lock(&queue.frames);
        // A frame larger than the bound still passes an empty queue: otherwise the largest block
        // could not be sent at all.
        let full = |frames: &Frames| {
            frames.waiting.len() >= limits.out_messages_max
                || !frames.waiting.is_empty() && frames.bytes + frame.len > limits.out_bytes_max
        };
        let mut dropped = 0;
        while full(&frames) {
            dropped += 1;
            if !limits.drop_oldest {
                return dropped;
            }
            frames.pop();
        }
        frames.bytes += frame.len;
        frames.waiting.push_back(frame);
        drop(frames);
        queue.filled.notify_one();
        dropped
    }

    /// Waits for the lane's next frame. One task a lane may wait.
    pub async fn next(&self, lane: Lane) -> Arc<Frame> {
        let queue = &self.lanes[lane as usize];
        loop {
            if let Some(frame) = self.try_next(lane) {
                return frame;
            }
            queue.filled.notified().await;
        }
    }

    /// The lane's next frame that was not dropped.
    pub fn try_next(&self, lane: Lane) -> Option<Arc<Frame>> {
        let mut frames = lock(&self.lanes[lane as usize].frames);
        loop {
            let frame = frames.pop()?;
            if !frame.is_dropped() {
                return Some(frame);
            }
        }
    }
}

impl Frames {
    fn pop(&mut self) -> Option<Arc<Frame>> {
        let frame = self.waiting.pop_front()?;
        self.bytes -= frame.len;
        Some(frame)
    }
}
