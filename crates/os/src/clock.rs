//! The one place where a clock is read for the node.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trefoil_types::Time;

/// The system's clock, never going back. If the machine's clock is set back, this one stands
/// still until the other has caught up.
#[derive(Debug, Default)]
pub struct Clock {
    last: Time,
}

impl Clock {
    pub fn now(&mut self) -> Time {
        self.last = self.last.max(wall());
        self.last
    }

    /// How long it is until `at`; zero if it has passed.
    pub fn until(&mut self, at: Time) -> Duration {
        Duration::from_millis(at.since(self.now()).0)
    }
}

/// The system's clock.
pub fn wall() -> Time {
    // A clock before 1970 counts as 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
