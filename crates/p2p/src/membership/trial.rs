//! A peer whose certificate cannot be judged before newer blocks are here: how long
//! it may take to bring them, and when it is tried again if it did not.
//!
//! What always holds: a height that a peer claims buys it nothing but this time. What
//! keeps it here are blocks that verified, and bring the chain's time on faster than the
//! clock. A chain's newest block is not of the future: so a trial is over after six times
//! [`GRACE`] and five times the time by which this node was behind when it began, whatever the
//! peer does.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use trefoil_types::{Height, PeerId};

/// How long a peer on trial may bring nothing that verifies.
// An honest peer is asked for blocks as soon as it tells its tip, answers within 3 s or is asked
// again later, and has a full answer of 8 MiB checked and executed in some seconds. A peer that
// only claims a height has a silent connection for so long, and nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may stay at first, however far its blocks lead.
// The first answer may have a few large blocks, which take as long as many small ones.
const GRACE: Duration = Duration::from_secs(30);

/// After that, so many seconds of the chain must come in each ten seconds.
// Attack: a peer that brings one block each nine seconds is never without progress, and never
// done: the chain grows faster. A node that executes less than this never reaches the tip.
// Twelve and not more: a chain that grows fast is executed little faster by a slow machine.
const PACE: u64 = 12;

/// The first wait after a trial in vain, doubled up to the longest.
// Attack: a peer that dials again after each trial would be on trial all the time.
const WAIT_MIN: Duration = Duration::from_secs(1);
// A node that only one peer can bring up to date, and that peer was ill, is not kept from it
// longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// One connection's trial.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The peer's tip, as it said.
    pub height: Height,
    /// When it began, and the timestamp of our tip then, Unix seconds.
    began: Instant,
    tip_time: u64,
    /// When it began, or the peer last brought something that verified.
    since: Instant,
    /// When bytes of a block last came.
    heard: Instant,
}

/// The part of a gain, in the chain's seconds, that a peer has earned.
const fn earned(gain: u64) -> Duration {
    Duration::from_secs(gain / PACE * 10 + gain % PACE * 10 / PACE)
}

impl Trial {
    pub fn new(height: Height, now: Instant, tip_time: u64) -> Self {
        Self { height, began: now, tip_time, since: now, heard: now }
    }

    pub fn renew(&mut self, now: Instant) {
        self.since = now;
    }

    /// Bytes of blocks come: a slow line is no silence. That buys no more than [`GRACE`].
    pub fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// When it is over, if nothing comes; our tip is of `tip_time` now.
    pub fn ends_at(&self, patience: Duration, tip_time: u64) -> Instant {
        // A timestamp of the far future is no reason to overflow.
        let pace = earned(tip_time.saturating_sub(self.tip_time)).saturating_add(GRACE);
        let ends = self.since.max(self.heard) + patience;
        self.began.checked_add(pace).map_or(ends, |end| end.min(ends))
    }

    /// Whether it has brought the chain on as fast as it must: then it was not in vain.
    pub fn kept_pace(&self, now: Instant, tip_time: u64) -> bool {
        let earned = earned(tip_time.saturating_sub(self.tip_time));
        self.since > self.began && now.saturating_duration_since(self.began) <= earned
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

    /// Its connection is gone, and it was in vain.
    pub fn end(&mut self, peer: PeerId, now: Instant) {
        if let Some(doubt) = self.0.get_mut(&peer) {
            doubt.until = doubt.until.min(now + doubt.wait);
        }
    }

    /// It brought something, and is on trial still.
    pub fn extend(&mut self, peer: PeerId, now: Instant) {
        if let Some(doubt) = self.0.get_mut(&peer) {
            doubt.until = now + PATIENCE + doubt.wait;
        }
    }

    pub fn holds(&self, peer: PeerId, now: Instant) -> bool {
        self.0.get(&peer).is_some_and(|doubt| now < doubt.until)
    }

    /// It was not in vain.
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
        let mut trial = Trial::new(9, now, 1_000);
        assert_eq!(trial.ends_at(PATIENCE, 1_000), now + PATIENCE);
        trial.renew(now + Duration::from_secs(9));
        assert_eq!(trial.ends_at(PATIENCE, 1_000), now + Duration::from_secs(19));
        trial.hear(now + Duration::from_secs(12));
        assert_eq!(trial.ends_at(PATIENCE, 1_000), now + Duration::from_secs(22));
        trial.hear(now + Duration::from_secs(29));
        assert_eq!(trial.ends_at(PATIENCE, 1_000), now + GRACE, "bytes alone buy no more");
    }

    /// Blocks of half a second, `every` so many seconds, from a tip that is `lag` seconds old;
    /// how long the peer stays.
    fn stays(every: u64, blocks: u64, lag: u64) -> u64 {
        let start = Instant::now();
        let mut trial = Trial::new(1 << 40, start, 0);
        let mut now = 0;
        loop {
            // Nobody has blocks of the future.
            let tip_time = (now / every * blocks / 2).min(lag + now);
            if trial.ends_at(PATIENCE, tip_time) <= start + Duration::from_secs(now) {
                return now;
            }
            now += 1;
            if now % every == 0 && now / every * blocks / 2 <= lag + now {
                trial.renew(start + Duration::from_secs(now));
            }
        }
    }

    #[test]
    fn a_trial_is_bounded_by_what_our_tip_gains_on_the_claimed_one() {
        // One block each nine seconds: for ever, it would be.
        assert!((30..40).contains(&stays(9, 1, 1_000_000)));
        // As fast as the chain grows is never done either.
        assert!((30..200).contains(&stays(1, 2, 1_000_000)));
        // A hundred blocks a second: until all that the node lacked is there, and little longer.
        let lag = 10_000;
        assert!((lag / 49..lag / 49 + 60).contains(&stays(1, 100, lag)));
        // The slowest that is let be.
        assert!(stays(1, 3, lag) < 3 * lag && stays(1, 3, lag) >= 2 * lag);
    }

    #[test]
    fn a_trial_that_kept_the_pace_was_not_in_vain() {
        let now = Instant::now();
        let mut trial = Trial::new(9, now, 1_000);
        let after = |s| now + Duration::from_secs(s);
        assert!(!trial.kept_pace(after(1), u64::MAX), "it brought nothing");
        trial.renew(after(1));
        assert!(trial.kept_pace(after(5), 1_010) && trial.kept_pace(after(5), u64::MAX));
        assert!(trial.kept_pace(after(8), 1_010));
        assert!(!trial.kept_pace(after(9), 1_010) && !trial.kept_pace(after(1), 1_001));
    }
}
