//! Whether enough comes of what peers send.

use std::time::Duration;

use tokio::time::{Instant, interval};
use trefoil_swarm::FetchError;

use super::{AttemptError, LOOK, STALL, STALL_BYTES};

/// Bytes that must come within a time, again and again.
pub struct StallClock {
    bytes: u64,
    within: Duration,
    /// How many were here when the time began.
    here: u64,
    since: Instant,
}

impl Default for StallClock {
    fn default() -> Self {
        Self::new(STALL_BYTES, STALL, Instant::now())
    }
}

impl StallClock {
    fn new(bytes: u64, within: Duration, now: Instant) -> Self {
        Self { bytes, within, here: 0, since: now }
    }

    /// Whether too little came for too long. `here`: bytes that are here by now.
    pub fn is_over(&mut self, here: u64, now: Instant) -> bool {
        if here >= self.here.saturating_add(self.bytes) {
            (self.here, self.since) = (here, now);
        }
        now.saturating_duration_since(self.since) >= self.within
    }

    /// Takes out a time that this node needed: the peers do not answer for it.
    pub fn excuse(&mut self, time: Duration, now: Instant) {
        self.since = now.min(self.since + time);
    }
}

// A flat limit is too short for the longest file over a slow line, and the longer it is, the
// longer one silent peer holds up a newcomer.
/// What comes of a fetch, whose bytes `here` counts, as long as enough of them come.
pub(super) async fn while_it_comes<T, H>(
    mut clock: StallClock,
    mut here: impl FnMut() -> H,
    fetch: impl Future<Output = T>,
) -> Result<T, AttemptError>
where
    H: Future<Output = Result<u64, FetchError>>,
{
    let (mut fetch, mut look) = (std::pin::pin!(fetch), interval(LOOK));
    loop {
        tokio::select! {
            fetched = &mut fetch => return Ok(fetched),
            _ = look.tick() => {
                if clock.is_over(here().await?, Instant::now()) {
                    return Err(AttemptError::Stalled);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    /// After how many seconds a fetch is left, of which so many bytes come each second; `None`: it
    /// came whole.
    fn left_after(bytes: u64, each_second: u64) -> Option<u64> {
        let began = Instant::now();
        let mut clock = StallClock::new(STALL_BYTES, STALL, began);
        let is_over = |second: &u64| {
            clock.is_over(second * each_second, began + Duration::from_secs(*second))
        };
        (0..bytes.div_ceil(each_second.max(1)).min(1_000)).find(is_over)
    }

    #[test]
    fn who_sends_enough_has_the_time_that_it_takes_and_who_drips_one_stall() {
        // The longest list of files over a line of 1 Mbit/s: 67 s.
        assert_eq!(left_after(8 << 20, 125_000), None);
        assert_eq!(left_after(8 << 20, STALL_BYTES / 20), None, "just enough");
        for drip in [0, 1, 100, STALL_BYTES / 21] {
            assert_eq!(left_after(8 << 20, drip), Some(20), "{drip} bytes a second");
        }
    }

    #[test]
    fn the_time_that_this_node_takes_does_not_count() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut clock = StallClock::new(1, STALL, began);
        clock.excuse(Duration::from_secs(15), at(15));
        assert!(!clock.is_over(0, at(34)) && clock.is_over(0, at(35)));
        clock.excuse(Duration::from_secs(99), at(40));
        assert!(!clock.is_over(0, at(59)) && clock.is_over(0, at(60)), "no more than all of it");
    }

    #[tokio::test]
    async fn a_fetch_that_takes_longer_than_a_stall_goes_on_while_enough_comes() {
        let within = 3 * LOOK;
        let clock = || StallClock::new(10, within, Instant::now());
        let mut here = 0;
        let comes = || {
            here += 10;
            ready(Ok(here))
        };
        let fetch = async {
            sleep(3 * within).await;
            7
        };
        let fetched = while_it_comes(clock(), comes, fetch).await;
        assert!(matches!(fetched, Ok(7)));
        let mut here = 0;
        let drips = || {
            here += 1;
            ready(Ok(here))
        };
        let dripped = while_it_comes(clock(), drips, pending::<()>());
        let dripped =
            tokio::time::timeout(Duration::from_secs(60), dripped).await.expect("it ends");
        assert!(matches!(dripped, Err(AttemptError::Stalled)));
    }
}
