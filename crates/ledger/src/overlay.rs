//! The effects of the blocks since the last checkpoint, in memory.
//!
//! What always holds: a [`Generation`] is a persistent value. A clone costs little, and
//! does not change when the original does: each reader's snapshot is one (ADR 2).

use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_primitives::{Bytes, U256};
use imbl::OrdMap;
use trefoil_types::{
    Address, B256, Certificate, Height, Receipt, RecoveredBlock, Turns, ValidatorSet,
};

use crate::{
    Account, Governed, StateDiff,
    trie::{NodeKey, TrieChange},
};

// Executed before the prevote and committed after the decision, without a second execution:
// a vote depends on the execution anyway, and the two could otherwise differ (ADR 1).
/// A block with its whole effect, computed once: state changes, trie changes, receipts.
#[derive(Debug)]
pub struct Outcome {
    pub(crate) block: Arc<RecoveredBlock>,
    pub(crate) receipts: Arc<Vec<Receipt>>,
    /// Accounts that end have all their storage listed as zeros.
    pub(crate) diff: StateDiff,
    pub(crate) trie: TrieChange,
    /// The demands of the state after it, if they differ from those before.
    pub(crate) governed: Option<Arc<Governed>>,
}

impl Outcome {
    pub fn block(&self) -> &Arc<RecoveredBlock> {
        &self.block
    }

    pub fn receipts(&self) -> &Arc<Vec<Receipt>> {
        &self.receipts
    }
}

/// Consecutive blocks, and the newest value of everything that they changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Generation {
    pub blocks: OrdMap<Height, Arc<Outcome>>,
    pub heights: OrdMap<B256, Height>,
    pub transactions: OrdMap<B256, (Height, u32)>,
    pub certificates: OrdMap<Height, Certificate>,
    pub validators: OrdMap<Height, ValidatorSet>,
    pub turns: OrdMap<Height, Turns>,
    /// For each block after which other validators follow, the proof of it.
    pub handovers: OrdMap<Height, Vec<Bytes>>,
    /// `None`: the account is gone.
    pub accounts: OrdMap<Address, Option<Account>>,
    pub storage: OrdMap<(Address, U256), U256>,
    pub codes: OrdMap<B256, Bytes>,
    /// `None`: the row is gone.
    pub nodes: OrdMap<NodeKey, Option<Bytes>>,
    // An estimate is enough: it decides only when a checkpoint is due.
    /// The memory that all this takes, about.
    pub bytes: usize,
}

// The largest entries, slots and accounts, have 84 and about 100 bytes; the rest is the tree's.
/// The memory of a map entry besides the data it points at, about, bytes.
const ENTRY_BYTES: usize = 128;

impl Generation {
    pub fn insert(&mut self, committed: Arc<Outcome>) {
        let (block, diff) = (&committed.block, &committed.diff);
        let height = block.header.number;
        for (index, tx) in (0..).zip(&block.transactions) {
            self.transactions.insert(*tx.tx_hash(), (height, index));
            self.bytes += ENTRY_BYTES * 4 + tx.input().len();
        }
        for log in committed.receipts.iter().flat_map(|receipt| receipt.logs()) {
            self.bytes += ENTRY_BYTES * 2 + log.data.data.len();
        }
        for (address, change) in &diff.accounts {
            self.accounts.insert(*address, change.after);
            for (slot, (_, after)) in &change.storage {
                self.storage.insert((*address, *slot), *after);
            }
            self.bytes += ENTRY_BYTES * 2 * (1 + change.storage.len());
        }
        for (hash, code) in &diff.codes {
            self.codes.insert(*hash, code.clone());
            self.bytes += code.len();
        }
        for node in &committed.trie {
            self.nodes.insert(node.key, node.after.clone());
            self.bytes += ENTRY_BYTES + node.after.as_ref().map_or(0, |row| row.len());
        }
        self.bytes += ENTRY_BYTES * 8;
        self.heights.insert(block.hash, height);
        self.blocks.insert(height, committed);
    }
}
