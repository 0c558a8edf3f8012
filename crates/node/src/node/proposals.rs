//! Proposed blocks: rebuilt from their hashes, executed once, judged, relayed.
//!
//! Which peer to blame: an honest node relays a proposal only after it executed the
//! block and found it valid. So a peer that sends an invalid one is surely at fault,
//! be it the proposer or not.

use std::{collections::BTreeMap, sync::Arc};

use alloy_rlp::Encodable;
use trefoil_consensus::{Candidate, ConsensusMessage};
use trefoil_ledger::{Record, transactions_root};
use trefoil_types::{
    B256, Offence, PeerId, Proposal, Time, Transaction, limits, message::ProposedBlock,
    message_rule as rules,
};

use super::consensus_messages::proposal_of;
use crate::{
    Effects,
    candidates::{BlockCandidate, CandidateBody, Offer},
    fetch_transactions::MissingTransactions,
    height_messages::signature_key,
    node::Node,
};

// Attack: a proposer moves the chain's clock ahead, for contracts that pay by time. Clocks
// under NTP are within a second; a clock that no time server sets is off by more, and its
// validator then proposes in vain (the simulator's scenario `fast-clock`).
/// How far a block's timestamp may be ahead of the clock, in seconds.
const TIMESTAMP_AHEAD_S_MAX: u64 = 5;

impl Node {
    /// A proposal of the next height; `said` is what consensus is given of it.
    pub(super) fn on_proposal(
        &mut self,
        now: Time,
        peer: PeerId,
        proposed: ProposedBlock,
        said: ConsensusMessage,
        effects: &mut Effects,
    ) {
        // Checking these needs no signature and no state: an honest peer did it.
        let (proposal, header) = (&proposed.proposal, &proposed.header);
        let binds = proposed.attached.is_bound_by(header);
        if header.number != proposal.height || header.hash_slow() != proposal.block || !binds {
            return effects.blame_relay(peer, Offence::Malformed);
        }
        let key = signature_key(&proposal.signature);
        if self.height.messages.has_seen(&key) {
            return self.keep_alternate(peer, proposed);
        }
        if !self.height.candidates.has_room(&proposal.block, proposal.round) {
            return;
        }
        if let Err(offence) = self.verify(now, said.clone()) {
            return effects.blame_relay(peer, offence);
        }
        if !self.consensus.has_verified(&said) {
            // Consensus already had this proposal, so its signature was not checked: do
            // not relay it.
            return;
        }
        self.height.messages.note_seen(key, true);
        self.offer(now, peer, key, proposed, effects);
    }

    fn offer(
        &mut self,
        now: Time,
        from: PeerId,
        key: B256,
        proposed: ProposedBlock,
        effects: &mut Effects,
    ) {
        let (block, round) = (proposed.proposal.block, proposed.proposal.round);
        let offer = Offer { proposal: proposed.proposal.clone(), from, key };
        if self.height.candidates.get(&block).is_none() {
            let body = self.rebuild(now, from, proposed, &BTreeMap::new());
            self.height.candidates.insert(block, BlockCandidate::new(round, body));
        } else {
            self.keep_alternate(from, proposed);
        }
        if let Some(candidate) = self.height.candidates.get_mut(&block) {
            candidate.offer(offer);
        }
        self.judge(now, block, effects);
    }

    /// Another copy of a proposal whose block is not whole yet.
    fn keep_alternate(&mut self, from: PeerId, proposed: ProposedBlock) {
        let (budget, peers) = (rules::PROPOSAL.held.half(), self.peers.members().len());
        let room = self.height.candidates.alternate_bytes().room(budget, peers, &from);
        if proposed.length() > room {
            return;
        }
        let favoured = self.peers.is_favoured(&from);
        if let Some(missing) = self.height.candidates.missing_mut(&proposed.proposal.block) {
            missing.keep_alternate(from, favoured, proposed);
        }
    }

    /// The block as far as its transactions are in our pool, or were found for another list.
    fn rebuild(
        &self,
        now: Time,
        from: PeerId,
        proposed: ProposedBlock,
        found: &BTreeMap<B256, Transaction>,
    ) -> CandidateBody {
        if let Err(reason) = self.check_parent(&proposed) {
            return CandidateBody::Invalid { reason };
        }
        let timely = proposed.header.timestamp <= now.as_secs() + TIMESTAMP_AHEAD_S_MAX;
        let known = |hash: &B256| self.pool.get(hash).or_else(|| found.get(hash)).cloned();
        let missing = MissingTransactions::new(proposed, from, timely, now, known);
        CandidateBody::Missing(Box::new(missing))
    }

    /// Whether the block extends our tip, with a good certificate for it.
    fn check_parent(&self, proposed: &ProposedBlock) -> Result<(), String> {
        let (tip, tip_hash) = (self.ledger.tip(), self.ledger.tip_hash());
        if proposed.header.parent_hash != tip_hash {
            return Err(format!("its parent is not the final block {tip_hash}"));
        }
        match &proposed.attached.parent_certificate {
            None if tip.number == 0 => Ok(()),
            None => Err("it lacks its parent's certificate".into()),
            Some(certificate) if Some(certificate) == self.ledger.tip_certificate() => Ok(()),
            Some(certificate) => {
                if certificate.height != tip.number || certificate.block != tip_hash {
                    return Err("its parent's certificate is of another block".into());
                }
                let set = self.ledger.snapshot().validators(tip.number);
                let set = set.unwrap_or_else(|e| panic!("the tip's validators: {e}"));
                let set = set.ok_or("its parent has no validators")?;
                let verified = certificate.verify(&set, &self.ledger.genesis_hash());
                verified.map_err(|e| e.to_string())
            }
        }
    }

    /// Executes a candidate that is whole, and answers the proposals of it.
    pub(super) fn judge(&mut self, now: Time, hash: B256, effects: &mut Effects) {
        let Some(candidate) = self.height.candidates.get_mut(&hash) else { return };
        let whole = match &candidate.body {
            CandidateBody::Missing(missing) if !missing.is_whole() => return,
            CandidateBody::Missing(missing) => {
                Some((Arc::new(missing.assemble()), missing.is_timely(), Some(missing.sender())))
            }
            CandidateBody::Journalled(block) => Some((block.clone(), true, None)),
            CandidateBody::Executed { .. } | CandidateBody::Invalid { .. } => None,
        };
        if let Some((block, timely, from)) = whole {
            candidate.body = match (self.ledger.execute(block.clone()), from) {
                (Ok(outcome), from) => {
                    // A journalled one is in the journal already.
                    effects.records.extend(from.map(|_| Record::Block(block)));
                    CandidateBody::Executed { outcome: Box::new(outcome), timely }
                }
                // The header is signed, the list of hashes is not.
                (Err(_), Some(from))
                    if transactions_root(&block.transactions) != block.header.transactions_root =>
                {
                    effects.blame_relay(from, Offence::InvalidBlock);
                    return self.abandon_list(now, hash, effects);
                }
                (Err(error), _) => CandidateBody::Invalid { reason: error.reason },
            };
            // They are the block's now, or gone.
            candidate.fetched_bytes = 0;
        }
        self.answer_offers(now, hash, effects);
        if let Some(certificate) = self.height.decided.take_if(|decided| decided.block == hash) {
            self.finish(now, certificate, effects);
        }
    }

    fn answer_offers(&mut self, now: Time, hash: B256, effects: &mut Effects) {
        let height = self.next_height();
        let Some(candidate) = self.height.candidates.get_mut(&hash) else { return };
        let (good, timely) = match &candidate.body {
            CandidateBody::Executed { timely, outcome } => (Some(outcome.block().clone()), *timely),
            _ => (None, true),
        };
        let mut useful = Vec::new();
        for Offer { proposal, from, .. } in std::mem::take(&mut candidate.offers) {
            let Proposal { round, proposer, .. } = proposal;
            let valid = good.is_some() && timely;
            match &good {
                None => effects.blame_relay(from, Offence::InvalidBlock),
                Some(block) if timely && self.relays_at_once(round) => {
                    effects.broadcast(Some(from), proposal_of(proposal, block));
                }
                Some(_) => {}
            }
            useful.extend(good.is_some().then_some(from));
            let executed = Candidate { height, round, proposer, block: hash, valid };
            self.consensus.executed(now, executed, &mut self.outputs);
        }
        useful.into_iter().for_each(|peer| self.note_useful(peer));
    }

    /// Nobody gives what the list names that we follow. It need not be false: its turn may
    /// come again.
    pub(super) fn set_list_aside(&mut self, now: Time, hash: B256, effects: &mut Effects) {
        if let Some(missing) = self.height.candidates.missing_mut(&hash) {
            missing.set_aside();
        }
        self.abandon_list(now, hash, effects);
    }

    /// The list of hashes that we followed does not make the block that was signed, or no peer
    /// has the transactions. Follow another copy, or wait for one.
    pub(super) fn abandon_list(&mut self, now: Time, hash: B256, effects: &mut Effects) {
        let Some(candidate) = self.height.candidates.remove(&hash) else { return };
        let CandidateBody::Missing(mut missing) = candidate.body else { return };
        let sender = missing.sender();
        let Some((from, proposed)) = missing.take_alternate() else {
            // The same proposal is taken as new when it comes again.
            for offer in candidate.offers {
                self.height.messages.forget(&offer.key);
            }
            return;
        };
        // Of one block's bytes; what is more is of lists that were false.
        let is_kept = candidate.fetched_bytes <= limits::BLOCK_BYTES_MAX;
        let found = if is_kept { missing.take_found() } else { BTreeMap::new() };
        let fetched_bytes = if is_kept { candidate.fetched_bytes } else { 0 };
        let mut body = self.rebuild(now, from, proposed, &found);
        if let CandidateBody::Missing(next) = &mut body {
            next.follow_after(*missing, found);
        }
        // The sender of the abandoned list does not answer for this one.
        let mut offers = candidate.offers;
        for offer in offers.iter_mut().filter(|offer| offer.from == sender) {
            offer.from = from;
        }
        let mut next = BlockCandidate::new(candidate.round, body);
        (next.offers, next.fetched_bytes) = (offers, fetched_bytes);
        self.height.candidates.insert(hash, next);
        self.judge(now, hash, effects);
    }
}
