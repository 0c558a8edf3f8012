//! Who is served among strangers: those who gave most, and one by chance.
//!
//! A node that has all ranks others by what they passed on: how many of the
//! pieces that they had first from it were seen at others since.

use rand::seq::SliceRandom as _;
use trefoil_types::{Millis, Time};

use super::{Common, Effect, Manner, Source, transfer::Transfer};

// BitTorrent rechokes each 10 s (BEP 3), for transfers of hours. Ours take seconds to
// minutes: with 10 s a 30 s transfer would be decided three times.
/// How often is chosen anew.
const CHOOSE: Millis = Millis(1_000);

// BEP 3's four: fewer leave an uplink idle when one stalls, more make each share so small
// that nobody sees who gives.
/// Served because they give.
const SLOTS: usize = 4;

// Long enough for a newcomer to get a piece and to give it to somebody: BEP 3 keeps the
// optimistic unchoke for three rounds, for the same reason.
/// How many choosings the one by chance stays.
const OPTIMISTIC: u64 = 2;

// Attack: free riders under fresh identities. Each gets so much by chance and then stands
// behind everyone who gives; without any credit nobody could begin.
/// What a stranger may take before it has given anything, in pieces.
const CREDIT_PIECES: u64 = 4;

impl Transfer {
    pub fn choose(&mut self, now: Time, common: &mut Common, effects: &mut Vec<Effect>) {
        if self.manner == Manner::Fair || now < self.choose_at {
            return;
        }
        self.choose_at = now + CHOOSE;
        self.choosings += 1;
        let mut others = self.interested();
        others.shuffle(&mut common.rng);
        others.sort_by_key(|source| std::cmp::Reverse(self.merit(source)));
        let givers = others.iter().take_while(|source| self.merit(source) > 0).count();
        let mut chosen: Vec<Source> = others.drain(..givers.min(SLOTS)).collect();
        let (new, mut takers): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|source| self.has_credit(source));
        // Who still needs pieces lets chance favour takers half of the time only.
        if !self.have.is_full() && !(self.choosings / OPTIMISTIC).is_multiple_of(2) {
            takers.clear();
        }
        let free = SLOTS - chosen.len();
        chosen.extend(new.iter().take(free));
        let chance: Vec<Source> = new.into_iter().skip(free).chain(takers).collect();
        let kept = chance.iter().find(|source| {
            self.peers.get(source).is_some_and(|peer| !peer.choked)
                && !self.choosings.is_multiple_of(OPTIMISTIC)
        });
        chosen.extend(kept.or(chance.first()));
        self.apply(&chosen, effects);
    }

    /// Peers that lack something that is here.
    fn interested(&self) -> Vec<Source> {
        let lacks = self.peers.iter().filter(|(source, peer)| {
            matches!(source, Source::Peer(_))
                && !peer.is_origin()
                && self.have.minus([&peer.have]).next().is_some()
        });
        lacks.map(|(source, _)| *source).collect()
    }

    fn merit(&self, source: &Source) -> u64 {
        self.peers.get(source).map_or(0, |peer| match self.have.is_full() {
            true => peer.spread,
            false => peer.given,
        })
    }

    fn has_credit(&self, source: &Source) -> bool {
        let credit = CREDIT_PIECES * self.layout.piece_bytes_max();
        self.peers.get(source).is_some_and(|peer| peer.taken < credit)
    }

    fn apply(&mut self, chosen: &[Source], effects: &mut Vec<Effect>) {
        let resource = self.resource;
        for (source, peer) in &mut self.peers {
            // Merit fades by a quarter a round, so that who once gave much and stopped
            // stands behind who gives now after some seconds.
            peer.given -= peer.given / 4;
            peer.spread -= peer.spread / 4;
            let Source::Peer(to) = source else { continue };
            let choked = !chosen.contains(source);
            if peer.choked == choked {
                continue;
            }
            peer.choked = choked;
            effects.push(Effect::Choke { resource, peer: *to, choked });
            // Its requests end with the choke: it need not be told of each.
            if choked {
                peer.asked.clear();
            }
        }
    }
}
