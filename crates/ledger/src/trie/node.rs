//! The rows of a trie: their keys, the content of a branch, and its encoding on disk.

use alloy_primitives::Bytes;
use alloy_trie::{
    Nibbles, TrieMask,
    nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode},
};
use trefoil_types::B256;

use crate::LedgerError;

/// The key of a row: the trie, and the branch in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeKey {
    /// keccak256 of the address whose storage it is; `None`: the accounts.
    pub owner: Option<B256>,
    /// The path of the branch; `None`: the node at the root.
    pub path: Option<Nibbles>,
}

impl NodeKey {
    /// Distinct keys have distinct bytes, and a trie's rows lie together.
    // By path, not by hash as geth once did: a changed branch overwrites its row, so
    // nothing has to be collected later.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(66);
        match self.owner {
            None => out.push(0),
            Some(owner) => {
                out.push(1);
                out.extend(owner);
            }
        }
        if let Some(path) = self.path {
            out.push(path.len() as u8);
            out.extend_from_slice(&path.pack());
        }
        out
    }
}

/// The rows of one state.
pub(crate) trait NodeReader {
    fn node(&self, key: &NodeKey) -> Result<Option<Bytes>, LedgerError>;
}

/// A row that a block changed.
#[derive(Clone, Debug)]
pub(crate) struct NodeChange {
    pub key: NodeKey,
    pub before: Option<Bytes>,
    pub after: Option<Bytes>,
}

/// The rows that a block changed, each once.
pub(crate) type TrieChange = Vec<NodeChange>;

pub(super) fn damaged(key: &NodeKey) -> LedgerError {
    LedgerError::damaged(format!("state trie node {key:?} is missing or unreadable"))
}

/// A child of a branch, or of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TrieChild {
    Leaf {
        /// The leaf node as its parent names it: its hash, or itself if shorter.
        reference: RlpNode,
        /// The rest of the key after this place.
        suffix: Nibbles,
        value: Bytes,
    },
    Branch {
        /// The branch node as its parent names it.
        node: RlpNode,
        /// The path from this place to the branch. Not empty: an extension node.
        extension: Nibbles,
    },
}

impl TrieChild {
    pub fn leaf(suffix: Nibbles, value: Bytes) -> Self {
        let reference = LeafNodeRef::new(&suffix, &value).rlp(&mut Vec::with_capacity(160));
        Self::Leaf { reference, suffix, value }
    }

    /// The same child, seen from `prefix` further up.
    pub fn hoist(self, prefix: &Nibbles) -> Self {
        match self {
            Self::Leaf { suffix, value, .. } => Self::leaf(prefix.join(&suffix), value),
            Self::Branch { node, extension } => {
                Self::Branch { node, extension: prefix.join(&extension) }
            }
        }
    }

    /// Its reference in the parent.
    pub fn reference(&self) -> RlpNode {
        match self {
            Self::Leaf { reference, .. } => reference.clone(),
            Self::Branch { node, extension } if extension.is_empty() => node.clone(),
            Self::Branch { node, extension } => {
                ExtensionNodeRef::new(extension, node).rlp(&mut Vec::with_capacity(80))
            }
        }
    }

    pub fn encode_root(&self) -> Bytes {
        let mut out = Vec::with_capacity(160);
        self.encode(&mut out);
        out.into()
    }

    pub fn decode_root(row: &Bytes) -> Option<Self> {
        let mut rest = Rest { row, at: 0 };
        let child = rest.child()?;
        rest.is_empty().then_some(child)
    }

    /// Length of the reference (top bit: a leaf), the reference, the path
    /// (count of nibbles, then two a byte), and of a leaf the value with its
    /// length. Values are at most 110 bytes: an account's RLP.
    fn encode(&self, out: &mut Vec<u8>) {
        let (flag, reference, path) = match self {
            Self::Leaf { reference, suffix, .. } => (LEAF, reference, suffix),
            Self::Branch { node, extension } => (0, node, extension),
        };
        out.push(flag | reference.len() as u8);
        out.extend_from_slice(reference);
        out.push(path.len() as u8);
        out.extend_from_slice(&path.pack());
        if let Self::Leaf { value, .. } = self {
            out.push(u8::try_from(value.len()).expect("no account or slot is longer"));
            out.extend_from_slice(value);
        }
    }
}

const LEAF: u8 = 0x80;

/// A branch node: up to sixteen children, and at least two when it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Branch {
    pub children: [Option<TrieChild>; 16],
}

impl Branch {
    /// The branch node in Ethereum's RLP.
    pub fn rlp(&self) -> (Vec<u8>, RlpNode) {
        let mut mask = TrieMask::default();
        let mut stack = Vec::with_capacity(16);
        for (nibble, child) in (0..).zip(&self.children) {
            if let Some(child) = child {
                mask.set_bit(nibble);
                stack.push(child.reference());
            }
        }
        let mut rlp = Vec::with_capacity(544);
        let node = BranchNodeRef::new(&stack, mask).rlp(&mut rlp);
        (rlp, node)
    }

    /// Which children there are (two bytes, little-endian), then each.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![0; 2];
        let mut mask = 0u16;
        for (nibble, child) in self.children.iter().enumerate() {
            if let Some(child) = child {
                mask |= 1 << nibble;
                child.encode(&mut out);
            }
        }
        out[..2].copy_from_slice(&mask.to_le_bytes());
        out.into()
    }

    pub fn decode(row: &Bytes) -> Option<Self> {
        let mut rest = Rest { row, at: 0 };
        let mask = u16::from_le_bytes(rest.take(2)?.try_into().ok()?);
        let mut branch = Self::default();
        for nibble in 0..16 {
            if mask & (1 << nibble) != 0 {
                branch.children[nibble] = Some(rest.child()?);
            }
        }
        rest.is_empty().then_some(branch)
    }
}

/// The part of a row that is not read yet.
struct Rest<'a> {
    row: &'a Bytes,
    at: usize,
}

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.row.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn nibbles(&mut self) -> Option<Nibbles> {
        let count = usize::from(self.byte()?);
        // A key has 64 nibbles: more is damage.
        if count > 64 {
            return None;
        }
        let mut path = Nibbles::unpack(self.take(count.div_ceil(2))?);
        path.truncate(count);
        Some(path)
    }

    fn child(&mut self) -> Option<TrieChild> {
        let head = self.byte()?;
        let reference = RlpNode::from_raw(self.take(usize::from(head & !LEAF))?)?;
        let path = self.nibbles()?;
        if head & LEAF == 0 {
            return Some(TrieChild::Branch { node: reference, extension: path });
        }
        let len = usize::from(self.byte()?);
        let start = self.at;
        self.take(len)?;
        Some(TrieChild::Leaf { reference, suffix: path, value: self.row.slice(start..start + len) })
    }

    fn is_empty(&self) -> bool {
        self.at == self.row.len()
    }
}
