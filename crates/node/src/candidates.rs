//! Blocks that may become the next: proposed by others, built here, or journalled.
//!
//! What always holds: at most [`CANDIDATES_MAX`] at a time, all children of the
//! tip; a block is executed at most once while it is a candidate.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trefoil_ledger::Outcome;
use trefoil_types::{B256, PeerId, Proposal, RecoveredBlock, Round, Time};

use crate::{
    block_index::BlockIndex, fetch_transactions::MissingTransactions, peer_bytes::PeerBytes,
};

// Attack: a dishonest proposer signs many blocks of its rounds, each with a list of 30,000
// hashes. The newest round is the one that can still decide, so the oldest goes. 16 of the
// largest blocks (8 MiB) are 128 MiB.
/// Most heights need one; each further round may bring another.
const CANDIDATES_MAX: usize = 16;
// Attack: the proposer of a round signs so many blocks that the one of an earlier round, for
// which this node may have voted, has to go. An honest one signs one.
/// Of one round.
const ROUND_CANDIDATES_MAX: usize = 4;
// Attack: one block proposed in every round, so that each round costs memory. Only a
// signed proposal of the right proposer comes so far: 64 are 64 rounds.
/// Proposals of one block that wait for its judgement.
const OFFERS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Candidates {
    by_hash: BTreeMap<B256, BlockCandidate>,
    /// The peers that were asked for transactions of a block, also of one that is gone: their
    /// answers may be late. Only blocks of signed proposals are asked for.
    asked: BTreeSet<(B256, PeerId)>,
}

#[derive(Debug)]
pub(crate) struct BlockCandidate {
    /// The newest round that proposed it.
    pub round: Round,
    /// Proposals of it that wait for a judgement.
    pub offers: Vec<Offer>,
    /// The bytes of the transactions that were fetched for it, until it is whole.
    pub fetched_bytes: usize,
    pub body: CandidateBody,
    /// Made when a peer asks for some of its transactions.
    index: Option<Arc<BlockIndex>>,
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
        Self { round, offers: vec![], fetched_bytes: 0, body, index: None }
    }

    /// The whole block, if it is here.
    pub fn block(&self) -> Option<&Arc<RecoveredBlock>> {
        match &self.body {
            CandidateBody::Journalled(block) => Some(block),
            CandidateBody::Executed { outcome, .. } => Some(outcome.block()),
            CandidateBody::Missing(_) | CandidateBody::Invalid { .. } => None,
        }
    }

    /// The whole block by its transactions' hashes, if it is here.
    pub fn index(&mut self) -> Option<Arc<BlockIndex>> {
        if self.index.is_none() {
            self.index = self.block().cloned().map(|block| Arc::new(BlockIndex::new(block)));
        }
        self.index.clone()
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

    /// Whether a block may be proposed in this round beside those that were.
    pub fn has_room(&self, hash: &B256, round: Round) -> bool {
        // In which rounds those of the journal were proposed is not known.
        let is_journalled = |c: &BlockCandidate| matches!(c.body, CandidateBody::Journalled(_));
        let of_round = self.by_hash.values().filter(|c| c.round == round && !is_journalled(c));
        self.by_hash.contains_key(hash) || of_round.count() < ROUND_CANDIDATES_MAX
    }

    // Attack: proposers of several rounds sign the largest blocks and let them be fetched, so
    // that a later one finds no room.
    /// Makes room for so many bytes that came for a candidate: what was fetched for blocks of
    /// earlier rounds goes. `false` if that is not enough.
    pub fn make_room(&mut self, hash: &B256, bytes: usize, max: usize) -> bool {
        let Some(round) = self.by_hash.get(hash).map(|candidate| candidate.round) else {
            return false;
        };
        while self.fetched_bytes() + bytes > max {
            let earlier = |c: &BlockCandidate| c.round < round && c.fetched_bytes > 0;
            let earlier = self.by_hash.iter().filter(|(_, candidate)| earlier(candidate));
            let oldest = earlier.min_by_key(|(_, candidate)| candidate.round);
            let Some(oldest) = oldest.map(|(hash, _)| *hash) else { return false };
            self.by_hash.remove(&oldest);
        }
        true
    }

    pub fn note_asked(&mut self, hash: B256, peers: Vec<PeerId>) {
        self.asked.extend(peers.into_iter().map(|peer| (hash, peer)));
    }

    /// Whether a peer was asked for transactions of this block.
    pub fn has_asked(&self, hash: B256, peer: PeerId) -> bool {
        self.asked.contains(&(hash, peer))
    }

    /// The bytes of the transactions that were fetched for all.
    pub fn fetched_bytes(&self) -> usize {
        self.by_hash.values().map(|candidate| candidate.fetched_bytes).sum()
    }

    /// The bytes of the lists of hashes that are kept in reserve, by the peers that sent
    /// them.
    pub fn alternate_bytes(&self) -> PeerBytes {
        let mut bytes = PeerBytes::default();
        for candidate in self.by_hash.values() {
            if let CandidateBody::Missing(missing) = &candidate.body {
                missing.alternate_bytes().for_each(|(peer, length)| bytes.add(peer, length));
            }
        }
        bytes
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

#[cfg(test)]
mod tests;
