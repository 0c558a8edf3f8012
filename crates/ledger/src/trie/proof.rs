//! Proofs that a trie holds a value under a key, or nothing.

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

fn encoded(node: &impl Encodable) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    node.encode(&mut out);
    out
}
