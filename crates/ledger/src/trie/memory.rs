//! State tries in memory: one without a disk, with which the official fixtures prove the
//! ledger's own trie, and one of simulated changes over another.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Bytes;
use trefoil_types::{Address, B256, keccak256};

use super::{
    node::{NodeChange, NodeKey, NodeReader},
    state_root,
};
use crate::{LedgerError, StateDiff};

/// The rows of one state, from the empty one on.
#[derive(Clone, Debug, Default)]
pub struct MemoryTrie {
    rows: BTreeMap<NodeKey, Bytes>,
}

impl NodeReader for MemoryTrie {
    fn node(&self, key: &NodeKey) -> Result<Option<Bytes>, LedgerError> {
        Ok(self.rows.get(key).cloned())
    }
}

impl MemoryTrie {
    /// Applies a diff in which the storage of an account that ends is listed as zeros, and
    /// returns the new state root.
    ///
    /// # Errors
    /// A diff that does not start from this state.
    pub fn apply(&mut self, diff: &StateDiff) -> Result<B256, LedgerError> {
        let (root, changed) = state_root(self, diff)?;
        for NodeChange { key, after, .. } in changed {
            match after {
                Some(row) => _ = self.rows.insert(key, row),
                None => _ = self.rows.remove(&key),
            }
        }
        Ok(root)
    }
}

/// A state trie with simulated changes over it: reads the changed rows first, then the trie
/// below.
pub(crate) struct PretendedTrie<'a> {
    below: &'a dyn NodeReader,
    rows: BTreeMap<NodeKey, Option<Bytes>>,
    /// Owners whose tries below are gone.
    wiped: BTreeSet<B256>,
}

impl<'a> PretendedTrie<'a> {
    pub(crate) fn new(below: &'a dyn NodeReader) -> Self {
        Self { below, rows: BTreeMap::new(), wiped: BTreeSet::new() }
    }

    /// Removes all storage of an account.
    pub(crate) fn wipe(&mut self, address: Address) {
        let owner = keccak256(address);
        self.wiped.insert(owner);
        // Not by a look at each row: a request may wipe thousands of accounts.
        let first = NodeKey { owner: Some(owner), path: None };
        let rows = self.rows.range(first..).map(|(key, _)| *key);
        let own: Vec<_> = rows.take_while(|key| key.owner == Some(owner)).collect();
        own.iter().for_each(|key| _ = self.rows.remove(key));
    }

    /// Applies a diff, of which only the values after are used, and returns the new state
    /// root.
    pub(crate) fn apply(&mut self, diff: &StateDiff) -> Result<B256, LedgerError> {
        let (root, changed) = state_root(self, diff)?;
        self.rows.extend(changed.into_iter().map(|NodeChange { key, after, .. }| (key, after)));
        Ok(root)
    }
}

impl NodeReader for PretendedTrie<'_> {
    fn node(&self, key: &NodeKey) -> Result<Option<Bytes>, LedgerError> {
        match self.rows.get(key) {
            Some(row) => Ok(row.clone()),
            None if key.owner.is_some_and(|owner| self.wiped.contains(&owner)) => Ok(None),
            None => self.below.node(key),
        }
    }
}
