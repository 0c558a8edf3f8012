//! The state trie in memory, without a disk. The official fixtures prove the ledger's own
//! trie with it.

use std::collections::BTreeMap;

use alloy_primitives::Bytes;
use trefoil_types::B256;

use super::{NodeChange, NodeKey, NodeReader, state_root};
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
