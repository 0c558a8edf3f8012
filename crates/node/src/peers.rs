//! What is known of each connected peer.

use trefoil_types::{Height, Message, Millis, PeerId, Time, message::Tip};

use crate::{Effects, To, node::Node};

/// How often a node repeats its tip, so that a lost one is made good.
const TIP_EVERY: Millis = Millis(3_000);
/// How long a peer that did not keep a promise is not asked again; doubles.
const DISTRUST: Millis = Millis(1_000);

#[derive(Debug)]
pub(crate) struct Peer {
    pub connected_since: Time,
    pub tip: Option<Tip>,
    /// Since when its tip is ahead of ours.
    pub ahead_since: Option<Time>,
    /// Blocks it promised and did not give, in a row.
    pub failures: u32,
    /// The last blocks that it was asked for came, and verified.
    pub delivers: bool,
    pub distrusted_until: Time,
    /// Requests for blocks served in the second that began then.
    pub served: (Time, u32),
}

impl Peer {
    fn new(now: Time) -> Self {
        Self {
            connected_since: now,
            tip: None,
            ahead_since: None,
            failures: 0,
            delivers: false,
            distrusted_until: Time(0),
            served: (Time(0), 0),
        }
    }

    /// The height of its newest final block, as it says.
    pub fn height(&self) -> Option<Height> {
        self.tip.map(|tip| tip.height)
    }

    pub fn failed(&mut self, now: Time) {
        self.delivers = false;
        self.failures = (self.failures + 1).min(6);
        self.distrusted_until = now + Millis(DISTRUST.0 << self.failures);
    }
}

impl Node {
    pub(crate) fn connected(&mut self, now: Time, peer: PeerId, fx: &mut Effects) {
        if peer == self.me || self.ledger.governed().members.shuns(&peer) {
            return;
        }
        self.unjudged.remove(&peer);
        self.peers.insert(peer, Peer::new(now));
        fx.send(peer, Message::Tip(self.tip_message()));
        self.repeat_speech(peer, fx);
        self.tell_evidence(&To::Peer(peer), fx);
        self.announce_pool(peer, fx);
    }

    pub(crate) fn connected_unjudged(&mut self, now: Time, peer: PeerId) {
        if peer == self.me || self.ledger.governed().members.shuns(&peer) {
            return;
        }
        self.peers.remove(&peer);
        self.unjudged.insert(peer, Peer::new(now));
    }

    /// Whom blocks are asked of: those that are not judged yet among them.
    pub(crate) fn givers(&self) -> impl Iterator<Item = PeerId> {
        self.peers.keys().chain(self.unjudged.keys()).copied()
    }

    pub(crate) fn giver(&self, peer: &PeerId) -> Option<&Peer> {
        self.peers.get(peer).or_else(|| self.unjudged.get(peer))
    }

    pub(crate) fn giver_mut(&mut self, peer: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(peer).or_else(|| self.unjudged.get_mut(peer))
    }

    pub(crate) fn disconnected(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
        self.unjudged.remove(peer);
        self.early.forget(peer);
        self.catch_up.forget(peer);
    }

    /// Forgets the peers that the newest block shut out.
    pub(crate) fn shut_out(&mut self) {
        let members = &self.ledger.governed().members;
        let out: Vec<PeerId> = self.givers().filter(|peer| members.shuns(peer)).collect();
        out.iter().for_each(|peer| self.disconnected(peer));
    }

    pub(crate) fn tip_message(&self) -> Tip {
        let (height, hash) = (self.ledger.tip().number, self.ledger.tip_hash());
        Tip { height, hash, round: self.round() }
    }

    pub(crate) fn on_tip(&mut self, now: Time, peer: PeerId, tip: Tip, fx: &mut Effects) {
        let ours = self.ledger.tip().number;
        let Some(known) = self.giver_mut(&peer) else { return };
        known.tip = Some(tip);
        known.note_lead(ours, now);
        if tip.height < ours && self.peers.contains_key(&peer) {
            fx.send(peer, Message::Tip(self.tip_message()));
        }
    }

    /// Tells everyone where we stand, now and then.
    pub(crate) fn tell_tip_if_due(&mut self, now: Time, fx: &mut Effects) {
        if self.tip_due().is_some_and(|due| due <= now) {
            self.tell_tip(now, fx);
        }
    }

    pub(crate) fn tell_tip(&mut self, now: Time, fx: &mut Effects) {
        self.pace.tip_told = now;
        if !self.peers.is_empty() {
            fx.broadcast(Message::Tip(self.tip_message()));
        }
    }

    pub(crate) fn tip_due(&self) -> Option<Time> {
        (!self.peers.is_empty()).then(|| self.pace.tip_told + TIP_EVERY)
    }
}

impl Peer {
    /// Remembers since when it is ahead of our tip.
    pub fn note_lead(&mut self, ours: Height, now: Time) {
        let ahead = self.height().is_some_and(|height| height > ours);
        self.ahead_since = ahead.then(|| self.ahead_since.unwrap_or(now));
    }
}
