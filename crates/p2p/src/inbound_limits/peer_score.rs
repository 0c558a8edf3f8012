//! Peer scores: what was done wrong, how that fades, and bans that end. Kept of peers, and
//! of the sources of sockets that never proved an identity. Time is handed in. The table of
//! misdeeds and their costs is in `types/src/offence.rs`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use trefoil_types::{BAN_AT, Offence};

/// The most names that are remembered.
// Attack: identities are free, so whoever misbehaves under many would fill any memory.
pub(crate) const NAMES_MAX: usize = 1024;

/// Misdeeds by name: a peer's id, or a source.
#[derive(Debug)]
pub(crate) struct PeerScores<K>(BTreeMap<K, PeerScore>);

/// What one name did. At most one tally for each kind of misdeed.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerScore {
    pub tallies: BTreeMap<Offence, Tally>,
    pub banned_until: Option<Instant>,
}

/// One kind of misdeed of one name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    /// How often, as long as the name is remembered.
    pub times: u32,
    /// When it last was.
    pub last: Instant,
    /// What it amounted to then.
    points: u32,
}

impl<K> Default for PeerScores<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Copy + Ord> PeerScores<K> {
    /// Adds a misdeed; the length of the ban if that is what it leads to.
    pub fn blame(&mut self, name: K, offence: Offence, now: Instant) -> Option<Duration> {
        if self.0.len() >= NAMES_MAX && !self.0.contains_key(&name) {
            self.forget_one(now);
        }
        let record = self.0.entry(name).or_default();
        let tally = record.tallies.entry(offence);
        let tally = tally.or_insert(Tally { times: 0, last: now, points: 0 });
        *tally = Tally {
            times: tally.times.saturating_add(1),
            last: now,
            points: tally.points(offence, now).saturating_add(offence.cost()),
        };
        if record.score(now) < BAN_AT {
            return None;
        }
        // Served with the ban: after it the peer begins anew, or one small misdeed would ban it
        // again at once.
        record.tallies.values_mut().for_each(|tally| tally.points = 0);
        let ban = Duration::from_millis(offence.rule().ban.0);
        record.banned_until = Some(now + ban);
        Some(ban)
    }

    /// What a name's misdeeds amount to now.
    pub fn score(&self, name: K, now: Instant) -> u32 {
        self.0.get(&name).map_or(0, |record| record.score(now))
    }

    /// How long a name stays banned, if it is.
    pub fn banned_for(&self, name: K, now: Instant) -> Option<Duration> {
        self.0.get(&name)?.banned_for(now)
    }

    /// Everyone that is remembered.
    pub fn records(&self) -> impl Iterator<Item = (&K, &PeerScore)> {
        self.0.iter()
    }

    /// Drops the record that matters least: one that is not banned, of those the lowest score;
    /// else the ban that ends next.
    // Attack: an attacker under a ban makes many names commit small misdeeds, so that his ban
    // is forgotten. Names without a ban cannot push out one that has a ban.
    fn forget_one(&mut self, now: Instant) {
        let weight = |record: &PeerScore| (record.banned_for(now), record.score(now));
        let least = self.0.iter().min_by_key(|(_, record)| weight(record)).map(|(name, _)| *name);
        least.and_then(|name| self.0.remove(&name));
    }
}

impl PeerScore {
    pub fn score(&self, now: Instant) -> u32 {
        let points = self.tallies.iter().map(|(offence, tally)| tally.points(*offence, now));
        points.fold(0, u32::saturating_add)
    }

    pub fn banned_for(&self, now: Instant) -> Option<Duration> {
        let left = self.banned_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

impl Tally {
    fn points(&self, offence: Offence, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.last).as_millis();
        let faded = since / u128::from(offence.rule().point_fades.0.max(1));
        self.points.saturating_sub(u32::try_from(faded).unwrap_or(u32::MAX))
    }
}

/// What is remembered against a peer, or the source of failed handshakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misdeeds {
    /// A peer id, an IPv4 address or an IPv6 /64.
    pub who: String,
    /// At 100 it is banned.
    pub score: u32,
    pub banned_for: Option<Duration>,
    /// Each kind, how often, and how long ago it last was.
    pub offences: Vec<(Offence, u32, Duration)>,
}

impl Misdeeds {
    pub(crate) fn of(who: String, record: &PeerScore, now: Instant) -> Self {
        let offences = record.tallies.iter().map(|(offence, tally)| {
            (*offence, tally.times, now.saturating_duration_since(tally.last))
        });
        Self {
            who,
            score: record.score(now),
            banned_for: record.banned_for(now),
            offences: offences.collect(),
        }
    }
}
