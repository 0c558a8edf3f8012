//! Open requests: their bytes arrive, they fail, stall or are cancelled.

use trefoil_types::{Millis, Offence, Time};

use super::{
    Common, Effect, FetchFailure, RejectReason, RequestId, Source,
    transfer::{OpenRequest, Transfer},
};
use crate::{
    Part,
    news::{insert_sorted, push_piece},
};

// A source that took a request and sends nothing blocks its piece, since a piece is
// requested from one source at a time.
/// A request that receives nothing for this time has stalled.
const STALL: Millis = Millis(3_000);

// One smallest piece a second. A request for one has then stalled after 4 s.
/// The rate that a source without a measurement is expected to have at least, bytes a
/// second.
const SLOWEST: u64 = 64 * 1024;

// A source that fails repeatedly is asked more and more seldom, up to every 8 s (500 ms
// times 16). It is not given up: a peer behind a broken link may come back.
/// How long a source rests after a failure, times its failures in a row.
const REST: Millis = Millis(500);
const STRIKES_MAX: u32 = 16;

impl Transfer {
    pub(super) fn arrived(
        &mut self,
        now: Time,
        id: RequestId,
        groups: u64,
        effects: &mut Vec<Effect>,
    ) -> Option<Source> {
        // The request may have been cancelled while the groups were on their way.
        let request = self.requests.get_mut(&id)?;
        let groups = groups.min(request.part.groups.end - request.part.groups.start);
        let came = request.part.groups.start..request.part.groups.start + groups;
        let bytes = self.layout.part_bytes(&Part { file: request.part.file, groups: came.clone() });
        request.part.groups.start = came.end;
        request.moved_at = now;
        let (piece, source, left) = (request.piece, request.source, request.part.groups.clone());
        *self.begun.entry(piece).or_default() += groups;
        self.flow.add(now, bytes);
        if let Some(peer) = self.peers.get_mut(&source) {
            peer.open -= bytes;
            peer.given += bytes;
            peer.ever_gave = true;
            // Only failures in a row count.
            peer.strikes = 0;
            if !peer.is_origin() {
                self.fed_at = now;
            }
        }
        if left.is_empty() {
            self.finished(now, id, effects);
        }
        Some(source)
    }

    pub(super) fn finished(&mut self, now: Time, id: RequestId, effects: &mut Vec<Effect>) {
        let Some(request) = self.requests.remove(&id) else { return };
        if let Some(peer) = self.peers.get_mut(&request.source) {
            let piece = self.layout.piece_bytes_max();
            peer.asks -= 1;
            peer.window.finished(request.open, now.since(request.asked_at), piece);
        }
        self.busy.remove(request.piece.into());
        self.begun.remove(&request.piece);
        self.have.insert(request.piece.into());
        self.queue_news(now, |news| push_piece(&mut news.have, request.piece));
        self.finish_if_all(effects);
    }

    pub(super) fn finish_if_all(&mut self, effects: &mut Vec<Effect>) {
        if !self.done && self.wanted.minus([&self.have]).next().is_none() {
            self.done = true;
            effects.push(Effect::Done { resource: self.resource });
        }
    }

    pub(super) fn failed(
        &mut self,
        now: Time,
        id: RequestId,
        failure: FetchFailure,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        let Some(request) = self.end_request(now, id) else { return };
        let source = request.source;
        match failure {
            // At the first bad group, without a warning: a node verifies what it serves, so
            // no honest peer sends one.
            FetchFailure::Corrupt { .. } => {
                if let Source::Peer(peer) = source {
                    effects.push(Effect::Blame { peer, offence: Offence::BadContent });
                }
                self.leave(now, source, failure, common, effects);
            }
            // The peer's have-map was wrong, and with it the rarity of the piece. No
            // offence: its bytes may have changed on disk.
            FetchFailure::Refused(RejectReason::Missing) => {
                let lied = self.peers.get_mut(&source).is_some_and(|peer| {
                    let had = peer.have.has(request.piece.into()) && !peer.is_origin();
                    peer.have.remove(request.piece.into());
                    had
                });
                if lied {
                    self.rarity.lose(request.piece.into());
                }
                self.strike(now, source);
            }
            FetchFailure::Refused(RejectReason::Given) => {
                self.note_given(now, request.piece, source)
            }
            FetchFailure::Refused(RejectReason::Choked) | FetchFailure::Closed => {
                self.strike(now, source)
            }
        }
    }

    /// Forgets a source for good.
    pub(super) fn leave(
        &mut self,
        now: Time,
        source: Source,
        failure: FetchFailure,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        for id in self.open_requests(|request| request.source == source) {
            self.cancel(now, id, common, effects);
        }
        self.left(now, source);
        effects.push(Effect::Leave { resource: self.resource, source, failure });
    }

    pub(super) fn strike(&mut self, now: Time, source: Source) {
        if let Some(peer) = self.peers.get_mut(&source) {
            peer.strikes = (peer.strikes + 1).min(STRIKES_MAX);
            peer.resting_until = now + Millis(REST.0 * u64::from(peer.strikes));
        }
    }

    /// Cancels stalled requests, forgets old claims, and moves requests from slow sources
    /// to idle ones.
    pub(super) fn look(&mut self, now: Time, common: &mut Common, effects: &mut Vec<Effect>) {
        let stalled = self.requests.iter().filter(|(_, request)| {
            let peer = self.peers.get(&request.source);
            // By what was open, not by this piece alone: a request waits for all those
            // before it.
            let slowest = request.open * 1_000 / SLOWEST;
            let expected = match peer.filter(|peer| peer.window.rate > 0) {
                Some(peer) => peer.window.wait(request.open).0.min(slowest),
                None => slowest,
            };
            now.since(request.moved_at).0 > STALL.0.max(4 * expected)
        });
        let stalled: Vec<_> = stalled.map(|(id, request)| (*id, request.source)).collect();
        for (id, source) in stalled {
            self.cancel(now, id, common, effects);
            self.strike(now, source);
            if let Some(peer) = self.peers.get_mut(&source) {
                peer.window.stalled(self.layout.piece_bytes_max());
            }
        }
        self.expire_claims(now);
        self.steal(now, common, effects);
    }

    /// The open requests of which this is true.
    pub fn open_requests(&self, which: impl Fn(&OpenRequest) -> bool) -> Vec<RequestId> {
        let open = self.requests.iter().filter(|(_, request)| which(request));
        open.map(|(id, _)| *id).collect()
    }

    /// Cancels a request.
    pub fn cancel(
        &mut self,
        now: Time,
        id: RequestId,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(request) = self.end_request(now, id) {
            let left = self.layout.part_bytes(&request.part);
            common.down.give_back(left);
            effects.push(Effect::Cancel { request: id, source: request.source });
        }
    }

    /// Forgets a request that will bring nothing more.
    pub(super) fn end_request(&mut self, now: Time, id: RequestId) -> Option<OpenRequest> {
        let request = self.requests.remove(&id)?;
        self.busy.remove(request.piece.into());
        if let Some(peer) = self.peers.get_mut(&request.source) {
            peer.open -= self.layout.part_bytes(&request.part);
            peer.asks -= 1;
        }
        if request.claim {
            self.queue_news(now, |news| {
                news.claims.retain(|piece| *piece != request.piece);
                insert_sorted(&mut news.released, request.piece);
            });
        }
        Some(request)
    }
}
