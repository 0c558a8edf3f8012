//! Choking: which peers are served on a public network. They are those that give most, and
//! one by chance (tit for tat with an optimistic unchoke, BEP 3).
//!
//! A node that has the whole resource gets nothing back. It ranks peers by how many of the
//! pieces that it gave them first have since appeared at others.

use rand::seq::SliceRandom as _;
use trefoil_types::{Millis, Time};

use super::{Common, Effect, Source, UploadPolicy, transfer::Transfer};

// BitTorrent rechokes each 10 s (BEP 3), for transfers of hours. Ours take seconds to
// minutes: with 10 s a 30 s transfer would be decided three times.
/// How often the served peers are chosen anew.
const CHOOSE: Millis = Millis(1_000);

// BEP 3's four. Fewer leave an uplink idle when one peer stalls. More make each share so
// small that a peer cannot see which peers give.
/// The peers that are served because they give.
const SLOTS: usize = 4;

// Long enough for a newcomer to get a piece and to give it to somebody: BEP 3 keeps the
// optimistic unchoke for three rounds, for the same reason.
/// For how many rounds the optimistic slot stays with one peer.
const OPTIMISTIC: u64 = 2;

// Attack: free riders under fresh identities. Each takes this much by chance, and then
// ranks behind all peers that give. Without any credit no peer could begin.
/// The pieces that a stranger may take before it has given anything.
const CREDIT_PIECES: u64 = 4;

impl Transfer {
    pub fn choose(&mut self, now: Time, common: &mut Common, effects: &mut Vec<Effect>) {
        if self.upload_policy == UploadPolicy::Fair || now < self.choose_at {
            return;
        }
        self.choose_at = now + CHOOSE;
        self.choosings += 1;
        let mut others = self.interested();
        // The sort is stable, so the shuffle decides among equals. Without it, the peers
        // with the lowest ids would always win.
        others.shuffle(&mut common.rng);
        others.sort_by_key(|source| std::cmp::Reverse(self.merit(source)));
        let givers = others.iter().take_while(|source| self.merit(source) > 0).count();
        let mut chosen: Vec<Source> = others.drain(..givers.min(SLOTS)).collect();
        let (new, mut takers): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|source| self.has_credit(source));
        // While still downloading, use the optimistic slot for peers that only take on
        // every second turn: what they get comes back to nobody.
        if !self.have.is_full() && !(self.choosings / OPTIMISTIC).is_multiple_of(2) {
            takers.clear();
        }
        // Slots that no giver needs go to newcomers with credit: otherwise two newcomers
        // that both wait for the other to give first would never begin.
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
    // As BEP 3: a peer that lacks nothing of ours would keep a slot idle.
    fn interested(&self) -> Vec<Source> {
        let lacks = self.peers.iter().filter(|(source, peer)| {
            matches!(source, Source::Peer(_))
                && !peer.is_origin()
                && self.have.minus([&peer.have]).next().is_some()
        });
        lacks.map(|(source, _)| *source).collect()
    }

    // Bytes given mean nothing at a seeder, so it ranks by pieces passed on. Attack:
    // colluding peers can fake that. They win one of the four slots, and no bytes of others
    // (ADR 15).
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
            // Merit fades by a quarter each round. A peer that gave much once and then
            // stopped soon ranks behind a peer that gives now.
            peer.given -= peer.given / 4;
            peer.spread -= peer.spread / 4;
            let Source::Peer(to) = source else { continue };
            let choked = !chosen.contains(source);
            if peer.choked == choked {
                continue;
            }
            peer.choked = choked;
            effects.push(Effect::Choke { resource, peer: *to, choked });
            // Its requests end with the choke, without a refusal of each.
            if choked {
                peer.asked.clear();
            }
        }
    }
}
