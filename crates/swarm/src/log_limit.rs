//! Which lines the log shows of what others can bring about as often as they like.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

// Attack: a peer asks for what its owner deleted or edited, over and over: thousands of lines a
// second.
/// One line about each in this time.
const EVERY: Duration = Duration::from_secs(60);

/// Nothing is shown of more within that time.
const SHOWN_MAX: usize = 1_024;

/// When a line about each was shown last.
#[derive(Debug)]
pub struct LogLimit<K>(Mutex<BTreeMap<K, Instant>>);

impl<K> Default for LogLimit<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> LogLimit<K> {
    /// Whether a line about it is to be shown now.
    pub fn shows(&self, about: K, now: Instant) -> bool {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.get(&about).is_some_and(|at| now < *at + EVERY) {
            return false;
        }
        if shown.len() >= SHOWN_MAX {
            shown.retain(|_, at| now < *at + EVERY);
        }
        let room = shown.len() < SHOWN_MAX;
        if room {
            shown.insert(about, now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_line_a_minute() {
        let (log, begin) = (LogLimit::default(), Instant::now());
        let shown = |about| {
            let times = (0..120_000).map(|ms| begin + Duration::from_millis(ms));
            times.filter(|now| log.shows(about, *now)).count()
        };
        assert_eq!(shown(1), 2);
        let many = || (0..10_000).filter(|about| log.shows(*about, begin + 2 * EVERY)).count();
        assert_eq!((many(), many()), (SHOWN_MAX, 0));
    }
}
