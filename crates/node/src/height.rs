//! When a height begins, and when its proposer builds.
//!
//! What always holds: this node begins a height no sooner than the block
//! interval after the one before, unless a validator already speaks of it; and
//! it builds no sooner than that in any case.

use alloy_consensus::EMPTY_ROOT_HASH;
use trefoil_consensus::{Input, ReplayError};
use trefoil_ledger::{Draft, Record, Refusal};
use trefoil_types::{
    Attached, B256, ChainSpec, Header, Height, Millis, PublicKey, Round, Time, limits,
};

use crate::{Effects, candidates::Candidate, node::Node};

/// How long a transaction is left to reach the other pools before it is
/// proposed: a proposal names hashes, and a body that comes after it is sent
/// and recovered twice.
const SETTLE: Millis = Millis(20);

/// The longest that a proposer who was woken by others waits for a transaction
/// of its own.
const WAIT_FOR_TX: Millis = Millis(100);

/// The most bytes of transactions offered to a block, so that its header and
/// its journal record fit beside them.
const OFFER_BYTES_MAX: usize = limits::BLOCK_BYTES_MAX - 256 * 1024;

#[derive(Debug)]
pub(crate) struct Pace {
    interval: Millis,
    /// How often an idle chain makes a block; `None`: never.
    idle: Option<Millis>,
    tip_at: Time,
    /// The tip holds transactions: a block follows it after one interval, also
    /// on an idle chain. That block binds the certificate that made them final,
    /// and it wakes clients that look at a receipt only when a block is new
    /// (ethers polls so, and would wait for the next idle block).
    closing: bool,
    /// When the newest height began here; `None` once it is final.
    begun: Option<Time>,
    /// No block of the next height is built before this.
    not_before: Time,
    /// Since when there has been something to put in a block.
    pub pending_since: Option<Time>,
    asked: Option<Asked>,
    /// When the tip was last told to the peers.
    pub tip_told: Time,
}

/// Consensus wants a block from this node.
#[derive(Clone, Copy, Debug)]
struct Asked {
    height: Height,
    round: Round,
    at: Time,
    until: Time,
}

impl Pace {
    pub fn new(spec: &ChainSpec, tip: &Header, now: Time) -> Self {
        let idle = (spec.idle_block_s > 0).then(|| Millis(spec.idle_block_s.saturating_mul(1000)));
        Self {
            interval: spec.block_interval(),
            idle,
            // When it was committed here is not remembered; its timestamp is near.
            tip_at: Time(tip.timestamp.saturating_mul(1000)).min(now),
            closing: has_transactions(tip),
            begun: None,
            not_before: Time(0),
            pending_since: None,
            asked: None,
            tip_told: now,
        }
    }

    /// When the tip was committed here.
    pub fn tip_at(&self) -> Time {
        self.tip_at
    }

    /// Whether consensus has begun the height after the tip.
    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// `tip` became final.
    pub fn committed(&mut self, now: Time, tip: &Header) {
        if let Some(begun) = self.begun.take() {
            self.not_before = begun + self.interval;
        }
        self.tip_at = now;
        self.closing = has_transactions(tip);
        self.asked = None;
    }

    /// When a block is due though there is nothing to put in it.
    fn idle_due(&self) -> Option<Time> {
        let wait = if self.closing { Some(self.interval) } else { self.idle };
        wait.map(|wait| self.tip_at + wait)
    }
}

fn has_transactions(header: &Header) -> bool {
    header.transactions_root != EMPTY_ROOT_HASH
}

impl Node {
    /// When the next height begins if nothing new happens.
    pub(crate) fn begin_due(&self) -> Option<Time> {
        if self.pace.has_begun() || self.catch_up.is_busy() {
            return None;
        }
        let reason = if self.has_content() { Some(Time(0)) } else { self.pace.idle_due() };
        reason.map(|due| due.max(self.pace.not_before))
    }

    pub(crate) fn begin_if_due(&mut self, now: Time) {
        if self.begin_due().is_some_and(|due| due <= now) {
            self.begin_next_height(now);
        }
    }

    /// Begins the height after the tip.
    pub(crate) fn begin_next_height(&mut self, now: Time) {
        let begun = self.begin_height(now, &[]);
        begun.expect("without records there is nothing to contradict");
    }

    /// Begins the height after the tip, with what the journal kept of it.
    ///
    /// # Errors
    /// The records are damaged or contradict each other: a node that forgot what it
    /// signed must not sign again.
    pub(crate) fn begin_height(
        &mut self,
        now: Time,
        records: &[Vec<u8>],
    ) -> Result<(), ReplayError> {
        self.pace.begun = Some(now);
        let set = self.ledger.next_validators().clone();
        let mut out = Vec::new();
        self.consensus.start(now, self.next_height(), set, records, &mut out)?;
        self.outputs.extend(out);
        Ok(())
    }

    pub(crate) fn round(&self) -> Round {
        let next = self.next_height();
        self.consensus.position().filter(|(height, _)| *height == next).map_or(0, |at| at.1)
    }

    /// Consensus asks for a block; see [`Node::build_due`] for when it gets one.
    pub(crate) fn asked_to_build(&mut self, now: Time, height: Height, round: Round, until: Time) {
        self.pace.asked = Some(Asked { height, round, at: now, until });
    }

    /// When the block that consensus asked for is built: as soon as the pace
    /// allows and there is something to put in it that other pools have too. A
    /// proposer that others woke waits a little for a transaction that they may
    /// have and it has not. An idle chain's due block does not wait.
    pub(crate) fn build_due(&self) -> Option<Time> {
        let Asked { at, until, .. } = self.pace.asked?;
        if self.catch_up.is_busy() {
            return None;
        }
        let soonest = at.max(self.pace.not_before);
        let patience = WAIT_FOR_TX.0.min(until.since(at).0 / 2);
        let latest = soonest.max(at + Millis(patience));
        let settled = self.pace.pending_since.map(|since| match self.peers.is_empty() {
            true => since,
            false => since + SETTLE,
        });
        let due = match settled {
            Some(settled) => settled.clamp(soonest, latest),
            None if self.pace.idle_due().is_some_and(|due| due <= at) => soonest,
            None => latest,
        };
        Some(due)
    }

    pub(crate) fn build_if_due(&mut self, now: Time, fx: &mut Effects) {
        if self.build_due().is_none_or(|due| due > now) {
            return;
        }
        let (Some(asked), Some(key)) = (self.pace.asked.take(), self.key) else { return };
        if asked.height == self.next_height() && now < asked.until {
            self.build(now, asked, key, fx);
        }
    }

    fn build(&mut self, now: Time, asked: Asked, key: PublicKey, fx: &mut Effects) {
        let Some(me) = self.ledger.next_validators().get(&key) else { return };
        let draft = Draft {
            timestamp: now.as_secs().max(self.ledger.tip().timestamp),
            fee_recipient: me.fee_recipient,
            attached: Attached {
                evidence: self.evidence.for_block(),
                parent_certificate: self.ledger.tip_certificate().cloned(),
            },
        };
        let ripe = if self.peers.is_empty() { now } else { Time(now.0.saturating_sub(SETTLE.0)) };
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
            if let Refusal::Invalid(_) = refusal {
                self.drop_invalid(&hash);
            }
        }
        self.note_pending(now);
        let block = outcome.block().clone();
        let hash = block.hash;
        fx.records.push(Record::Block(block));
        self.candidates.insert(hash, Candidate::built(outcome, asked.round));
        let built = Input::Built { height: asked.height, round: asked.round, block: hash };
        // Our own block cannot be a misdeed of a peer's.
        let _ = self.tell(now, built);
    }

    /// Drops a transaction that can never be executed. Mostly its sender's
    /// account changed in a block that named other senders (an EIP-7702
    /// authority's nonce, a balance that a contract moved): look at it again.
    fn drop_invalid(&mut self, hash: &B256) {
        let Some(sender) = self.pool.get(hash).map(|tx| tx.signer()) else { return };
        self.pool.remove(hash);
        self.refresh_sender(&sender);
    }

    /// Keeps in mind since when there is something to put in a block.
    pub(crate) fn note_pending(&mut self, now: Time) {
        let since = self.pace.pending_since.unwrap_or(now);
        self.pace.pending_since = self.has_content().then_some(since);
    }

    fn has_content(&self) -> bool {
        self.pool.pending() > 0 || !self.evidence.is_empty()
    }
}
