//! A peer whose certificate cannot be judged before newer blocks are here: how long
//! it may take to bring them, and when it is tried again if it did not.
//!
//! What always holds: a height that a peer claims buys it nothing but this time. What
//! keeps it here are blocks that verified.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep_until;
use trefoil_types::PeerId;

/// How long a peer on trial may bring nothing that verifies.
// An honest peer is asked for blocks as soon as it tells its tip, answers within 3 s or is asked
// again later, and has a full answer of 8 MiB checked and executed in some seconds. A peer that
// only claims a height has a silent connection for so long, and nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The first wait after a trial in vain, doubled up to the longest.
// Attack: a peer that dials again after each trial would be on trial all the time.
const WAIT_MIN: Duration = Duration::from_secs(1);
// A node that only one peer can bring up to date, and that peer was ill, is not kept from it
// longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// One connection's trial.
#[derive(Debug)]
pub(crate) struct Trial {
    /// When it began, or the peer last brought something that verified.
    since: Mutex<Instant>,
}

impl Trial {
    pub fn new(now: Instant) -> Self {
        Self { since: Mutex::new(now) }
    }

    pub fn renew(&self, now: Instant) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn ends_at(&self, patience: Duration) -> Instant {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) + patience
    }

    /// Waits until nothing was brought for `patience`.
    pub async fn is_over(&self, patience: Duration) {
        while self.ends_at(patience) > Instant::now() {
            sleep_until(self.ends_at(patience).into()).await;
        }
    }
}

/// Who is or was on trial and has brought nothing, and until when it gets no other.
#[derive(Debug, Default)]
pub(crate) struct Doubts(BTreeMap<PeerId, Doubt>);

#[derive(Debug)]
struct Doubt {
    /// After this trial.
    wait: Duration,
    until: Instant,
}

impl Doubts {
    /// A trial begins: in vain, until it brings something. One at a time.
    pub fn begin(&mut self, peer: PeerId, now: Instant) {
        let before = self.0.get(&peer).map(|doubt| doubt.wait);
        let wait = before.map_or(WAIT_MIN, |wait| wait.saturating_mul(2).min(WAIT_MAX));
        self.0.insert(peer, Doubt { wait, until: now + PATIENCE + wait });
    }

    /// Its connection is gone.
    pub fn end(&mut self, peer: PeerId, now: Instant) {
        if let Some(doubt) = self.0.get_mut(&peer) {
            doubt.until = doubt.until.min(now + doubt.wait);
        }
    }

    pub fn holds(&self, peer: PeerId, now: Instant) -> bool {
        self.0.get(&peer).is_some_and(|doubt| now < doubt.until)
    }

    /// It brought something.
    pub fn clear(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use trefoil_crypto::SecretKey;

    use super::*;

    #[test]
    fn one_trial_at_a_time_and_each_in_vain_makes_the_next_wait_longer() {
        let peer = PeerId(SecretKey::from_seed(&[1; 32]).public());
        let (mut doubts, mut now) = (Doubts::default(), Instant::now());
        let mut waits = vec![];
        for _ in 0..9 {
            assert!(!doubts.holds(peer, now));
            doubts.begin(peer, now);
            assert!(doubts.holds(peer, now + PATIENCE), "it is on trial");
            // Its connection ends, and it dials at once.
            doubts.end(peer, now);
            let held = (0..).take_while(|s| doubts.holds(peer, now + Duration::from_secs(*s)));
            waits.push(held.count());
            now += WAIT_MAX;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        // One that is lost and not seen to end is over all the same.
        doubts.begin(peer, now);
        assert!(!doubts.holds(peer, now + PATIENCE + WAIT_MAX));
        doubts.clear(peer);
        assert!(!doubts.holds(peer, now));
    }

    #[test]
    fn what_is_brought_gives_time_anew() {
        let now = Instant::now();
        let trial = Trial::new(now);
        assert_eq!(trial.ends_at(PATIENCE), now + PATIENCE);
        trial.renew(now + Duration::from_secs(9));
        assert_eq!(trial.ends_at(PATIENCE), now + Duration::from_secs(19));
    }
}
