//! Announcements: what peers tell of their pieces, and what they are told.

use std::ops::Range;

use trefoil_types::{Millis, Offence, PeerId, Time};

use super::{Common, Effect, Source, transfer::Transfer};
use crate::News;

// Each piece that arrives would otherwise be a message to every peer. 30 ms is short beside
// the time of a piece, and long enough to join the pieces of small files in one message.
/// Announcements are gathered for this time and sent together.
pub(super) const GATHER: Millis = Millis(30);

impl Transfer {
    pub(super) fn told(
        &mut self,
        now: Time,
        from: PeerId,
        news: &News,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        let source = Source::Peer(from);
        let Some(peer) = self.peers.get_mut(&source) else { return };
        let pieces = self.layout.pieces();
        // Checked whole before anything is changed: a message that is malformed in its last
        // run must leave nothing behind.
        if news.have.iter().any(|run| run.end > pieces)
            || news.claims.iter().chain(&news.released).any(|piece| *piece >= pieces)
        {
            effects.push(Effect::Blame { peer: from, offence: Offence::Malformed });
            return;
        }
        let was_full = peer.have.is_full();
        for piece in news.have.iter().cloned().flatten() {
            let Some(peer) = self.peers.get_mut(&source) else { return };
            if peer.have.insert(piece.into()) && !peer.is_origin() {
                self.rarity.gain(piece.into());
                self.note_spread(piece, source);
            }
            self.drop_claim(piece, source);
        }
        for piece in &news.released {
            self.drop_claim(*piece, source);
        }
        for piece in &news.claims {
            self.note_claim(now, *piece, source, common, effects);
        }
        // A peer that has everything no longer takes part in the lots for the origin's
        // pieces.
        if self.peers.get(&source).is_some_and(|peer| peer.have.is_full()) && !was_full {
            self.share = None;
        }
    }

    pub(super) fn choked(&mut self, now: Time, from: PeerId, choked: bool, common: &mut Common) {
        let source = Source::Peer(from);
        let Some(peer) = self.peers.get_mut(&source) else { return };
        if peer.chokes_us != choked {
            (peer.chokes_us, peer.choking_since) = (choked, now);
        }
        if !choked {
            return;
        }
        // It drops our open requests with the choke, as we drop its. The bytes are given
        // back to the rate limiters.
        let open = self.requests.iter().filter(|(_, request)| request.source == source);
        for id in open.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Some(request) = self.end_request(now, id) {
                let left = self.layout.part_bytes(&request.part);
                common.down.give_back(left);
            }
        }
    }

    /// Adds to the next announcement.
    pub(super) fn say(&mut self, now: Time, change: impl FnOnce(&mut News)) {
        change(&mut self.news);
        if self.tell_at.is_none() {
            self.tell_at = Some(now.max(self.told_at + GATHER));
        }
    }

    pub(super) fn tell(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.tell_at.is_none_or(|at| at > now) {
            return;
        }
        (self.tell_at, self.told_at) = (None, now);
        let news = std::mem::take(&mut self.news);
        if self.peers.keys().any(|source| matches!(source, Source::Peer(_))) {
            effects.push(Effect::Tell { resource: self.resource, to: None, news });
        }
    }
}

/// Adds a piece to ascending, separate runs.
pub(super) fn push_piece(runs: &mut Vec<Range<u32>>, piece: u32) {
    let at = runs.partition_point(|run| run.end < piece);
    match runs.get_mut(at) {
        Some(run) if run.contains(&piece) => return,
        Some(run) if run.end == piece => run.end += 1,
        Some(run) if run.start == piece + 1 => run.start -= 1,
        _ => runs.insert(at, piece..piece + 1),
    }
    if runs.get(at + 1).is_some_and(|next| next.start == runs[at].end) {
        runs[at].end = runs.remove(at + 1).end;
    }
}

pub(super) fn insert_sorted(pieces: &mut Vec<u32>, piece: u32) {
    if let Err(at) = pieces.binary_search(&piece) {
        pieces.insert(at, piece);
    }
}
