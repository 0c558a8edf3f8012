//! Time in the pure crates: handed in, never read.
//!
//! A node that reads no clock can be run in virtual time, and a run of the simulator can be
//! repeated from its seed (ADR 1).

use std::{fmt, ops};

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

/// An instant: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// Whole seconds since the Unix epoch: the unit of block headers.
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Time) -> Millis {
        // Clocks are set back, and a peer's numbers may be anything: no difference and no
        // sum may overflow.
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl ops::Add<Millis> for Time {
    type Output = Time;

    fn add(self, rhs: Millis) -> Time {
        Time(self.0.saturating_add(rhs.0))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
