//! Peers' good names: scores that fade, and bans that end. Time is handed in.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use trefoil_types::{Offence, PeerId};

/// The score at which a peer is banned (see [`Offence::cost`]).
pub(crate) const SCORE_MAX: u32 = 100;

/// How long a ban lasts.
pub(crate) const BAN: Duration = Duration::from_secs(600);

/// One point of a score fades in this time, so that a rare misdeed of a peer
/// that stays for weeks does not add up: ten bad transactions a quarter of an
/// hour are forgiven, more are not.
const POINT_FADES: Duration = Duration::from_secs(10);

/// The most peers that are remembered, for scores and for bans.
pub(crate) const PEERS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Reputation {
    /// Score, and when it was that.
    scores: BTreeMap<PeerId, (u32, Instant)>,
    /// When a ban ends.
    bans: BTreeMap<PeerId, Instant>,
}

impl Reputation {
    /// Adds a misdeed; `true` if the peer is banned for it.
    pub fn blame(&mut self, peer: PeerId, offence: Offence, now: Instant) -> bool {
        let score = self.score(peer, now).saturating_add(offence.cost());
        if score >= SCORE_MAX {
            self.scores.remove(&peer);
            insert_bounded(&mut self.bans, peer, now + BAN, |until| *until);
            return true;
        }
        insert_bounded(&mut self.scores, peer, (score, now), |(score, _)| *score);
        false
    }

    /// What a peer's misdeeds amount to now.
    pub fn score(&self, peer: PeerId, now: Instant) -> u32 {
        let Some((score, at)) = self.scores.get(&peer) else { return 0 };
        let faded = now.saturating_duration_since(*at).as_secs() / POINT_FADES.as_secs();
        score.saturating_sub(u32::try_from(faded).unwrap_or(u32::MAX))
    }

    /// How long a peer stays banned, if it is.
    pub fn banned_for(&self, peer: PeerId, now: Instant) -> Option<Duration> {
        let left = self.bans.get(&peer)?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

/// Inserts; a full map first forgets the peer that matters least.
fn insert_bounded<V, K: Ord>(
    map: &mut BTreeMap<PeerId, V>,
    peer: PeerId,
    value: V,
    weight: impl Fn(&V) -> K,
) {
    if map.len() >= PEERS_MAX && !map.contains_key(&peer) {
        let least = map.iter().min_by_key(|(_, value)| weight(value)).map(|(peer, _)| *peer);
        least.and_then(|peer| map.remove(&peer));
    }
    map.insert(peer, value);
}
