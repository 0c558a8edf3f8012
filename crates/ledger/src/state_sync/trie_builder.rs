//! Builds the state trie from accounts and slots in the order of their hashed keys.
//! Neighbours are added together, so that most branches are written once.

use std::collections::BTreeMap;

use alloy_primitives::{Bytes, U256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use trefoil_types::B256;

use super::{
    error::{JoinError, unproven},
    sorter::Sorted,
};
use crate::{
    Account, LedgerError,
    store::{Base, Batch, Store, Table},
    trie::{self, NodeKey, NodeReader},
};

// Each addition descends from the root again: more leaves at once share more of the way,
// fewer take less memory. 20,000 take about 4 MB.
/// Leaves of one trie that are added together.
const LEAVES: usize = 20_000;

// Memory stays bounded, whatever the size of the state.
/// Rows are written to the database in batches of about this size (32 MiB, as a checkpoint's).
const BATCH_BYTES: usize = 32 << 20;

pub(super) struct TrieBuilder<'a> {
    store: &'a Store,
    base: Base,
    /// Rows that are not in the store yet.
    rows: BTreeMap<NodeKey, Option<Bytes>>,
    bytes: usize,
    accounts: Leaves,
    /// The account whose slots are being read.
    owner: Option<(B256, Account)>,
    slots: Leaves,
    storage_root: B256,
    root: B256,
}

/// Hashed key and value.
type Leaves = Vec<(B256, Bytes)>;

impl NodeReader for TrieBuilder<'_> {
    fn node(&self, key: &NodeKey) -> Result<Option<Bytes>, LedgerError> {
        match self.rows.get(key) {
            Some(row) => Ok(row.clone()),
            None => Ok(self.base.get(Table::Nodes, &key.to_bytes())?.map(Bytes::from)),
        }
    }
}

impl<'a> TrieBuilder<'a> {
    pub fn new(store: &'a Store) -> Result<Self, LedgerError> {
        Ok(Self {
            store,
            base: store.base()?,
            rows: BTreeMap::new(),
            bytes: 0,
            accounts: Leaves::new(),
            owner: None,
            slots: Leaves::new(),
            storage_root: EMPTY_ROOT_HASH,
            root: EMPTY_ROOT_HASH,
        })
    }

    pub fn take(&mut self, row: Sorted) -> Result<(), JoinError> {
        match row {
            Sorted::Account(owner, account) => {
                self.end_account()?;
                self.owner = Some((owner, account));
            }
            Sorted::Slot(owner, slot, value) => {
                if self.owner.is_none_or(|(of, _)| of != owner) {
                    // Such slots would be in the flat table but under no root.
                    return Err(unproven("it has slots of an account that it has not"));
                }
                self.slot(slot, value)?;
            }
        }
        Ok(())
    }

    fn slot(&mut self, slot: B256, value: U256) -> Result<(), LedgerError> {
        self.slots.push((slot, alloy_rlp::encode(value).into()));
        if self.slots.len() >= LEAVES { self.add_slots() } else { Ok(()) }
    }

    fn add_slots(&mut self) -> Result<(), LedgerError> {
        let Some((owner, _)) = self.owner else { return Ok(()) };
        if !self.slots.is_empty() {
            let slots = std::mem::take(&mut self.slots);
            self.storage_root = self.add(Some(owner), slots)?;
        }
        Ok(())
    }

    fn end_account(&mut self) -> Result<(), LedgerError> {
        self.add_slots()?;
        let storage_root = std::mem::replace(&mut self.storage_root, EMPTY_ROOT_HASH);
        if let Some((owner, Account { nonce, balance, code_hash })) = self.owner.take() {
            let leaf = TrieAccount::new(nonce, balance, storage_root, code_hash);
            self.accounts.push((owner, alloy_rlp::encode(leaf).into()));
        }
        if self.accounts.len() >= LEAVES { self.add_accounts() } else { Ok(()) }
    }

    fn add_accounts(&mut self) -> Result<(), LedgerError> {
        let accounts = std::mem::take(&mut self.accounts);
        self.root = self.add(None, accounts)?;
        Ok(())
    }

    fn add(&mut self, owner: Option<B256>, leaves: Leaves) -> Result<B256, LedgerError> {
        let (root, changed) = trie::add_leaves(self, owner, leaves)?;
        for change in changed {
            let bytes = change.after.as_ref().map_or(0, |row| row.len());
            self.bytes += bytes + size_of::<NodeKey>();
            self.rows.insert(change.key, change.after);
        }
        if self.bytes >= BATCH_BYTES {
            self.write()?;
        }
        Ok(root)
    }

    fn write(&mut self) -> Result<(), LedgerError> {
        let mut batch = Batch::default();
        for (key, row) in std::mem::take(&mut self.rows) {
            batch.set(Table::Nodes, key.to_bytes(), row);
        }
        self.store.write(batch)?;
        self.bytes = 0;
        self.base = self.store.base()?;
        Ok(())
    }

    /// Adds the rest, and returns the state root.
    pub fn finish(mut self) -> Result<B256, LedgerError> {
        self.end_account()?;
        self.add_accounts()?;
        self.write()?;
        Ok(self.root)
    }
}
