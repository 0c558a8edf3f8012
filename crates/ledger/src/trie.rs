//! The Merkle Patricia tries: one of accounts, and one of storage for each account.
//!
//! Owns: how a [`StateDiff`] changes the state root, and proofs. What always holds: only
//! branch nodes are stored, each under its path. A branch holds its leaves whole and, for
//! each branch below, the extension on the way there and its reference. So each branch is
//! one row, and a deletion that folds a branch reads no sibling. Every trie has one more
//! row: the node at its root.
//!
//! Why not a row for each node: a block that changes 5,000 of a million accounts would
//! write 21,000 rows instead of about 8,000 (ADR 8).

pub(crate) mod memory;
mod node;
pub(crate) mod proof;
mod update;
pub(crate) mod witness;

use alloy_primitives::{Bytes, U256};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};
use trefoil_types::{Address, B256, keccak256};

use crate::{LedgerError, StateDiff};
use node::{TrieChild, damaged};
use update::{LeafChange, LeafValue, Update};

pub(crate) use node::{NodeKey, NodeReader, TrieChange};

/// The state root after `diff` on the state of `reader`. The storage of an account that
/// ends must be listed as zeros.
pub(crate) fn state_root(
    reader: &impl NodeReader,
    diff: &StateDiff,
) -> Result<(B256, TrieChange), LedgerError> {
    let mut changed = TrieChange::new();
    let mut accounts = Vec::with_capacity(diff.accounts.len());
    for (address, change) in &diff.accounts {
        let owner = keccak256(address);
        let storage_root = if change.storage.is_empty() {
            None
        } else {
            let slots = change.storage.iter().map(|(slot, (_, after))| storage_leaf(slot, after));
            Some(update_trie(reader, Some(owner), slots.collect(), &mut changed)?)
        };
        let target = match change.after {
            None => LeafValue::Gone,
            Some(account) => LeafValue::Account { account, storage_root },
        };
        accounts.push(LeafChange { key: Nibbles::unpack(owner), target });
    }
    let root = update_trie(reader, None, accounts, &mut changed)?;
    Ok((root, changed))
}

/// Adds leaves (hashed key, value) to one trie; its new root, and the rows that
/// changed.
pub(crate) fn add_leaves(
    reader: &impl NodeReader,
    owner: Option<B256>,
    leaves: Vec<(B256, Bytes)>,
) -> Result<(B256, TrieChange), LedgerError> {
    let mut changed = TrieChange::new();
    let leaf =
        |(key, value)| LeafChange { key: Nibbles::unpack(key), target: LeafValue::Value(value) };
    let root = update_trie(reader, owner, leaves.into_iter().map(leaf).collect(), &mut changed)?;
    Ok((root, changed))
}

fn storage_leaf(slot: &U256, value: &U256) -> LeafChange {
    let key = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
    let target = if value.is_zero() {
        LeafValue::Gone
    } else {
        LeafValue::Value(alloy_rlp::encode(value).into())
    };
    LeafChange { key, target }
}

/// Applies changes to one trie and gives its new root.
fn update_trie(
    reader: &impl NodeReader,
    owner: Option<B256>,
    mut leaves: Vec<LeafChange>,
    changed: &mut TrieChange,
) -> Result<B256, LedgerError> {
    // In order, so that each branch is read and written once, however many of its leaves
    // change.
    leaves.sort_unstable_by_key(|leaf| leaf.key);
    let (before, root) = read_root(reader, owner)?;
    let mut update = Update { reader, owner, changed };
    let root = update.apply(Nibbles::new(), root, &leaves)?;
    let after = root.as_ref().map(TrieChild::encode_root);
    update.put(NodeKey { owner, path: None }, before, after);
    Ok(root_hash(root.as_ref()))
}

fn root_hash(root: Option<&TrieChild>) -> B256 {
    let Some(root) = root else { return EMPTY_ROOT_HASH };
    let reference = root.reference();
    reference.as_hash().unwrap_or_else(|| keccak256(&reference))
}

/// The root of an account's storage.
pub(crate) fn storage_root(
    reader: &impl NodeReader,
    address: &Address,
) -> Result<B256, LedgerError> {
    let (_, root) = read_root(reader, Some(keccak256(address)))?;
    Ok(root_hash(root.as_ref()))
}

/// The row of the node at the root, and its content.
fn read_root(
    reader: &impl NodeReader,
    owner: Option<B256>,
) -> Result<(Option<Bytes>, Option<TrieChild>), LedgerError> {
    let key = NodeKey { owner, path: None };
    let row = reader.node(&key)?;
    let root = row.as_ref().map(|row| TrieChild::decode_root(row).ok_or_else(|| damaged(&key)));
    let root = root.transpose()?;
    Ok((row, root))
}

#[cfg(test)]
mod tests;
