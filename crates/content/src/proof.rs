//! Verified groups (bao): the hashes of a file, a part of it with its proof, and the
//! verification of a proof group by group.
//!
//! The tree is bao's over groups of 16 KiB (<https://github.com/n0-computer/bao-tree>). A
//! part travels in pre-order: the pairs of hashes on the way to its groups, and the groups.
//! bao-tree computes the hashes. It decodes only from a reader that it pulls, while
//! [`Verifier`] is pushed the bytes as they arrive, so it walks the tree itself.
//!
//! What always holds: bytes leave it only after their hash was verified, so one bad byte
//! costs one group; memory is one group and one path of the tree.

use std::{
    io::{self, Read},
    ops::Range,
};

use bao_tree::{
    BaoTree, BlockSize, TreeNode,
    io::sync::{Outboard, OutboardMut},
};
use blake3::hazmat::{self, HasherExt as _, Mode};
use trefoil_types::DiskFile;

use crate::{BYTES_MAX, GROUP_BYTES, groups};

/// 2^4 chunks of 1 KiB.
const GROUP: BlockSize = BlockSize::from_chunk_log(4);
/// Two hashes.
const PAIR_BYTES: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("group {group} is not what the resource's id says")]
    Corrupt { group: u64 },
    #[error("what came ends within group {group}")]
    Short { group: u64 },
    #[error("more came than was asked for")]
    Excess,
    #[error("group {group} is not here")]
    NotHere { group: u64 },
    #[error(
        "{} of group {group} are not what they were: they have changed on disk",
        if *of == What::Hashes { "the hashes" } else { "the bytes" }
    )]
    Damaged { group: u64, of: What },
    #[error("{0} bytes; at most {BYTES_MAX} are taken")]
    TooLarge(u64),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The bytes that the hashes of a file of `size` bytes take.
pub fn hashes_bytes(size: u64) -> u64 {
    (groups(size) - 1) * PAIR_BYTES as u64
}

/// Reads a file once, writes its hashes at `at` of `file`, and returns its root.
pub fn hash(
    data: impl Read,
    size: u64,
    file: &dyn DiskFile,
    at: u64,
) -> Result<[u8; 32], ProofError> {
    if size > BYTES_MAX {
        return Err(ProofError::TooLarge(size));
    }
    let mut hashes = Hashes { size, file, at };
    let root = bao_tree::io::sync::outboard(data, BaoTree::new(size, GROUP), &mut hashes)?;
    Ok(*root.as_bytes())
}

/// Where bao-tree puts the hashes that it makes.
struct Hashes<'a> {
    size: u64,
    file: &'a dyn DiskFile,
    at: u64,
}

impl Outboard for Hashes<'_> {
    fn root(&self) -> blake3::Hash {
        blake3::Hash::from_bytes([0; 32])
    }

    fn tree(&self) -> BaoTree {
        BaoTree::new(self.size, GROUP)
    }

    fn load(&self, _: TreeNode) -> io::Result<Option<(blake3::Hash, blake3::Hash)>> {
        Ok(None)
    }
}

impl OutboardMut for Hashes<'_> {
    fn save(&mut self, node: TreeNode, pair: &(blake3::Hash, blake3::Hash)) -> io::Result<()> {
        let Some(place) = self.tree().pre_order_offset(node) else { return Ok(()) };
        let pair = [*pair.0.as_bytes(), *pair.1.as_bytes()];
        self.file.write_at(self.at + place * PAIR_BYTES as u64, pair.as_flattened())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

/// A node of the tree on the way to groups that are asked for.
#[derive(Clone, Debug)]
struct HashNode {
    groups: Range<u64>,
    hash: [u8; 32],
    /// Its pair's place among the file's pairs, in pre-order.
    place: u64,
    is_root: bool,
}

/// Which part of the tree travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The groups with their proof.
    Groups,
    /// Only the proof: a group takes no bytes.
    Hashes,
    /// Only the groups, for a reader on this machine. Their proof is verified all the same.
    Bare,
}

/// One file of a resource, on disk among others.
#[derive(Clone, Copy, Debug)]
pub struct GroupSource<'a> {
    /// Not read for hashes alone.
    pub data: &'a dyn DiskFile,
    /// Where in `data` the file begins.
    pub data_at: u64,
    pub hashes: &'a dyn DiskFile,
    pub hashes_at: u64,
}

/// Verifies a part with its proof, step by step: as it arrives ([`Verifier::feed`]), or as
/// it is read from disk ([`Verifier::fill`]). Nothing follows an error.
#[derive(Clone, Debug)]
pub struct Verifier {
    size: u64,
    asked: Range<u64>,
    what: What,
    /// The part of the tree that is still to come, in pre-order: the next node is the last.
    ahead: Vec<HashNode>,
}

impl Verifier {
    // The size fixes the shape of the tree and the length of its last group.
    /// `size` may be an unproven claim: with a wrong one, the last group is refused.
    pub fn new(
        what: What,
        root: [u8; 32],
        size: u64,
        asked: Range<u64>,
    ) -> Result<Self, ProofError> {
        if size > BYTES_MAX {
            return Err(ProofError::TooLarge(size));
        }
        let root = HashNode { groups: 0..groups(size), hash: root, place: 0, is_root: true };
        let mut verifier = Self { size, asked, what, ahead: Vec::new() };
        verifier.push(root);
        Ok(verifier)
    }

    /// Whether everything that was requested has arrived, or was given.
    pub fn is_through(&self) -> bool {
        self.ahead.is_empty()
    }

    fn push(&mut self, node: HashNode) {
        if node.groups.start < self.asked.end && self.asked.start < node.groups.end {
            self.ahead.push(node);
        }
    }

    /// Goes on to the children of `node`, whose verified pair is `pair`.
    fn descend(&mut self, node: &HashNode, pair: &[u8; PAIR_BYTES]) {
        // BLAKE3, section 2.1: the left subtree is the largest full one that leaves
        // something to the right.
        let count = node.groups.end - node.groups.start;
        let left = 1 << (count - 1).ilog2();
        let middle = node.groups.start + left;
        let child = |groups, hash: &[u8], place| HashNode {
            groups,
            hash: hash.try_into().expect("half a pair"),
            place,
            is_root: false,
        };
        self.push(child(middle..node.groups.end, &pair[32..], node.place + left));
        self.push(child(node.groups.start..middle, &pair[..32], node.place + 1));
    }

    /// The next node, and how many bytes it has. `None`: the walk is complete.
    fn pop(&mut self) -> Option<(HashNode, usize)> {
        let node = self.ahead.pop()?;
        let left = self.size - node.groups.start * GROUP_BYTES;
        let count = match (is_group(&node), self.what) {
            (false, _) => PAIR_BYTES,
            (true, What::Groups | What::Bare) => left.min(GROUP_BYTES) as usize,
            (true, What::Hashes) => 0,
        };
        Some((node, count))
    }

    /// Takes the `count` bytes of `node` off the front, and verifies them as far as they were
    /// requested. `None`: there are none yet, and the node is still to come.
    fn take<'a>(
        &mut self,
        node: &HashNode,
        count: usize,
        bytes: &mut &'a [u8],
    ) -> Result<Option<&'a [u8]>, ProofError> {
        // An empty file is a group of no bytes.
        if bytes.is_empty() && count > 0 {
            self.ahead.push(node.clone());
            return Ok(None);
        }
        let group = node.groups.start;
        let (item, rest) = bytes.split_at_checked(count).ok_or(ProofError::Short { group })?;
        *bytes = rest;
        let unasked = is_group(node) && self.what == What::Hashes;
        if unasked || is_right(node, item) {
            Ok(Some(item))
        } else {
            Err(ProofError::Corrupt { group })
        }
    }
}

fn is_group(node: &HashNode) -> bool {
    node.groups.end - node.groups.start == 1
}

// A root and an inner node are hashed differently (BLAKE3's ROOT flag), so that an inner
// node of one file cannot pass for the root of another.
/// Whether `bytes` have the hash of `node`.
fn is_right(node: &HashNode, bytes: &[u8]) -> bool {
    if !is_group(node) {
        let left = bytes[..32].try_into().expect("a pair");
        let right = bytes[32..].try_into().expect("a pair");
        return if node.is_root {
            *hazmat::merge_subtrees_root(left, right, Mode::Hash).as_bytes() == node.hash
        } else {
            hazmat::merge_subtrees_non_root(left, right, Mode::Hash) == node.hash
        };
    }
    if node.is_root {
        return *blake3::hash(bytes).as_bytes() == node.hash;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(node.groups.start * GROUP_BYTES).update(bytes);
    hasher.finalize_non_root() == node.hash
}

/// One verified step of a part that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified<'a> {
    /// Two hashes of the tree and their place in the file's hashes.
    Pair {
        offset: u64,
        pair: &'a [u8],
    },
    Group {
        group: u64,
        bytes: &'a [u8],
    },
}

impl Verifier {
    /// Takes bytes that end where a group or a pair ends, and hands each verified step to
    /// `take`. Of hashes alone, a group comes without bytes.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Verified<'_>) -> io::Result<()>,
    ) -> Result<(), ProofError> {
        while let Some((node, count)) = self.pop() {
            let Some(item) = self.take(&node, count, &mut bytes)? else { return Ok(()) };
            if is_group(&node) {
                take(Verified::Group { group: node.groups.start, bytes: item })?;
            } else {
                take(Verified::Pair { offset: node.place * PAIR_BYTES as u64, pair: item })?;
                self.descend(&node, item.try_into().expect("a pair"));
            }
        }
        if bytes.is_empty() { Ok(()) } else { Err(ProofError::Excess) }
    }

    /// Takes whole groups that came without a proof (from a web server). Their hashes are
    /// in `hashes` from `at` on, and are verified on the way.
    pub fn feed_bare(
        &mut self,
        hashes: &dyn DiskFile,
        at: u64,
        mut bytes: &[u8],
        mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<(), ProofError> {
        while let Some((node, count)) = self.pop() {
            let group = node.groups.start;
            if is_group(&node) {
                let Some(item) = self.take(&node, count, &mut bytes)? else { return Ok(()) };
                take(group, item)?;
            } else {
                let mut pair = [0; PAIR_BYTES];
                match hashes.read_at(at + node.place * PAIR_BYTES as u64, &mut pair) {
                    Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                        return Err(error.into());
                    }
                    Ok(()) if is_right(&node, &pair) => {}
                    // A pair on disk that does not verify is missing, not the sender's
                    // fault.
                    _ => return Err(ProofError::NotHere { group }),
                }
                self.descend(&node, &pair);
            }
        }
        if bytes.is_empty() { Ok(()) } else { Err(ProofError::Excess) }
    }

    /// The first group that is asked for and cannot be given for this node.
    fn damaged(&self, node: &HashNode) -> ProofError {
        let of = if is_group(node) { What::Groups } else { What::Hashes };
        ProofError::Damaged { group: node.groups.start.max(self.asked.start), of }
    }

    // A disk may rot and a user may edit a shared file. An unverified byte would get this
    // node banned by an honest receiver, since the receiver verifies too.
    /// Appends whole groups and pairs from disk to `out` until it has `enough` bytes or all
    /// was given. They are verified first, so no peer is ever served bytes that rotted.
    /// `source` is the file that the verifier was made for.
    pub fn fill(
        &mut self,
        source: &GroupSource<'_>,
        out: &mut Vec<u8>,
        enough: usize,
    ) -> Result<(), ProofError> {
        while out.len() < enough
            && let Some((node, count)) = self.pop()
        {
            if is_group(&node) && self.what == What::Hashes {
                continue;
            }
            let start = out.len();
            out.resize(start + count, 0);
            let (file, at) = if is_group(&node) {
                (source.data, source.data_at + node.groups.start * GROUP_BYTES)
            } else {
                (source.hashes, source.hashes_at + node.place * PAIR_BYTES as u64)
            };
            let read = file.read_at(at, &mut out[start..]);
            if read.is_err() || !is_right(&node, &out[start..]) {
                out.truncate(start);
                return Err(match read {
                    Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => error.into(),
                    _ => self.damaged(&node),
                });
            }
            if !is_group(&node) {
                let pair = <[u8; PAIR_BYTES]>::try_from(&out[start..]).expect("a pair");
                self.descend(&node, &pair);
                if self.what == What::Bare {
                    out.truncate(start);
                }
            }
        }
        Ok(())
    }
}
