//! The consensus messages of one height: which were verified and relayed, and which are
//! this node's own.
//!
//! What always holds: a message is relayed at most once; both sets have a bound.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use trefoil_types::{B256, Message, PeerId, Signature, keccak256};

use crate::{Effects, To};

// 128 validators × 2 votes × 64 rounds. Only what validators signed is counted, so no
// other peer can fill it; but a height that lasts for hours can.
/// Verified messages remembered within a height; beyond that none is relayed.
const SEEN_MAX: usize = 16_384;
// Two votes and a proposal a round: the last five rounds. A peer that was away needs the
// current one most.
/// The newest own messages of a height that are repeated to new peers.
const OWN_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct HeightMessages {
    /// Messages of peers that were verified, and whether they were relayed.
    seen: BTreeMap<B256, bool>,
    /// The newest own messages.
    own: VecDeque<Arc<Message>>,
}

impl HeightMessages {
    pub fn has_seen(&self, key: &B256) -> bool {
        self.seen.contains_key(key)
    }

    /// Whether a message that was verified was relayed, too.
    pub fn was_relayed(&self, key: &B256) -> Option<bool> {
        self.seen.get(key).copied()
    }

    /// Takes a message as new if it comes again.
    pub fn forget(&mut self, key: &B256) {
        self.seen.remove(key);
    }

    /// Notes that a message was verified, and whether it is relayed; there must be room.
    pub fn note_seen(&mut self, key: B256, relayed: bool) -> bool {
        let room = self.seen.len() < SEEN_MAX || self.seen.contains_key(&key);
        if room {
            self.seen.insert(key, relayed);
        }
        room
    }

    pub fn note_own(&mut self, message: Arc<Message>) {
        if self.own.len() == OWN_MAX {
            self.own.pop_front();
        }
        self.own.push_back(message);
    }

    /// Repeats the own messages to a new peer: it was not connected when they were sent, and a
    /// proposal is sent only once.
    pub fn repeat_own(&self, peer: PeerId, effects: &mut Effects) {
        effects.sends.extend(self.own.iter().map(|message| (To::Peer(peer), message.clone())));
    }
}

/// The key by which a signed message is remembered.
pub(crate) fn signature_key(signature: &Signature) -> B256 {
    keccak256(signature.0)
}
