//! Changes to the leaves of one trie, applied together from the root down. References are
//! computed on the way back up, so that each node is hashed once.

use alloy_primitives::Bytes;
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount};
use trefoil_types::B256;

use super::node::{Branch, NodeChange, NodeKey, NodeReader, TrieChange, TrieChild, damaged};
use crate::{Account, LedgerError};

/// A change of one leaf.
pub(crate) struct LeafChange {
    /// The whole key, 64 nibbles.
    pub key: Nibbles,
    pub target: LeafValue,
}

/// The new value of a leaf.
pub(crate) enum LeafValue {
    Gone,
    Value(Bytes),
    /// `None`: the storage root stays as in the old leaf.
    Account {
        account: Account,
        storage_root: Option<B256>,
    },
}

impl LeafChange {
    /// The leaf's new value, given the old one.
    fn resolve(&self, old: Option<&[u8]>) -> Result<Option<Bytes>, LedgerError> {
        match &self.target {
            LeafValue::Gone => Ok(None),
            LeafValue::Value(value) => Ok(Some(value.clone())),
            LeafValue::Account { account, storage_root } => {
                let storage_root = match (storage_root, old) {
                    (Some(root), _) => *root,
                    (None, None) => EMPTY_ROOT_HASH,
                    (None, Some(old)) => {
                        let old = alloy_rlp::decode_exact::<TrieAccount>(old);
                        old.map_err(|_| LedgerError::damaged("state trie leaf"))?.storage_root
                    }
                };
                let Account { nonce, balance, code_hash } = *account;
                let leaf = TrieAccount::new(nonce, balance, storage_root, code_hash);
                Ok(Some(alloy_rlp::encode(leaf).into()))
            }
        }
    }
}

pub(crate) struct Update<'a, R> {
    pub reader: &'a R,
    pub owner: Option<B256>,
    pub changed: &'a mut TrieChange,
}

impl<R: NodeReader> Update<'_, R> {
    /// The child at the place `at` after `changes`, all of which lie there, in order of
    /// key.
    pub fn apply(
        &mut self,
        at: Nibbles,
        child: Option<TrieChild>,
        changes: &[LeafChange],
    ) -> Result<Option<TrieChild>, LedgerError> {
        match child {
            child if changes.is_empty() => Ok(child),
            None => {
                let leaves = merge(None, changes)?;
                Ok(self.grow(at, &leaves))
            }
            Some(TrieChild::Leaf { suffix, value, .. }) => {
                let leaves = merge(Some((at.join(&suffix), value)), changes)?;
                Ok(self.grow(at, &leaves))
            }
            Some(TrieChild::Branch { node, extension }) => {
                self.apply_to_branch(at, node, extension, changes)
            }
        }
    }

    fn apply_to_branch(
        &mut self,
        at: Nibbles,
        node: alloy_trie::nodes::RlpNode,
        extension: Nibbles,
        changes: &[LeafChange],
    ) -> Result<Option<TrieChild>, LedgerError> {
        let path = at.join(&extension);
        // A removed leaf that is off the path was not there. It must not split the
        // extension.
        let grows = changes.iter().filter(|c| !matches!(c.target, LeafValue::Gone));
        let shared = grows.map(|c| c.key.common_prefix_length(&path)).min();
        let fork = shared.unwrap_or(path.len()).min(path.len());
        if fork == path.len() {
            let key = NodeKey { owner: self.owner, path: Some(path) };
            let before = self.reader.node(&key)?.ok_or_else(|| damaged(&key))?;
            let branch = Branch::decode(&before).ok_or_else(|| damaged(&key))?;
            return self.rebuild(at, path, Some(before), branch, changes);
        }
        // A new branch in the middle of the extension; the old one stays where
        // its path is.
        let mut branch = Branch::default();
        let below = TrieChild::Branch { node, extension: path.slice(fork + 1..) };
        branch.children[nibble(&path, fork)] = Some(below);
        self.rebuild(at, path.slice(..fork), None, branch, changes)
    }

    /// Applies changes to the children of the branch at `path`.
    fn rebuild(
        &mut self,
        at: Nibbles,
        path: Nibbles,
        before: Option<Bytes>,
        mut branch: Branch,
        changes: &[LeafChange],
    ) -> Result<Option<TrieChild>, LedgerError> {
        let depth = path.len();
        for group in changes.chunk_by(|a, b| a.key.slice(..=depth) == b.key.slice(..=depth)) {
            if !group[0].key.starts_with(&path) {
                continue;
            }
            let nibble = nibble(&group[0].key, depth);
            let child = branch.children[nibble].take();
            branch.children[nibble] = self.apply(group[0].key.slice(..=depth), child, group)?;
        }
        Ok(self.finish(at, path, before, branch))
    }

    /// The child at `at` when nothing was there but these leaves.
    fn grow(&mut self, at: Nibbles, leaves: &[(Nibbles, Bytes)]) -> Option<TrieChild> {
        let ((first, value), (last, _)) = (leaves.first()?, leaves.last()?);
        if leaves.len() == 1 {
            return Some(TrieChild::leaf(first.slice(at.len()..), value.clone()));
        }
        let depth = first.common_prefix_length(last);
        let mut branch = Branch::default();
        for group in leaves.chunk_by(|a, b| nibble(&a.0, depth) == nibble(&b.0, depth)) {
            let place = group[0].0.slice(..=depth);
            branch.children[nibble(&place, depth)] = self.grow(place, group);
        }
        self.finish(at, first.slice(..depth), None, branch)
    }

    // Ethereum's trie has one form for one content: a branch with a single child would give
    // another root.
    /// Stores the branch at `path`, or folds it into the child at `at` if fewer than two
    /// children are left.
    fn finish(
        &mut self,
        at: Nibbles,
        path: Nibbles,
        before: Option<Bytes>,
        mut branch: Branch,
    ) -> Option<TrieChild> {
        let key = NodeKey { owner: self.owner, path: Some(path) };
        let mut present = (0..16).filter(|n| branch.children[*n].is_some());
        let first = present.next();
        if present.next().is_some() {
            self.put(key, before, Some(branch.encode()));
            let (_, node) = branch.rlp();
            return Some(TrieChild::Branch { node, extension: path.slice(at.len()..) });
        }
        self.put(key, before, None);
        let nibble = first?;
        let mut prefix = path.slice(at.len()..);
        prefix.push(nibble as u8);
        Some(branch.children[nibble].take()?.hoist(&prefix))
    }

    pub fn put(&mut self, key: NodeKey, before: Option<Bytes>, after: Option<Bytes>) {
        // Unchanged rows are not written, nor undone later.
        if before != after {
            self.changed.push(NodeChange { key, before, after });
        }
    }
}

fn nibble(path: &Nibbles, at: usize) -> usize {
    usize::from(path.get(at).expect("the place lies within the path"))
}

/// The leaves after `changes`, in order of key.
fn merge(
    old: Option<(Nibbles, Bytes)>,
    changes: &[LeafChange],
) -> Result<Vec<(Nibbles, Bytes)>, LedgerError> {
    let mut leaves = Vec::with_capacity(changes.len() + 1);
    let mut old = old;
    for change in changes {
        if let Some((key, value)) = old.take_if(|(key, _)| *key < change.key) {
            leaves.push((key, value));
        }
        let same = old.take_if(|(key, _)| *key == change.key);
        if let Some(value) = change.resolve(same.as_ref().map(|(_, value)| value.as_ref()))? {
            leaves.push((change.key, value));
        }
    }
    leaves.extend(old);
    Ok(leaves)
}
