//! Blocks that may become the next: proposed by others, built here, or journalled.
//!
//! What always holds: at most [`CANDIDATES_MAX`] at a time beside those of the journal, all
//! children of the tip; a block is executed at most once while it is a candidate; one that a
//! quorum prevoted for stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trefoil_ledger::Outcome;
use trefoil_types::{B256, PeerId, Proposal, ProposedBlock, RecoveredBlock, Round, Time};

use crate::{
    block_index::BlockIndex, fetch_transactions::MissingTransactions, peer_bytes::PeerBytes,
};

// Attack: a dishonest proposer signs many blocks of its rounds, each with a list of 30,000
// hashes. 16 of the largest blocks (8 MiB) are 128 MiB.
/// Most heights need one; each further round may bring another.
const CANDIDATES_MAX: usize = 16;
// Attack: the proposer of a round signs many blocks, and each is fetched, executed and journalled.
// An honest one signs one; consensus reads no more than two, which convict.
/// Of one round.
const ROUND_CANDIDATES_MAX: usize = 2;
// Attack: one block proposed in every round, so that each round costs memory. Only a
// signed proposal of the right proposer comes so far: 64 are 64 rounds.
/// Proposals of one block that wait for its judgement.
const OFFERS_MAX: usize = 64;
// A round has one at most, unless a third of the validators is dishonest.
/// Blocks that are remembered because a quorum prevoted for them.
const POLKAS_MAX: usize = 1_024;

// Attack: a proposer moves the chain's clock ahead, for contracts that pay by time. Clocks
// under NTP are within a second; a clock that no time server sets is off by more, and its
// validator then proposes in vain (the simulator's scenario `fast-clock`).
/// How far a block's timestamp may be ahead of the clock, in seconds.
const TIMESTAMP_AHEAD_S_MAX: u64 = 5;

#[derive(Debug, Default)]
pub(crate) struct Candidates {
    by_hash: BTreeMap<B256, BlockCandidate>,
    /// Blocks for which a quorum is known to have prevoted, also of those that are not here.
    polkas: BTreeSet<B256>,
    /// The keys of the proposals that were not answered before their block had to go.
    dropped: Vec<B256>,
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
    /// Those that were answered with no, since its timestamp was too far ahead: they are
    /// answered again when it is not.
    refused: Vec<Offer>,
    /// The bytes of the transactions that were fetched for it, as decoded, until it is whole.
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
    /// Executed and journalled.
    Executed(Box<Outcome>),
    Invalid {
        reason: String,
    },
}

impl BlockCandidate {
    pub fn new(round: Round, body: CandidateBody) -> Self {
        Self { round, offers: vec![], refused: vec![], fetched_bytes: 0, body, index: None }
    }

    /// The whole block, if it is here.
    pub fn block(&self) -> Option<&Arc<RecoveredBlock>> {
        match &self.body {
            CandidateBody::Journalled(block) => Some(block),
            CandidateBody::Executed(outcome) => Some(outcome.block()),
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

    /// The proposal that was kept for a round that has not begun, if nothing more is known of it.
    pub fn asleep(&self) -> Option<&ProposedBlock> {
        match &self.body {
            CandidateBody::Missing(missing) => missing.is_asleep().then(|| missing.proposed()),
            _ => None,
        }
    }

    /// From when on its timestamp is not too far ahead; `None`: the block is not here.
    fn timely_from(&self) -> Option<Time> {
        let timestamp = self.block()?.header.timestamp;
        Some(Time(timestamp.saturating_sub(TIMESTAMP_AHEAD_S_MAX).saturating_mul(1_000)))
    }

    /// Takes the proposals that wait for its judgement. Without `timely` they are kept, to be
    /// answered again; with it, those that were kept so come first.
    pub fn take_offers(&mut self, timely: bool) -> Vec<Offer> {
        let offers = std::mem::take(&mut self.offers);
        if timely {
            return [std::mem::take(&mut self.refused), offers].concat();
        }
        let room = OFFERS_MAX.saturating_sub(self.refused.len());
        self.refused.extend(offers.iter().take(room).cloned());
        offers
    }

    /// Another peer answers for the proposals that one has sent.
    pub fn answer_for(&mut self, before: PeerId, now: PeerId) {
        for offer in self.offers.iter_mut().filter(|offer| offer.from == before) {
            offer.from = now;
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

    /// Adds one. When there are too many, one goes: see [`Self::worth`]. One that is kept for a
    /// later round may be the one that goes itself.
    pub fn insert(&mut self, hash: B256, candidate: BlockCandidate) {
        self.by_hash.insert(hash, candidate);
        if self.by_hash.len() <= CANDIDATES_MAX {
            return;
        }
        let may_go = |(other, candidate): &(&B256, &BlockCandidate)| {
            **other != hash || candidate.asleep().is_some()
        };
        let worth = |(other, candidate): (&B256, &BlockCandidate)| {
            Some((self.worth(other, candidate)?, *other))
        };
        let least = self.by_hash.iter().filter(may_go).filter_map(worth).min();
        if let Some((_, least)) = least {
            self.drop_unanswered(&least);
        }
    }

    /// Adds one of the journal, whatever number there are: no peer can add to these, and this
    /// node may have voted for it.
    pub fn restore(&mut self, block: Arc<RecoveredBlock>) {
        let (hash, body) = (block.hash, CandidateBody::Journalled(block));
        self.by_hash.insert(hash, BlockCandidate::new(0, body));
    }

    // Attack: proposals of rounds to come, each of another block, until the block that is being
    // decided has to go. Those of the rounds that are farthest away go first, and what was
    // executed goes last, of the oldest round: it can be had again, from whoever proposes it again
    // or by block sync. A height that lasts for hours has many of those.
    /// How much a candidate would be missed, the least first; `None`: it stays.
    fn worth(&self, hash: &B256, candidate: &BlockCandidate) -> Option<(u8, Round)> {
        let round = candidate.round;
        let first = || candidate.offers.iter().map(|offer| offer.proposal.round).min();
        let worth = match &candidate.body {
            CandidateBody::Missing(missing) if missing.is_asleep() => {
                (0, Round::MAX - first().unwrap_or(round))
            }
            CandidateBody::Invalid { .. } => (1, round),
            CandidateBody::Missing(_) => (2, round),
            CandidateBody::Journalled(_) | CandidateBody::Executed(_) => (3, round),
        };
        (!self.polkas.contains(hash)).then_some(worth)
    }

    /// Drops a candidate; its proposals that wait are answered when they come again.
    fn drop_unanswered(&mut self, hash: &B256) {
        let gone = self.by_hash.remove(hash);
        self.dropped.extend(gone.into_iter().flat_map(|gone| gone.offers).map(|offer| offer.key));
    }

    /// Takes the keys of the proposals that were not answered before their block had to go.
    pub fn take_dropped(&mut self) -> Vec<B256> {
        std::mem::take(&mut self.dropped)
    }

    /// A quorum is known to have prevoted for a block.
    pub fn note_polka(&mut self, hash: B256) {
        if self.polkas.len() < POLKAS_MAX {
            self.polkas.insert(hash);
        }
    }

    /// Whether a quorum is known to have prevoted for a block.
    pub fn has_polka(&self, hash: &B256) -> bool {
        self.polkas.contains(hash)
    }

    // Attack: a dishonest proposer sends a block with a timestamp ahead to one validator a moment
    // before that is timely, and to the others a moment after. These lock on it, that one refused
    // it for ever, and three of four never agree again. So the time is judged anew for each
    // proposal, and not at all when a quorum prevoted for the block: a third of the validators
    // and more, who are honest, found it timely then.
    /// Whether a block's timestamp is not too far ahead, if the block is here.
    pub fn is_timely(&self, now: Time, hash: &B256) -> bool {
        let timely_from = self.by_hash.get(hash).and_then(BlockCandidate::timely_from);
        timely_from.is_none_or(|from| from <= now) || self.polkas.contains(hash)
    }

    /// The blocks that were refused since they were too far ahead, and are not now.
    pub fn timely_now(&self, now: Time) -> Vec<B256> {
        let refused = self.by_hash.iter().filter(|(_, candidate)| !candidate.refused.is_empty());
        refused.map(|(hash, _)| *hash).filter(|hash| self.is_timely(now, hash)).collect()
    }

    /// When a block that was refused is not too far ahead any more.
    pub fn timely_due(&self) -> Option<Time> {
        let refused = self.by_hash.values().filter(|candidate| !candidate.refused.is_empty());
        refused.filter_map(BlockCandidate::timely_from).min()
    }

    /// The blocks that were kept for a round that has begun.
    pub fn due_in(&self, round: Round) -> Vec<B256> {
        let is_due = |candidate: &BlockCandidate| {
            let mut offers = candidate.offers.iter();
            candidate.asleep().is_some() && offers.any(|offer| offer.proposal.round <= round)
        };
        let due = self.by_hash.iter().filter(|(_, candidate)| is_due(candidate));
        due.map(|(hash, _)| *hash).collect()
    }

    pub fn remove(&mut self, hash: &B256) -> Option<BlockCandidate> {
        self.by_hash.remove(hash)
    }

    /// Whether a block may be proposed in this round beside those that were.
    pub fn has_room(&self, hash: &B256, round: Round) -> bool {
        // In which rounds those of the journal were proposed is not known.
        let is_journalled = |c: &BlockCandidate| matches!(c.body, CandidateBody::Journalled(_));
        let of_round = self.by_hash.values().filter(|c| c.round == round && !is_journalled(c));
        let is_known = self.by_hash.contains_key(hash) || self.polkas.contains(hash);
        is_known || of_round.count() < ROUND_CANDIDATES_MAX
    }

    // Attack: proposers of several rounds sign the largest blocks and let them be fetched, so
    // that a later one finds no room; or propose them again in a round to come.
    /// Makes room for so many bytes that came for a candidate: what was fetched for blocks of
    /// earlier rounds goes. `false` if that is not enough. This node is in `round`.
    pub fn make_room(&mut self, round: Round, hash: &B256, bytes: usize, max: usize) -> bool {
        let round_of = |candidate: &BlockCandidate| candidate.round.min(round);
        let Some(round) = self.by_hash.get(hash).map(round_of) else { return false };
        if bytes > max {
            return false;
        }
        while self.fetched_bytes() + bytes > max {
            let earlier = |(hash, c): &(&B256, &BlockCandidate)| {
                round_of(c) < round && c.fetched_bytes > 0 && !self.polkas.contains(*hash)
            };
            let earlier = self.by_hash.iter().filter(earlier);
            let oldest = earlier.min_by_key(|(_, candidate)| round_of(candidate));
            let Some(oldest) = oldest.map(|(hash, _)| *hash) else { return false };
            self.drop_unanswered(&oldest);
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
            CandidateBody::Missing(missing) => missing.retry_due(),
            _ => None,
        });
        waiting.min()
    }
}

#[cfg(test)]
mod tests;
