//! The piece picker: rarest first; the origin only for pieces that no peer has; requests at
//! a slow source moved to an idle one.

use rand::Rng as _;
use trefoil_types::{Millis, Time};

use super::{
    Common, Effect, RequestId, Source,
    transfer::{OpenRequest, Transfer},
};
use crate::Bits;

// A video player or `curl` reads in order and stops at the first piece that is missing.
// Rarest first alone would leave gaps right in front of the reader.
/// The next pieces of a sequential reader come before rare ones.
const READ_AHEAD: u64 = 16;

// Both margins keep a request from moving back and forth between two sources that are
// about as fast: what is under way at the old one is thrown away.
/// A request moves if it would take more than twice as long where it is, and this time
/// more.
const STEAL_MARGIN: Millis = Millis(100);

// Slower than any source that is worth having, faster than one that has stalled: an
// untried source takes over from a dead one and from no other.
/// The time that a source without a measured rate is expected to take.
const UNTRIED: Millis = Millis(1_000);

impl Transfer {
    // One piece each in turns. If the first source took all that its window allows, it
    // would also take all rare pieces, and the others could only fetch common ones.
    /// Asks every source for as much as its window allows, the emptiest window first, one
    /// piece each in turns. With `only`, nothing has changed except at this source.
    pub fn fill(
        &mut self,
        now: Time,
        only: Option<Source>,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        if self.done {
            return;
        }
        let roomy = self.peers.iter().filter(|(source, peer)| {
            only.is_none_or(|only| only == **source) && peer.has_room(now)
        });
        let mut sources: Vec<_> = roomy.map(|(source, peer)| (peer.fill(), *source)).collect();
        sources.sort_unstable();
        while !sources.is_empty() {
            sources.retain(|(_, source)| {
                if !common.down.is_open(now) {
                    return false;
                }
                let Some(piece) = self.pick(now, *source, common) else { return false };
                self.ask(now, *source, piece, common, effects);
                self.peers.get(source).is_some_and(|peer| peer.has_room(now))
            });
        }
    }

    fn pick(&mut self, now: Time, source: Source, common: &mut Common) -> Option<u32> {
        let peer = self.peers.get(&source)?;
        if peer.is_origin() {
            return self.pick_of_origin(now, source, common);
        }
        let offered = peer.have.without([&self.have, &self.busy]);
        self.rarest(&offered.shared(&self.wanted), common)
    }

    /// Rarest first: the piece that the fewest peers have, so that no piece dies with its
    /// last holder and the origin is asked for each about once. Among equals a random one:
    /// nodes with the same view must not all fetch the same piece. Before that, pieces that
    /// are partly here, since only a whole piece can be passed on. The first piece of all
    /// is a random one, so that a newcomer soon has something to trade (BEP 3): a rare
    /// piece comes slowly.
    pub fn rarest(&self, pieces: &Bits, common: &mut Common) -> Option<u32> {
        let count = u64::from(self.layout.pieces());
        let turn = common.rng.random_range(0..count.max(1));
        let first = self.have.is_empty();
        let soon = self.soon().filter(|piece| pieces.has(*piece));
        let soon = soon.min_by_key(|piece| (!self.begun.contains_key(&(*piece as u32)), *piece));
        let begun = || {
            let begun = self.begun.keys().map(|piece| u64::from(*piece));
            begun.filter(|piece| pieces.has(*piece)).min_by_key(|piece| {
                let holders = if first { 0 } else { self.rarity.count(*piece) };
                (holders, (*piece + count - turn) % count)
            })
        };
        let rarest = || match first {
            true => pieces.first_shared(pieces, turn),
            false => self.rarity.rarest(pieces, turn),
        };
        soon.or_else(begun).or_else(rarest).map(|piece| piece as u32)
    }

    /// The next pieces of a sequential reader.
    fn soon(&self) -> std::ops::Range<u64> {
        let next = if self.sequential { self.wanted.minus([&self.have]).next() } else { None };
        next.map_or(0..0, |next| next..next + READ_AHEAD)
    }

    fn ask(
        &mut self,
        now: Time,
        source: Source,
        piece: u32,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get_mut(&source) else { return };
        let mut part = self.layout.part(piece);
        part.groups.start += self.begun.get(&piece).copied().unwrap_or_default();
        let bytes = self.layout.part_bytes(&part);
        peer.open += bytes;
        peer.asks += 1;
        let (open, claim) = (peer.open, peer.is_origin());
        self.busy.insert(piece.into());
        common.down.take(bytes);
        common.last_request += 1;
        let request = RequestId(common.last_request);
        self.requests.insert(
            request,
            OpenRequest {
                source,
                piece,
                part: part.clone(),
                asked_at: now,
                moved_at: now,
                open,
                claim,
            },
        );
        if claim {
            self.queue_news(now, |news| {
                news.released.retain(|other| *other != piece);
                crate::news::insert_sorted(&mut news.claims, piece);
            });
        }
        effects.push(Effect::Ask { request, resource: self.resource, source, piece, part });
    }

    // There is no endgame of duplicate requests as in BEP 3: duplicates take bandwidth that
    // the bound has no room for (ADR 15). A late request moves instead, and keeps the
    // groups that have arrived.
    /// Where a peer idles although it has pieces that are requested elsewhere, the request
    /// that would finish last moves to it.
    pub fn steal(&mut self, now: Time, common: &mut Common, effects: &mut Vec<Effect>) {
        let idle = self
            .peers
            .iter()
            // Idle: less than half of its window is in use.
            .filter(|(_, peer)| !peer.is_origin() && peer.has_room(now) && peer.fill() < 500);
        let idle: Vec<Source> = idle.map(|(source, _)| *source).collect();
        if idle.is_empty() || self.requests.is_empty() {
            return;
        }
        let waits = self.waits();
        let mut moved = Vec::new();
        for thief in idle {
            let Some(peer) = self.peers.get(&thief) else { continue };
            let piece = self.layout.piece_bytes_max();
            let mine = match peer.window.rate {
                0 => UNTRIED,
                _ => peer.window.wait(peer.open + piece),
            };
            let slowest =
                waits.iter().filter(|(_, id, _)| !moved.contains(id)).find(|(wait, _, request)| {
                    request.0 != thief
                        && peer.have.has(request.1.into())
                        && wait.0 > 2 * mine.0 + STEAL_MARGIN.0
                });
            let Some((_, id, (_, piece))) = slowest else { continue };
            moved.push(*id);
            self.cancel(now, *id, common, effects);
            self.ask(now, thief, *piece, common, effects);
        }
    }

    /// How long each open request will take, the longest first.
    fn waits(&self) -> Vec<(Millis, RequestId, (Source, u32))> {
        let mut ahead = std::collections::BTreeMap::<Source, u64>::new();
        // Request ids ascend with time, and a source serves requests in order: each waits
        // for those before it.
        let waits = self.requests.iter().map(|(id, request)| {
            let before = ahead.entry(request.source).or_default();
            *before += self.layout.part_bytes(&request.part);
            let wait = match self.peers.get(&request.source) {
                Some(peer) if peer.window.rate > 0 => peer.window.wait(*before),
                _ => UNTRIED,
            };
            (wait, *id, (request.source, request.piece))
        });
        let mut waits: Vec<_> = waits.collect();
        waits.sort_by_key(|(wait, id, _)| (std::cmp::Reverse(*wait), *id));
        waits
    }
}
