//! When a height begins, and when this node builds the block that it proposes.
//!
//! Owns: the block interval, the idle interval, and the request of consensus for a
//! block. What always holds: this node begins a height no sooner than the block
//! interval after the one before, unless a validator's message of it comes first. It
//! builds no sooner than that in any case. It must never know: what the block will hold.

use alloy_consensus::EMPTY_ROOT_HASH;
use trefoil_types::{ChainSpec, Header, Height, Millis, Round, Time};

// A proposal names hashes: a transaction that a validator lacks is sent and recovered twice.
// 20 ms are twice the longest that gossip holds a transaction back (`tx_gossip`, 10 ms).
/// How long a transaction is left to reach the other pools before it is proposed.
pub(crate) const SETTLE: Millis = Millis(20);

// A height begins for all with the first message of a validator. A transaction woke that
// validator, and is on its way here: an empty block now would make it wait for the next.
// 100 ms are a fifth of the default interval; an empty pool delays a block by no more.
/// The longest that a proposer that was woken by others waits for a transaction
/// of its own.
const WAIT_FOR_TX: Millis = Millis(100);

// All wait for the interval and 2 s more from when they began the height, which is after the
// last block began: 1 s is left for the block's execution and its way.
/// How long a proposer has to build at least, from when its interval allows a block.
const BUILD_LEAST: Millis = Millis(1_000);

/// The clock of one height. The next height gets a new one, see [`Self::next`].
#[derive(Debug, Default)]
pub(crate) struct BlockProducer {
    interval: Millis,
    /// How often an idle chain makes a block; `None`: never.
    idle: Option<Millis>,
    /// When the tip was committed here.
    tip_at: Time,
    /// The tip holds transactions: a block follows it after one interval, also
    /// on an idle chain (ADR 9). That block binds the certificate that made them final. It
    /// also wakes clients that look at a receipt only when a block is new: ethers polls
    /// so, and would wait for the next idle block.
    closing: bool,
    /// When consensus began the height after the tip here.
    begun: Option<Time>,
    /// No block of this height is built before this.
    not_before: Time,
    /// Since when there has been something to put in a block.
    pending_since: Option<Time>,
    /// The block that consensus asks for; see [`Self::build_due`] for when it gets one.
    request: Option<BuildRequest>,
}

/// A request of consensus for a block of this node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuildRequest {
    pub height: Height,
    pub round: Round,
    pub at: Time,
    /// A block that comes later is of no use.
    pub until: Time,
}

impl BlockProducer {
    pub fn new(spec: &ChainSpec, tip: &Header, now: Time) -> Self {
        let idle = (spec.idle_block_s > 0).then(|| Millis(spec.idle_block_s.saturating_mul(1000)));
        Self {
            interval: spec.block_interval(),
            idle,
            // When it was committed here is not remembered; its timestamp is near.
            tip_at: Time(tip.timestamp.saturating_mul(1000)).min(now),
            closing: has_transactions(tip),
            ..Self::default()
        }
    }

    /// The producer of the height after `tip`, which became final now.
    pub fn next(&self, now: Time, tip: &Header) -> Self {
        // Each field is named: one that is forgotten does not compile.
        Self {
            interval: self.interval,
            idle: self.idle,
            tip_at: now,
            closing: has_transactions(tip),
            begun: None,
            // Measured from the height's beginning and not from its end: a round that took long
            // does not slow the chain down twice. A block that came by block sync began no height
            // here, so it delays none. Attack: an early vote of each height lets it begin before its
            // time, so that every other block came 60 ms after the one before. What came before its
            // own time leaves no debt: the next proposer would be late.
            not_before: self.begun.map_or(self.not_before, |begun| {
                begun.max(self.not_before.min(now)) + self.interval
            }),
            // Content outlives its height: `note_content` looks at it again with each block.
            pending_since: self.pending_since,
            request: None,
        }
    }

    /// When the tip was committed here.
    pub fn tip_at(&self) -> Time {
        self.tip_at
    }

    /// Whether consensus has begun the height.
    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    pub fn note_begun(&mut self, now: Time) {
        self.begun = Some(now);
    }

    // Attack: a vote for the next height before this one is decided lets all begin it at once, and
    // with an interval of 10 s the proposer's time was over before it might build.
    pub fn note_request(&mut self, request: BuildRequest) {
        let until = request.until.max(self.not_before + BUILD_LEAST);
        self.request = Some(BuildRequest { until, ..request });
    }

    /// Takes the request; one that came too late is dropped.
    pub fn take_request(&mut self, now: Time) -> Option<BuildRequest> {
        self.request.take().filter(|request| now < request.until)
    }

    /// When the height begins if nothing new happens; `has_content` says whether there
    /// is something to put in a block.
    pub fn begin_due(&self, has_content: bool) -> Option<Time> {
        if self.begun.is_some() {
            return None;
        }
        let reason = if has_content { Some(Time(0)) } else { self.idle_due() };
        reason.map(|due| due.max(self.not_before))
    }

    /// When a block is due though there is nothing to put in it.
    fn idle_due(&self) -> Option<Time> {
        let wait = if self.closing { Some(self.interval) } else { self.idle };
        wait.map(|wait| self.tip_at + wait)
    }

    /// When the block that consensus asked for is built: as soon as the interval
    /// allows and there is something to put in it that other pools have too. A
    /// proposer that others woke waits a little for a transaction that they may
    /// have and it has not. An idle chain's due block does not wait.
    pub fn build_due(&self, is_alone: bool) -> Option<Time> {
        let BuildRequest { at, until, .. } = self.request?;
        let soonest = at.max(self.not_before);
        // Half of the time at most: the other half is for the block's execution and its way.
        let patience = WAIT_FOR_TX.0.min(until.since(at).0 / 2);
        let latest = soonest.max(at + Millis(patience));
        // Without peers there is no other pool that the transaction must reach.
        let settled = self.pending_since.map(|since| match is_alone {
            true => since,
            false => since + SETTLE,
        });
        let due = match settled {
            Some(settled) => settled.clamp(soonest, latest),
            None if self.idle_due().is_some_and(|due| due <= at) => soonest,
            None => latest,
        };
        Some(due)
    }

    /// Notes since when there is something to put in a block.
    pub fn note_content(&mut self, now: Time, has_content: bool) {
        let since = self.pending_since.unwrap_or(now);
        self.pending_since = has_content.then_some(since);
    }
}

fn has_transactions(header: &Header) -> bool {
    header.transactions_root != EMPTY_ROOT_HASH
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interval of 10 s, and a validator that votes for the height before the last one is
    /// decided: the proposer's time counts from when it may build.
    #[test]
    fn an_early_vote_takes_no_proposers_turn() {
        let not_before = Time(20_000);
        let mut producer = BlockProducer { not_before, ..BlockProducer::default() };
        let until = Time(19_000);
        producer.note_request(BuildRequest { height: 2, round: 0, at: Time(10_010), until });
        assert!(producer.take_request(not_before).is_some());
    }

    /// One bad validator votes for each height before the one before it is decided, so that it
    /// begins early: every other block came at once.
    #[test]
    fn early_votes_do_not_change_the_pace() {
        let interval = Millis(500);
        let mut producer = BlockProducer { interval, ..BlockProducer::default() };
        let mut decided = Time(0);
        for height in 0..10 {
            // A block is decided 60 ms after it may be built.
            producer.note_begun(decided);
            decided = decided.max(producer.not_before) + Millis(60);
            assert_eq!(decided, Time(height * interval.0 + 60));
            producer = producer.next(decided, &Header::default());
        }
    }

    /// Attack: a proposer does not wait, so that the next one had to wait twice as long, and its
    /// block came too late for its round. Or a burst of blocks from the queue after a stall.
    #[test]
    fn blocks_that_come_before_their_time_delay_the_next_by_one_interval() {
        let interval = Millis(500);
        let mut producer = BlockProducer { interval, ..BlockProducer::default() };
        for now in (1..=6).map(|n| Time(n * 60)) {
            producer.note_begun(now);
            producer = producer.next(now, &Header::default());
            assert_eq!(producer.not_before, now + interval);
        }
    }
}
