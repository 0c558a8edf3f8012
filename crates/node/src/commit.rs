//! A block becomes final: committed with its certificate, told to everyone; and
//! the same again after a restart, from the journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trefoil_ledger::{BlockError, Outcome, Record};
use trefoil_types::{Address, B256, Certificate, RecoveredBlock, Time};

use crate::{
    Effects, Event, Job, Order,
    candidates::{Body, Candidate},
    node::{Node, OpenError},
};

impl Node {
    /// A quorum made a block final. If its body is not here, catch-up gets it.
    pub(crate) fn finish(&mut self, now: Time, certificate: Certificate, fx: &mut Effects) {
        if certificate.height != self.next_height() {
            return;
        }
        let hash = certificate.block;
        if self.candidates.get(&hash).is_none_or(|c| matches!(c.body, Body::Missing(_))) {
            self.decided = Some(certificate);
            return;
        }
        let body = self.candidates.remove(&hash).map(|candidate| candidate.body);
        let outcome = match body {
            Some(Body::Executed { outcome, .. }) => *outcome,
            Some(Body::Journalled(block)) => self.execute_final(block),
            Some(Body::Invalid { reason }) => {
                panic!("a quorum made block {hash} final that is invalid here: {reason}")
            }
            Some(Body::Missing(_)) | None => return,
        };
        // By its own votes' count: this node is not behind, whatever tips are claimed.
        self.peers.values_mut().for_each(|peer| peer.delivers = false);
        self.commit(now, outcome, certificate, fx);
    }

    /// Executes a block that a quorum already made final.
    pub(crate) fn execute_final(&self, block: Arc<RecoveredBlock>) -> Outcome {
        let outcome = self.ledger.execute(block);
        // Either this node or more than a third of the validators is broken;
        // neither is cured by going on.
        outcome.unwrap_or_else(|e| panic!("a quorum made a block final that is invalid here: {e}"))
    }

    /// Makes an executed block the tip. Its [`Record::Block`] is journalled.
    pub(crate) fn commit(
        &mut self,
        now: Time,
        outcome: Outcome,
        certificate: Certificate,
        fx: &mut Effects,
    ) {
        fx.records.push(Record::Decided(certificate.clone()));
        let block = outcome.block().clone();
        let receipts = outcome.receipts().clone();
        self.apply(now, outcome, certificate, fx);
        self.settle_evidence(fx);
        self.settle_pool(now, &block);
        self.shut_out();
        fx.orders.extend(self.ledger.admission().map(Order::Admission));
        let snapshot = self.ledger.snapshot();
        fx.events.push(Event::Committed { block, receipts, snapshot });
        self.tell_tip(now, fx);
        let ours = self.ledger.tip().number;
        let givers = self.peers.values_mut().chain(self.unjudged.values_mut());
        givers.for_each(|peer| peer.note_lead(ours, now));
        for (peer, message) in self.early.take() {
            self.hear(now, peer, message, fx);
        }
    }

    /// What a live commit and one from the journal have in common.
    fn apply(&mut self, now: Time, outcome: Outcome, certificate: Certificate, fx: &mut Effects) {
        self.ledger.commit(outcome, certificate);
        self.consensus.stop();
        self.pace.committed(now, self.ledger.tip());
        self.candidates.clear();
        self.owed.clear();
        self.seen.clear();
        self.said.clear();
        self.decided = None;
        fx.jobs.extend(self.ledger.checkpoint(false).map(Box::new).map(Job::Checkpoint));
    }

    /// Drops what the block included or made stale: a look at its senders only.
    fn settle_pool(&mut self, now: Time, block: &RecoveredBlock) {
        let senders: BTreeSet<Address> = block.transactions.iter().map(|tx| tx.signer()).collect();
        for sender in senders {
            self.refresh_sender(&sender);
        }
        for tx in &block.transactions {
            self.gossip.settled(*tx.tx_hash());
        }
        self.note_pending(now);
    }

    /// Tells the pool how a sender's account stands at the tip.
    pub(crate) fn refresh_sender(&mut self, sender: &Address) {
        if self.pool.pending_nonce(sender).is_some() {
            let account = self.ledger.account(sender);
            let (nonce, balance) = account.map_or_else(Default::default, |a| (a.nonce, a.balance));
            self.pool.advance(sender, nonce, balance);
        }
    }

    /// Takes up what the journal held: first the final blocks that the last
    /// checkpoint lacks, then the height that was under way. What is of a height
    /// that is over is dropped, whatever height the journal's record names.
    pub(crate) fn recover(
        &mut self,
        now: Time,
        records: Vec<Record>,
        fx: &mut Effects,
    ) -> Result<(), OpenError> {
        let mut blocks: BTreeMap<B256, Arc<RecoveredBlock>> = BTreeMap::new();
        let mut spoken = Vec::new();
        for record in records {
            match record {
                Record::Block(block) => _ = blocks.insert(block.hash, block),
                Record::Consensus { height, bytes } => {
                    // Early programs named the node's height, not the record's own.
                    let height = trefoil_consensus::record_height(&bytes).unwrap_or(height);
                    spoken.push((height, bytes));
                }
                Record::Decided(certificate) => {
                    let (next, height) = (self.next_height(), certificate.height);
                    if height > next {
                        return Err(OpenError::Gap { height, next });
                    }
                    if height == next {
                        let hash = certificate.block;
                        let block =
                            blocks.remove(&hash).ok_or(OpenError::Block { height, hash })?;
                        let outcome = self.ledger.execute(block);
                        let invalid =
                            |e: BlockError| OpenError::Invalid { height, hash, reason: e.reason };
                        self.apply(now, outcome.map_err(invalid)?, certificate, fx);
                    }
                    let next = self.next_height();
                    blocks.retain(|_, block| block.header.number >= next);
                    spoken.retain(|(height, _)| *height >= next);
                }
            }
        }
        let (next, tip) = (self.next_height(), self.ledger.tip_hash());
        for (hash, block) in blocks {
            if block.header.number == next && block.header.parent_hash == tip {
                self.candidates.insert(hash, Candidate::journalled(block));
            }
        }
        let spoken = spoken.into_iter().filter(|(height, _)| *height == next);
        let spoken: Vec<Vec<u8>> = spoken.map(|(_, bytes)| bytes).collect();
        if spoken.is_empty() {
            return Ok(());
        }
        Ok(self.begin_height(now, &spoken)?)
    }
}
