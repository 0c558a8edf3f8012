//! Evidence between its finding and the block that carries it.
//!
//! Who finds it may never propose (a full node, one that was voted out), so it is
//! told to everyone. What always holds: what waits here was verified and is good
//! for the next block; one conviction is enough, so there is one piece for each
//! validator; whoever sends more of the same costs nobody a signature's check.

use std::collections::BTreeMap;

use trefoil_types::{Evidence, EvidenceError, Message, Offence, PeerId, PublicKey, Time, limits};

use crate::{Effects, Event, To, node::Node};

/// Evidence that no block has carried yet, by validator.
#[derive(Debug, Default)]
pub(crate) struct Pending(BTreeMap<PublicKey, Evidence>);

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the next block carries: as much as it may, in its order.
    pub fn for_block(&self) -> Vec<Evidence> {
        self.0.values().take(limits::BLOCK_EVIDENCE_MAX).cloned().collect()
    }

    fn has_room_for(&self, validator: &PublicKey) -> bool {
        self.0.len() < limits::VALIDATORS_MAX && !self.0.contains_key(validator)
    }
}

impl Node {
    /// Evidence that this node's own consensus found.
    pub(crate) fn witness(&mut self, now: Time, evidence: Evidence, fx: &mut Effects) {
        // One that was convicted since may go on; that is no news.
        let _ = self.take_evidence(now, None, evidence, fx);
    }

    /// Evidence from a peer.
    pub(crate) fn on_evidence(
        &mut self,
        now: Time,
        peer: PeerId,
        evidence: Evidence,
        fx: &mut Effects,
    ) {
        use EvidenceError::{Signature, Stranger};
        // For the other reasons the peer need only be ahead of us or behind us.
        let admitted = self.take_evidence(now, Some(peer), evidence, fx);
        if let Err(Stranger { .. } | Signature { .. }) = admitted {
            fx.blame_relay(peer, Offence::BadSignature);
        }
    }

    fn take_evidence(
        &mut self,
        now: Time,
        from: Option<PeerId>,
        evidence: Evidence,
        fx: &mut Effects,
    ) -> Result<(), EvidenceError> {
        let (height, validator) = (evidence.height(), evidence.validator());
        if !self.evidence.has_room_for(&validator) {
            return Ok(());
        }
        self.ledger.check_evidence(&evidence)?;
        self.evidence.0.insert(validator, evidence.clone());
        fx.events.push(Event::Equivocation { height, validator });
        let message = Message::Evidence(Box::new(evidence));
        fx.sends.push((To::AllBut(from), message.into()));
        self.note_pending(now);
        Ok(())
    }

    /// After a block: drops what is of no more use, and tells the rest again,
    /// lest a peer that was behind or away never hears of it.
    pub(crate) fn settle_evidence(&mut self, fx: &mut Effects) {
        let ledger = &self.ledger;
        self.evidence.0.retain(|_, evidence| ledger.check_convictable(evidence).is_ok());
        self.tell_evidence(&To::AllBut(None), fx);
    }

    pub(crate) fn tell_evidence(&self, to: &To, fx: &mut Effects) {
        let told = self.evidence.0.values().cloned().map(Box::new).map(Message::Evidence);
        fx.sends.extend(told.map(|message| (to.clone(), message.into())));
    }
}
