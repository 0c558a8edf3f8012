//! Whether the block after the tip may convict a validator.
//!
//! What always holds: the answer follows from the chain up to the tip alone, so every node
//! gives the same for a block; a validator is convicted once.

use trefoil_types::{Evidence, EvidenceError, RecoveredBlock};

use crate::{BlockError, Ledger, governance, ledger::readable};

impl Ledger {
    // The cheap checks first: evidence that is old, early or against a convicted key is
    // dropped before its two signatures are verified.
    /// Whether the block after the tip may carry this evidence.
    ///
    /// # Errors
    /// Why not. [`EvidenceError::Stranger`] and [`EvidenceError::Signature`] are an offence
    /// of the peer that sent it. For the others, the peer need only be ahead of this node
    /// or behind it.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn check_evidence(&self, evidence: &Evidence) -> Result<(), EvidenceError> {
        self.check_convictable(evidence)?;
        let (height, validator) = (evidence.height(), evidence.validator());
        let set = readable(self.snapshot().validators(height));
        let set = set.ok_or(EvidenceError::Stranger { height, validator })?;
        evidence.verify(&set, &self.genesis_hash())
    }

    /// Whether evidence that was verified before is still of use.
    ///
    /// # Errors
    /// It is too old by now, or its validator was convicted.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn check_convictable(&self, evidence: &Evidence) -> Result<(), EvidenceError> {
        let (height, next) = (evidence.height(), self.tip().number + 1);
        let max = self.spec().evidence_blocks_max();
        if height > next {
            return Err(EvidenceError::Ahead { height, next });
        }
        if next - height > max {
            return Err(EvidenceError::TooOld { height, next, max });
        }
        let validator = evidence.validator();
        // By key and not by height: a conviction is for ever, so more evidence against the
        // key has no effect, and blocks must not carry it again and again.
        let convicted =
            governance::is_convicted(self.spec(), self.tip(), &self.state(), &validator);
        if readable(convicted) {
            return Err(EvidenceError::Convicted(validator));
        }
        Ok(())
    }

    /// Checks the evidence of the block after the tip.
    pub(crate) fn check_block_evidence(&self, block: &RecoveredBlock) -> Result<(), BlockError> {
        let check = |evidence| self.check_evidence(evidence);
        block.attached.evidence.iter().try_for_each(check).map_err(|error| BlockError {
            height: block.header.number,
            hash: block.hash,
            reason: format!("evidence: {error}"),
        })
    }
}
