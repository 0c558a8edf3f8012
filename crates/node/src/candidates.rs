//! Blocks that may become the next: proposed by others, built here, or journalled.
//!
//! What always holds: at most [`CANDIDATES_MAX`] at a time, all children of the
//! tip; a block is executed at most once while it is a candidate.

use std::{collections::BTreeMap, sync::Arc};

use trefoil_ledger::Outcome;
use trefoil_types::{B256, PeerId, Proposal, RecoveredBlock, Round, Time};

use crate::bodies::Missing;

/// Most heights need one; each further round may bring another.
const CANDIDATES_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Candidates {
    by_hash: BTreeMap<B256, Candidate>,
}

#[derive(Debug)]
pub(crate) struct Candidate {
    /// The newest round that proposed it.
    pub round: Round,
    /// Proposals of it that wait for a judgement.
    pub offers: Vec<Offer>,
    pub body: Body,
}

/// One signed proposal of a candidate.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub proposal: Proposal,
    /// Who sent it to us.
    pub from: PeerId,
    /// Its key among what was heard.
    pub key: B256,
}

#[derive(Debug)]
pub(crate) enum Body {
    Missing(Box<Missing>),
    /// From the journal, so good; not executed since the restart.
    Journalled(Arc<RecoveredBlock>),
    /// Executed and journalled; `timely` unless its timestamp was too far ahead
    /// of the clock when it came.
    Executed {
        outcome: Box<Outcome>,
        timely: bool,
    },
    Invalid {
        reason: String,
    },
}

impl Candidate {
    pub fn built(outcome: Outcome, round: Round) -> Self {
        let body = Body::Executed { outcome: Box::new(outcome), timely: true };
        Self { round, offers: vec![], body }
    }

    pub fn journalled(block: Arc<RecoveredBlock>) -> Self {
        Self { round: 0, offers: vec![], body: Body::Journalled(block) }
    }

    /// The whole block, if it is here.
    pub fn block(&self) -> Option<&Arc<RecoveredBlock>> {
        match &self.body {
            Body::Journalled(block) => Some(block),
            Body::Executed { outcome, .. } => Some(outcome.block()),
            Body::Missing(_) | Body::Invalid { .. } => None,
        }
    }
}

impl Candidates {
    pub fn get(&self, hash: &B256) -> Option<&Candidate> {
        self.by_hash.get(hash)
    }

    pub fn get_mut(&mut self, hash: &B256) -> Option<&mut Candidate> {
        self.by_hash.get_mut(hash)
    }

    /// Adds one; when there are too many, the one proposed longest ago goes.
    pub fn insert(&mut self, hash: B256, candidate: Candidate) {
        self.by_hash.insert(hash, candidate);
        if self.by_hash.len() > CANDIDATES_MAX {
            let oldest = self.by_hash.iter().filter(|(other, _)| **other != hash);
            let oldest = oldest.min_by_key(|(_, c)| c.round).map(|(hash, _)| *hash);
            oldest.and_then(|hash| self.by_hash.remove(&hash));
        }
    }

    pub fn remove(&mut self, hash: &B256) -> Option<Candidate> {
        self.by_hash.remove(hash)
    }

    pub fn clear(&mut self) {
        self.by_hash.clear();
    }

    /// Those that wait for transactions.
    pub fn missing_mut(&mut self) -> impl Iterator<Item = (&B256, &mut Missing)> {
        self.by_hash.iter_mut().filter_map(|(hash, candidate)| match &mut candidate.body {
            Body::Missing(missing) => Some((hash, &mut **missing)),
            _ => None,
        })
    }

    pub fn retry_due(&self) -> Option<Time> {
        let waiting = self.by_hash.values().filter_map(|candidate| match &candidate.body {
            Body::Missing(missing) => Some(missing.ask_at),
            _ => None,
        });
        waiting.min()
    }
}
