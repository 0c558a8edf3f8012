//! Blocks that block sync brought, verified and committed; and tips, sent and received.

use trefoil_ledger::{LedgerError, Record};
use trefoil_types::{
    Height, Message, Offence, PeerId, Time,
    message::{Blocks, GetBlocks, Lane, Tip},
    message_rule as rules,
};

use crate::{
    Effects, PeerCommand,
    block_answers::{AnswerRoom, BLOCK_COST_MIN, blocks_for},
    block_sync::{ReadyBlock, SyncPosition, verify_next},
    candidates::CandidateBody,
    jobs::RecoveryPurpose,
    node::Node,
};

// A full block takes tens of milliseconds to execute (about 1.3 µs a transfer, `docs/adr/0001`):
// four of 30,000 transfers are 160 ms.
/// Blocks committed in one step, so that votes and callers are not kept waiting.
const BLOCKS_PER_STEP: usize = 4;

impl Node {
    pub(super) fn sync_position(&self) -> SyncPosition {
        SyncPosition {
            next_height: self.next_height(),
            lacks_decided: self.height.decided.is_some(),
        }
    }

    /// Commits what is ready, asks for more if it is time to, and gives others what they
    /// asked for.
    pub(super) fn sync_blocks(&mut self, now: Time, effects: &mut Effects) {
        self.commit_ready(now, effects);
        self.recover_blocks(effects);
        self.serve_blocks(now, effects);
        let (position, peers) = (self.sync_position(), &self.peers);
        let request = self.block_sync.tick(now, position, |peer| peers.is_favoured(peer));
        if let Some((peer, request)) = request {
            effects.send(peer, Message::GetBlocks(request));
        }
    }

    /// Commits some of the blocks that are ready.
    fn commit_ready(&mut self, now: Time, effects: &mut Effects) {
        for _ in 0..BLOCKS_PER_STEP {
            if !self.prove_ready(now, effects) {
                return;
            }
            let Some(ready) = self.block_sync.pop_ready() else { return };
            let ReadyBlock { peer, block, certificate } = ready;
            let known = self.height.candidates.remove(&block.hash).map(|known| known.body);
            let outcome = match known {
                Some(CandidateBody::Executed(outcome)) => *outcome,
                _ => {
                    effects.records.push(Record::Block(block.clone()));
                    self.execute_final(block)
                }
            };
            self.commit(now, outcome, certificate, effects);
            self.block_sync.note_delivered(&peer);
            self.note_useful(peer);
            effects.orders.push(PeerCommand::CreditBlock(peer));
            let unjudged = self.peers.is_unjudged(&peer);
            effects.orders.extend(unjudged.then_some(PeerCommand::Brought(peer)));
        }
        // Until the next step this node stays away from a height that is proven to be over,
        // and from no other.
        self.prove_ready(now, effects);
    }

    /// Has the senders recovered of the blocks that came, if the first of them is good.
    fn recover_blocks(&mut self, effects: &mut Effects) {
        if let Some((txs, fetched)) = self.block_sync.take_batch(self.next_height()) {
            self.jobs.recover(txs, RecoveryPurpose::BlockSync(fetched), effects);
        }
    }

    /// Verifies the block after the tip, if it is here; whether it is good.
    fn prove_ready(&mut self, now: Time, effects: &mut Effects) -> bool {
        let next = self.next_height();
        let is_proven = self.block_sync.is_proven(next);
        let Some((peer, parent, certificate)) = self.block_sync.block_at(next) else {
            return false;
        };
        let is_good = parent == self.ledger.tip_hash()
            && (is_proven || verify_next(certificate, &self.ledger).is_ok());
        if is_good {
            self.block_sync.note_proven(next);
        } else {
            self.block_sync.reject_blocks(now, &peer);
            effects.blame(peer, Offence::BadSignature);
        }
        is_good
    }

    /// A peer asks for final blocks.
    pub(super) fn on_get_blocks(
        &mut self,
        now: Time,
        peer: PeerId,
        ask: GetBlocks,
        effects: &mut Effects,
    ) {
        // One that cannot be judged gets nothing.
        if !self.peers.is_member(&peer) {
            return;
        }
        let repeats = self.block_requests.insert(now, peer, ask);
        if repeats && self.answers.note_excess(&rules::GET_BLOCKS, peer) {
            effects.blame(peer, Offence::Flood);
        }
    }

    /// Answers one peer that asked for blocks.
    fn serve_blocks(&mut self, now: Time, effects: &mut Effects) {
        if self.block_requests.due().is_none_or(|due| due > now) {
            return;
        }
        let rule = &rules::GET_BLOCKS;
        let Self { answers, peers, .. } = self;
        let has_room = |peer: &PeerId| answers.room(now, rule, peers.class(peer), peer) > 0;
        let taken = self.block_requests.take(now, |peer| peers.is_favoured(peer), has_room);
        let Some((peer, came, ask)) = taken else {
            self.block_requests.idle_until(self.answers.renewed_at());
            return;
        };
        let class = self.peers.class(&peer);
        let all = self.answers.room(now, rule, class, &peer);
        // A block is not cut to a share: one that is larger goes out of what is for whoever
        // comes first.
        let room = AnswerRoom { all, first: all.max(self.answers.spare(rule, class.favoured)) };
        let (tip, snapshot) = (self.ledger.tip().number, self.ledger.snapshot());
        let size_of = |height| stored(height, snapshot.body_size(height));
        let read = |height| stored(height, snapshot.certified_block(height));
        if let Some((blocks, cost)) = blocks_for(ask, tip, room, size_of, read) {
            self.charge_answer(rule, peer, cost);
            effects.send(peer, Message::Blocks(blocks));
        } else {
            // Not in this second.
            self.charge_answer(rule, peer, BLOCK_COST_MIN);
            self.block_requests.put_off(came, peer, ask, self.answers.renewed_at());
        }
    }

    pub(super) fn on_blocks(
        &mut self,
        now: Time,
        peer: PeerId,
        answer: Blocks,
        effects: &mut Effects,
    ) {
        if !self.block_sync.has_asked(&peer, answer.from) {
            let txs = answer.blocks.iter().map(|it| it.block.body.transactions.len()).sum();
            let bytes = Message::Blocks(answer).encoded_len();
            return effects.note_unasked(peer, Lane::CatchUp, bytes, txs);
        }
        match self.block_sync.on_blocks(now, peer, answer, &self.ledger) {
            Ok(()) => self.recover_blocks(effects),
            Err(offence) => effects.blame(peer, offence),
        }
    }

    pub(super) fn own_tip(&self) -> Message {
        let (height, hash) = (self.ledger.tip().number, self.ledger.tip_hash());
        Message::Tip(Tip { height, hash, round: self.round() })
    }

    pub(super) fn on_tip(&mut self, now: Time, peer: PeerId, tip: Tip, effects: &mut Effects) {
        let ours = self.ledger.tip().number;
        self.block_sync.on_tip(now, &peer, tip.height, ours);
        if tip.height < ours && self.peers.is_member(&peer) {
            let tip = self.own_tip();
            if self.may_answer(now, &rules::TIP, peer, effects).is_some() {
                self.charge_answer(&rules::TIP, peer, tip.encoded_len());
                effects.send(peer, tip);
            }
        }
    }

    /// Sends our tip to everyone: soon after it is new, and now and then.
    pub(super) fn announce_tip(&mut self, now: Time, effects: &mut Effects) {
        self.peers.note_tip_announced(now);
        if !self.peers.is_alone() {
            effects.broadcast(None, self.own_tip());
        }
    }
}

/// What the ledger has of a block. A failed disk ends the process.
fn stored<T>(height: Height, found: Result<T, LedgerError>) -> T {
    found.unwrap_or_else(|e| panic!("block {height}: {e}"))
}
