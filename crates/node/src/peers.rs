//! The peers that are connected, and when the tip was last announced to them.
//!
//! What always holds: a peer is a member or it is not judged yet, never both. It must
//! never know: what a peer sends, or how well it behaves.

use std::collections::BTreeMap;

use trefoil_types::{Millis, PeerId, Time};

// On an idle chain nothing else tells a node that it missed a block: without the peers'
// tips it asks nobody.
/// How often a node repeats its tip, so that a lost one is made good.
const TIP_EVERY: Millis = Millis(3_000);

#[derive(Debug)]
pub(crate) struct PeerSet {
    /// The peers that belong to the network, and since when each is connected.
    pub members: BTreeMap<PeerId, Time>,
    /// The peers that may belong, for all that this node knows: blocks are taken of
    /// them, nothing else.
    pub unjudged: BTreeMap<PeerId, Time>,
    pub tip_announced_at: Time,
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

    /// All peers, and since when each is connected.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, Time)> {
        self.members.iter().chain(&self.unjudged).map(|(peer, since)| (*peer, *since))
    }

    /// When the tip is announced again.
    pub fn tip_due(&self) -> Option<Time> {
        (!self.members.is_empty()).then(|| self.tip_announced_at + TIP_EVERY)
    }
}
