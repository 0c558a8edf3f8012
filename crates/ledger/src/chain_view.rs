//! The chain at one tip, as it is stored: in the database, and over it in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use alloy_primitives::{Bytes, U256};
use trefoil_types::{Address, B256, Header, Height};

use crate::{
    Account, Governed, LedgerError,
    code_cache::CodeCache,
    codec,
    overlay::{Generation, Outcome},
    store::{Base, KeyValue, Table},
    trie::{NodeKey, NodeReader},
};

/// The chain at one tip: the database as of the last checkpoint, and over it the blocks
/// since. Blocks that a checkpoint is writing are kept separately.
#[derive(Clone, Debug)]
pub(crate) struct ChainView {
    pub genesis: B256,
    pub tip: Arc<(B256, Header)>,
    /// The demands of the tip's state on the block after it.
    pub governed: Arc<Governed>,
    pub current: Generation,
    pub flushing: Option<Generation>,
    pub base: Arc<Base>,
    /// One for all views of a chain.
    pub codes: Arc<CodeCache>,
}

impl ChainView {
    /// Newest first.
    pub fn generations(&self) -> impl DoubleEndedIterator<Item = &Generation> {
        std::iter::once(&self.current).chain(&self.flushing)
    }

    pub fn memory<T>(&self, find: impl Fn(&Generation) -> Option<T>) -> Option<T> {
        self.generations().find_map(find)
    }

    /// The block at `height`, if it is in memory.
    pub fn committed(&self, height: Height) -> Option<&Outcome> {
        self.generations().find_map(|g| g.blocks.get(&height)).map(|committed| &**committed)
    }

    /// The newest row in the database up to `height` of a table whose keys are heights.
    pub fn newest_row(
        &self,
        table: Table,
        height: Height,
    ) -> Result<Option<KeyValue>, LedgerError> {
        let (first, last) = (codec::height_key(0), codec::height_key(height));
        self.base.range(table, &first[..]..=&last[..])?.next_back().transpose()
    }

    /// The blocks in memory after `height`, oldest first.
    pub fn blocks_after(&self, height: Height) -> impl Iterator<Item = &Outcome> {
        let after = (Bound::Excluded(height), Bound::Unbounded);
        let blocks = self.generations().rev().flat_map(move |g| g.blocks.range(after));
        blocks.map(|(_, committed)| &**committed)
    }

    /// The first answer of the blocks in memory after `height`, oldest first.
    pub fn undone<T>(&self, height: Height, find: impl Fn(&Outcome) -> Option<T>) -> Option<T> {
        // No block in memory is later than the tip.
        if height == self.tip.1.number { None } else { self.blocks_after(height).find_map(find) }
    }

    /// The blocks after which other validators follow.
    pub fn handovers(&self) -> Result<BTreeSet<Height>, LedgerError> {
        let (first, last) = (codec::height_key(0), codec::height_key(Height::MAX));
        let mut heights: BTreeSet<Height> =
            self.generations().flat_map(|g| g.handovers.keys().copied()).collect();
        for row in self.base.range(Table::Handovers, &first[..]..=&last[..])? {
            let height = codec::decode_height(&row?.0);
            heights.insert(height.ok_or_else(|| LedgerError::damaged("table `handovers`"))?);
        }
        Ok(heights)
    }

    pub fn account(&self, address: &Address) -> Result<Option<Account>, LedgerError> {
        if let Some(account) = self.memory(|g| g.accounts.get(address).copied()) {
            return Ok(account);
        }
        let row = self.base.read(Table::Accounts, address.as_slice(), codec::decode_account)?;
        Ok(row.flatten())
    }

    pub fn storage(&self, address: &Address, slot: U256) -> Result<U256, LedgerError> {
        if let Some(value) = self.memory(|g| g.storage.get(&(*address, slot)).copied()) {
            return Ok(value);
        }
        let key = codec::storage_key(address, &slot);
        let row = self.base.read(Table::Storage, &key, codec::decode_slot)?;
        Ok(row.unwrap_or_default())
    }

    /// All storage of an account.
    pub fn all_storage(&self, address: &Address) -> Result<BTreeMap<U256, U256>, LedgerError> {
        let mut storage = BTreeMap::new();
        let key = |slot: U256| codec::storage_key(address, &slot);
        let (first, last) = (key(U256::ZERO), key(U256::MAX));
        for row in self.base.range(Table::Storage, &first[..]..=&last[..])? {
            let (key, value) = row?;
            let value = codec::decode_slot(&value);
            let value = value.ok_or_else(|| LedgerError::damaged("table `storage`"))?;
            storage.insert(U256::from_be_slice(&key[Address::len_bytes()..]), value);
        }
        // Oldest first: newer values overwrite older ones.
        for generation in self.generations().rev() {
            let slots = generation.storage.range((*address, U256::ZERO)..=(*address, U256::MAX));
            storage.extend(slots.map(|((_, slot), value)| (*slot, *value)));
        }
        storage.retain(|_, value| !value.is_zero());
        Ok(storage)
    }

    /// The trie after the block at `height`: the trie of the tip, with everything that
    /// later blocks replaced put back, as far as it is needed: `is_needed` is given the key of each
    /// row and its bytes.
    pub(crate) fn trie_at(
        &self,
        height: Height,
        mut is_needed: impl FnMut(&[u8], usize) -> Result<bool, LedgerError>,
    ) -> Result<TrieAt<'_>, LedgerError> {
        let oldest = self.base.proofs_from;
        if height < oldest {
            return Err(LedgerError::Unproven { height, oldest });
        }
        // Ascending, and the first counts: what the oldest later block replaced is the value at
        // `height`.
        let mut undo: BTreeMap<Vec<u8>, Option<Bytes>> = BTreeMap::new();
        for height in height + 1..=self.base.tip {
            let mut done = Ok(());
            let mut put = |key: &[u8], before: Option<&[u8]>| {
                if done.is_err() || undo.contains_key(key) {
                    return;
                }
                match is_needed(key, before.map_or(0, <[u8]>::len)) {
                    Ok(true) => _ = undo.insert(key.into(), before.map(Bytes::copy_from_slice)),
                    Ok(false) => {}
                    Err(error) => done = Err(error),
                }
            };
            let key = codec::height_key(height);
            self.base.read(Table::Undo, &key, |row| codec::each_undo(row, &mut put))?;
            done?;
        }
        for node in self.blocks_after(height).flat_map(|committed| &committed.trie) {
            let (key, bytes) =
                (node.key.to_bytes(), node.before.as_ref().map_or(0, |row| row.len()));
            if !undo.contains_key(&key) && is_needed(&key, bytes)? {
                undo.insert(key, node.before.clone());
            }
        }
        Ok(TrieAt { view: self, undo })
    }
}

impl NodeReader for ChainView {
    fn node(&self, key: &NodeKey) -> Result<Option<Bytes>, LedgerError> {
        if let Some(row) = self.memory(|g| g.nodes.get(key).cloned()) {
            return Ok(row);
        }
        Ok(self.base.get(Table::Nodes, &key.to_bytes())?.map(Bytes::from))
    }
}

/// The trie after an earlier block.
pub(crate) struct TrieAt<'a> {
    view: &'a ChainView,
    undo: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl NodeReader for TrieAt<'_> {
    fn node(&self, key: &NodeKey) -> Result<Option<Bytes>, LedgerError> {
        match self.undo.get(&key.to_bytes()) {
            Some(row) => Ok(row.clone()),
            None => self.view.node(key),
        }
    }
}
