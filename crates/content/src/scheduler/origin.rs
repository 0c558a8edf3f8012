//! The origin is asked only for pieces that the swarm lacks, each about once in all.
//!
//! Super-seeding (BEP 16) spares the origin by letting it wait, and its uplink idles. Here
//! the nodes divide the pieces instead, without a message: each computes the same lots
//! (rendezvous hashing over the peers that still need pieces). Of the pieces that nobody
//! has, a node first takes those for which its own lot is the highest, so that nodes with
//! the same view ask for disjoint pieces. Where views differ, a *claim* in the news of the
//! taker keeps the others away. So a node that has taken its own share can go on with the
//! share of others. ADR 15 has the measurements.

use trefoil_types::{Millis, PeerId, Time};

use super::{Common, Effect, Source, UploadPolicy, transfer::Transfer};
use crate::Bits;

// Attack: a liar claims pieces at the origin and never fetches them. Its claims end after
// this time, so that it costs the others time and nothing else (ADR 15).
/// How long a claim holds, if its peer stays connected.
const CLAIM: Millis = Millis(8_000);

// Attack: one peer claims every piece and so keeps all others away from the origin.
/// The most claims of one peer. More are ignored.
const CLAIMS_MAX: u32 = 64;

// Peers may announce pieces and then be slow, choke us, or lie. A transfer must end even
// so.
/// After this time without a byte from any peer, the origin is asked even for pieces that
/// peers have.
const STARVED: Millis = Millis(3_000);

// Attack: strangers announce pieces that they never give, so that no node asks the origin
// for them.
/// A stranger that has choked us for this time and never gave anything does not count as a
/// holder.
const WITHHELD: Millis = Millis(2_000);

// One copy from the origin is not always best. Clients with 100 Mbit/s down and 25 up took
// 1.45 times the bound when the origin sent one copy, and 1.15 times when it helped (ADR
// 15). The four constants below distinguish such a transfer from its start, and from the
// slow end that every transfer has.
/// The peers must have had every wanted piece for this time,
const SETTLES: Millis = Millis(1_000);

/// and the rate must be below this share of the best rate,
const HELP_SLOWED: (u64, u64) = (4, 5);

/// and the rest must take at least this many seconds more,
const HELP_LEFT_S: u64 = 3;

/// and be at least this part (one tenth) of the whole.
const HELP_LEFT_SHARE: u64 = 10;

impl Transfer {
    // The order spares the origin: pieces that only it can give come first, and pieces that
    // peers have come only when the peers give nothing.
    pub(super) fn pick_of_origin(
        &mut self,
        now: Time,
        source: Source,
        common: &mut Common,
    ) -> Option<u32> {
        if self.share.is_none() {
            self.share = Some(self.draw_share(common.me));
        }
        // First the own share: other nodes with the same view leave these pieces alone.
        let taken = [&self.have, &self.busy, &self.claimed];
        let lacking = self.wanted.without(taken).shared(self.rarity.unheld());
        let own = lacking.shared(self.share.as_ref()?);
        // Then the shares of others, so that the origin never idles while a piece is
        // missing. Claims keep two nodes from the same piece.
        let lacked = self.rarest(&own, common).or_else(|| self.rarest(&lacking, common));
        let picked = lacked.or_else(|| self.withheld(now, common));
        if picked.is_some() {
            return picked;
        }
        if let Source::Peer(_) = source
            && self.needs_help(now)
        {
            let taken = [&self.have, &self.busy, &self.claimed];
            return self.rarest(&self.wanted.without(taken), common);
        }
        // Last, a piece that peers have, claimed or not, when no peer gives anything.
        let from_peers = self.requests.values().any(|request| !request.claim);
        if from_peers || now.since(self.fed_at) < STARVED {
            return None;
        }
        self.rarest(&self.wanted.without([&self.have, &self.busy]), common)
    }

    /// Whether the peers have everything, but an origin that is a node would idle for long
    /// while all wait for their slow uplinks. If so, it helps to the end. A web server is not
    /// asked even then: its traffic may be paid for by the byte.
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

    /// A piece that only strangers have that never gave us anything.
    fn withheld(&self, now: Time, common: &mut Common) -> Option<u32> {
        if self.upload_policy == UploadPolicy::Fair {
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

    /// The pieces for which no other peer that still needs pieces has a higher lot.
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

    // A claim of a piece that the peer has is no claim, and claims beyond the bound are
    // ignored.
    /// A peer fetches a piece from the origin. If this node fetches the same piece from a
    /// web server, the node with the lower lot yields, unless its piece has begun to
    /// arrive. An origin that is a node decides itself: it refuses the later one.
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
        // Bytes that have arrived are not thrown away.
        let untouched = request.moved_at == request.asked_at;
        let yields = lot(word(&common.me), piece) < lot(word(&other), piece);
        if matches!(request.source, Source::Web(_)) && untouched && yields {
            let id = *id;
            self.cancel(now, id, common, effects);
        }
    }

    // All claims of a piece are kept, not only the first: when one of two nodes lets go, a
    // third must still leave the piece to the other.
    /// Notes a claim. `false`: it was known already.
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

    /// The origin refused this piece, since it gave it to another peer, which will pass it on.
    /// This stays when a claim of a peer is released.
    pub(super) fn note_given(&mut self, now: Time, piece: u32, source: Source) {
        self.drop_claim(piece, source);
        self.add_claim(now, piece, source);
    }
}

/// The part of a peer id that lots are computed with.
fn word(peer: &PeerId) -> u64 {
    let bytes: [u8; 8] = peer.0.0[..8].try_into().expect("a key has 32 bytes");
    mix(u64::from_le_bytes(bytes))
}

/// A peer's lot for a piece.
fn lot(peer: u64, piece: u32) -> u64 {
    mix(peer ^ mix(piece.into()))
}

// Nothing depends on secrecy: a peer that chooses its id to win every lot gains nothing,
// since the others take its share when their own is empty.
/// An even mixing function: SplitMix64 (Steele, Lea and Flood 2014).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
