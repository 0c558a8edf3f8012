//! The requests of peers for transactions of a block that are not here yet.
//!
//! What always holds: each note is charged to its peer with all that it takes here; of a peer few
//! blocks are noted, and a peer that is gone leaves nothing. It must never know: whether a block
//! exists.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Bytes;
use trefoil_types::{B256, PeerId, PublicKey, message_rule as rules};

use crate::peer_bytes::PeerBytes;

// Attack: requests for what is not here, which would be remembered for ever. What is over the
// bound is asked for again. 64 bytes stand in one tree and 32 in the other. A leaf has 11 places,
// of which 6 are used if it is filled in order: 213 bytes with their part of the nodes (arithmetic).
/// What a transaction that a peer waits for takes here.
const NOTE_BYTES: usize = 224;

// Attack: each request is for another block that does not exist, at the price of one
// transaction: 236 MB where 16 MiB were allowed. Five leaves are made for the first note.
/// What a block takes here of which a peer waits for something, beside the notes.
const NOTED_BLOCK_BYTES: usize = 2 * 1024;

// A height has one block that peers lack, and another with each round that fails.
/// Of how many blocks a peer may wait for transactions.
const NOTED_BLOCKS_MAX: usize = 4;

/// The least peer of all.
const FIRST_PEER: PeerId = PeerId(PublicKey(B256::ZERO));

/// The peers that wait for transactions of a block until they come here. One height's.
#[derive(Debug, Default)]
pub(crate) struct PendingRequests {
    /// The transactions that are waited for, each with a peer that waits.
    by_block: BTreeMap<B256, BTreeSet<(B256, PeerId)>>,
    /// The same by peer and block.
    by_peer: BTreeMap<PeerId, BTreeMap<B256, BTreeSet<B256>>>,
    bytes: PeerBytes,
    /// What came and is to be sent at once, by the peer that waited and the block.
    due: BTreeMap<(PeerId, B256), Vec<Bytes>>,
}

impl PendingRequests {
    /// A peer is gone: it waits for nothing.
    pub fn forget(&mut self, peer: &PeerId) {
        for (block, txs) in self.by_peer.remove(peer).unwrap_or_default() {
            let Some(waiting) = self.by_block.get_mut(&block) else { continue };
            for tx in txs {
                waiting.remove(&(tx, *peer));
            }
            if waiting.is_empty() {
                self.by_block.remove(&block);
            }
        }
        self.bytes.forget(peer);
    }

    /// Notes that a peer waits for transactions, as many as there is room for; `connected` peers
    /// are.
    pub fn insert(&mut self, block: B256, txs: &[B256], peer: PeerId, connected: usize) {
        let blocks = self.by_peer.get(&peer);
        let is_noted = blocks.is_some_and(|blocks| blocks.contains_key(&block));
        let is_full = blocks.is_some_and(|blocks| blocks.len() >= NOTED_BLOCKS_MAX);
        let room = self.bytes.room(rules::GET_BODIES.held, connected, &peer);
        let mut bytes = if is_noted { 0 } else { NOTED_BLOCK_BYTES };
        if txs.is_empty() || !is_noted && is_full || bytes + NOTE_BYTES > room {
            return;
        }
        let noted = self.by_peer.entry(peer).or_default().entry(block).or_default();
        let waiting = self.by_block.entry(block).or_default();
        for tx in txs {
            if bytes + NOTE_BYTES > room {
                break;
            }
            if noted.insert(*tx) {
                waiting.insert((*tx, peer));
                bytes += NOTE_BYTES;
            }
        }
        self.bytes.add(peer, bytes);
    }

    pub fn held(&self) -> &PeerBytes {
        &self.bytes
    }

    /// A transaction came: whoever waits for it is given it by [`Self::take_due`].
    pub fn came(&mut self, block: &B256, tx: &B256, raw: impl FnOnce() -> Bytes) {
        let Some(waiting) = self.by_block.get(block) else { return };
        let of_tx = waiting.range((*tx, FIRST_PEER)..).take_while(|(other, _)| other == tx);
        let peers: Vec<PeerId> = of_tx.map(|(_, peer)| *peer).collect();
        if peers.is_empty() {
            return;
        }
        // Attack: 127 peers wait for the same 4 MiB: a copy for each was 500 MiB.
        let raw = raw();
        for peer in peers {
            self.remove(block, tx, &peer);
            self.due.entry((peer, *block)).or_default().push(raw.clone());
        }
    }

    fn remove(&mut self, block: &B256, tx: &B256, peer: &PeerId) {
        if let Some(waiting) = self.by_block.get_mut(block) {
            waiting.remove(&(*tx, *peer));
            if waiting.is_empty() {
                self.by_block.remove(block);
            }
        }
        let Some(blocks) = self.by_peer.get_mut(peer) else { return };
        let Some(txs) = blocks.get_mut(block) else { return };
        txs.remove(tx);
        let mut bytes = NOTE_BYTES;
        if txs.is_empty() {
            blocks.remove(block);
            bytes += NOTED_BLOCK_BYTES;
        }
        if blocks.is_empty() {
            self.by_peer.remove(peer);
        }
        self.bytes.give_back(peer, bytes);
    }

    /// Takes out what came.
    pub fn take_due(&mut self) -> BTreeMap<(PeerId, B256), Vec<Bytes>> {
        std::mem::take(&mut self.due)
    }
}

#[cfg(test)]
mod tests;
