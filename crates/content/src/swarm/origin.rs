//! The origin is asked for what the swarm lacks, each piece once in all.
//!
//! Nodes do not agree beforehand; each draws the same lots. Of the pieces that
//! nobody has, each is first the share of the one node whose lot for it is
//! highest (rendezvous hashing over who is here), so that nodes that see the
//! same ask for disjoint pieces without a word. Who has asked says so (a
//! *claim*), so that who is through with its own share can take from others'.

use trefoil_types::{Millis, PeerId, Time};

use super::{Common, Effect, Manner, Source, transfer::Transfer};
use crate::Bits;

/// A claim holds for so long, if its peer stays.
const CLAIM: Millis = Millis(8_000);

/// The most claims of one peer, so that nobody can keep the others away.
const CLAIMS_MAX: u32 = 64;

/// The origin gives even what others have, when they gave nothing for so long.
const STARVED: Millis = Millis(3_000);

/// Who chokes us for so long and never gave us anything is thought to give
/// nothing.
const WITHHELD: Millis = Millis(2_000);

/// The origin helps those whose peers have everything for so long,
const SETTLES: Millis = Millis(1_000);

/// who come on at less than this share of their best rate since then,
const HELP_SLOWED: (u64, u64) = (4, 5);

/// who would still need so many seconds,
const HELP_LEFT_S: u64 = 3;

/// and lack at least this part of the whole: the end of any transfer is slow.
const HELP_LEFT_SHARE: u64 = 10;

impl Transfer {
    pub(super) fn pick_of_origin(
        &mut self,
        now: Time,
        source: Source,
        common: &mut Common,
    ) -> Option<u32> {
        if self.share.is_none() {
            self.share = Some(self.draw_share(common.me));
        }
        let taken = [&self.have, &self.busy, &self.claimed];
        let lacking = self.wanted.without(taken).shared(self.rarity.unheld());
        let own = self.rarest(&lacking.shared(self.share.as_ref()?), common);
        if own.is_some() {
            return own;
        }
        let others = self.rarest(&lacking, common);
        if others.is_some() {
            return others;
        }
        if let Some(piece) = self.withheld(now, common) {
            return Some(piece);
        }
        if let Source::Peer(_) = source
            && self.needs_help(now)
        {
            let taken = [&self.have, &self.busy, &self.claimed];
            return self.rarest(&self.wanted.without(taken), common);
        }
        let from_peers = self.requests.values().any(|request| !request.claim);
        if from_peers || now.since(self.fed_at) < STARVED {
            return None;
        }
        self.rarest(&self.wanted.without([&self.have, &self.busy]), common)
    }

    /// Whether the peers have everything, but their uplinks are so slow that an
    /// origin that is a node would lie idle while everyone waits for long. If so,
    /// it helps to the end. A web server is spared even then: its traffic may be
    /// paid for by the byte.
    fn needs_help(&mut self, now: Time) -> bool {
        let lacking = self.wanted.without([&self.have]);
        if lacking.first_shared(self.rarity.unheld(), 0).is_some() {
            (self.lacked_at, self.helped) = (now, false);
        }
        self.flow.roll(now);
        let pieces = self.wanted.minus([&self.have]).count() as u64;
        let left = pieces * self.layout.piece_bytes_max();
        let slowed = self.flow.rate < self.flow.peak / HELP_SLOWED.1 * HELP_SLOWED.0;
        self.helped |= now.since(self.lacked_at) >= SETTLES
            && slowed
            && left >= self.flow.rate.saturating_mul(HELP_LEFT_S)
            && pieces >= u64::from(self.layout.pieces()) / HELP_LEFT_SHARE;
        self.helped
    }

    /// A piece that only strangers have who never gave us anything.
    fn withheld(&self, now: Time, common: &mut Common) -> Option<u32> {
        if self.manner == Manner::Fair {
            return None;
        }
        let mut reachable = Bits::none(self.layout.pieces().into());
        for peer in self.peers.values().filter(|peer| !peer.is_origin()) {
            let may_give = !peer.chokes_us || peer.ever_gave;
            if may_give || now.since(peer.choking_since) < WITHHELD {
                reachable.insert_all(&peer.have);
            }
        }
        let taken = [&self.have, &self.busy, &self.claimed, &reachable];
        self.rarest(&self.wanted.without(taken), common)
    }

    /// The pieces for which no one who still needs pieces has a higher lot.
    fn draw_share(&self, me: PeerId) -> Bits {
        let seekers = self.peers.iter().filter_map(|(source, peer)| match source {
            Source::Peer(id) if !peer.is_origin() && !peer.have.is_full() => Some(word(id)),
            _ => None,
        });
        let seekers: Vec<u64> = seekers.collect();
        let mut share = Bits::none(self.layout.pieces().into());
        for piece in 0..self.layout.pieces() {
            let mine = lot(word(&me), piece);
            if seekers.iter().all(|other| lot(*other, piece) < mine) {
                share.insert(piece.into());
            }
        }
        share
    }

    /// A peer fetches a piece from the origin. If this node does too, from a web
    /// server, the one with the lower lot lets go, unless its piece has begun to
    /// arrive. An origin that is a node refuses one of the two itself.
    pub(super) fn note_claim(
        &mut self,
        now: Time,
        piece: u32,
        source: Source,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get(&source) else { return };
        let believed = !peer.have.has(piece.into()) && peer.claims < CLAIMS_MAX;
        if !believed || !self.add_claim(now, piece, source) {
            return;
        }
        let Source::Peer(other) = source else { return };
        let open = self.requests.iter().find(|(_, request)| request.piece == piece);
        let Some((id, request)) = open else { return };
        let untouched = request.moved_at == request.asked_at;
        let yields = lot(word(&common.me), piece) < lot(word(&other), piece);
        if matches!(request.source, Source::Web(_)) && untouched && yields {
            let id = *id;
            self.cancel(now, id, common, effects);
        }
    }

    /// All who claim a piece are kept: when one of two that met lets go, the piece
    /// is still the other's. `false`: it was known.
    fn add_claim(&mut self, now: Time, piece: u32, source: Source) -> bool {
        let Some(peer) = self.peers.get_mut(&source) else { return false };
        let holders = self.claims.entry(piece).or_default();
        let new = holders.iter().all(|(holder, _)| *holder != source);
        if new {
            holders.push((source, now));
            peer.claims += 1;
            self.claimed.insert(piece.into());
        }
        new
    }

    pub(super) fn drop_claim(&mut self, piece: u32, source: Source) {
        self.drop_claims_of(piece, |holder, _| holder == source);
    }

    pub(super) fn drop_claims(&mut self, ends: impl Fn(Source, Time) -> bool) {
        for piece in self.claims.keys().copied().collect::<Vec<_>>() {
            self.drop_claims_of(piece, &ends);
        }
    }

    fn drop_claims_of(&mut self, piece: u32, ends: impl Fn(Source, Time) -> bool) {
        let Some(holders) = self.claims.get_mut(&piece) else { return };
        for (source, _) in holders.extract_if(.., |(source, at)| ends(*source, *at)) {
            if let Some(peer) = self.peers.get_mut(&source) {
                peer.claims -= 1;
            }
        }
        if holders.is_empty() {
            self.claims.remove(&piece);
            self.claimed.remove(piece.into());
        }
    }

    pub(super) fn expire_claims(&mut self, now: Time) {
        self.drop_claims(|_, at| now.since(at) > CLAIM);
    }

    /// The origin itself gave this piece to another, which will pass it on. Its word
    /// stays when a claim is let go.
    pub(super) fn note_given(&mut self, now: Time, piece: u32, source: Source) {
        self.drop_claim(piece, source);
        self.add_claim(now, piece, source);
    }
}

/// What of a name lots are drawn with.
fn word(peer: &PeerId) -> u64 {
    let bytes: [u8; 8] = peer.0.0[..8].try_into().expect("a key has 32 bytes");
    mix(u64::from_le_bytes(bytes))
}

/// A peer's lot for a piece.
fn lot(peer: u64, piece: u32) -> u64 {
    mix(peer ^ mix(piece.into()))
}

/// Any even mixing does: nothing hangs on secrecy. This is SplitMix64's
/// (Steele, Lea and Flood 2014).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
