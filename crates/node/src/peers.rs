//! The peers that are connected, and when the tip was last announced to them.
//!
//! What always holds: a peer is a member or it is not judged yet, never both. It must
//! never know: what a peer sends, or how well it behaves.

use std::collections::BTreeMap;

use trefoil_types::{Millis, PeerId, Time};

// On an idle chain a node learns only from its peers' tips that it missed a block. Three
// seconds are the longest that one lost tip delays it; a tip is some 50 bytes.
/// How often a node repeats its tip, so that a lost one is made good.
const TIP_EVERY: Millis = Millis(3_000);

#[derive(Debug)]
pub(crate) struct PeerSet {
    /// The peers that belong to the network, and since when each is connected.
    members: BTreeMap<PeerId, Time>,
    /// The peers that may belong to it: this node cannot judge yet. Blocks are taken from them,
    /// nothing else.
    unjudged: BTreeMap<PeerId, Time>,
    tip_announced_at: Time,
}

impl PeerSet {
    pub fn new(now: Time) -> Self {
        Self { members: BTreeMap::new(), unjudged: BTreeMap::new(), tip_announced_at: now }
    }

    pub fn insert_member(&mut self, now: Time, peer: PeerId) {
        self.unjudged.remove(&peer);
        self.members.insert(peer, now);
    }

    pub fn insert_unjudged(&mut self, now: Time, peer: PeerId) {
        self.members.remove(&peer);
        self.unjudged.insert(peer, now);
    }

    pub fn remove(&mut self, peer: &PeerId) {
        self.members.remove(peer);
        self.unjudged.remove(peer);
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
        self.tip_announced_at = now;
    }

    /// When the tip is announced again.
    pub fn tip_due(&self) -> Option<Time> {
        (!self.members.is_empty()).then(|| self.tip_announced_at + TIP_EVERY)
    }
}
