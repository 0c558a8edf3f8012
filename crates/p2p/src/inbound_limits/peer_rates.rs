//! How fast a peer is read: what it used of each lane's rate, and what it made this node verify in
//! vain. All connections of a peer have it together (`ConnectionTable::rates`).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use trefoil_types::{message::Lane, message_rule::VAIN_SIGNATURES};

use crate::{
    connection::lane_limits::{LANES, limits},
    inbound_limits::rate_limit::RateLimiter,
};

/// A lane is paused for so long at most for what its peer made this node verify in vain.
// Shorter than the 15 s after which the peer takes this node for one that does not read.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Of one peer.
#[derive(Debug)]
pub(crate) struct PeerRates([Mutex<LaneRates>; LANES.len()]);

#[derive(Debug)]
struct LaneRates {
    messages: RateLimiter,
    vain: RateLimiter,
}

impl Default for PeerRates {
    fn default() -> Self {
        let vain = || RateLimiter::new(VAIN_SIGNATURES.a_second, VAIN_SIGNATURES.at_once);
        let messages = |lane| RateLimiter::new(limits(lane).in_rate, limits(lane).in_burst);
        Self(LANES.map(|lane| Mutex::new(LaneRates { messages: messages(lane), vain: vain() })))
    }
}

impl PeerRates {
    /// A message came on a lane.
    ///
    /// # Errors
    /// It came too early, by so much.
    pub fn message(&self, lane: Lane, now: Instant) -> Result<(), Duration> {
        self.lane(lane).messages.take(1, now)
    }

    /// Messages of a lane made this node verify so many signatures in vain.
    pub fn waste(&self, lane: Lane, signatures: u32, now: Instant) {
        self.lane(lane).vain.spend(signatures, now, PAUSE_MAX);
    }

    /// For how long the lane is not read for that.
    pub fn pause(&self, lane: Lane, now: Instant) -> Duration {
        self.lane(lane).vain.early(0, now)
    }

    fn lane(&self, lane: Lane) -> MutexGuard<'_, LaneRates> {
        self.0[lane as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
