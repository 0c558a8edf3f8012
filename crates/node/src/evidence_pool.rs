//! Evidence between its finding and the block that carries it.
//!
//! A node that finds evidence may never propose (a full node, one that was voted out),
//! so it sends it to everyone. What always holds: a piece here was verified and is good for
//! the next block. One conviction is enough, so there is one piece for each validator: a peer
//! that sends more of the same costs no check of a signature.

use std::collections::BTreeMap;

use trefoil_ledger::Ledger;
use trefoil_types::{Evidence, EvidenceError, Message, PublicKey, limits};

use crate::{Effects, To};

/// Evidence that no block has carried yet, by validator.
#[derive(Debug, Default)]
pub(crate) struct EvidencePool(BTreeMap<PublicKey, Evidence>);

impl EvidencePool {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The evidence for the next block: as much as it may carry, in its order.
    pub fn for_block(&self) -> Vec<Evidence> {
        self.0.values().take(limits::BLOCK_EVIDENCE_MAX).cloned().collect()
    }

    /// Takes a piece in; whether it is new.
    ///
    /// # Errors
    /// The reason that it is no evidence, or none that the next block may carry.
    pub fn insert(&mut self, evidence: &Evidence, ledger: &Ledger) -> Result<bool, EvidenceError> {
        let validator = evidence.validator();
        let room = self.0.len() < limits::VALIDATORS_MAX && !self.0.contains_key(&validator);
        if room {
            ledger.check_evidence(evidence)?;
            self.0.insert(validator, evidence.clone());
        }
        Ok(room)
    }

    /// After a block: drops what is of no more use.
    pub fn settle(&mut self, ledger: &Ledger) {
        self.0.retain(|_, evidence| ledger.check_convictable(evidence).is_ok());
    }

    pub fn send(&self, to: &To, effects: &mut Effects) {
        let messages = self.0.values().cloned().map(Box::new).map(Message::Evidence);
        effects.sends.extend(messages.map(|message| (to.clone(), message.into())));
    }
}
