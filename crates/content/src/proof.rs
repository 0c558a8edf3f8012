//! Verified chunks: a file's hashes, a part of it with its proof, and the proof
//! checked group by group.
//!
//! The tree is bao's over groups of 16 KiB (<https://github.com/n0-computer/bao-tree>).
//! What always holds: bytes leave [`Verifier`] only after their hash was found
//! right, so that one bad byte costs one group; memory is one group and a path.

use std::io::{self, Read, Write};

use bao_tree::{
    BaoTree, BlockSize, ChunkNum, ChunkRanges, TreeNode,
    io::{
        BaoContentItem, DecodeError, EncodeError,
        sync::{DecodeResponseIter, Outboard, OutboardMut, ReadAt, encode_ranges_validated},
    },
};
use trefoil_types::DiskFile;

use crate::{BYTES_MAX, Part, groups};

/// 2^4 chunks of 1 KiB.
const GROUP: BlockSize = BlockSize::from_chunk_log(4);
const CHUNKS: u64 = 16;
/// Two hashes.
const PAIR_BYTES: u64 = 64;

#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("group {group} is not what the resource's id says")]
    Corrupt { group: u64 },
    #[error("the stream ended in group {group}")]
    Short { group: u64 },
    #[error("group {group} is not here, or its bytes on disk have changed")]
    NotHere { group: u64 },
    #[error("{0} bytes; at most {BYTES_MAX} are taken")]
    TooLarge(u64),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The file that holds the hashes of a resource's tree, pairs in pre-order.
#[derive(Clone, Copy, Debug)]
pub struct Hashes<'a> {
    pub root: [u8; 32],
    /// Bytes of the resource.
    pub size: u64,
    pub file: &'a dyn DiskFile,
}

/// Bytes of the file that holds the hashes of a resource of `size` bytes.
pub fn hashes_bytes(size: u64) -> u64 {
    (groups(size) - 1) * PAIR_BYTES
}

/// Reads a resource once; writes its hashes and tells its root.
pub fn hash(data: impl Read, size: u64, file: &dyn DiskFile) -> Result<[u8; 32], ProofError> {
    if size > BYTES_MAX {
        return Err(ProofError::TooLarge(size));
    }
    let mut hashes = Hashes { root: [0; 32], size, file };
    let root = bao_tree::io::sync::outboard(data, BaoTree::new(size, GROUP), &mut hashes)?;
    Ok(*root.as_bytes())
}

/// Writes a part with its proof. What is on disk is verified first: nobody is
/// ever served bytes that rotted.
pub fn encode(
    data: &dyn DiskFile,
    hashes: Hashes<'_>,
    part: &Part,
    out: impl Write,
) -> Result<(), ProofError> {
    encode_ranges_validated(Bytes(data), hashes, &ranges(part), out).map_err(|error| match error {
        EncodeError::ParentHashMismatch(node) | EncodeError::ParentWrite(node) => {
            ProofError::NotHere { group: group_of(node) }
        }
        EncodeError::LeafHashMismatch(chunk) | EncodeError::LeafWrite(chunk) => {
            ProofError::NotHere { group: chunk.0 / CHUNKS }
        }
        EncodeError::SizeMismatch => ProofError::NotHere { group: part.groups.start },
        EncodeError::Io(error) => error.into(),
    })
}

/// One verified step of a part that comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Two hashes of the tree and their place in the hashes' file.
    Pair {
        offset: u64,
        pair: [u8; PAIR_BYTES as usize],
    },
    Group {
        group: u64,
        bytes: Vec<u8>,
    },
}

/// Checks a part with its proof as it comes. After an error nothing follows.
pub struct Verifier<R> {
    root: [u8; 32],
    tree: BaoTree,
    ranges: ChunkRanges,
    source: R,
}

impl<R: Read> Verifier<R> {
    /// `size` may be a mere claim: with a wrong one, the last group is refused.
    pub fn new(root: [u8; 32], size: u64, part: &Part, source: R) -> Result<Self, ProofError> {
        if size > BYTES_MAX {
            return Err(ProofError::TooLarge(size));
        }
        Ok(Self { root, tree: BaoTree::new(size, GROUP), ranges: ranges(part), source })
    }

    /// Hands each step to `take`, in the order of the stream.
    pub fn run(
        self,
        mut take: impl FnMut(Verified) -> Result<(), ProofError>,
    ) -> Result<(), ProofError> {
        let root = blake3::Hash::from_bytes(self.root);
        for item in DecodeResponseIter::new(root, self.tree, self.source, &self.ranges) {
            match item.map_err(refusal)? {
                BaoContentItem::Parent(parent) => {
                    // Pairs below a group are not kept.
                    let Some(place) = self.tree.pre_order_offset(parent.node) else { continue };
                    let mut pair = [0; PAIR_BYTES as usize];
                    pair[..32].copy_from_slice(parent.pair.0.as_bytes());
                    pair[32..].copy_from_slice(parent.pair.1.as_bytes());
                    take(Verified::Pair { offset: place * PAIR_BYTES, pair })?;
                }
                BaoContentItem::Leaf(leaf) => {
                    let group = leaf.offset / crate::GROUP_BYTES;
                    take(Verified::Group { group, bytes: leaf.data.to_vec() })?;
                }
            }
        }
        Ok(())
    }
}

fn refusal(error: DecodeError) -> ProofError {
    match error {
        DecodeError::ParentHashMismatch(node) => ProofError::Corrupt { group: group_of(node) },
        DecodeError::LeafHashMismatch(chunk) => ProofError::Corrupt { group: chunk.0 / CHUNKS },
        DecodeError::ParentNotFound(node) => ProofError::Short { group: group_of(node) },
        DecodeError::LeafNotFound(chunk) => ProofError::Short { group: chunk.0 / CHUNKS },
        DecodeError::Io(error) => error.into(),
    }
}

/// The first group below a node.
fn group_of(node: TreeNode) -> u64 {
    node.chunk_range().start.0 / CHUNKS
}

fn ranges(part: &Part) -> ChunkRanges {
    let chunk = |group: u64| ChunkNum(group.saturating_mul(CHUNKS));
    ChunkRanges::from(chunk(part.groups.start)..chunk(part.groups.end))
}

/// A file as bao-tree reads it.
struct Bytes<'a>(&'a dyn DiskFile);

impl ReadAt for Bytes<'_> {
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let there = self.0.len()?.saturating_sub(at);
        let count = buf.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        self.0.read_at(at, &mut buf[..count])?;
        Ok(count)
    }
}

impl Outboard for Hashes<'_> {
    fn root(&self) -> blake3::Hash {
        blake3::Hash::from_bytes(self.root)
    }

    fn tree(&self) -> BaoTree {
        BaoTree::new(self.size, GROUP)
    }

    fn load(&self, node: TreeNode) -> io::Result<Option<(blake3::Hash, blake3::Hash)>> {
        let Some(place) = self.tree().pre_order_offset(node) else { return Ok(None) };
        let mut pair = [[0; 32]; 2];
        self.file.read_at(place * PAIR_BYTES, pair.as_flattened_mut())?;
        Ok(Some((blake3::Hash::from_bytes(pair[0]), blake3::Hash::from_bytes(pair[1]))))
    }
}

impl OutboardMut for Hashes<'_> {
    fn save(&mut self, node: TreeNode, pair: &(blake3::Hash, blake3::Hash)) -> io::Result<()> {
        let Some(place) = self.tree().pre_order_offset(node) else { return Ok(()) };
        let pair = [*pair.0.as_bytes(), *pair.1.as_bytes()];
        self.file.write_at(place * PAIR_BYTES, pair.as_flattened())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}
