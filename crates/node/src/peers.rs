//! The peers that are connected, which of them are favoured, and when the tip was last
//! announced to them.
//!
//! What always holds: a peer is a member or it is not judged yet, never both; only members are
//! favoured. It must
//! never know: what a peer sends, or how well it behaves.

use std::collections::{BTreeMap, BTreeSet};

use trefoil_types::{Millis, PeerId, Time};

use crate::peer_bytes::AnswerClass;

// On an idle chain a node learns only from its peers' tips that it missed a block. Three
// seconds are the longest that one lost tip delays it; a tip is some 50 bytes.
/// How often a node repeats its tip, so that a lost one is made good.
const TIP_EVERY: Millis = Millis(3_000);

// A node that syncs commits hundreds of blocks in a second, and each tip is a message to every
// peer. Whoever is one block behind waits five times as long before it asks.
/// A new tip is announced at most so often.
const NEW_TIP_EVERY: Millis = Millis(100);

#[derive(Debug)]
pub(crate) struct PeerSet {
    /// The peers that belong to the network, and since when each is connected.
    members: BTreeMap<PeerId, Time>,
    /// The peers that may belong to it: this node cannot judge yet. Blocks are taken from them,
    /// nothing else.
    unjudged: BTreeMap<PeerId, Time>,
    /// The members that are answered first.
    favoured: BTreeSet<PeerId>,
    tip_announced_at: Time,
    /// The tip is another one than was announced.
    tip_is_new: bool,
}

impl PeerSet {
    pub fn new(now: Time) -> Self {
        Self {
            members: BTreeMap::new(),
            unjudged: BTreeMap::new(),
            favoured: BTreeSet::new(),
            tip_announced_at: now,
            tip_is_new: false,
        }
    }

    pub fn insert_member(&mut self, now: Time, peer: PeerId) {
        self.unjudged.remove(&peer);
        self.members.insert(peer, now);
    }

    pub fn insert_unjudged(&mut self, now: Time, peer: PeerId) {
        self.members.remove(&peer);
        self.favoured.remove(&peer);
        self.unjudged.insert(peer, now);
    }

    pub fn remove(&mut self, peer: &PeerId) {
        self.members.remove(peer);
        self.favoured.remove(peer);
        self.unjudged.remove(peer);
    }

    /// Answers a member before those that are not favoured, from now on.
    pub fn favour(&mut self, peer: PeerId) {
        if self.members.contains_key(&peer) {
            self.favoured.insert(peer);
        }
    }

    /// Favours just the members of which this is true.
    pub fn favour_only(&mut self, is_favoured: impl Fn(&PeerId) -> bool) {
        self.favoured = self.members.keys().copied().filter(is_favoured).collect();
    }

    pub fn is_favoured(&self, peer: &PeerId) -> bool {
        self.favoured.contains(peer)
    }

    /// How a member stands among the others.
    pub fn class(&self, peer: &PeerId) -> AnswerClass {
        let favoured = self.is_favoured(peer);
        let others = self.members.len() - self.favoured.len();
        AnswerClass { favoured, peers: if favoured { self.favoured.len() } else { others } }
    }

    /// The members that are connected, in order.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &PeerId> {
        self.members.keys()
    }

    pub fn is_member(&self, peer: &PeerId) -> bool {
        self.members.contains_key(peer)
    }

    pub fn is_unjudged(&self, peer: &PeerId) -> bool {
        self.unjudged.contains_key(peer)
    }

    /// Whether no member is connected.
    pub fn is_alone(&self) -> bool {
        self.members.is_empty()
    }

    /// All peers, and since when each is connected.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, Time)> {
        self.members.iter().chain(&self.unjudged).map(|(peer, since)| (*peer, *since))
    }

    pub fn note_tip_announced(&mut self, now: Time) {
        (self.tip_announced_at, self.tip_is_new) = (now, false);
    }

    pub fn note_new_tip(&mut self) {
        self.tip_is_new = true;
    }

    /// When the tip is announced again.
    pub fn tip_due(&self) -> Option<Time> {
        let wait = if self.tip_is_new { NEW_TIP_EVERY } else { TIP_EVERY };
        (!self.members.is_empty()).then(|| self.tip_announced_at + wait)
    }
}

#[cfg(test)]
mod tests;
