//! What waits to be sent to one peer: a bounded queue a lane.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use alloy_primitives::bytes::Bytes;
use tokio::sync::Notify;
use trefoil_types::message::Lane;

use crate::lane::limits;

/// One peer's queues and byte counts. Frames are whole, with their length.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    lanes: [Queue; 3],
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
    waiting: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    /// Puts a frame in its lane and returns how many were dropped for it, or
    /// 1 if the lane is full and it was itself dropped.
    pub fn push(&self, lane: Lane, frame: Bytes) -> u64 {
        let limits = limits(lane);
        let queue = &self.lanes[lane as usize];
        let mut frames = queue.lock();
        let full = |frames: &Frames| {
            frames.waiting.len() >= limits.out_messages_max
                || !frames.waiting.is_empty() && frames.bytes + frame.len() > limits.out_bytes_max
        };
        let mut dropped = 0;
        while full(&frames) {
            dropped += 1;
            if !limits.drop_oldest {
                return dropped;
            }
            frames.pop();
        }
        frames.bytes += frame.len();
        frames.waiting.push_back(frame);
        drop(frames);
        queue.filled.notify_one();
        dropped
    }

    /// Waits for the lane's next frame. One task a lane may wait.
    pub async fn next(&self, lane: Lane) -> Bytes {
        let queue = &self.lanes[lane as usize];
        loop {
            if let Some(frame) = self.try_next(lane) {
                return frame;
            }
            queue.filled.notified().await;
        }
    }

    pub fn try_next(&self, lane: Lane) -> Option<Bytes> {
        self.lanes[lane as usize].lock().pop()
    }

    pub fn count_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn count_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frames {
    fn pop(&mut self) -> Option<Bytes> {
        let frame = self.waiting.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}
