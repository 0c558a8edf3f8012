//! Transactions that candidates lack: asked of peers, and given to peers.

use std::sync::Arc;

use alloy_eips::Encodable2718;
use alloy_primitives::{Bytes, map::B256Map};
use trefoil_types::{
    B256, Offence, PeerId, RecoveredBlock, Time, Transaction, TxError, limits,
    message::{Bodies, GetBodies},
};

use crate::{
    Effects,
    fetch_transactions::{Givers, send_pieces},
    jobs::RecoveryPurpose,
    node::{HeightState, Node},
};

impl Node {
    fn ask_transactions(&mut self, now: Time, block: B256, effects: &mut Effects) {
        let givers = self.givers();
        let is_recovering = |hash: &B256| self.tx_gossip.is_recovering(hash);
        if let Some(missing) = self.height.candidates.missing_mut(&block) {
            missing.ask(now, &givers, is_recovering, effects);
        }
    }

    fn givers(&self) -> Givers {
        let (governed, next) = (self.ledger.governed(), self.next_height());
        let nodes = &governed.members.nodes;
        let validates =
            |peer: &PeerId| nodes.is_empty() || nodes.get(peer).is_some_and(|n| n.validates(next));
        let members: Vec<PeerId> = self.peers.members().copied().collect();
        let me = self.is_validator().then_some(self.me);
        let sharers = members.iter().copied().filter(validates).chain(me);
        let mut sharers: Vec<PeerId> = sharers.collect();
        sharers.sort_unstable();
        Givers { me: self.me, members, sharers }
    }

    /// Asks for what did not come by itself, and the next peer where nothing came
    /// in time.
    pub(super) fn retry_transactions(&mut self, now: Time, effects: &mut Effects) {
        if self.height.candidates.retry_due().is_none_or(|due| due > now) {
            return;
        }
        let missing = self.height.candidates.all_missing_mut();
        let late = missing.filter(|(_, missing)| missing.retry_due() <= now);
        let late = late.map(|(block, missing)| (*block, missing.give_up_late(now)));
        for (block, worth_asking) in late.collect::<Vec<_>>() {
            if worth_asking {
                self.ask_transactions(now, block, effects);
            } else {
                self.abandon_list(now, block, effects);
            }
        }
    }

    /// A peer lacks transactions of a block that we proposed or relayed, or are
    /// fetching too.
    pub(super) fn on_get_bodies(&mut self, peer: PeerId, ask: GetBodies, effects: &mut Effects) {
        let whole = self.whole_block(&ask.block);
        let in_block: B256Map<&Transaction> = whole
            .iter()
            .flat_map(|block| &block.transactions)
            .map(|tx| (*tx.tx_hash(), tx))
            .collect();
        let (mut txs, mut bytes) = (Vec::new(), 0);
        for hash in &ask.tx_hashes {
            let found = in_block.get(hash).copied().or_else(|| self.pool.get(hash));
            let Some(tx) = found else {
                // Noted only while the block is on its way: of a whole block nothing is to come.
                if whole.is_none() {
                    self.height.requests.insert(ask.block, *hash, peer);
                }
                continue;
            };
            let raw = tx.encoded_2718();
            bytes += raw.len();
            if bytes > limits::TXS_BYTES_MAX && !txs.is_empty() {
                break; // The peer asks again for the rest.
            }
            txs.push(Bytes::from(raw));
        }
        send_pieces(peer, ask.block, txs, effects);
    }

    /// A block of the current height, or the tip: the peer that asks may be a
    /// step behind.
    fn whole_block(&self, hash: &B256) -> Option<Arc<RecoveredBlock>> {
        if let Some(candidate) = self.height.candidates.get(hash) {
            return candidate.block().cloned();
        }
        let tip = self.ledger.tip().number;
        let stored =
            (*hash == self.ledger.tip_hash()).then(|| self.ledger.snapshot().block(tip))?;
        stored.unwrap_or_else(|e| panic!("block {tip}: {e}")).map(|stored| stored.block)
    }

    pub(super) fn on_bodies(
        &mut self,
        now: Time,
        peer: PeerId,
        Bodies { block, txs }: Bodies,
        effects: &mut Effects,
    ) {
        let HeightState { candidates, requests, .. } = &mut self.height;
        // An answer may come after the block was made whole otherwise.
        let Some(missing) = candidates.missing_mut(&block) else { return };
        let txs = missing.on_answer(now, peer, txs, requests, effects);
        if !txs.is_empty() {
            self.jobs.recover(txs, RecoveryPurpose::Proposal { block }, effects);
            self.ask_transactions(now, block, effects);
        }
    }

    pub(super) fn bodies_recovered(
        &mut self,
        now: Time,
        block: B256,
        txs: Vec<Result<Transaction, TxError>>,
        effects: &mut Effects,
    ) {
        let sound: Vec<Transaction> = txs.iter().flatten().cloned().collect();
        self.fill_candidates(now, &sound, effects);
        if sound.len() < txs.len()
            && let Some(missing) = self.height.candidates.missing_mut(&block)
        {
            // The list names what is no transaction: no valid block holds it.
            effects.blame_relay(missing.sender(), Offence::InvalidBlock);
            self.abandon_list(now, block, effects);
        }
    }

    /// Transactions arrived that candidates, or peers, may lack.
    pub(super) fn fill_candidates(
        &mut self,
        now: Time,
        txs: &[Transaction],
        effects: &mut Effects,
    ) {
        let HeightState { candidates, requests, .. } = &mut self.height;
        let mut whole = Vec::new();
        for (block, missing) in candidates.all_missing_mut() {
            if missing.on_transactions(txs, requests, effects) {
                whole.push(*block);
            }
        }
        for block in whole {
            self.judge(now, block, effects);
        }
    }
}
