//! Checkpoints: a generation made durable in one database transaction, written by a worker
//! while the chain goes on in memory.

use std::sync::Arc;

use alloy_primitives::Bytes;
use trefoil_types::{Address, Height, Receipt, RecoveredBlock, ValidatorSet};

use crate::{
    History, LedgerError, PROOFS_WINDOW,
    codec::{self, BodySize},
    logs::Item,
    overlay::{Generation, Outcome},
    store::{Base, Batch, FORMAT, Store, Table},
};

// 64 times the blocks between two checkpoints. So a node that changes from archive to window
// prunes much faster than the chain grows, and no transaction is long.
/// The most blocks whose history one checkpoint drops.
const PRUNE_MAX: usize = 4_096;

/// A part of the ledger's memory, to be made durable by a worker. `run` may take long and
/// needs no lock on the ledger. Hand the result back with
/// [`Ledger::checkpointed`](crate::Ledger::checkpointed).
#[derive(Debug)]
pub struct Checkpoint {
    pub(crate) store: Arc<Store>,
    pub(crate) base: Arc<Base>,
    pub(crate) generation: Generation,
    pub(crate) history: History,
    pub(crate) height: Height,
}

/// A finished [`Checkpoint`].
#[derive(Debug)]
pub struct CheckpointDone {
    /// The newest height that is durable now.
    pub height: Height,
    pub(crate) base: Arc<Base>,
}

impl Checkpoint {
    /// The newest height it makes durable.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Writes and syncs one redb transaction.
    pub fn run(self) -> Result<CheckpointDone, LedgerError> {
        let mut batch = Batch::default();
        put_newest(&mut batch, &self.generation);
        for (height, committed) in &self.generation.blocks {
            put_block(&mut batch, &committed.block, &committed.receipts);
            put_history(&mut batch, *height, committed);
        }
        // In the same transaction: after a crash, history and the window that it claims
        // still agree.
        self.prune(&mut batch)?;
        batch.put(Table::Meta, "tip", codec::height_key(self.height));
        self.store.write(batch)?;
        Ok(CheckpointDone { height: self.height, base: Arc::new(self.store.base()?) })
    }

    /// Drops rows that are older than the history window or the proofs' window.
    fn prune(&self, batch: &mut Batch) -> Result<(), LedgerError> {
        let up_to = |window| codec::height_key(self.height.saturating_sub(window));
        let (first, last) = (codec::height_key(0), up_to(PROOFS_WINDOW));
        for row in self.base.range(Table::Undo, &first[..]..=&last[..])?.take(PRUNE_MAX) {
            batch.remove(Table::Undo, row?.0);
        }
        let History::Window(window) = self.history else { return Ok(()) };
        let last = up_to(window.max(1));
        for row in self.base.range(Table::Changed, &first[..]..=&last[..])?.take(PRUNE_MAX) {
            let (height, keys) = row?;
            let damaged = || LedgerError::damaged("table `changed`");
            for key in codec::decode_changed(&keys).ok_or_else(damaged)? {
                batch.remove(history_table(key), [key, &height].concat());
            }
            batch.remove(Table::Changed, height);
        }
        Ok(())
    }
}

/// Founds a database: the genesis block, the chain that it belongs to, and the first
/// validators.
pub(crate) fn found(
    store: &Store,
    genesis: Outcome,
    validators: ValidatorSet,
) -> Result<(), LedgerError> {
    let mut batch = Batch::default();
    batch.put(Table::Meta, "format", vec![FORMAT]);
    batch.put(Table::Meta, "genesis", genesis.block.hash.to_vec());
    batch.put(Table::Meta, "tip", codec::height_key(0));
    put_block(&mut batch, &genesis.block, &genesis.receipts);
    // There is no state before genesis, so there is nothing to undo. The empty rows mark the
    // beginning of history.
    batch.put(Table::Changed, codec::height_key(0), Bytes::new());
    batch.put(Table::Undo, codec::height_key(0), Bytes::new());
    let mut generation = Generation::default();
    generation.insert(Arc::new(genesis));
    generation.validators.insert(1, validators);
    put_newest(&mut batch, &generation);
    store.write(batch)
}

/// Writes the newest state, and the rows of earlier blocks that later ones may change
/// (certificates).
fn put_newest(batch: &mut Batch, generation: &Generation) {
    for (address, account) in &generation.accounts {
        let row = account.as_ref().map(|account| codec::encode_account(Some(account)));
        batch.set(Table::Accounts, address, row);
    }
    for ((address, slot), value) in &generation.storage {
        let row = (!value.is_zero()).then(|| codec::encode_slot(value));
        batch.set(Table::Storage, codec::storage_key(address, slot), row);
    }
    for (hash, code) in &generation.codes {
        batch.put(Table::Codes, *hash, code.clone());
    }
    for (key, row) in &generation.nodes {
        batch.set(Table::Nodes, key.to_bytes(), row.clone());
    }
    for (height, certificate) in &generation.certificates {
        batch.put(Table::Certificates, codec::height_key(*height), alloy_rlp::encode(certificate));
    }
    for (height, set) in &generation.validators {
        batch.put(Table::Validators, codec::height_key(*height), alloy_rlp::encode(set));
    }
    for (height, turns) in &generation.turns {
        batch.put(Table::Turns, codec::height_key(*height), turns.priorities());
    }
    for (height, witness) in &generation.handovers {
        batch.put(Table::Handovers, codec::height_key(*height), alloy_rlp::encode(witness));
    }
}

/// Writes the rows that never change: the block, its receipts, and the indexes to find them.
pub(crate) fn put_block(batch: &mut Batch, block: &RecoveredBlock, receipts: &[Receipt]) {
    let height = block.header.number;
    let key = codec::height_key(height);
    let mut body = Vec::new();
    codec::encode_body(block, &mut body);
    batch.put(Table::Headers, key.clone(), alloy_rlp::encode(&block.header));
    let size = BodySize { bytes: body.len(), txs: block.transactions.len() };
    batch.put(Table::BodySizes, key.clone(), codec::encode_body_size(size));
    batch.put(Table::Bodies, key.clone(), body);
    batch.put(Table::Receipts, key.clone(), codec::encode_receipts(receipts));
    batch.put(Table::Heights, block.hash, key);
    for (index, tx) in (0..).zip(&block.transactions) {
        batch.put(Table::Transactions, *tx.tx_hash(), codec::encode_place(height, index));
    }
    for item in Item::of_receipts(receipts) {
        batch.put(Table::Logs, item.key(height), Bytes::new());
    }
}

/// The values that the block's changes replaced.
fn put_history(batch: &mut Batch, height: Height, committed: &Outcome) {
    for (address, change) in &committed.diff.accounts {
        let key = codec::history_key(address.as_slice(), height);
        let before = codec::encode_account(change.before.as_ref());
        batch.put(Table::AccountHistory, key, before);
        for (slot, (before, _)) in &change.storage {
            let key = codec::history_key(&codec::storage_key(address, slot), height);
            batch.put(Table::StorageHistory, key, codec::encode_slot(before));
        }
    }
    let key = codec::height_key(height);
    batch.put(Table::Changed, key.clone(), codec::encode_changed(&committed.diff));
    batch.put(Table::Undo, key, codec::encode_undo(&committed.trie));
}

fn history_table(key: &[u8]) -> Table {
    if key.len() == Address::len_bytes() { Table::AccountHistory } else { Table::StorageHistory }
}
