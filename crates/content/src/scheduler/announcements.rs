//! Announcements of pieces and claims: those of peers, and those of this node.

use trefoil_types::{Offence, PeerId, Time};

use super::{
    Common, Effect, Source,
    transfer::{GATHER, Transfer},
};
use crate::News;

impl Transfer {
    pub(super) fn on_announcement(
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

    pub(super) fn on_choke(
        &mut self,
        now: Time,
        from: PeerId,
        choked: bool,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        let source = Source::Peer(from);
        let Some(peer) = self.peers.get_mut(&source) else { return };
        if peer.chokes_us != choked {
            (peer.chokes_us, peer.choking_since) = (choked, now);
        }
        if !choked {
            return;
        }
        // It drops our open requests with the choke, as we drop its. The bytes are given
        // back to the rate limiters. Attack: chokes without end, each of which left what was asked
        // with the streams: 170 kB a second, and the descriptors of each store.
        for id in self.open_requests(|request| request.source == source) {
            if let Some(request) = self.end_request(now, id) {
                let left = self.layout.part_bytes(&request.part);
                common.down.give_back(left);
                effects.push(Effect::Forget { request: id, peer: from });
            }
        }
    }

    /// Adds to the next announcement.
    pub(super) fn queue_news(&mut self, now: Time, change: impl FnOnce(&mut News)) {
        change(&mut self.news);
        if self.announce_at.is_none() {
            self.announce_at = Some(now.max(self.announced_at + GATHER));
        }
    }

    pub(super) fn send_news(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.announce_at.is_none_or(|at| at > now) {
            return;
        }
        (self.announce_at, self.announced_at) = (None, now);
        let news = std::mem::take(&mut self.news);
        if self.peers.keys().any(|source| matches!(source, Source::Peer(_))) {
            effects.push(Effect::Announce { resource: self.resource, to: None, news });
        }
    }
}
