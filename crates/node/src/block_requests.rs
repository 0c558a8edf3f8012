//! Requests of peers for final blocks, until they are answered.
//!
//! What always holds: of each peer one request waits, and one is answered at a time, the
//! favoured peers first, and each kind in turn. It must never know: what is in a block.

use std::collections::BTreeMap;

use trefoil_types::{Millis, PeerId, Time, message::GetBlocks};

// As long as a node waits for its answer: by then it has asked another peer.
/// How long a request waits.
const WAITS: Millis = Millis(3_000);

/// A request of a peer.
#[derive(Debug)]
struct WaitingRequest {
    came: Time,
    /// There is no room for its first block before this.
    not_before: Time,
    request: GetBlocks,
}

// Attack: each request makes this node read and encode up to 4 MiB on its own thread. Many
// at once would stand before the votes; so they wait here, and one is answered in a step.
#[derive(Debug, Default)]
pub(crate) struct BlockRequests {
    waiting: BTreeMap<PeerId, WaitingRequest>,
    /// The peer that was answered last; the next one is next.
    last: Option<PeerId>,
    /// No peer that waits has room for an answer before this.
    idle_until: Option<Time>,
}

impl BlockRequests {
    /// Takes a request in the place of the peer's earlier one; whether there was one.
    pub fn insert(&mut self, now: Time, peer: PeerId, request: GetBlocks) -> bool {
        self.idle_until = None;
        let waiting = WaitingRequest { came: now, not_before: Time(0), request };
        self.waiting.insert(peer, waiting).is_some()
    }

    /// Puts back a request that came at that time, for whose first block there is no room before
    /// `not_before`.
    pub fn put_off(&mut self, came: Time, peer: PeerId, request: GetBlocks, not_before: Time) {
        self.waiting.insert(peer, WaitingRequest { came, not_before, request });
    }

    /// No peer that waits has room for an answer before this.
    pub fn idle_until(&mut self, until: Time) {
        self.idle_until = Some(until);
    }

    pub fn remove(&mut self, peer: &PeerId) {
        self.waiting.remove(peer);
    }

    /// When it makes sense to answer one.
    pub fn due(&self) -> Option<Time> {
        (!self.waiting.is_empty()).then(|| self.idle_until.unwrap_or(Time(0)))
    }

    /// Takes out the next request in turn whose peer has room for its answer, of a favoured
    /// peer if there is one; and when it came.
    pub fn take(
        &mut self,
        now: Time,
        is_favoured: impl Fn(&PeerId) -> bool,
        mut has_room: impl FnMut(&PeerId) -> bool,
    ) -> Option<(PeerId, Time, GetBlocks)> {
        self.waiting.retain(|_, waiting| now.since(waiting.came) < WAITS);
        let last = self.last;
        let after = self.waiting.keys().filter(|peer| last.is_none_or(|last| **peer > last));
        let in_turn = after.chain(self.waiting.keys()).copied();
        let (favoured, others): (Vec<_>, Vec<_>) = in_turn.partition(is_favoured);
        let mut is_due = |peer: &PeerId| {
            self.waiting.get(peer).is_some_and(|it| it.not_before <= now) && has_room(peer)
        };
        let peer = favoured.into_iter().chain(others).find(|peer| is_due(peer))?;
        self.last = Some(peer);
        self.waiting.remove(&peer).map(|it| (peer, it.came, it.request))
    }
}

#[cfg(test)]
mod tests;
