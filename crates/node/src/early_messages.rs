//! Consensus messages of the height after next: the peer committed a moment before us.
//!
//! What always holds: of what is too early, each peer may leave a little, counted in
//! bytes and in messages. It must never know: what the messages are worth; they are verified
//! when their height has come.

use std::collections::{BTreeMap, VecDeque};

use trefoil_types::{Message, PeerId, message_rule as rules};

use crate::peer_bytes::PeerBytes;

// Attack: messages of the next height cannot be verified yet (its validators may change),
// so whatever a member sends is kept unread. Early proposals of eight strangers once cost
// 310 MB. Each fills its own share and no other's. 512 are two votes of each of 128 validators
// in two rounds.
/// Messages that are kept for each peer.
const EARLY_MAX: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct EarlyMessages {
    /// Those of each peer, in the order in which they came.
    by_peer: BTreeMap<PeerId, VecDeque<Message>>,
    /// The peer whose message was taken last; the next one is next.
    last: Option<PeerId>,
    proposals: PeerBytes,
    /// Votes and certificates.
    votes: PeerBytes,
}

impl EarlyMessages {
    /// Keeps a message, if there is room; `peers` are connected.
    pub fn keep(&mut self, peers: usize, peer: PeerId, message: Message) {
        if self.by_peer.get(&peer).is_some_and(|messages| messages.len() >= EARLY_MAX) {
            return;
        }
        let bytes = bytes_of(&message);
        let fits = match &message {
            // Proposals of up to 1 MB have a budget of their own: votes find room beside them.
            Message::Proposal(_) => {
                self.proposals.take(rules::PROPOSAL.held.half(), peers, peer, bytes)
            }
            vote => self.votes.take(vote.rule().held, peers, peer, bytes),
        };
        if fits {
            self.by_peer.entry(peer).or_default().push_back(message);
        }
    }

    pub fn forget(&mut self, peer: &PeerId) {
        self.by_peer.remove(peer);
        self.proposals.forget(peer);
        self.votes.forget(peer);
    }

    pub fn is_empty(&self) -> bool {
        self.by_peer.is_empty()
    }

    /// The bytes of the proposals, by peer.
    pub fn proposal_bytes(&self) -> &PeerBytes {
        &self.proposals
    }

    /// The bytes of the votes and certificates, by peer.
    pub fn vote_bytes(&self) -> &PeerBytes {
        &self.votes
    }

    /// Takes out one message, of each peer in turn, so that nobody waits behind a crowd.
    pub fn take_next(&mut self) -> Option<(PeerId, Message)> {
        let last = self.last;
        let after = self.by_peer.keys().find(|peer| last.is_none_or(|last| **peer > last));
        let peer = *after.or_else(|| self.by_peer.keys().next())?;
        self.last = Some(peer);
        let messages = self.by_peer.get_mut(&peer)?;
        let message = messages.pop_front()?;
        if messages.is_empty() {
            self.by_peer.remove(&peer);
        }
        let held = match &message {
            Message::Proposal(_) => &mut self.proposals,
            _ => &mut self.votes,
        };
        held.give_back(&peer, bytes_of(&message));
        Some((peer, message))
    }
}

/// No less than it takes in memory: a vote for no block is shorter on the wire.
fn bytes_of(message: &Message) -> usize {
    message.encoded_len().max(size_of::<Message>())
}

#[cfg(test)]
mod tests;
