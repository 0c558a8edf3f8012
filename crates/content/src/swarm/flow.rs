//! How fast a transfer goes, and how fast it went at best.

use trefoil_types::Time;

/// Bytes a second, told once a second and smoothed over a few.
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
        // After so many seconds without a byte the rate is nothing anyway.
        let over = second.saturating_sub(self.second).min(64);
        for _ in 0..over {
            self.rate = (self.rate + std::mem::take(&mut self.bytes)) / 2;
            self.peak = self.peak.max(self.rate);
        }
        self.second = self.second.max(second);
    }
}
