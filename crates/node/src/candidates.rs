//! Blocks that may become the next: proposed by others, built here, or journalled.
//!
//! What always holds: at most [`CANDIDATES_MAX`] at a time, all children of the
//! tip; a block is executed at most once while it is a candidate.

use std::{collections::BTreeMap, sync::Arc};

use trefoil_ledger::Outcome;
use trefoil_types::{B256, PeerId, Proposal, RecoveredBlock, Round, Time};

use crate::fetch_transactions::MissingTransactions;

// Attack: a dishonest proposer signs many blocks of its rounds, each with a list of 30,000
// hashes. The newest round is the one that can still decide, so the oldest goes. 16 of the
// largest blocks (8 MiB) are 128 MiB.
/// Most heights need one; each further round may bring another.
const CANDIDATES_MAX: usize = 16;
// Attack: one block proposed in every round, so that each round costs memory. Only a
// signed proposal of the right proposer comes so far: 64 are 64 rounds.
/// Proposals of one block that wait for its judgement.
const OFFERS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Candidates {
    by_hash: BTreeMap<B256, BlockCandidate>,
}

#[derive(Debug)]
pub(crate) struct BlockCandidate {
    /// The newest round that proposed it.
    pub round: Round,
    /// Proposals of it that wait for a judgement.
    pub offers: Vec<Offer>,
    pub body: CandidateBody,
}

/// One signed proposal of a candidate.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub proposal: Proposal,
    /// The peer that sent it to us.
    pub from: PeerId,
    /// Its key among the verified messages.
    pub key: B256,
}

#[derive(Debug)]
pub(crate) enum CandidateBody {
    Missing(Box<MissingTransactions>),
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

impl BlockCandidate {
    pub fn new(round: Round, body: CandidateBody) -> Self {
        Self { round, offers: vec![], body }
    }

    /// The whole block, if it is here.
    pub fn block(&self) -> Option<&Arc<RecoveredBlock>> {
        match &self.body {
            CandidateBody::Journalled(block) => Some(block),
            CandidateBody::Executed { outcome, .. } => Some(outcome.block()),
            CandidateBody::Missing(_) | CandidateBody::Invalid { .. } => None,
        }
    }

    /// A further proposal of it.
    pub fn offer(&mut self, offer: Offer) {
        self.round = self.round.max(offer.proposal.round);
        if self.offers.len() < OFFERS_MAX {
            self.offers.push(offer);
        }
    }
}

impl Candidates {
    pub fn get(&self, hash: &B256) -> Option<&BlockCandidate> {
        self.by_hash.get(hash)
    }

    pub fn get_mut(&mut self, hash: &B256) -> Option<&mut BlockCandidate> {
        self.by_hash.get_mut(hash)
    }

    /// Adds one; when there are too many, the one proposed longest ago goes.
    pub fn insert(&mut self, hash: B256, candidate: BlockCandidate) {
        self.by_hash.insert(hash, candidate);
        if self.by_hash.len() > CANDIDATES_MAX {
            let oldest = self.by_hash.iter().filter(|(other, _)| **other != hash);
            let oldest = oldest.min_by_key(|(_, c)| c.round).map(|(hash, _)| *hash);
            oldest.and_then(|hash| self.by_hash.remove(&hash));
        }
    }

    pub fn remove(&mut self, hash: &B256) -> Option<BlockCandidate> {
        self.by_hash.remove(hash)
    }

    /// The missing transactions of a candidate, if it is not whole.
    pub fn missing_mut(&mut self, hash: &B256) -> Option<&mut MissingTransactions> {
        match &mut self.by_hash.get_mut(hash)?.body {
            CandidateBody::Missing(missing) => Some(missing),
            _ => None,
        }
    }

    /// All that wait for transactions.
    pub fn all_missing_mut(&mut self) -> impl Iterator<Item = (&B256, &mut MissingTransactions)> {
        self.by_hash.iter_mut().filter_map(|(hash, candidate)| match &mut candidate.body {
            CandidateBody::Missing(missing) => Some((hash, &mut **missing)),
            _ => None,
        })
    }

    /// When transactions are asked for again.
    pub fn retry_due(&self) -> Option<Time> {
        let waiting = self.by_hash.values().filter_map(|candidate| match &candidate.body {
            CandidateBody::Missing(missing) => Some(missing.retry_due()),
            _ => None,
        });
        waiting.min()
    }
}
