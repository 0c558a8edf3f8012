//! The upload queue: all unchoked peers in turn, a piece at a time.

use trefoil_types::{Millis, Offence, PeerId, Time};

use super::{
    Common, Effect, RejectReason, Source, Ticket,
    peer::{ASKED_MAX, Given, PeerState, QUICK_TURNS, UploadRequest},
    transfer::Transfer,
};

/// The most peers that are served at once of those that take what they are sent: enough that one
/// slow receiver does not leave the uplink idle. Those that do not are served beside them, a turn
/// each.
const SLOTS: usize = 4;

// While other turns end, this node's own uplink may be what is slow.
/// A turn is slow if none ends for this time, and the time of its bytes at this rate,
const QUICK: Millis = Millis(500);
const QUICK_BYTES_S: u64 = 1 << 20;

/// or if so many others begin meanwhile.
const TURNS_BESIDE: u64 = 4 * SLOTS as u64;

// Without it, two nodes that ask the origin for one piece at the same time cost it two
// copies (ADR 15: the first to ask has it). After 3 s the first taker is slow or gone, or
// keeps it.
/// How long the origin waits for a given piece to appear at others, before it gives it to
/// another peer.
const SPREADS: Millis = Millis(3_000);

// Attack: who asks again before that time is over, or two in turn, kept all pieces for ever.
/// After it was first given, a piece is given to one peer alone again only after so long.
const GIVEN_AGAIN: Millis = Millis(2 * SPREADS.0);

impl Transfer {
    pub(super) fn on_request(
        &mut self,
        now: Time,
        from: PeerId,
        asked: UploadRequest,
        effects: &mut Vec<Effect>,
    ) {
        let source = Source::Peer(from);
        let given = self.was_given(now, asked.piece, source);
        let Some(peer) = self.peers.get_mut(&source) else { return };
        if asked.piece >= self.layout.pieces() {
            effects.push(Effect::Blame { peer: from, offence: Offence::Malformed });
            return;
        }
        let part = self.layout.part(asked.piece);
        let beyond = asked.from >= part.groups.end - part.groups.start;
        // Choked peers are answered, not ignored: the piece is then requested elsewhere at
        // once, and not only after it has stalled.
        let why = if beyond || !self.have.has(asked.piece.into()) {
            RejectReason::Missing
        } else if peer.choked || peer.asked.len() >= ASKED_MAX {
            RejectReason::Choked
        } else if given {
            RejectReason::Given
        } else {
            if self.origin || self.rarity.count(asked.piece.into()) == 0 {
                let at = self.given.get(&asked.piece).map(|given| given.at);
                let at = at.filter(|at| now.since(*at) < GIVEN_AGAIN).unwrap_or(now);
                let given = Given { to: Some(source), at, spread: false };
                self.given.insert(asked.piece, given);
            }
            if peer.requests() == 0 {
                peer.slot_time = peer.slot_time.max(self.slot_time);
            }
            return peer.asked.push_back(asked);
        };
        let (resource, ticket) = (self.resource, asked.ticket);
        effects.push(Effect::Refuse { resource, peer: from, ticket, why });
    }

    /// Whether this node, the origin, gave the piece to another peer that may still pass it
    /// on.
    fn was_given(&self, now: Time, piece: u32, source: Source) -> bool {
        let Some(given) = self.given.get(&piece) else { return false };
        let other = given.to.is_some_and(|to| to != source);
        self.origin && other && now.since(given.at) < SPREADS
    }

    pub(super) fn on_cancel(&mut self, from: PeerId, ticket: Ticket) {
        let source = Source::Peer(from);
        let Some(peer) = self.peers.get_mut(&source) else { return };
        let Some(at) = peer.asked.iter().position(|asked| asked.ticket == ticket) else { return };
        // The piece was given to nobody after all: the next peer must not be refused because
        // of it.
        if let Some(asked) = peer.asked.remove(at)
            && let Some(given) = self.given.get_mut(&asked.piece)
            && given.to == Some(source)
        {
            given.to = None;
        }
    }

    pub(super) fn served(&mut self, now: Time, from: PeerId, ticket: Ticket) {
        let Some(peer) = self.peers.get_mut(&Source::Peer(from)) else { return };
        let Some(at) = peer.serving.iter().position(|other| *other == ticket) else { return };
        peer.serving.swap_remove(at);
        if peer.serving.is_empty() {
            let took = now.since(peer.turn_at).min(peer.quick_for).max(Millis(1));
            peer.slot_time = Millis(peer.slot_time.0 + took.0);
            let quick = now <= peer.turn_at + peer.quick_for;
            // Attack: slow readers whose next request waits already. They were charged for half a
            // second of each half minute, and had the slots for minutes once they were quick.
            if !quick {
                peer.slot_time = peer.slot_time.max(self.slot_time);
            }
            match peer.owes_turns {
                0 => self.turn_end = now,
                owes if quick => peer.owes_turns = owes - 1,
                _ => peer.owes_turns = QUICK_TURNS,
            }
        }
    }

    /// Takes the slots from peers whose turns are slow.
    fn free_slots(&mut self, now: Time) {
        let (turns, end) = (self.turns, self.turn_end);
        for peer in self.peers.values_mut().filter(|peer| peer.holds_slot()) {
            let until = peer.turn_at.max(end) + peer.quick_for;
            if now > until || turns - peer.turn > TURNS_BESIDE {
                peer.owes_turns = QUICK_TURNS;
            }
        }
    }

    fn has_slot(&self) -> bool {
        self.peers.values().filter(|peer| peer.holds_slot()).count() < SLOTS
    }

    /// When a slot is free, if no turn ends.
    pub(super) fn slot_free_at(&self) -> Option<Time> {
        self.waiting().next()?;
        let holders = self.peers.values().filter(|peer| peer.holds_slot());
        let until = holders.map(|peer| peer.turn_at.max(self.turn_end) + peer.quick_for);
        until.min().map(|until| until + Millis(1))
    }

    /// Peers that can be served.
    fn waiting(&self) -> impl Iterator<Item = (&Source, &PeerState)> {
        self.peers
            .iter()
            .filter(|(_, peer)| !peer.choked && peer.serving.is_empty() && !peer.asked.is_empty())
    }

    // Attack: four identities that take half a second for each piece, for ever. By turns they have
    // the slots nearly all the time, and all others what little of it is left.
    /// Serves the peer next that had the slots for the shortest time, of several the one that was
    /// served longest ago (start-time fair queueing). Asking for more buys no more: a turn is a
    /// piece, however many requests wait.
    pub(super) fn serve(&mut self, now: Time, common: &mut Common, effects: &mut Vec<Effect>) {
        self.free_slots(now);
        while self.has_slot() {
            let next = |(_, peer): &(_, &PeerState)| (peer.slot_time, peer.turn);
            let Some((source, _)) = self.waiting().min_by_key(next) else {
                return;
            };
            if !self.serve_turn(now, *source, common, effects) {
                return;
            }
        }
    }

    /// Serves one peer a piece, or as many small pieces as make up one: handing out each of
    /// them alone would take longer than sending it. `false`: the rate limit is reached.
    fn serve_turn(
        &mut self,
        now: Time,
        source: Source,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let (resource, most) = (self.resource, self.layout.piece_bytes_max());
        let (Source::Peer(to), Some(peer)) = (source, self.peers.get_mut(&source)) else {
            return false;
        };
        let mut turn = 0;
        while let Some(asked) = peer.asked.front() {
            let mut part = self.layout.part(asked.piece);
            part.groups.start += asked.from;
            let (ticket, bytes) = (asked.ticket, self.layout.part_bytes(&part));
            let open = common.up.is_open(now);
            if !open || (!peer.serving.is_empty() && turn + bytes > most) {
                break;
            }
            turn += bytes;
            peer.asked.pop_front();
            peer.serving.push(ticket);
            common.up.take(bytes);
            effects.push(Effect::Serve { resource, peer: to, ticket, part });
        }
        if peer.serving.is_empty() {
            return false;
        }
        self.turns += 1;
        (peer.turn_at, peer.quick_for) = (now, Millis(QUICK.0 + turn * 1_000 / QUICK_BYTES_S));
        peer.turn = self.turns;
        self.slot_time = self.slot_time.max(peer.slot_time);
        peer.taken += turn;
        true
    }

    /// A peer has this piece now: the peer that had it first from us passed it on.
    pub(super) fn note_spread(&mut self, piece: u32, source: Source) {
        let Some(given) = self.given.get_mut(&piece) else { return };
        let Some(to) = given.to.filter(|to| *to != source && !given.spread) else { return };
        given.spread = true;
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.spread += 1;
        }
    }
}
