//! Proofs that a trie holds a value under a key, or nothing.

use std::collections::BTreeSet;

use alloy_primitives::Bytes;
use alloy_rlp::Encodable;
use alloy_trie::{
    Nibbles,
    nodes::{ExtensionNodeRef, LeafNodeRef},
};
use trefoil_types::B256;

use super::{
    node::{Branch, NodeKey, NodeReader, TrieChild, damaged},
    read_root,
};
use crate::LedgerError;

// A node shorter than 32 bytes stands in its parent (yellow paper, appendix D), where a
// verifier finds it.
/// The RLP of the nodes from the root towards `key` (already hashed), as EIP-1186 lists
/// them. Also the value, if there is one.
pub(crate) fn prove(
    reader: &impl NodeReader,
    owner: Option<B256>,
    key: B256,
) -> Result<(Vec<Bytes>, Option<Bytes>), LedgerError> {
    let (_, mut child) = read_root(reader, owner)?;
    let (key, mut at, mut proof) = (Nibbles::unpack(key), 0, Vec::new());
    let list = |proof: &mut Vec<Bytes>, rlp: Vec<u8>| {
        if proof.is_empty() || rlp.len() >= 32 {
            proof.push(rlp.into());
        }
    };
    while let Some(found) = child {
        match found {
            TrieChild::Leaf { suffix, value, .. } => {
                list(&mut proof, encoded(&LeafNodeRef::new(&suffix, &value)));
                let value = (key.slice(at..) == suffix).then_some(value);
                return Ok((proof, value));
            }
            TrieChild::Branch { node, extension } => {
                if !extension.is_empty() {
                    list(&mut proof, encoded(&ExtensionNodeRef::new(&extension, &node)));
                }
                if !key.slice(at..).starts_with(&extension) {
                    return Ok((proof, None));
                }
                at += extension.len();
                let place = NodeKey { owner, path: Some(key.slice(..at)) };
                let row = reader.node(&place)?.ok_or_else(|| damaged(&place))?;
                let mut branch = Branch::decode(&row).ok_or_else(|| damaged(&place))?;
                list(&mut proof, branch.rlp().0);
                let nibble = key.get(at).ok_or_else(|| damaged(&place))?;
                child = branch.children[usize::from(nibble)].take();
                at += 1;
            }
        }
    }
    Ok((proof, None))
}

/// Whether a row, by its key's bytes, is of a node that [`prove`] may read for an account or some of
/// its slots (both hashed).
pub(crate) fn is_on_the_way(key: &[u8], account: &B256, slots: &BTreeSet<B256>) -> bool {
    match key.split_first() {
        Some((0, path)) => leads_to(path, account),
        Some((_, key)) => key.strip_prefix(account.as_slice()).is_some_and(|path| {
            // The first slot that is not before the path: if this one does not begin with it, none
            // does.
            let mut least = B256::ZERO;
            for (byte, of_path) in least.iter_mut().zip(path.iter().skip(1)) {
                *byte = *of_path;
            }
            let first = slots.range(least..).next();
            path.is_empty() || first.is_some_and(|slot| leads_to(path, slot))
        }),
        None => false,
    }
}

/// Whether a hashed key begins with the path of a row, as the row's key has it.
fn leads_to(path: &[u8], key: &B256) -> bool {
    let Some((nibbles, packed)) = path.split_first() else { return true };
    let (whole, odd) = (usize::from(nibbles / 2), nibbles % 2 == 1);
    let half = |bytes: &[u8]| bytes.get(whole).map(|byte| byte >> 4);
    key.get(..whole) == packed.get(..whole) && (!odd || half(key.as_slice()) == half(packed))
}

fn encoded(node: &impl Encodable) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    node.encode(&mut out);
    out
}
