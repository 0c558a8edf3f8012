//! Transactions that candidates lack: asked of peers, and given to peers.

use std::sync::Arc;

use alloy_eips::Encodable2718;
use alloy_primitives::Bytes;
use trefoil_ledger::raw_transactions_root;
use trefoil_types::{
    B256, Header, Message, Offence, PeerId, Time, Transaction, TxError, keccak256, limits,
    message::{Bodies, GetBodies, Lane},
    message_rule as rules, unpacked_bytes,
};

use crate::{
    Effects,
    block_index::BlockIndex,
    candidates::CandidateBody,
    fetch_transactions::{Givers, MissingTransactions},
    jobs::RecoveryPurpose,
    node::{HeightState, Node, proposals::is_body},
    peer_bytes::request_cost,
    pieces::pieces,
};

// 64 KiB are 50 ms of a 10 Mbit/s uplink.
/// An answer is cut into messages of so many bytes, or one transaction, so that a peer that
/// passes it on can begin.
const PIECE_BYTES: usize = 64 * 1024;

impl Node {
    fn share_out_transactions(&mut self, now: Time, block: B256) {
        let givers = self.givers(&block);
        if let Some(missing) = self.height.candidates.missing_mut(&block) {
            missing.share_out(now, &givers, |hash| self.tx_gossip.is_recovering(hash));
        }
    }

    fn ask_transactions(&mut self, now: Time, block: B256, effects: &mut Effects) {
        let is_recovering = |hash: &B256| self.tx_gossip.is_recovering(hash);
        let candidates = &mut self.height.candidates;
        if let Some(missing) = candidates.missing_mut(&block) {
            let asked = missing.ask(now, is_recovering, effects);
            candidates.note_asked(block, asked);
        }
    }

    fn givers(&self, block: &B256) -> Givers {
        let (governed, next) = (self.ledger.governed(), self.next_height());
        let nodes = &governed.members.nodes;
        let validates =
            |peer: &PeerId| nodes.is_empty() || nodes.get(peer).is_some_and(|n| n.validates(next));
        let me = self.validator().map(|_| self.me);
        let sharers = self.peers.members().copied().filter(validates).chain(me);
        let mut sharers: Vec<PeerId> = sharers.collect();
        sharers.sort_unstable();
        // Attack: ids that are made until they are the least. Nobody knows the block before.
        let mut members: Vec<PeerId> = self.peers.members().copied().collect();
        members.sort_by_cached_key(|peer| keccak256([&block[..], &peer.0.0[..]].concat()));
        let (favoured, others) = members.into_iter().partition(|it| self.peers.is_favoured(it));
        Givers { me: self.me, favoured, others, sharers }
    }

    /// Asks for what did not come by itself, and the next peer where nothing came
    /// in time.
    pub(super) fn retry_transactions(&mut self, now: Time, effects: &mut Effects) {
        if self.height.candidates.retry_due().is_none_or(|due| due > now) {
            return;
        }
        let missing = self.height.candidates.all_missing_mut();
        let is_late =
            |missing: &MissingTransactions| missing.retry_due().is_some_and(|due| due <= now);
        let late = missing.filter(|(_, missing)| is_late(missing));
        let late = late.map(|(block, missing)| (*block, missing.give_up_late(now)));
        for (block, worth_asking) in late.collect::<Vec<_>>() {
            if worth_asking {
                self.share_out_transactions(now, block);
                self.ask_transactions(now, block, effects);
            } else {
                self.set_list_aside(now, block, effects);
            }
        }
    }

    /// A peer lacks transactions of a block that we proposed or relayed, or are
    /// fetching too.
    pub(super) fn on_get_bodies(
        &mut self,
        now: Time,
        peer: PeerId,
        ask: GetBodies,
        effects: &mut Effects,
    ) {
        let rule = &rules::GET_BODIES;
        let Some(room) = self.may_answer(now, rule, peer, effects) else { return };
        // Looking for what is not here is work, too.
        let cost = request_cost(ask.tx_hashes.len());
        if ask.tx_hashes.is_empty() {
            return self.charge_answer(rule, peer, cost);
        }
        let (bytes_max, peers) = (room.min(limits::TXS_BYTES_MAX), self.peers.members().len());
        let whole = self.whole_block(&ask.block);
        let (mut txs, mut bytes, mut missing) = (Vec::new(), 0, Vec::new());
        for hash in &ask.tx_hashes {
            let in_block = whole.as_ref().and_then(|block| block.get(hash));
            let Some(tx) = in_block.or_else(|| self.pool.get(hash)) else {
                missing.push(*hash);
                continue;
            };
            let length = tx.encode_2718_len();
            if bytes + length > bytes_max && !txs.is_empty() {
                break; // The peer asks again for the rest.
            }
            bytes += length;
            txs.push(Bytes::from(tx.encoded_2718()));
        }
        // Noted only while the block is on its way: of a whole block nothing is to come.
        // (A message may be handled when its peer is gone.)
        if whole.is_none() && self.peers.is_member(&peer) {
            self.height.requests.insert(ask.block, &missing, peer, peers);
        }
        self.charge_answer(rule, peer, bytes + cost);
        send_pieces(peer, ask.block, txs, effects);
    }

    // Attack: strangers ask for the bodies of a block before these are here, and each is sent all of
    // them when they come: 8 MiB for each that asked, whatever it was given in that second.
    /// Gives peers what they wait for and came, as far as their budgets go; they ask again for the
    /// rest.
    fn give_due_bodies(&mut self, now: Time, effects: &mut Effects) {
        let rule = &rules::GET_BODIES;
        for ((peer, block), mut txs) in self.height.requests.take_due() {
            let room = self.answers.room(now, rule, self.peers.class(&peer), &peer);
            let mut bytes = 0;
            txs.retain(|raw| {
                let fits = bytes + raw.len() <= room;
                bytes += if fits { raw.len() } else { 0 };
                fits
            });
            self.charge_answer(rule, peer, bytes);
            send_pieces(peer, block, txs, effects);
        }
    }

    /// A block of the current height, or the tip: the peer that asks may be a
    /// step behind.
    fn whole_block(&mut self, hash: &B256) -> Option<Arc<BlockIndex>> {
        if let Some(candidate) = self.height.candidates.get_mut(hash) {
            return candidate.index();
        }
        if *hash != self.ledger.tip_hash() {
            return None;
        }
        if self.height.tip_index.is_none() {
            let tip = self.ledger.tip().number;
            let stored = self.ledger.snapshot().block(tip);
            let stored = stored.unwrap_or_else(|e| panic!("block {tip}: {e}"));
            self.height.tip_index = stored.map(|stored| Arc::new(BlockIndex::new(stored.block)));
        }
        self.height.tip_index.clone()
    }

    pub(super) fn on_bodies(
        &mut self,
        now: Time,
        peer: PeerId,
        Bodies { block, txs }: Bodies,
        effects: &mut Effects,
    ) {
        let round = self.round();
        let HeightState { candidates, requests, .. } = &mut self.height;
        let bytes: usize = txs.iter().map(|raw| raw.len()).sum();
        let count = txs.len();
        // An answer may come after the block was made whole otherwise, or when its height is over.
        if candidates.missing_mut(&block).is_none() {
            return effects.note_unasked(peer, Lane::Consensus, bytes, count);
        }
        // Attack: 9 MiB that nobody asked for, all of which would be hashed.
        if !candidates.has_asked(block, peer) {
            return effects.blame(peer, Offence::Unsolicited);
        }
        let Some(missing) = candidates.missing_mut(&block) else { return };
        let (list_from, came) = (missing.sender(), missing.missing_of(txs));
        if came.is_empty() {
            // Attack: a peer that was asked once repeats its answer.
            return effects.note_unasked(peer, Lane::Consensus, bytes, count);
        }
        if missing.is_over(&came, self.ledger.governed().settings.gas_limit) {
            // By their hashes they are what the list names, and no block holds so much.
            effects.blame_relay(list_from, Offence::InvalidBlock);
            return self.abandon_list(now, block, effects);
        }
        // If there is no room it is asked for again, when another candidate is gone.
        let unpacked: usize = came.values().map(|raw| unpacked_bytes(raw)).sum();
        let has_room = candidates.make_room(round, &block, unpacked, rules::BODIES.held.all);
        if let Some(candidate) = candidates.get_mut(&block).filter(|_| has_room)
            && let CandidateBody::Missing(missing) = &mut candidate.body
        {
            missing.on_answer(now, peer, came, requests);
            candidate.fetched_bytes += unpacked;
            self.give_due_bodies(now, effects);
            self.ask_transactions(now, block, effects);
            self.recover_bodies(now, block, effects);
        }
        self.forget_dropped();
    }

    /// Has the senders of what came recovered; gives up a list that its transactions' bytes show to
    /// be false.
    pub(super) fn recover_bodies(&mut self, now: Time, block: B256, effects: &mut Effects) {
        let Some(missing) = self.height.candidates.missing_mut(&block) else { return };
        let list_from = missing.sender();
        let is_body = |header: &Header, raw: &[Bytes]| {
            is_body(header, raw, |raw| raw.len(), raw_transactions_root)
        };
        match missing.take_due(is_body) {
            Some(due) => {
                for (txs, list_from) in [(due.named, Some(list_from)), (due.late, None)] {
                    if !txs.is_empty() {
                        let purpose = RecoveryPurpose::Proposal { block, list_from };
                        self.jobs.recover(txs, purpose, effects);
                    }
                }
            }
            None => {
                effects.blame_relay(list_from, Offence::InvalidBlock);
                self.abandon_list(now, block, effects);
            }
        }
    }

    pub(super) fn bodies_recovered(
        &mut self,
        now: Time,
        block: B256,
        list_from: Option<PeerId>,
        txs: Vec<Result<Transaction, TxError>>,
        effects: &mut Effects,
    ) {
        let sound: Vec<Transaction> = txs.iter().flatten().cloned().collect();
        self.fill_candidates(now, &sound, effects);
        if sound.len() == txs.len() {
            return;
        }
        // The list names what is no transaction: no valid block holds it. Attack: two answers
        // of that kind; when the second comes or is recovered, the list of an honest peer is
        // followed, and it is not to be blamed for the other.
        let followed = self.height.candidates.missing_mut(&block).map(|missing| missing.sender());
        if let Some(teller) = list_from.filter(|teller| followed == Some(*teller)) {
            effects.blame_relay(teller, Offence::InvalidBlock);
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
        let (mut whole, mut here) = (Vec::new(), Vec::new());
        for (block, missing) in candidates.all_missing_mut() {
            if missing.on_transactions(txs, requests) {
                whole.push(*block);
            } else if missing.is_all_here() {
                here.push(*block);
            }
        }
        self.give_due_bodies(now, effects);
        for block in here {
            self.recover_bodies(now, block, effects);
        }
        for block in whole {
            self.judge(now, block, effects);
        }
    }
}

/// Sends transactions of a block, a piece at a time.
fn send_pieces(peer: PeerId, block: B256, txs: Vec<Bytes>, effects: &mut Effects) {
    for txs in pieces(txs, PIECE_BYTES) {
        effects.send(peer, Message::Bodies(Bodies { block, txs }));
    }
}
