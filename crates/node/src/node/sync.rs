//! Blocks that block sync brought, verified and committed; and tips, sent and received.

use trefoil_ledger::Record;
use trefoil_types::{
    Message, Offence, PeerId, Time,
    message::{Blocks, Tip},
};

use crate::{
    Effects, PeerCommand,
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

    /// Commits what is ready, and asks for more if it is time to.
    pub(super) fn sync_blocks(&mut self, now: Time, effects: &mut Effects) {
        self.commit_ready(now, effects);
        if let Some((peer, request)) = self.block_sync.tick(now, self.sync_position()) {
            effects.send(peer, Message::GetBlocks(request));
        }
    }

    /// Commits some of the blocks that are ready.
    fn commit_ready(&mut self, now: Time, effects: &mut Effects) {
        for _ in 0..BLOCKS_PER_STEP {
            let Some(ready) = self.block_sync.pop_ready() else { break };
            let ReadyBlock { peer, block, certificate } = ready;
            if block.header.number < self.next_height() {
                continue; // Consensus was faster.
            }
            let extends = block.header.parent_hash == self.ledger.tip_hash();
            if !extends || verify_next(&certificate, &self.ledger).is_err() {
                self.block_sync.reject_ready(now, &peer);
                return effects.blame(peer, Offence::BadSignature);
            }
            let known = self.height.candidates.remove(&block.hash).map(|known| known.body);
            let outcome = match known {
                Some(CandidateBody::Executed { outcome, .. }) => *outcome,
                _ => {
                    effects.records.push(Record::Block(block.clone()));
                    self.execute_final(block)
                }
            };
            self.commit(now, outcome, certificate, effects);
            self.block_sync.note_delivered(&peer);
            let unjudged = self.peers.is_unjudged(&peer);
            effects.orders.extend(unjudged.then_some(PeerCommand::Brought(peer)));
        }
    }

    pub(super) fn on_blocks(
        &mut self,
        now: Time,
        peer: PeerId,
        answer: Blocks,
        effects: &mut Effects,
    ) {
        match self.block_sync.on_blocks(now, peer, answer, &self.ledger) {
            Ok(None) => {}
            Ok(Some((txs, fetched))) => {
                self.jobs.recover(txs, RecoveryPurpose::BlockSync(fetched), effects);
            }
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
            effects.send(peer, self.own_tip());
        }
    }

    /// Sends our tip to everyone: when it is new, and now and then.
    pub(super) fn announce_tip(&mut self, now: Time, effects: &mut Effects) {
        self.peers.note_tip_announced(now);
        if !self.peers.is_alone() {
            effects.broadcast(None, self.own_tip());
        }
    }
}
