//! A token bucket in handed-in time.

use trefoil_types::{Millis, Time};

/// Lets `rate` bytes a second through. What is let through may be larger than
/// what is in the bucket: then it owes, and lets nothing through until it is
/// paid.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    /// Bytes a second; `None` lets everything through.
    rate: Option<u64>,
    /// Bytes times 1,000, below zero when it owes.
    level: i128,
    at: Time,
}

/// The bucket holds what flows in so long.
const DEPTH: Millis = Millis(250);

impl Bucket {
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate, level: 0, at: Time(0) }
    }

    /// Whether something may pass now.
    pub fn is_open(&mut self, now: Time) -> bool {
        let Some(rate) = self.rate else { return true };
        let gained = i128::from(rate) * i128::from(now.since(self.at).0);
        let full = i128::from(rate) * i128::from(DEPTH.0);
        self.level = (self.level + gained).min(full.max(1));
        self.at = self.at.max(now);
        self.level > 0
    }

    pub fn take(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.level -= i128::from(bytes) * 1_000;
        }
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.level += i128::from(bytes) * 1_000;
        }
    }

    /// When it opens again, if it is closed; never, if nothing may pass.
    pub fn opens(&self) -> Option<Time> {
        let rate = i128::from(self.rate.filter(|rate| *rate > 0)?);
        let missing = 1 - self.level;
        (missing > 0).then(|| self.at + Millis((missing + rate - 1).div_euclid(rate) as u64))
    }
}
