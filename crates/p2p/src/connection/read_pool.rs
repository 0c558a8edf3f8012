//! The room that large frames of all peers of one kind share on a lane, from their first byte
//! until the node has read them.
//!
//! What always holds: bytes that are only claimed take nothing. One frame at a time may have
//! all it needs (it has the turn), so frames that are all begun do not wait for each other.
//! Who waits is not cut; while somebody waits, the slowest of those that do not is.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::transport::kill_switch::KillSwitch;

/// When somebody has waited so long, the slowest is cut: one each such time.
// A frame of 9 MiB comes within it at 75 Mbit/s. Attack: frames that come as slowly as they may,
// for 154 s each, while the others wait.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct ReadPool {
    first_come: Arc<Semaphore>,
    turn: Arc<Semaphore>,
    table: Mutex<ReadTable>,
}

#[derive(Debug, Default)]
struct ReadTable {
    last: u64,
    /// Frames that are not here whole yet.
    reading: BTreeMap<u64, ReadingFrame>,
    /// When one was cut last.
    cut: Option<Instant>,
}

#[derive(Debug)]
struct ReadingFrame {
    kill_switch: Arc<KillSwitch>,
    begun: Instant,
    /// Bytes that came.
    bytes: usize,
    /// Since when it waits for room, and how long it waited before.
    waits: Option<Instant>,
    waited: Duration,
    has_turn: bool,
}

/// A large frame that is being read.
#[derive(Debug)]
pub(crate) struct LargeFrame {
    pool: Arc<ReadPool>,
    number: u64,
    steps: Option<OwnedSemaphorePermit>,
    turn: Option<OwnedSemaphorePermit>,
}

impl ReadPool {
    /// So many bytes for whoever comes first. The turn is beside them.
    pub fn new(first_come: usize) -> Arc<Self> {
        Arc::new(Self {
            first_come: Arc::new(Semaphore::new(first_come)),
            turn: Arc::new(Semaphore::new(1)),
            table: Mutex::default(),
        })
    }

    /// A large frame has begun on a connection.
    pub fn begin(self: &Arc<Self>, kill_switch: Arc<KillSwitch>) -> LargeFrame {
        let mut table = self.lock();
        table.last += 1;
        let number = table.last;
        let reading = ReadingFrame {
            kill_switch,
            begun: Instant::now(),
            bytes: 0,
            waits: None,
            waited: Duration::ZERO,
            has_turn: false,
        };
        table.reading.insert(number, reading);
        LargeFrame { pool: self.clone(), number, steps: None, turn: None }
    }

    fn lock(&self) -> MutexGuard<'_, ReadTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadingFrame {
    /// Bytes a second, while it was not waiting.
    fn rate(&self, now: Instant) -> u128 {
        let took = now.saturating_duration_since(self.begun).saturating_sub(self.waited);
        self.bytes as u128 * 1_000_000 / took.as_micros().max(1)
    }
}

impl ReadTable {
    /// Somebody has waited too long.
    fn cut_slowest(&mut self, now: Instant) {
        let lately = self.cut.is_some_and(|cut| now < cut + PATIENCE);
        // Else the frame that has the turn is here, and waits for this node to read it.
        let waits_for_peers = self.reading.values().any(|it| it.has_turn);
        if lately || !waits_for_peers {
            return;
        }
        let had_time = |it: &&ReadingFrame| it.waits.is_none() && it.begun + PATIENCE <= now;
        let reading = self.reading.values().filter(had_time);
        if let Some(slowest) = reading.min_by_key(|it| it.rate(now)) {
            slowest.kill_switch.stop("its large frame comes too slowly, and others wait for room");
            self.cut = Some(now);
        }
    }
}

impl LargeFrame {
    /// Waits for room for `step` more bytes, when `read` have come; how long it waited.
    pub async fn grow(&mut self, read: usize, step: usize) -> Duration {
        if let Some(reading) = self.pool.lock().reading.get_mut(&self.number) {
            (reading.bytes, reading.waits) = (read, self.turn.is_none().then(Instant::now));
        }
        if self.turn.is_none() {
            self.wait(u32::try_from(step).unwrap_or(u32::MAX)).await;
        }
        let mut table = self.pool.lock();
        let Some(reading) = table.reading.get_mut(&self.number) else { return Duration::ZERO };
        let waited = reading.waits.take().map_or(Duration::ZERO, |since| since.elapsed());
        reading.waited += waited;
        reading.has_turn = self.turn.is_some();
        waited
    }

    async fn wait(&mut self, step: u32) {
        let (first_come, turn) = (self.pool.first_come.clone(), self.pool.turn.clone());
        // Both waits keep their places in line, whatever is cut meanwhile.
        let mut room = pin!(async {
            tokio::select! {
                biased;
                steps = first_come.acquire_many_owned(step) => (steps.ok(), None),
                turn = turn.acquire_owned() => (None, turn.ok()),
            }
        });
        let (steps, turn) = loop {
            match timeout(PATIENCE, &mut room).await {
                Ok(room) => break room,
                Err(_) => self.pool.lock().cut_slowest(Instant::now()),
            }
        };
        self.turn = turn;
        match (&mut self.steps, steps) {
            (Some(all), Some(more)) => all.merge(more),
            (none, more) => *none = none.take().or(more),
        }
    }

    /// It is here whole: what it holds until the node has read it.
    pub fn finish(mut self) -> [Option<OwnedSemaphorePermit>; 2] {
        [self.steps.take(), self.turn.take()]
    }
}

impl Drop for LargeFrame {
    fn drop(&mut self) {
        self.pool.lock().reading.remove(&self.number);
    }
}
