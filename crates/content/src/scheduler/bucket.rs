//! A rate limiter: a token bucket in handed-in time.

use trefoil_types::{Millis, Time};

// A piece may be larger than what the bucket can hold. If it had to fit, a low rate would
// let nothing through at all; so the bucket goes into debt instead.
/// Lets `rate` bytes a second through. One item may take more than the bucket holds; the
/// bucket is then in debt, and closed until the debt is paid.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    /// Bytes a second; `None` lets everything through.
    rate: Option<u64>,
    /// Bytes times 1,000; below zero while in debt.
    level: i128,
    at: Time,
}

// Bounds the burst after an idle time: a link that was idle for an hour must not then send
// an hour's worth of bytes at once.
/// The bucket holds at most the bytes of this time.
const DEPTH: Millis = Millis(250);

impl Bucket {
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate, level: 0, at: Time(0) }
    }

    /// Whether an item may pass now.
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

    // A request that is cancelled or refused has used nothing of the link.
    /// Returns bytes that were taken and not used.
    pub fn give_back(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.level += i128::from(bytes) * 1_000;
        }
    }

    /// When a closed bucket opens again; `None` if it is open, or if its rate is 0.
    pub fn opens(&self) -> Option<Time> {
        let rate = i128::from(self.rate.filter(|rate| *rate > 0)?);
        let missing = 1 - self.level;
        (missing > 0).then(|| self.at + Millis((missing + rate - 1).div_euclid(rate) as u64))
    }
}
