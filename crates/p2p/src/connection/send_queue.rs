//! What waits to be sent to one peer: a bounded queue a lane.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use alloy_primitives::bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use trefoil_types::message::Lane;

use crate::connection::{
    frame::Control,
    lanes::{SMALL_BYTES_MAX, StrangersRoom, limits},
};

/// One peer's queues and byte counts. Frames are whole, with their length.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    /// Where its large answers count, if it is a stranger that dialled us.
    strangers: Option<StrangersRoom>,
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

/// A frame that waits, and the room that it takes until it is written.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Waiting {
    /// A frame that others hold too, so that it takes no room here.
    pub fn shared(bytes: Bytes) -> Self {
        Self { bytes, _room: None }
    }
}

#[derive(Debug, Default)]
struct Frames {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl SendQueue {
    pub fn new(strangers: Option<StrangersRoom>) -> Self {
        Self { strangers, ..Self::default() }
    }

    /// Asks the peer for other nodes.
    pub fn ask_for_peers(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.push(Lane::Gossip, Control::GetPeers.encode());
    }

    /// An answer came; whether it was asked for.
    pub fn answered(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    /// Puts a frame that is this peer's alone in its lane. Counts as [`Self::push`].
    // Attack: strangers that ask for large answers and do not read them. A broadcast is one
    // frame that all queues hold together; an answer costs its whole length each time.
    pub fn push_own(&self, lane: Lane, frame: Bytes) -> u64 {
        let room = match &self.strangers {
            Some(strangers) if frame.len() > SMALL_BYTES_MAX => {
                let Some(room) = strangers.try_take(frame.len()) else { return 1 };
                Some(room)
            }
            _ => None,
        };
        self.put(lane, Waiting { bytes: frame, _room: room })
    }

    /// Puts a frame in its lane and returns how many were dropped for it, or
    /// 1 if the lane is full and it was itself dropped.
    pub fn push(&self, lane: Lane, frame: Bytes) -> u64 {
        self.put(lane, Waiting::shared(frame))
    }

    fn put(&self, lane: Lane, frame: Waiting) -> u64 {
        let limits = limits(lane);
        let length = frame.bytes.len();
        let queue = &self.lanes[lane as usize];
        let mut frames = queue.lock();
        // A frame larger than the bound still passes an empty queue: otherwise the largest block
        // could not be sent at all.
        let full = |frames: &Frames| {
            frames.waiting.len() >= limits.out_messages_max
                || !frames.waiting.is_empty() && frames.bytes + length > limits.out_bytes_max
        };
        let mut dropped = 0;
        while full(&frames) {
            dropped += 1;
            if !limits.drop_oldest {
                return dropped;
            }
            frames.pop();
        }
        frames.bytes += length;
        frames.waiting.push_back(frame);
        drop(frames);
        queue.filled.notify_one();
        dropped
    }

    /// Waits for the lane's next frame. One task a lane may wait.
    pub async fn next(&self, lane: Lane) -> Waiting {
        let queue = &self.lanes[lane as usize];
        loop {
            if let Some(frame) = self.try_next(lane) {
                return frame;
            }
            queue.filled.notified().await;
        }
    }

    pub fn try_next(&self, lane: Lane) -> Option<Waiting> {
        self.lanes[lane as usize].lock().pop()
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frames {
    fn pop(&mut self) -> Option<Waiting> {
        let frame = self.waiting.pop_front()?;
        self.bytes -= frame.bytes.len();
        Some(frame)
    }
}
