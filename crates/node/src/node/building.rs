//! Begins a height, and builds the block that this node proposes in it.

use trefoil_consensus::ReplayError;
use trefoil_ledger::{Draft, Record, TxRefusal};
use trefoil_types::{Attached, B256, PublicKey, Round, Time, limits};

use crate::{
    Effects,
    block_producer::{BuildRequest, SETTLE},
    candidates::{BlockCandidate, CandidateBody},
    node::Node,
};

// 256 KiB are left for the rest of a block. The RLP headers of 30,000 transactions take up to
// 120 KB of them, the certificate of 128 validators 13 KB, and 16 pieces of evidence less.
/// The most bytes of transactions offered to a block.
const OFFER_BYTES_MAX: usize = limits::BLOCK_BYTES_MAX - 256 * 1024;

impl Node {
    /// When the next height begins if nothing new happens. Not while final blocks are
    /// here: the height would be over before it began.
    pub(super) fn begin_due(&self) -> Option<Time> {
        if self.block_sync.is_busy(self.next_height()) {
            return None;
        }
        self.height.producer.begin_due(self.has_content())
    }

    /// Begins the height after the tip.
    pub(super) fn begin_next_height(&mut self, now: Time) {
        let begun = self.begin_height(now, &[]);
        begun.expect("without records there is nothing to contradict");
    }

    /// Begins the height after the tip, with what the journal kept of it.
    ///
    /// # Errors
    /// The records are damaged or contradict each other: a node that forgot what it
    /// signed must not sign again.
    pub(super) fn begin_height(
        &mut self,
        now: Time,
        records: &[Vec<u8>],
    ) -> Result<(), ReplayError> {
        self.height.producer.note_begun(now);
        let turns = self.ledger.next_turns();
        self.consensus.start(now, self.next_height(), turns, records, &mut self.outputs)
    }

    pub(super) fn round(&self) -> Round {
        let next = self.next_height();
        self.consensus.position().filter(|(height, _)| *height == next).map_or(0, |at| at.1)
    }

    pub(super) fn build_due(&self) -> Option<Time> {
        if self.block_sync.is_busy(self.next_height()) {
            return None;
        }
        self.height.producer.build_due(self.peers.is_alone())
    }

    pub(super) fn build_if_due(&mut self, now: Time, effects: &mut Effects) {
        if self.build_due().is_none_or(|due| due > now) {
            return;
        }
        let request = self.height.producer.take_request(now);
        if let (Some(request), Some(key)) = (request, self.validator())
            && request.height == self.next_height()
        {
            self.build(now, request, key, effects);
        }
    }

    fn build(&mut self, now: Time, request: BuildRequest, key: PublicKey, effects: &mut Effects) {
        let recipient = self.ledger.governed().fee_recipients.get(&key);
        let Some(fee_recipient) = recipient.copied() else { return };
        let draft = Draft {
            timestamp: now.as_secs().max(self.ledger.tip().timestamp),
            fee_recipient,
            attached: Attached {
                evidence: self.evidence.for_block(),
                parent_certificate: self.ledger.tip_certificate().cloned(),
            },
        };
        // A transaction that is younger is in few other pools: every validator would have to
        // ask for it before it could vote.
        let ripe = if self.peers.is_alone() { now } else { Time(now.0.saturating_sub(SETTLE.0)) };
        let mut bytes = 0;
        let mut offer = self
            .pool
            .best(self.ledger.next_base_fee(), ripe)
            .take(limits::BLOCK_TXS_MAX)
            .take_while(|pooled| {
                bytes += pooled.bytes;
                bytes <= OFFER_BYTES_MAX
            })
            .map(|pooled| pooled.tx.clone());
        let (outcome, refused) = self.ledger.build(draft, &mut offer);
        for (hash, refusal) in refused {
            if let TxRefusal::Invalid(_) = refusal {
                self.drop_invalid(&hash);
            }
        }
        self.note_content(now);
        let block = outcome.block().clone();
        let hash = block.hash;
        effects.records.push(Record::Block(block));
        let BuildRequest { height, round, .. } = request;
        let body = CandidateBody::Executed(Box::new(outcome));
        self.height.candidates.insert(hash, BlockCandidate::new(round, body));
        self.forget_dropped();
        self.consensus.built(now, height, round, hash, &mut self.outputs);
    }

    /// Drops a transaction that can never be executed. Mostly a block of other senders changed
    /// its sender's account (an EIP-7702 authority's nonce, a balance that a contract moved), so
    /// the pool is given that account again.
    fn drop_invalid(&mut self, hash: &B256) {
        let Some(sender) = self.pool.get(hash).map(|tx| tx.signer()) else { return };
        self.pool.remove(hash);
        self.refresh_sender(&sender);
    }

    /// The pool or the evidence changed: the producer notes since when there is something to put
    /// in a block.
    pub(super) fn note_content(&mut self, now: Time) {
        let has_content = self.has_content();
        self.height.producer.note_content(now, has_content);
    }

    fn has_content(&self) -> bool {
        self.pool.pending() > 0 || !self.evidence.is_empty()
    }
}
