//! The rate limiter: how many messages a second a peer may send. Time is handed in.

use std::time::{Duration, Instant};

/// A token bucket, kept as the time at which it will be full again.
// One time instead of a count and a time (the generic cell rate algorithm): nothing has to be
// refilled while a peer is idle.
#[derive(Debug)]
pub(crate) struct RateLimiter {
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

    /// One more.
    ///
    /// # Errors
    /// It is too early, by so much.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + self.interval;
        let early = (full_at - now).saturating_sub(self.burst);
        if !early.is_zero() {
            return Err(early);
        }
        self.full_at = Some(full_at);
        Ok(())
    }
}
