//! The records of a height after a crash: the core gets them again, in order.
//!
//! What always holds: what this node signed before the crash is known before the core asks
//! for a signature; what its key signed elsewhere is never taken for it.

use arc_malachitebft_core_consensus as core;
use trefoil_types::Height;

use super::Consensus;
use crate::{
    ConsensusMessage, Output, context,
    wal_entry::{self, WalEntry},
};

/// Why records do not continue a height.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("consensus record {index} of height {height} cannot be decoded: {reason}")]
    Record { height: Height, index: usize, reason: alloy_rlp::Error },
    #[error("consensus record {index} belongs to height {got}, not {height}")]
    Height { height: Height, index: usize, got: Height },
    #[error("consensus record {index} of height {height} holds a wrong signature")]
    Signature { height: Height, index: usize },
    #[error("the consensus records of height {height} contradict each other: {reason}")]
    Contradiction { height: Height, reason: String },
}

impl Consensus {
    pub(super) fn replay(
        &mut self,
        height: Height,
        begin: context::CoreInput,
        entries: Vec<WalEntry>,
    ) -> Result<(), ReplayError> {
        let made_here = self.recall(&entries);
        let failed = |reason| ReplayError::Contradiction { height, reason };
        self.try_feed(begin).map_err(failed)?;
        if let Some(core) = &mut self.core {
            core.index_wal_entries(&made_here);
        }
        for (index, entry) in entries.into_iter().enumerate() {
            match entry {
                WalEntry::Input(input) => self.try_feed(input).map_err(failed)?,
                WalEntry::Elsewhere(round) => self.effects.note_elsewhere(round),
            }
            if self.blame().is_err() {
                return Err(ReplayError::Signature { height, index });
            }
        }
        if let Some(core) = &mut self.core {
            core.reset_entries_index();
        }
        Ok(())
    }

    /// Remembers what this node signed before the crash, and returns it. Statements by its key
    /// that were made elsewhere follow their mark.
    fn recall(&mut self, entries: &[WalEntry]) -> Vec<context::CoreInput> {
        let (mut elsewhere, mut made_here) = (None, Vec::new());
        let signer = &mut self.effects.signer;
        for entry in entries {
            match entry {
                WalEntry::Elsewhere(round) => elsewhere = elsewhere.max(Some(*round)),
                WalEntry::Input(input @ core::Input::Vote(vote)) => {
                    let vote = context::vote_out(vote);
                    if elsewhere < Some(vote.round) {
                        signer.recall_vote(vote);
                        made_here.push(input.clone());
                    }
                }
                WalEntry::Input(input @ core::Input::Proposal(proposal)) => {
                    let proposal = context::proposal_out(proposal);
                    if elsewhere < Some(proposal.round) {
                        signer.recall_proposal(proposal);
                        made_here.push(input.clone());
                    }
                }
                WalEntry::Input(_) => {}
            }
        }
        made_here
    }

    /// Sends the proposal of the current round again, after a replay: that sends the votes again,
    /// and no proposal.
    pub(super) fn resend_proposal(&mut self) {
        let effects = &self.effects;
        if let Some(proposal) = effects.signer.own_proposal(effects.height, effects.round).cloned()
        {
            self.effects.build = None;
            if !self.done {
                self.effects.out.push(Output::Send(ConsensusMessage::Proposal(proposal)));
            }
        }
    }
}

pub(super) fn decode(height: Height, records: &[Vec<u8>]) -> Result<Vec<WalEntry>, ReplayError> {
    let entries = records.iter().enumerate().map(|(index, bytes)| match wal_entry::decode(bytes) {
        Ok((got, entry)) if got == height => Ok(entry),
        Ok((got, _)) => Err(ReplayError::Height { height, index, got }),
        Err(reason) => Err(ReplayError::Record { height, index, reason }),
    });
    entries.collect()
}
