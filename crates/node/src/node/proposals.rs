//! Proposed blocks: rebuilt from their hashes, executed once, judged, relayed.
//!
//! Which peer to blame: an honest node relays a proposal only after it executed the
//! block and found it valid. So a peer that sends an invalid one is surely at fault,
//! be it the proposer or not.

use std::sync::Arc;

use alloy_eips::Encodable2718;
use alloy_rlp::Encodable;
use trefoil_consensus::{Candidate, ConsensusMessage, Timeouts};
use trefoil_ledger::{Record, transactions_root};
use trefoil_types::{
    B256, Header, Millis, Offence, PeerId, Proposal, Round, Time, Transaction, keccak256, limits,
    message::ProposedBlock, message_rule as rules,
};

use super::consensus_messages::proposal_of;
use crate::{
    Effects, PeerCommand,
    candidates::{BlockCandidate, CandidateBody, Offer},
    fetch_transactions::{AlternateList, MissingTransactions},
    node::Node,
};

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
        let key = proposal_key(proposal);
        if self.height.messages.has_seen(&key) {
            if self.consensus.has_verified(&said) {
                self.keep_alternate(now, peer, proposed, effects);
            }
            return;
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
            let missing = MissingTransactions::new(proposed, from, now, self.propose_wait());
            let body = CandidateBody::Missing(Box::new(missing));
            self.height.candidates.insert(block, BlockCandidate::new(round, body));
            self.forget_dropped();
        } else {
            self.keep_alternate(now, from, proposed, effects);
        }
        let Some(candidate) = self.height.candidates.get_mut(&block) else {
            // There is no room for it: it is taken as new when it comes again.
            return self.height.messages.forget(&key);
        };
        candidate.offer(offer);
        match self.is_early(&block, round) {
            true => self.judge(now, block, effects),
            false => self.take_up(now, block, effects),
        }
    }

    // Attack: the proposer of some rounds to come sends full blocks for all of them as soon as a
    // height begins: three executions and 24 MiB of journal for each height.
    /// Whether a proposal of this round is of no use yet: nobody votes in it before it begins
    /// here, and no quorum is known to want the block.
    fn is_early(&self, block: &B256, round: Round) -> bool {
        let is_decided = || self.height.decided.as_ref().is_some_and(|it| it.block == *block);
        round > self.round() && !self.height.candidates.has_polka(block) && !is_decided()
    }

    /// Takes up the proposals that were kept for a round which has begun; whether there were any.
    pub(super) fn take_up_due(&mut self, now: Time, effects: &mut Effects) -> bool {
        let due = self.height.candidates.due_in(self.round());
        due.iter().for_each(|block| self.take_up(now, *block, effects));
        !due.is_empty()
    }

    /// Begins to complete a block if it was kept for later, and judges it if it is whole.
    pub(super) fn take_up(&mut self, now: Time, hash: B256, effects: &mut Effects) {
        let asleep = self.height.candidates.get(&hash).and_then(BlockCandidate::asleep);
        let Some(checked) = asleep.map(|proposed| self.check_parent(proposed)) else {
            return self.judge(now, hash, effects);
        };
        let mut alternates = Vec::new();
        let body = self.height.candidates.get_mut(&hash).map(|candidate| &mut candidate.body);
        match (body, checked) {
            (Some(body), Err(reason)) => *body = CandidateBody::Invalid { reason },
            (Some(CandidateBody::Missing(missing)), Ok(())) => {
                missing.wake(now, |tx| self.pool.get(tx).cloned());
                if !missing.is_whole() {
                    alternates = missing.take_alternates();
                }
            }
            _ => {}
        }
        // One of them may be whole.
        for (from, proposed) in alternates {
            self.keep_alternate(now, from, proposed, effects);
        }
        self.judge(now, hash, effects);
    }

    /// A quorum is known to have prevoted for a block.
    pub(super) fn note_polka(&mut self, now: Time, block: B256, effects: &mut Effects) {
        self.height.candidates.note_polka(block);
        self.take_up(now, block, effects);
    }

    /// Answers the proposals again whose block was too far ahead, and is not now.
    pub(super) fn answer_timely(&mut self, now: Time, effects: &mut Effects) {
        for block in self.height.candidates.timely_now(now) {
            self.answer_offers(now, block, effects);
        }
    }

    /// Takes as new, when they come again, the proposals whose block had to go unanswered.
    pub(super) fn forget_dropped(&mut self) {
        for key in self.height.candidates.take_dropped() {
            self.height.messages.forget(&key);
        }
    }

    /// How long a round waits for its proposal.
    fn propose_wait(&self) -> Millis {
        Timeouts::for_chain(self.ledger.spec()).propose
    }

    // Attack: a peer that is nearer than the proposer sends a false list, and drips what it names.
    /// Another copy of a proposal whose block is not whole yet. If all that it names is here, the
    /// header, which is signed, shows at once whether it is the true one.
    fn keep_alternate(
        &mut self,
        now: Time,
        from: PeerId,
        proposed: ProposedBlock,
        effects: &mut Effects,
    ) {
        let Proposal { block: hash, round, .. } = proposed.proposal;
        let favoured = self.peers.is_favoured(&from);
        let candidates = &mut self.height.candidates;
        let Some(missing) = candidates.missing_mut(&hash) else { return };
        if missing.is_whole() || !missing.is_new(from, &proposed.tx_hashes) {
            return missing.note_holder(from, favoured);
        }
        let known = |tx: &B256| self.pool.get(tx).cloned();
        let all = match missing.is_asleep() {
            true => None,
            false if !missing.may_look_up(from, favoured, round) => return,
            false => missing.find_all(&proposed.tx_hashes, known),
        };
        let Some(txs) = all else {
            let (budget, peers) = (rules::PROPOSAL.held.half(), self.peers.members().len());
            let room = candidates.alternate_bytes().room(budget, peers, &from);
            if let Some(missing) = candidates.missing_mut(&hash)
                && proposed.length() <= room
            {
                missing.keep_alternate(from, favoured, proposed);
            }
            return;
        };
        if !is_tx_body(&proposed.header, &txs) {
            return effects.blame_relay(from, Offence::InvalidBlock);
        }
        let before = missing.sender();
        missing.follow_whole(from, proposed, txs);
        if let Some(candidate) = self.height.candidates.get_mut(&hash) {
            candidate.answer_for(before, from);
        }
        self.judge(now, hash, effects);
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
                Some((Arc::new(missing.assemble()), Some(missing.sender())))
            }
            CandidateBody::Journalled(block) => Some((block.clone(), None)),
            CandidateBody::Executed(_) | CandidateBody::Invalid { .. } => None,
        };
        if let Some((block, from)) = whole {
            candidate.body = match (self.ledger.execute(block.clone()), from) {
                (Ok(outcome), from) => {
                    // A journalled one is in the journal already.
                    effects.records.extend(from.map(|_| Record::Block(block)));
                    CandidateBody::Executed(Box::new(outcome))
                }
                // The header is signed, the list of hashes is not.
                (Err(_), Some(from)) if !is_tx_body(&block.header, &block.transactions) => {
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
        let timely = self.height.candidates.is_timely(now, &hash);
        let Some(candidate) = self.height.candidates.get_mut(&hash) else { return };
        let good = match &candidate.body {
            CandidateBody::Executed(outcome) => Some(outcome.block().clone()),
            _ => None,
        };
        let mut useful = Vec::new();
        for Offer { proposal, from, .. } in candidate.take_offers(timely) {
            let Proposal { round, proposer, .. } = proposal;
            let valid = good.is_some() && timely;
            match &good {
                None => effects.blame_relay(from, Offence::InvalidBlock),
                Some(block) if timely && self.relays_at_once(round) => {
                    effects.broadcast(Some(from), proposal_of(proposal, block));
                }
                Some(_) => {}
            }
            useful.extend(valid.then_some(from));
            let executed = Candidate { height, round, proposer, block: hash, valid };
            self.consensus.executed(now, executed, &mut self.outputs);
        }
        for peer in useful {
            self.note_useful(peer);
            effects.orders.push(PeerCommand::CreditBlock(peer));
        }
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
        let known = |tx: &B256| self.pool.get(tx).cloned();
        let Some(AlternateList { from, asked, proposed, .. }) = missing.take_alternate(known)
        else {
            // The same proposal is taken as new when it comes again.
            for offer in candidate.offers {
                self.height.messages.forget(&offer.key);
            }
            return;
        };
        // More than most blocks take; what is more is of lists that were false.
        let is_kept = candidate.fetched_bytes <= rules::BODIES.held.all / 2;
        if !is_kept {
            missing.forget_came();
        }
        let found = missing.take_found();
        let fetched_bytes = if is_kept { candidate.fetched_bytes } else { 0 };
        let mut list = MissingTransactions::new(proposed, from, now, self.propose_wait());
        list.wake(now, |tx| known(tx).or_else(|| found.get(tx).cloned()));
        list.follow_after(*missing, asked, found);
        // The sender of the abandoned list does not answer for this one.
        let mut next = BlockCandidate::new(candidate.round, CandidateBody::Missing(Box::new(list)));
        (next.offers, next.fetched_bytes) = (candidate.offers, fetched_bytes);
        next.answer_for(sender, from);
        self.height.candidates.insert(hash, next);
        self.recover_bodies(now, hash, effects);
        self.judge(now, hash, effects);
    }
}

// Attack: a proposer signs one proposal again and again, in other words: each signature is right,
// and each was remembered and relayed.
/// What a proposal is remembered by: its block and round.
fn proposal_key(proposal: &Proposal) -> B256 {
    let Proposal { height, round, block, .. } = proposal;
    let place = [&height.to_be_bytes()[..], &round.to_be_bytes(), &block[..]].concat();
    keccak256([b"proposal", &place[..]].concat())
}

// Attack: a list of what is pooled, far longer than a block: 3.9 GB were hashed in 9.6 s. What is
// longer is no block's, whatever its header says.
/// Whether these are the transactions that a header commits to.
fn is_tx_body(header: &Header, txs: &[Transaction]) -> bool {
    is_body(header, txs, |tx| tx.encode_2718_len(), transactions_root)
}

/// The same of transactions in any form, by their `length` and `root`.
pub(super) fn is_body<T>(
    header: &Header,
    txs: &[T],
    length: impl Fn(&T) -> usize,
    root: impl FnOnce(&[T]) -> B256,
) -> bool {
    let bytes: usize = txs.iter().map(length).sum();
    bytes <= limits::BLOCK_BYTES_MAX && root(txs) == header.transactions_root
}

#[cfg(test)]
mod tests;
