//! Events on their way to many readers, each of which reads at its own pace.
//!
//! What always holds: events come in order without a gap, or the reader is told; what waits for
//! slow readers is bounded in number and in bytes, whoever reads how slowly.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::broadcast;

/// What the ring holds of an event until all have read it, or it takes too much.
struct RingSlot<T>(Mutex<Option<Arc<T>>>);

impl<T> RingSlot<T> {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct EventRing<T> {
    news: broadcast::Sender<Arc<RingSlot<T>>>,
    unread: Mutex<Unread<T>>,
    bytes_max: usize,
}

/// The events that somebody has not read yet, oldest first, with their bytes.
struct Unread<T> {
    slots: VecDeque<(Weak<RingSlot<T>>, usize)>,
    bytes: usize,
}

pub struct EventReader<T>(broadcast::Receiver<Arc<RingSlot<T>>>);

/// The reader is so far behind that events are gone which it did not read.
#[derive(Debug)]
pub struct FellBehind;

impl<T> EventRing<T> {
    /// For readers that are behind by so many events, and so many bytes beside the newest.
    pub fn new(count: usize, bytes_max: usize) -> Self {
        let unread = Mutex::new(Unread { slots: VecDeque::new(), bytes: 0 });
        Self { news: broadcast::channel(count).0, unread, bytes_max }
    }

    /// Reads what comes from now on.
    pub fn read(&self) -> EventReader<T> {
        EventReader(self.news.subscribe())
    }

    pub fn has_readers(&self) -> bool {
        self.news.receiver_count() > 0
    }

    /// Sends an event that takes so many bytes.
    pub fn send(&self, event: T, bytes: usize) {
        let slot = Arc::new(RingSlot(Mutex::new(Some(Arc::new(event)))));
        let weak = Arc::downgrade(&slot);
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody reads: it is gone.
        if self.news.send(slot).is_err() {
            return;
        }
        unread.slots.push_back((weak, bytes));
        unread.bytes += bytes;
        unread.shrink(self.bytes_max);
    }
}

impl<T> Unread<T> {
    /// Forgets what all have read, and empties the oldest slots that are too much.
    fn shrink(&mut self, bytes_max: usize) {
        while self.slots.len() > 1 {
            let Some((slot, bytes)) = self.slots.front() else { return };
            let held = slot.upgrade();
            if held.is_some() && self.bytes <= bytes_max {
                return;
            }
            held.inspect(|slot| *slot.lock() = None);
            self.bytes -= bytes;
            self.slots.pop_front();
        }
    }
}

impl<T> EventReader<T> {
    /// Waits for the next event.
    ///
    /// # Errors
    /// [`FellBehind`]; what is left may be read on.
    pub async fn recv(&mut self) -> Result<Arc<T>, FellBehind> {
        let slot = self.0.recv().await.map_err(|_| FellBehind)?;
        let event = slot.lock().clone();
        event.ok_or(FellBehind)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn next(reader: &mut EventReader<usize>) -> Option<usize> {
        reader.recv().now_or_never().and_then(Result::ok).map(|event| *event)
    }

    #[test]
    fn what_waits_for_a_slow_reader_is_bounded_in_bytes() {
        let ring = EventRing::new(64, 100);
        ring.send(0, 1_000);
        let (mut slow, mut fast) = (ring.read(), ring.read());
        let weak = |ring: &EventRing<usize>| ring.unread.lock().unwrap().slots.len();
        for event in 1..=20 {
            ring.send(event, 30);
            assert_eq!(next(&mut fast), Some(event));
            let held = ring.unread.lock().unwrap().bytes;
            assert!(held <= 100, "{held}");
        }
        assert_eq!(weak(&ring), 3);
        // Each of those that are gone is told; the newest are there.
        let read: Vec<_> = (0..20).map(|_| next(&mut slow)).collect();
        assert_eq!(read[..17], [None; 17]);
        assert_eq!(read[17..], [Some(18), Some(19), Some(20)]);
        assert!(slow.recv().now_or_never().is_none());
        // One that is larger than all may be is sent to those who read.
        ring.send(21, 1_000);
        assert_eq!((weak(&ring), next(&mut slow), next(&mut fast)), (1, Some(21), Some(21)));
    }

    /// The ring is as good as empty when all have read.
    #[test]
    fn what_all_have_read_is_held_by_nobody() {
        let ring = EventRing::new(64, 1 << 20);
        let mut readers = [(); 3].map(|()| ring.read());
        ring.send(7, 10);
        let [first, ..] = &mut readers;
        let event = first.recv().now_or_never().expect("now").unwrap();
        assert!(Arc::strong_count(&event) > 1, "two have not read it");
        for reader in &mut readers[1..] {
            assert_eq!(next(reader), Some(7));
        }
        assert_eq!(Arc::strong_count(&event), 1);
        drop(readers);
        assert!(!ring.has_readers());
    }

    #[test]
    fn a_reader_that_is_behind_by_too_many_is_told() {
        let ring = EventRing::new(4, 1 << 20);
        let mut reader = ring.read();
        (0..9).for_each(|event| ring.send(event, 1));
        assert!(matches!(reader.recv().now_or_never(), Some(Err(FellBehind))));
        assert_eq!(next(&mut reader), Some(5));
    }
}
