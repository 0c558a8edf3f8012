//! The rate of a transfer, now and at its best.

use trefoil_types::Time;

/// Bytes a second, computed once a second and smoothed over a few seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    second: u64,
    bytes: u64,
    pub rate: u64,
    pub peak: u64,
}

impl Flow {
    pub fn add(&mut self, now: Time, bytes: u64) {
        self.roll(now);
        self.bytes += bytes;
    }

    /// Closes the seconds that are over.
    pub fn roll(&mut self, now: Time) {
        let second = now.0 / 1_000;
        // The rate is halved each second, so 64 idle seconds make it zero. The bound keeps
        // a long pause from running the loop once for each of its seconds.
        let over = second.saturating_sub(self.second).min(64);
        for _ in 0..over {
            self.rate = (self.rate + std::mem::take(&mut self.bytes)) / 2;
            self.peak = self.peak.max(self.rate);
        }
        self.second = self.second.max(second);
    }
}
