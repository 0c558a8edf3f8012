//! Proposed blocks: rebuilt from their hashes, executed once, judged, handed on.
//!
//! Whom to blame: an honest node hands a proposal on only after it executed the
//! block and found it valid. So whoever sends an invalid one is surely at fault,
//! be it the proposer or not.

use std::sync::Arc;

use alloy_consensus::proofs::calculate_transaction_root;
use trefoil_consensus::Input;
use trefoil_ledger::Record;
use trefoil_types::{
    B256, Offence, PeerId, Proposal, RecoveredBlock, Time, Transaction, TxEnvelope,
    message::ProposedBlock,
};

use crate::{
    Effects, To,
    bodies::Missing,
    candidates::{Body, Candidate, Offer},
    hearing::{proposal_of, signature_key},
    node::Node,
};

/// How far a block's timestamp may be ahead of the clock, in seconds.
const TIMESTAMP_AHEAD_S_MAX: u64 = 5;
/// Proposals of one block that wait for its judgement.
const OFFERS_MAX: usize = 64;
/// Differing copies of one proposal that are kept in reserve.
const ALTERNATES_MAX: usize = 4;

impl Node {
    /// A proposal of the next height.
    pub(crate) fn on_proposal(
        &mut self,
        now: Time,
        peer: PeerId,
        proposed: ProposedBlock,
        fx: &mut Effects,
    ) {
        let (proposal, header) = (&proposed.proposal, &proposed.header);
        let binds = proposed.attached.is_bound_by(header);
        if header.number != proposal.height || header.hash_slow() != proposal.block || !binds {
            return fx.blame_relay(peer, Offence::Malformed);
        }
        let key = signature_key(&proposal.signature);
        if self.seen.contains_key(&key) {
            return self.keep_alternate(peer, proposed);
        }
        let input = Input::Proposal(proposal.clone());
        if let Err(offence) = self.believe(now, input.clone()) {
            return fx.blame_relay(peer, offence);
        }
        if !self.consensus.has_verified(&input) {
            return; // No news, so nobody looked whose it is.
        }
        self.remember(key, true);
        self.offer(now, peer, key, proposed, fx);
    }

    fn offer(
        &mut self,
        now: Time,
        from: PeerId,
        key: B256,
        proposed: ProposedBlock,
        fx: &mut Effects,
    ) {
        let (block, round) = (proposed.proposal.block, proposed.proposal.round);
        let offer = Offer { proposal: proposed.proposal.clone(), from, key };
        if self.candidates.get(&block).is_none() {
            let body = self.rebuild(now, from, proposed);
            self.candidates.insert(block, Candidate { round, offers: vec![], body });
        } else {
            self.keep_alternate(from, proposed);
        }
        if let Some(candidate) = self.candidates.get_mut(&block) {
            candidate.round = candidate.round.max(round);
            if candidate.offers.len() < OFFERS_MAX {
                candidate.offers.push(offer);
            }
        }
        self.judge(now, block, fx);
    }

    /// Another copy of a proposal whose block is not whole yet. The list of
    /// hashes is not signed; if the one we follow is false, this may be the true one.
    fn keep_alternate(&mut self, from: PeerId, proposed: ProposedBlock) {
        let candidate = self.candidates.get_mut(&proposed.proposal.block);
        if let Some(Candidate { body: Body::Missing(missing), .. }) = candidate
            && missing.proposed.tx_hashes != proposed.tx_hashes
            && missing.alternates.len() < ALTERNATES_MAX
        {
            missing.alternates.push((from, proposed));
        }
    }

    /// The block as far as our pool has its transactions.
    fn rebuild(&self, now: Time, from: PeerId, proposed: ProposedBlock) -> Body {
        if let Err(reason) = self.check_parent(&proposed) {
            return Body::Invalid { reason };
        }
        let timely = proposed.header.timestamp <= now.as_secs() + TIMESTAMP_AHEAD_S_MAX;
        let known = |hash: &B256| self.pool.get(hash).cloned();
        let missing = Missing::new(proposed, from, timely, now, known);
        Body::Missing(Box::new(missing))
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
    pub(crate) fn judge(&mut self, now: Time, hash: B256, fx: &mut Effects) {
        let Some(candidate) = self.candidates.get_mut(&hash) else { return };
        match &mut candidate.body {
            Body::Missing(missing) if !missing.wanted.is_empty() => return,
            Body::Missing(missing) => {
                let txs: Vec<Transaction> = missing.txs.drain(..).flatten().collect();
                let timely = missing.timely;
                let header = missing.proposed.header.clone();
                let attached = missing.proposed.attached.clone();
                let block = Arc::new(RecoveredBlock::new(header, txs, attached));
                candidate.body = match self.ledger.execute(block.clone()) {
                    Ok(outcome) => {
                        fx.records.push(Record::Block(block));
                        Body::Executed { outcome: Box::new(outcome), timely }
                    }
                    // The header is signed, the list of hashes is not.
                    Err(_) if tx_root(&block.transactions) != block.header.transactions_root => {
                        fx.blame_relay(missing.from, Offence::InvalidBlock);
                        return self.abandon_list(now, hash, fx);
                    }
                    Err(error) => Body::Invalid { reason: error.reason },
                };
            }
            Body::Journalled(block) => {
                candidate.body = match self.ledger.execute(block.clone()) {
                    Ok(outcome) => Body::Executed { outcome: Box::new(outcome), timely: true },
                    Err(error) => Body::Invalid { reason: error.reason },
                };
            }
            Body::Executed { .. } | Body::Invalid { .. } => {}
        }
        self.answer_offers(now, hash, fx);
        if let Some(certificate) = self.decided.take_if(|decided| decided.block == hash) {
            self.finish(now, certificate, fx);
        }
    }

    fn answer_offers(&mut self, now: Time, hash: B256, fx: &mut Effects) {
        let height = self.next_height();
        let Some(candidate) = self.candidates.get_mut(&hash) else { return };
        let (good, timely) = match &candidate.body {
            Body::Executed { timely, outcome } => (Some(outcome.block().clone()), *timely),
            _ => (None, true),
        };
        for Offer { proposal, from, .. } in std::mem::take(&mut candidate.offers) {
            let Proposal { round, proposer, .. } = proposal;
            let valid = good.is_some() && timely;
            match &good {
                None => fx.blame_relay(from, Offence::InvalidBlock),
                Some(block) if timely && self.hands_on(round) => {
                    fx.sends.push((To::AllBut(Some(from)), proposal_of(proposal, block).into()));
                }
                Some(_) => {}
            }
            let input = Input::Candidate { height, round, block: hash, proposer, valid };
            // Its proposal was judged when it came.
            let _ = self.tell(now, input);
        }
    }

    /// The list of hashes that we followed does not make the block that was
    /// signed, or nobody has what it names. Follow another copy, or wait for one.
    pub(crate) fn abandon_list(&mut self, now: Time, hash: B256, fx: &mut Effects) {
        let Some(candidate) = self.candidates.remove(&hash) else { return };
        let Body::Missing(mut missing) = candidate.body else { return };
        if missing.alternates.is_empty() {
            candidate.offers.iter().for_each(|offer| _ = self.seen.remove(&offer.key));
            return;
        }
        let (from, proposed) = missing.alternates.remove(0);
        let mut body = self.rebuild(now, from, proposed);
        if let Body::Missing(next) = &mut body {
            next.alternates = missing.alternates;
        }
        // Who sent the abandoned list has been blamed, and does not answer for this one.
        let abandoned = missing.from;
        let offers = candidate.offers.into_iter().map(|offer| match offer.from == abandoned {
            true => Offer { from, ..offer },
            false => offer,
        });
        let offers = offers.collect();
        self.candidates.insert(hash, Candidate { round: candidate.round, offers, body });
        self.judge(now, hash, fx);
    }
}

/// What a header's `transactions_root` must be.
pub(crate) fn tx_root(txs: &[Transaction]) -> B256 {
    let txs: Vec<&TxEnvelope> = txs.iter().map(|tx| tx.inner()).collect();
    calculate_transaction_root(&txs)
}
