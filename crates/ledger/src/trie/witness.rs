//! Witnesses: everything that a reader of the state read, with its proof. Another reader
//! that knows only the state root then reads the same.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_primitives::{Bytes, U256};
use alloy_rlp::Decodable as _;
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount, nodes::TrieNode};
use trefoil_types::{Address, B256, Height, keccak256};

use super::{node::NodeReader, proof::prove};
use crate::{Account, LedgerError, StateReader};

/// A state, and a record of everything that was read of it.
pub(crate) struct Recorder<'a, S> {
    state: &'a S,
    read: RefCell<BTreeMap<Address, BTreeSet<U256>>>,
}

impl<'a, S: StateReader> Recorder<'a, S> {
    pub fn new(state: &'a S) -> Self {
        Self { state, read: RefCell::default() }
    }

    // Sorted by hash and each once: the file must have the same bytes on every node.
    /// The trie nodes that prove everything that was read, in order of hash.
    pub fn witness(self, trie: &impl NodeReader) -> Result<Vec<Bytes>, LedgerError> {
        let mut nodes = BTreeMap::new();
        let mut keep = |(proof, _): (Vec<Bytes>, Option<Bytes>)| {
            nodes.extend(proof.into_iter().map(|node| (keccak256(&node), node)));
        };
        for (address, slots) in self.read.into_inner() {
            let owner = keccak256(address);
            keep(prove(trie, None, owner)?);
            for slot in slots {
                keep(prove(trie, Some(owner), keccak256(slot.to_be_bytes::<32>()))?);
            }
        }
        Ok(nodes.into_values().collect())
    }
}

impl<S: StateReader> StateReader for Recorder<'_, S> {
    fn account(&self, address: &Address) -> Result<Option<Account>, LedgerError> {
        self.read.borrow_mut().entry(*address).or_default();
        self.state.account(address)
    }

    fn storage(&self, address: &Address, slot: U256) -> Result<U256, LedgerError> {
        self.read.borrow_mut().entry(*address).or_default().insert(slot);
        self.state.storage(address, slot)
    }

    fn code(&self, hash: &B256) -> Result<Option<Bytes>, LedgerError> {
        self.state.code(hash)
    }

    fn block_hash(&self, _: Height) -> Result<Option<B256>, LedgerError> {
        Ok(None)
    }
}

/// A state as far as a witness proves it.
pub(crate) struct Proven<'a> {
    root: B256,
    nodes: BTreeMap<B256, &'a Bytes>,
    /// The nodes that were read.
    read: RefCell<BTreeSet<B256>>,
    codes: &'a BTreeMap<B256, Bytes>,
}

impl<'a> Proven<'a> {
    pub fn new(root: B256, witness: &'a [Bytes], codes: &'a BTreeMap<B256, Bytes>) -> Self {
        // Indexed by the hash that is computed here, never by one that the file names: a
        // node that is not the preimage of a reference is simply not found.
        let nodes = witness.iter().map(|node| (keccak256(node), node)).collect();
        Self { root, nodes, read: RefCell::default(), codes }
    }

    /// Whether the witness has the nodes that were read and no others, in order of hash.
    pub fn is_exact(&self, witness: &[Bytes]) -> bool {
        let hashes = witness.iter().map(keccak256);
        hashes.eq(self.read.borrow().iter().copied())
    }

    /// The value under a key (already hashed) in the trie with this root.
    fn leaf(&self, root: B256, key: B256) -> Result<Option<Vec<u8>>, LedgerError> {
        if root == EMPTY_ROOT_HASH {
            return Ok(None);
        }
        let (mut rest, mut node) = (Nibbles::unpack(key), self.node(&root)?);
        loop {
            let child = match node {
                TrieNode::EmptyRoot => return Ok(None),
                TrieNode::Leaf(leaf) => return Ok((leaf.key == rest).then_some(leaf.value)),
                TrieNode::Extension(extension) => {
                    if !rest.starts_with(&extension.key) {
                        return Ok(None);
                    }
                    rest = rest.slice(extension.key.len()..);
                    extension.child
                }
                TrieNode::Branch(branch) => {
                    let Some(nibble) = rest.get(0) else { return Ok(None) };
                    let branch = branch.as_ref();
                    let child = branch.children().find(|(n, _)| *n == nibble);
                    let Some(child) = child.and_then(|(_, child)| child.cloned()) else {
                        return Ok(None);
                    };
                    rest = rest.slice(1..);
                    child
                }
            };
            node = match child.as_hash() {
                Some(hash) => self.node(&hash)?,
                // A node shorter than 32 bytes stands in its parent itself (yellow paper,
                // appendix D).
                None => decode(&child)?,
            };
        }
    }

    fn node(&self, hash: &B256) -> Result<TrieNode, LedgerError> {
        let node = self.nodes.get(hash);
        self.read.borrow_mut().insert(*hash);
        decode(node.ok_or_else(|| LedgerError::Storage(format!("it lacks trie node {hash}")))?)
    }

    fn trie_account(&self, address: &Address) -> Result<Option<TrieAccount>, LedgerError> {
        let leaf = self.leaf(self.root, keccak256(address))?;
        let account = leaf.map(alloy_rlp::decode_exact);
        account.transpose().map_err(|_| LedgerError::Storage("it has a bad account".into()))
    }
}

fn decode(node: &[u8]) -> Result<TrieNode, LedgerError> {
    let decoded = TrieNode::decode(&mut &*node);
    decoded.map_err(|_| LedgerError::Storage("it has a bad trie node".into()))
}

impl StateReader for Proven<'_> {
    fn account(&self, address: &Address) -> Result<Option<Account>, LedgerError> {
        Ok(self.trie_account(address)?.map(|account| {
            let TrieAccount { nonce, balance, code_hash, .. } = account;
            Account { nonce, balance, code_hash }
        }))
    }

    fn storage(&self, address: &Address, slot: U256) -> Result<U256, LedgerError> {
        let Some(account) = self.trie_account(address)? else { return Ok(U256::ZERO) };
        let leaf = self.leaf(account.storage_root, keccak256(slot.to_be_bytes::<32>()))?;
        let value = leaf.map(alloy_rlp::decode_exact::<U256>).transpose();
        Ok(value.map_err(|_| LedgerError::Storage("it has a bad slot".into()))?.unwrap_or_default())
    }

    fn code(&self, hash: &B256) -> Result<Option<Bytes>, LedgerError> {
        Ok(self.codes.get(hash).cloned().or_else(|| (*hash == KECCAK_EMPTY).then(Bytes::new)))
    }

    fn block_hash(&self, _: Height) -> Result<Option<B256>, LedgerError> {
        Ok(None)
    }
}
