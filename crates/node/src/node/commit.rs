//! A block becomes final: committed with its certificate, announced to everyone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trefoil_ledger::{Outcome, Record};
use trefoil_types::{Address, Certificate, PeerId, RecoveredBlock, Time};

use crate::{
    Effects, Event, PeerCommand, To, WorkerJob,
    candidates::CandidateBody,
    node::{HeightState, Node},
};

impl Node {
    /// A quorum made a block final. If its body is not here, block sync gets it.
    pub(super) fn finish(&mut self, now: Time, certificate: Certificate, effects: &mut Effects) {
        if certificate.height != self.next_height() {
            return;
        }
        let hash = certificate.block;
        let candidates = &mut self.height.candidates;
        if candidates.get(&hash).is_none() || candidates.missing_mut(&hash).is_some() {
            // Consensus has decided and will not decide again: the certificate waits for the
            // block, from the proposer's peers or by block sync.
            self.height.decided = Some(certificate);
            return self.take_up(now, hash, effects);
        }
        let body = candidates.remove(&hash).map(|candidate| candidate.body);
        let outcome = match body {
            Some(CandidateBody::Executed(outcome)) => *outcome,
            Some(CandidateBody::Journalled(block)) => self.execute_final(block),
            Some(CandidateBody::Invalid { reason }) => {
                panic!("a quorum made block {hash} final that is invalid here: {reason}")
            }
            Some(CandidateBody::Missing(_)) | None => return,
        };
        self.block_sync.decided_here();
        self.commit(now, outcome, certificate, effects);
    }

    /// Executes a block that a quorum already made final.
    pub(super) fn execute_final(&self, block: Arc<RecoveredBlock>) -> Outcome {
        let outcome = self.ledger.execute(block);
        // Either this node or more than a third of the validators is broken;
        // neither is cured by going on.
        outcome.unwrap_or_else(|e| panic!("a quorum made a block final that is invalid here: {e}"))
    }

    /// Makes an executed block the tip. Its [`Record::Block`] is journalled.
    pub(super) fn commit(
        &mut self,
        now: Time,
        outcome: Outcome,
        certificate: Certificate,
        effects: &mut Effects,
    ) {
        effects.records.push(Record::Decided(certificate.clone()));
        let block = outcome.block().clone();
        let receipts = outcome.receipts().clone();
        // The order matters: evidence and pool are settled against the new tip, peers are shut
        // out by it, and only then is the block announced.
        self.apply(now, outcome, certificate, effects);
        self.settle_evidence(effects);
        self.settle_pool(now, &block, effects);
        self.shut_out(now);
        self.favour_validators();
        effects.orders.extend(self.ledger.admission().map(PeerCommand::Admission));
        let snapshot = self.ledger.snapshot();
        effects.events.push(Event::Committed { block, receipts, snapshot });
        self.peers.note_new_tip();
        self.block_sync.committed(now, self.ledger.tip().number);
        self.take_early_messages(now, effects);
    }

    /// The common part of a live commit and one from the journal. The messages that came too
    /// early for the last height are of this one.
    pub(super) fn apply(
        &mut self,
        now: Time,
        outcome: Outcome,
        certificate: Certificate,
        effects: &mut Effects,
    ) {
        self.ledger.commit(outcome, certificate);
        self.consensus.stop();
        let producer = self.height.producer.next(now, self.ledger.tip());
        let due = std::mem::take(&mut self.height.early);
        self.height = HeightState { producer, due, ..Default::default() };
        effects.jobs.extend(self.ledger.checkpoint(false).map(Box::new).map(WorkerJob::Checkpoint));
    }

    /// Drops evidence that is of no more use, and sends the rest again: a peer that was behind or
    /// away would never learn of it.
    fn settle_evidence(&mut self, effects: &mut Effects) {
        self.evidence.settle(&self.ledger);
        self.evidence.send(&To::AllBut(None), effects);
    }

    // Attack: transactions that never pay and were paid for when they entered the pool: behind a gap,
    // in place of each other, or 4,096 that one more transaction takes the funds from.
    /// Credits the peers that brought what the block included: only that has paid.
    fn credit_sources(&mut self, block: &RecoveredBlock, effects: &mut Effects) {
        let mut brought = BTreeMap::<PeerId, usize>::new();
        let sources = block.transactions.iter().filter_map(|tx| self.pool.source(tx.tx_hash()));
        sources.for_each(|peer| *brought.entry(peer).or_default() += 1);
        for (peer, txs) in brought {
            effects.orders.push(PeerCommand::Credit { peer, txs });
            self.note_useful(peer);
        }
    }

    /// Drops the transactions that the block included or made stale: only its senders' can be.
    fn settle_pool(&mut self, now: Time, block: &RecoveredBlock, effects: &mut Effects) {
        self.credit_sources(block, effects);
        let senders: BTreeSet<Address> = block.transactions.iter().map(|tx| tx.signer()).collect();
        for sender in senders {
            self.refresh_sender(&sender);
        }
        for tx in &block.transactions {
            self.tx_gossip.settled(*tx.tx_hash());
        }
        self.note_content(now);
    }
}
