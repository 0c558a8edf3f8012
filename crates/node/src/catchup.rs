//! Catching up: final blocks from peers, each proved by its certificate.
//!
//! What always holds: one request is out at a time; nothing is committed whose
//! certificate was not verified against the validators of its height. A peer's tip
//! is a claim: it starts a request and stops nothing. Only when the block after our
//! own tip has come and its certificate verifies does this node leave its height to
//! block sync (a red team's `Tip{height: 10^9}` from fresh identities once held
//! validators to 3 blocks in 60 s). A peer that does not keep what its tip promised
//! is left alone for a while.

use std::{collections::VecDeque, sync::Arc};

use alloy_consensus::proofs::calculate_transaction_root;
use alloy_eips::Encodable2718;
use alloy_primitives::Bytes;
use alloy_rlp::Encodable;
use trefoil_ledger::Record;
use trefoil_types::{
    Attached, Certificate, CertifiedBlock, Header, Height, Message, Millis, Offence, PeerId,
    RecoveredBlock, Time, Transaction, TxError, limits,
    message::{Blocks, GetBlocks},
};

use crate::{
    Effects, Job, Order,
    candidates::Body,
    node::{Node, Purpose},
};

/// How long a peer may be one block ahead before we ask it: consensus mostly
/// brings that block by itself.
const LAG: Millis = Millis(500);
/// How long a peer has to answer.
const ANSWER_WAIT: Millis = Millis(3_000);
/// Blocks committed in one step, so that votes and callers are not kept waiting.
const BLOCKS_PER_STEP: usize = 4;
/// Requests for blocks that a peer gets answered in a second.
const SERVED_PER_S_MAX: u32 = 50;

#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    asked: Option<Asked>,
    /// The blocks of one answer are out for recovery.
    recovering: bool,
    ready: VecDeque<(PeerId, Arc<RecoveredBlock>, Certificate)>,
    /// Whom we asked last; the next one is next.
    last: Option<PeerId>,
    /// Whether that was one of those preferred.
    preferred: bool,
}

#[derive(Debug)]
struct Asked {
    peer: PeerId,
    from: Height,
    until: Time,
}

/// Blocks whose transactions are being recovered.
#[derive(Debug)]
pub(crate) struct Fetched {
    peer: PeerId,
    /// Header, number of transactions, certificate, what is attached.
    blocks: Vec<(Header, usize, Certificate, Attached)>,
}

impl CatchUp {
    /// Whether final blocks are here, the first of them verified, so that a height is
    /// not worth beginning.
    pub fn is_busy(&self) -> bool {
        self.recovering || !self.ready.is_empty()
    }

    pub fn forget(&mut self, peer: &PeerId) {
        self.asked.take_if(|asked| asked.peer == *peer);
    }
}

impl Node {
    pub(crate) fn catch_up_due(&self) -> Option<Time> {
        if !self.catch_up.ready.is_empty() {
            return Some(Time(0));
        }
        if self.catch_up.recovering {
            return None;
        }
        match &self.catch_up.asked {
            Some(asked) => Some(asked.until),
            None => self.givers().filter_map(|peer| self.worth_asking_from(&peer)).min(),
        }
    }

    /// From when on it makes sense to ask a peer for blocks, if it has any.
    fn worth_asking_from(&self, peer: &PeerId) -> Option<Time> {
        let peer = self.giver(peer)?;
        let (height, since) = (peer.height()?, peer.ahead_since?);
        let at_once = height > self.next_height() || self.decided.is_some();
        let from = if at_once { since } else { since + LAG };
        Some(from.max(peer.distrusted_until))
    }

    pub(crate) fn drive_catch_up(&mut self, now: Time, fx: &mut Effects) {
        self.commit_ready(now, fx);
        if let Some(asked) = self.catch_up.asked.take_if(|asked| asked.until <= now) {
            self.distrust(now, &asked.peer);
        }
        let idle = self.catch_up.asked.is_none()
            && !self.catch_up.recovering
            && self.catch_up.ready.is_empty();
        if idle {
            self.ask_blocks(now, fx);
        }
    }

    /// Asks the next peer in turn of those that are ahead. Every other time it is one whose
    /// blocks have verified, so that many liars cost half of the waits; and not each time,
    /// or one peer that gives a block in three seconds would be the only one asked. Who
    /// cannot be judged a member is asked when no member is ahead.
    fn ask_blocks(&mut self, now: Time, fx: &mut Effects) {
        let due = |peer: &PeerId| self.worth_asking_from(peer).is_some_and(|from| from <= now);
        let last = self.catch_up.last;
        let after = self.givers().filter(|peer| last.is_none_or(|last| *peer > last));
        let in_turn = after.chain(self.givers()).filter(due);
        let delivers = |peer: &PeerId| self.giver(peer).is_some_and(|giver| giver.delivers);
        let prefers = !self.catch_up.preferred;
        let key = |peer: &PeerId| (self.unjudged.contains_key(peer), prefers && !delivers(peer));
        let Some(peer) = in_turn.min_by_key(key) else { return };
        self.catch_up.preferred = prefers;
        let from = self.next_height();
        self.catch_up.asked = Some(Asked { peer, from, until: now + ANSWER_WAIT });
        self.catch_up.last = Some(peer);
        let count = limits::CATCH_UP_BLOCKS_MAX;
        fx.send(peer, Message::GetBlocks(GetBlocks { from, count }));
    }

    fn distrust(&mut self, now: Time, peer: &PeerId) {
        if let Some(peer) = self.giver_mut(peer) {
            peer.failed(now);
        }
    }

    /// Serves final blocks, as many as fit.
    pub(crate) fn on_get_blocks(
        &mut self,
        now: Time,
        peer: PeerId,
        ask: GetBlocks,
        fx: &mut Effects,
    ) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let (second, served) = known.served;
        let served = if now.since(second) < Millis(1_000) { served + 1 } else { 1 };
        known.served = (if served == 1 { now } else { second }, served);
        if served > SERVED_PER_S_MAX {
            return;
        }
        let snapshot = self.ledger.snapshot();
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        let count = ask.count.min(limits::CATCH_UP_BLOCKS_MAX);
        let end = ask.from.saturating_add(count).min(self.next_height());
        for height in ask.from.max(1)..end {
            let block = snapshot.certified_block(height);
            // A failed disk ends the process.
            let block = block.unwrap_or_else(|e| panic!("block {height}: {e}"));
            let Some(block) = block else { break };
            bytes += block.length();
            if bytes > limits::CATCH_UP_BYTES_MAX && !blocks.is_empty() {
                break;
            }
            blocks.push(block);
        }
        fx.send(peer, Message::Blocks(Blocks { from: ask.from, blocks }));
    }

    pub(crate) fn on_blocks(&mut self, now: Time, peer: PeerId, answer: Blocks, fx: &mut Effects) {
        let expected = |a: &mut Asked| a.peer == peer && a.from == answer.from;
        if self.catch_up.asked.take_if(expected).is_none() {
            return; // Too late, or never asked for: nothing to do with it.
        }
        if answer.blocks.is_empty() {
            return self.distrust(now, &peer);
        }
        if answer.from != self.next_height() {
            return; // Consensus was faster.
        }
        match self.check_links(answer.blocks) {
            Ok((txs, blocks)) => {
                self.catch_up.recovering = true;
                let id = self.jobs.open(Purpose::Blocks(Fetched { peer, blocks }));
                fx.jobs.push(Job::Recover { id, txs });
            }
            Err(offence) => {
                self.distrust(now, &peer);
                fx.blame(peer, offence);
            }
        }
    }

    /// Checks all that can be checked before execution: that the blocks follow
    /// each other from our tip, that bodies and certificates are those of their
    /// headers, and the first certificate. The rest are verified in their turn,
    /// when their validators are known.
    #[expect(clippy::type_complexity, reason = "two lists, taken apart at once")]
    fn check_links(
        &self,
        blocks: Vec<CertifiedBlock>,
    ) -> Result<(Vec<Bytes>, Vec<(Header, usize, Certificate, Attached)>), Offence> {
        let (mut parent, mut height) = (self.ledger.tip_hash(), self.ledger.tip().number);
        let (mut raw, mut parts) = (Vec::new(), Vec::new());
        for CertifiedBlock { block, certificate, attached } in blocks {
            let hash = block.header.hash_slow();
            height += 1;
            let body = &block.body;
            let empty = body.ommers.is_empty()
                && body.withdrawals.as_ref().is_some_and(|list| list.is_empty());
            let sound = block.header.number == height
                && block.header.parent_hash == parent
                && attached.is_bound_by(&block.header)
                && (certificate.height, certificate.block) == (height, hash)
                && empty
                && calculate_transaction_root(&body.transactions) == block.header.transactions_root;
            if !sound {
                return Err(Offence::Malformed);
            }
            if parts.is_empty() {
                self.check_certificate(&certificate)?;
            }
            raw.extend(body.transactions.iter().map(|tx| Bytes::from(tx.encoded_2718())));
            let count = body.transactions.len();
            parts.push((block.header, count, certificate, attached));
            parent = hash;
        }
        Ok((raw, parts))
    }

    fn check_certificate(&self, certificate: &Certificate) -> Result<(), Offence> {
        let verified =
            certificate.verify(self.ledger.next_validators(), &self.ledger.genesis_hash());
        verified.map_err(|_| Offence::BadSignature)
    }

    pub(crate) fn blocks_recovered(
        &mut self,
        fetched: Fetched,
        txs: Vec<Result<Transaction, TxError>>,
        fx: &mut Effects,
    ) {
        self.catch_up.recovering = false;
        let mut txs = txs.into_iter();
        for (header, count, certificate, attached) in fetched.blocks {
            let body: Result<Vec<Transaction>, TxError> = txs.by_ref().take(count).collect();
            match body {
                Ok(body) if body.len() == count => {
                    let block = RecoveredBlock::new(header, body, attached);
                    self.catch_up.ready.push_back((fetched.peer, Arc::new(block), certificate));
                }
                _ => {
                    // No quorum signs a block with such a transaction.
                    fx.blame(fetched.peer, Offence::Malformed);
                    break;
                }
            }
        }
    }

    /// Commits some of the blocks that are ready.
    fn commit_ready(&mut self, now: Time, fx: &mut Effects) {
        for _ in 0..BLOCKS_PER_STEP {
            let Some((peer, block, certificate)) = self.catch_up.ready.pop_front() else { break };
            if block.header.number < self.next_height() {
                continue; // Consensus was faster.
            }
            let extends = block.header.parent_hash == self.ledger.tip_hash();
            let verified = self.check_certificate(&certificate);
            if !extends || verified.is_err() {
                self.catch_up.ready.clear();
                self.distrust(now, &peer);
                return fx.blame(peer, Offence::BadSignature);
            }
            let known = self.candidates.remove(&block.hash).map(|candidate| candidate.body);
            let outcome = match known {
                Some(Body::Executed { outcome, .. }) => *outcome,
                _ => {
                    fx.records.push(Record::Block(block.clone()));
                    self.execute_final(block)
                }
            };
            self.commit(now, outcome, certificate, fx);
            if let Some(peer) = self.giver_mut(&peer) {
                (peer.failures, peer.delivers) = (0, true);
            }
            fx.orders.extend(self.unjudged.contains_key(&peer).then_some(Order::Brought(peer)));
        }
    }
}
