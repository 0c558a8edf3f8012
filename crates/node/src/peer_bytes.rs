//! Bytes that peers make this node hold, or send in answer: of each peer, and of all.
//!
//! What always holds: no peer takes more than its part of a [`ByteBudget`], and no crowd
//! takes the share of a peer that stands apart from it. Of answers, half is for the peers
//! that this node favours. It must never know: why a peer is favoured.

use std::collections::BTreeMap;

use trefoil_types::{ByteBudget, MessageRule, Millis, PeerId, Time, message_rule as rules};

/// Bytes that were taken, by peer.
#[derive(Debug, Default)]
pub(crate) struct PeerBytes {
    of: BTreeMap<PeerId, usize>,
    all: usize,
}

impl PeerBytes {
    /// How many more bytes a peer may take while `peers` are connected.
    pub fn room(&self, budget: ByteBudget, peers: usize, peer: &PeerId) -> usize {
        self.room_beside(0, budget, peers, peer)
    }

    /// The same when `others` of the bytes for all were taken by peers that are not among these.
    fn room_beside(&self, others: usize, budget: ByteBudget, peers: usize, peer: &PeerId) -> usize {
        let taken = self.taken(peer);
        // Attack: a crowd of identities takes all there is. Half is for whoever comes first,
        // so that few peers can use much; of the other half each has an equal share.
        let half = budget.all / 2;
        let share = (half / peers.max(1)).saturating_sub(taken);
        let room = half.saturating_sub(self.all + others).max(share);
        // Shares grow when peers leave, and what they left is still counted.
        let left = budget.all.saturating_sub(self.all + others);
        room.min(left).min(budget.peer.saturating_sub(taken))
    }

    /// The bytes of each peer that took any.
    pub fn by_peer(&self) -> impl Iterator<Item = (&PeerId, usize)> {
        self.of.iter().map(|(peer, bytes)| (peer, *bytes))
    }

    /// Those of all peers.
    pub fn all(&self) -> usize {
        self.all
    }

    /// Takes so many bytes, if there is room for them.
    pub fn take(&mut self, budget: ByteBudget, peers: usize, peer: PeerId, bytes: usize) -> bool {
        let room = bytes <= self.room(budget, peers, &peer);
        if room {
            self.add(peer, bytes);
        }
        room
    }

    pub fn add(&mut self, peer: PeerId, bytes: usize) {
        *self.of.entry(peer).or_default() += bytes;
        self.all += bytes;
    }

    pub fn give_back(&mut self, peer: &PeerId, bytes: usize) {
        let Some(taken) = self.of.get_mut(peer) else { return };
        let bytes = bytes.min(*taken);
        *taken -= bytes;
        self.all -= bytes;
        if *taken == 0 {
            self.of.remove(peer);
        }
    }

    pub fn forget(&mut self, peer: &PeerId) {
        self.all -= self.of.remove(peer).unwrap_or(0);
    }

    pub fn taken(&self, peer: &PeerId) -> usize {
        self.of.get(peer).copied().unwrap_or(0)
    }
}

/// How long a budget of answers lasts.
const WINDOW: Millis = Millis(1_000);

// An honest peer that gets no answer asks again after 300 ms, once for each of at most 16
// candidates: 54 a second. What is beyond that nobody asks by accident.
/// So many requests in a second that are over a peer's own budget are one flood.
const EXCESS_PER_FLOOD: u32 = 64;

// Attack: requests that are answered with nothing. Handling one takes some microseconds
// (estimated): 16 MiB are 1,024 of them.
/// What a request counts at least in the budget of answers.
const REQUEST_COST_MIN: usize = 16 * 1024;
// Twice what it takes on the wire. Looking for it takes some 0.5 µs (estimated): 16 MiB of them
// are 0.13 s.
/// What a hash in a request counts.
pub(crate) const LOOKUP_COST: usize = 64;

/// What a request for transactions counts beside the bytes of its answer.
pub(crate) fn request_cost(hashes: usize) -> usize {
    (hashes * LOOKUP_COST).max(REQUEST_COST_MIN)
}

/// How a peer stands among those that ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerClass {
    /// It has done this node some good, or validates.
    pub favoured: bool,
    /// How many connected peers stand as it does.
    pub peers: usize,
}

/// The answers that peers got in this second, by the type of the request.
#[derive(Debug, Default)]
pub(crate) struct AnswerBudgets {
    since: Time,
    by_kind: BTreeMap<u8, GivenBytes>,
    /// Of all types together.
    all: GivenBytes,
    /// Requests of each peer that were in excess, by type.
    excess: BTreeMap<(u8, PeerId), u32>,
}

/// Bytes that were given to peers.
#[derive(Debug, Default)]
struct GivenBytes {
    favoured: PeerBytes,
    others: PeerBytes,
}

impl GivenBytes {
    // Attack: two strangers take all there is as soon as a second begins, and a validator gets
    // no bodies. They take half at most; the favoured wait for nobody else.
    fn room(&self, budget: ByteBudget, class: AnswerClass, peer: &PeerId) -> usize {
        let AnswerClass { favoured, peers } = class;
        if favoured {
            return self.favoured.room_beside(self.others.all, budget, peers, peer);
        }
        let left = budget.all.saturating_sub(self.favoured.all + self.others.all);
        self.others.room(budget.half(), peers, peer).min(left)
    }

    /// What is left of that for which whoever comes first need not share.
    fn spare(&self, budget: ByteBudget, favoured: bool) -> usize {
        let given = self.favoured.all + self.others.all;
        if favoured {
            return (budget.all / 2).saturating_sub(given);
        }
        let left = budget.all.saturating_sub(given);
        (budget.all / 4).saturating_sub(self.others.all).min(left)
    }

    fn add(&mut self, favoured: bool, peer: PeerId, bytes: usize) {
        let given = if favoured { &mut self.favoured } else { &mut self.others };
        given.add(peer, bytes);
    }

    fn taken(&self, peer: &PeerId) -> usize {
        self.favoured.taken(peer) + self.others.taken(peer)
    }
}

impl AnswerBudgets {
    /// How many bytes a request of a peer may be answered with now.
    pub fn room(
        &mut self,
        now: Time,
        rule: &MessageRule,
        class: AnswerClass,
        peer: &PeerId,
    ) -> usize {
        // Also the memory of who asked: a crowd that comes and goes leaves nothing.
        if now.since(self.since) >= WINDOW {
            *self = Self { since: now, ..Self::default() };
        }
        let of_kind = self.by_kind.entry(rule.kind).or_default();
        let room = of_kind.room(rule.answers, class, peer);
        room.min(self.all.room(rules::ANSWERS, class, peer))
    }

    /// Of that room, what need not be shared: an answer that cannot be cut to a share comes out
    /// of it.
    pub fn spare(&self, rule: &MessageRule, favoured: bool) -> usize {
        let of_kind = self.by_kind.get(&rule.kind);
        let spare = of_kind.map_or(usize::MAX, |given| given.spare(rule.answers, favoured));
        spare.min(self.all.spare(rules::ANSWERS, favoured))
    }

    /// Notes an answer.
    pub fn charge(&mut self, rule: &MessageRule, favoured: bool, peer: PeerId, bytes: usize) {
        self.by_kind.entry(rule.kind).or_default().add(favoured, peer, bytes);
        self.all.add(favoured, peer, bytes);
    }

    /// Notes a request without an answer; whether it can only be part of a flood. That all
    /// peers together ask for too much is no one peer's fault.
    pub fn is_flood(&mut self, rule: &MessageRule, favoured: bool, peer: PeerId) -> bool {
        let budget = if favoured { rule.answers } else { rule.answers.half() };
        let taken = self.by_kind.get(&rule.kind).map_or(0, |given| given.taken(&peer));
        taken >= budget.peer && self.note_excess(rule, peer)
    }

    /// Notes a request that came before an earlier one was answered, as no honest peer's
    /// does; whether there are enough of them for a flood.
    pub fn note_excess(&mut self, rule: &MessageRule, peer: PeerId) -> bool {
        let excess = self.excess.entry((rule.kind, peer)).or_default();
        *excess += 1;
        excess.is_multiple_of(EXCESS_PER_FLOOD)
    }

    /// When the answers are counted anew.
    pub fn renewed_at(&self) -> Time {
        self.since + WINDOW
    }
}

#[cfg(test)]
mod tests;
