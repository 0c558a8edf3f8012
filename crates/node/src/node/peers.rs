//! Peers that connect and disconnect, the first messages to a new one, and how much one may ask
//! for.

use trefoil_types::{ByteBudget, MessageRule, Offence, PeerId, Time, message_rule as rules};

use crate::{
    Effects, To,
    node::Node,
    peer_bytes::{LOOKUP_COST, request_cost},
    tx_gossip::announce_pool,
};

// Attack: connecting again and again, under new names. Each time the best 16,384 transactions of
// the pool were sought and 0.5 MB sent, and nobody was charged. Strangers have half of this: four
// of the longest greetings a second for whoever comes first, and 512 hashes for each of 128.
/// What new peers are sent in a second: no answer, and charged as one.
const GREETING: MessageRule = MessageRule {
    answers: ByteBudget { peer: 2 * 1024 * 1024, all: 8 * 1024 * 1024 },
    ..rules::TX_HASHES
};

impl Node {
    pub(super) fn connected(&mut self, now: Time, peer: PeerId, effects: &mut Effects) {
        if self.is_refused(&peer) {
            return;
        }
        self.peers.insert_member(now, peer);
        self.favour_validators();
        self.block_sync.connected(now, peer, true);
        self.greet(now, peer, effects);
    }

    /// Sends the first messages to a new peer. What this node said in the height goes in any case,
    /// since a proposal is sent only once; of the pool's hashes, those for which there is room.
    fn greet(&mut self, now: Time, peer: PeerId, effects: &mut Effects) {
        let class = self.peers.class(&peer);
        let room = self.answers.room(now, &GREETING, class, &peer);
        let begun = effects.sends.len();
        effects.send(peer, self.own_tip());
        self.height.messages.repeat_own(peer, effects);
        self.evidence.send(&To::Peer(peer), effects);
        let said: usize = effects.sends[begun..].iter().map(|(_, it)| it.encoded_len()).sum();
        let hashes_max = room.saturating_sub(said) / LOOKUP_COST;
        let base_fee = self.ledger.next_base_fee();
        let hashes = announce_pool(peer, &self.pool, base_fee, hashes_max, effects);
        self.charge_answer(&GREETING, peer, said + request_cost(hashes));
    }

    pub(super) fn connected_unjudged(&mut self, now: Time, peer: PeerId) {
        if self.is_refused(&peer) {
            return;
        }
        self.peers.insert_unjudged(now, peer);
        self.block_sync.connected(now, peer, false);
        self.forget_messages(&peer);
    }

    /// Drops what is held of a peer that is no member any more.
    fn forget_messages(&mut self, peer: &PeerId) {
        self.height.early.forget(peer);
        self.height.due.forget(peer);
        self.height.requests.forget(peer);
        self.block_requests.remove(peer);
    }

    fn is_refused(&self, peer: &PeerId) -> bool {
        *peer == self.me || self.ledger.governed().members.shuns(peer)
    }

    pub(super) fn disconnected(&mut self, now: Time, peer: &PeerId) {
        self.peers.remove(peer);
        self.forget_messages(peer);
        self.block_sync.disconnected(now, peer);
    }

    /// How many bytes a request of a peer may be answered with. If none, it is not
    /// answered, and blamed when it can only be part of a flood.
    pub(super) fn may_answer(
        &mut self,
        now: Time,
        rule: &MessageRule,
        peer: PeerId,
        effects: &mut Effects,
    ) -> Option<usize> {
        let class = self.peers.class(&peer);
        let room = self.answers.room(now, rule, class, &peer);
        // Only of what its row says: honest nodes send many tips that are behind ours.
        let blames = room == 0 && rule.offences.contains(&Offence::Flood);
        if blames && self.answers.is_flood(rule, class.favoured, peer) {
            effects.blame(peer, Offence::Flood);
        }
        (room > 0).then_some(room)
    }

    /// Notes what an answer took of a peer's budget.
    pub(super) fn charge_answer(&mut self, rule: &MessageRule, peer: PeerId, bytes: usize) {
        self.answers.charge(rule, self.peers.is_favoured(&peer), peer, bytes);
    }

    /// On a network of members just the nodes that validate are favoured.
    pub(super) fn favour_validators(&mut self) {
        let (nodes, next) = (&self.ledger.governed().members.nodes, self.next_height());
        if !nodes.is_empty() {
            let validates = |peer: &PeerId| nodes.get(peer).is_some_and(|n| n.validates(next));
            self.peers.favour_only(validates);
        }
    }

    // A public network does not know which peer is which validator. To be favoured takes a
    // transaction of a final block, a final block, or a valid proposal, and each before the others.
    /// A peer brought something that was good and new: on a public network that is favoured.
    pub(super) fn note_useful(&mut self, peer: PeerId) {
        if self.ledger.governed().members.nodes.is_empty() {
            self.peers.favour(peer);
        }
    }

    /// Forgets the peers that the newest block shut out.
    pub(super) fn shut_out(&mut self, now: Time) {
        let members = &self.ledger.governed().members;
        let out = self.peers.iter().map(|(peer, _)| peer).filter(|peer| members.shuns(peer));
        let out: Vec<PeerId> = out.collect();
        out.iter().for_each(|peer| self.disconnected(now, peer));
    }
}
