//! Evidence of two signatures where one is allowed: taken in, and sent on once.

use trefoil_types::{Evidence, EvidenceError, Message, Offence, PeerId, Time};

use crate::{Effects, Event, node::Node};

impl Node {
    /// Evidence from a peer.
    pub(super) fn on_evidence(
        &mut self,
        now: Time,
        peer: PeerId,
        evidence: Evidence,
        effects: &mut Effects,
    ) {
        use EvidenceError::{Signature, Stranger};
        // For the other reasons the peer need only be ahead of us or behind us.
        let admitted = self.admit_evidence(now, Some(peer), evidence, effects);
        if let Err(Stranger { .. } | Signature { .. }) = admitted {
            effects.blame_relay(peer, Offence::BadSignature);
        }
    }

    /// Evidence from a peer, or found by this node's own consensus.
    pub(super) fn admit_evidence(
        &mut self,
        now: Time,
        from: Option<PeerId>,
        evidence: Evidence,
        effects: &mut Effects,
    ) -> Result<(), EvidenceError> {
        if self.evidence.insert(&evidence, &self.ledger)? {
            let (height, validator) = (evidence.height(), evidence.validator());
            effects.events.push(Event::Equivocation { height, validator });
            effects.broadcast(from, Message::Evidence(Box::new(evidence)));
            self.note_content(now);
        }
        Ok(())
    }
}
