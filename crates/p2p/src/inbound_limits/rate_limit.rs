//! The rate limiter: how many messages a second a peer may send. Time is handed in.

use std::time::{Duration, Instant};

/// A token bucket, kept as the time at which it will be full again.
// One time instead of a count and a time (the generic cell rate algorithm): nothing has to be
// refilled while a peer is idle.
#[derive(Debug)]
pub struct RateLimiter {
    interval: Duration,
    burst: Duration,
    full_at: Option<Instant>,
}

impl RateLimiter {
    /// `rate` a second for ever, and `burst` at once.
    pub fn new(rate: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / rate;
        Self { interval, burst: interval * burst, full_at: None }
    }

    /// Takes `count` tokens, or none.
    ///
    /// # Errors
    /// It is too early, by so much.
    pub fn take(&mut self, count: u32, now: Instant) -> Result<(), Duration> {
        let early = self.early(count, now);
        if !early.is_zero() {
            return Err(early);
        }
        self.full_at = Some(self.full_after(count, now));
        Ok(())
    }

    /// Takes `count` tokens, also if it is too early; what is owed then is due `within` that time.
    pub fn spend(&mut self, count: u32, now: Instant, within: Duration) {
        self.full_at = Some(self.full_after(count, now).min(now + self.burst + within));
    }

    /// By how much it is too early for `count` tokens.
    pub fn early(&self, count: u32, now: Instant) -> Duration {
        let full_at = self.full_after(count, now);
        full_at.saturating_duration_since(now).saturating_sub(self.burst)
    }

    fn full_after(&self, count: u32, now: Instant) -> Instant {
        self.full_at.map_or(now, |at| at.max(now)) + self.interval.saturating_mul(count)
    }
}
