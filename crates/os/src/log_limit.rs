//! Which lines the log shows of what others can bring about as often as they like.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

// Attack: offences under ever new names, which are free: a line and a place for each.
/// Nothing is shown of more within the time of a line.
const SHOWN_MAX: usize = 1_024;

/// When a line about each was shown last, and how often none was since then.
#[derive(Debug)]
pub struct LogLimit<K> {
    every: Duration,
    shown: Mutex<LogLines<K>>,
}

#[derive(Debug)]
struct LogLines<K> {
    lines: BTreeMap<K, (Instant, u64)>,
    /// Until then none of the lines is too old to count.
    fresh_until: Option<Instant>,
}

impl<K: Ord> LogLimit<K> {
    /// One line about each in this time.
    pub fn new(every: Duration) -> Self {
        let shown = LogLines { lines: BTreeMap::new(), fresh_until: None };
        Self { every, shown: Mutex::new(shown) }
    }

    /// If a line about it is to be shown now: how many before it were not.
    pub fn shows(&self, about: K, now: Instant) -> Option<u64> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let LogLines { lines, fresh_until } = &mut *shown;
        if let Some((at, unshown)) = lines.get_mut(&about) {
            if now < *at + self.every {
                *unshown += 1;
                return None;
            }
            *at = now;
            return Some(std::mem::take(unshown));
        }
        if lines.len() >= SHOWN_MAX && fresh_until.is_none_or(|until| until <= now) {
            lines.retain(|_, (at, _)| now < *at + self.every);
            *fresh_until = lines.values().map(|(at, _)| *at + self.every).min();
        }
        let has_room = lines.len() < SHOWN_MAX;
        if has_room {
            lines.insert(about, (now, 0));
        }
        has_room.then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(1);

    #[test]
    fn each_has_a_line_in_its_time_that_counts_the_others() {
        let (log, begin) = (LogLimit::new(EVERY), Instant::now());
        let lines = (0..8_000).filter_map(|n| log.shows(1, begin + Duration::from_micros(250 * n)));
        assert_eq!(lines.collect::<Vec<_>>(), [0, 3_999]);
        assert_eq!(log.shows(2, begin), Some(0));
        assert_eq!(log.shows(1, begin + 2 * EVERY), Some(3_999));
    }

    #[test]
    fn of_ever_new_names_few_are_shown_and_remembered() {
        let (log, begin) = (LogLimit::new(EVERY), Instant::now());
        let lines = |range: std::ops::Range<usize>, now| {
            range.filter(|about| log.shows(*about, now).is_some()).count()
        };
        assert_eq!(lines(0..10_000, begin), SHOWN_MAX);
        assert_eq!(lines(10_000..20_000, begin), 0);
        assert_eq!(log.shown.lock().unwrap().lines.len(), SHOWN_MAX);
        assert_eq!(lines(20_000..30_000, begin + EVERY), SHOWN_MAX);
    }
}
