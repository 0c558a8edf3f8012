//! Peers that connect and disconnect, and the first messages to a new one.

use trefoil_types::{PeerId, Time};

use crate::{Effects, To, node::Node, tx_gossip::announce_pool};

impl Node {
    pub(super) fn connected(&mut self, now: Time, peer: PeerId, effects: &mut Effects) {
        if self.is_refused(&peer) {
            return;
        }
        self.peers.insert_member(now, peer);
        self.block_sync.connected(peer, true);
        effects.send(peer, self.own_tip());
        self.height.messages.repeat_own(peer, effects);
        self.evidence.send(&To::Peer(peer), effects);
        announce_pool(peer, &self.pool, self.ledger.next_base_fee(), effects);
    }

    pub(super) fn connected_unjudged(&mut self, now: Time, peer: PeerId) {
        if self.is_refused(&peer) {
            return;
        }
        self.peers.insert_unjudged(now, peer);
        self.block_sync.connected(peer, false);
    }

    fn is_refused(&self, peer: &PeerId) -> bool {
        *peer == self.me || self.ledger.governed().members.shuns(peer)
    }

    pub(super) fn disconnected(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
        self.height.early.forget(peer);
        self.block_sync.disconnected(peer);
    }

    /// Forgets the peers that the newest block shut out, and returns them.
    pub(super) fn shut_out(&mut self) -> Vec<PeerId> {
        let members = &self.ledger.governed().members;
        let out = self.peers.iter().map(|(peer, _)| peer).filter(|peer| members.shuns(peer));
        let out: Vec<PeerId> = out.collect();
        out.iter().for_each(|peer| self.disconnected(peer));
        out
    }
}
