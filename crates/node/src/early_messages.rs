//! Consensus messages of the height after next: the peer committed a moment before us.
//!
//! What always holds: of what is too early, each peer may leave a little. It must never
//! know: what the messages are worth; they are verified when their height has come.

use std::collections::BTreeMap;

use trefoil_types::{Message, PeerId};

// Attack: messages of the next height cannot be verified yet (its validators may change),
// so whatever a member sends is kept unread. It fills its own share and no other's. 512 are
// two votes of each of 128 validators in two rounds.
/// Messages that are kept for each peer.
const EARLY_MAX: usize = 512;
// A proposal names up to 30,000 hashes (1 MB). One is honest, and one more if its round failed.
/// Of which proposals, which are large.
const EARLY_PROPOSALS_MAX: usize = 2;

#[derive(Debug, Default)]
pub(crate) struct EarlyMessages(BTreeMap<PeerId, Vec<Message>>);

impl EarlyMessages {
    pub fn keep(&mut self, peer: PeerId, message: Message) {
        let kept = self.0.entry(peer).or_default();
        let proposals = kept.iter().filter(|m| matches!(m, Message::Proposal(_))).count();
        let is_proposal = matches!(message, Message::Proposal(_));
        if kept.len() < EARLY_MAX && !(is_proposal && proposals >= EARLY_PROPOSALS_MAX) {
            kept.push(message);
        }
    }

    pub fn forget(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// All of them, by peer, in the order in which they came.
    pub fn into_messages(self) -> impl Iterator<Item = (PeerId, Message)> {
        let all = self.0.into_iter();
        all.flat_map(|(peer, messages)| messages.into_iter().map(move |message| (peer, message)))
    }
}
