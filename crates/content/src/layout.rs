//! How a resource is divided: files into groups, groups into pieces.
//!
//! A *group* is the unit of verification, a *piece* the unit of requests and announcements.
//! The pieces of all files of a directory are numbered in one sequence, in the order of its
//! manifest; no piece spans two files.

use std::ops::Range;

// Proofs of single chunks (1 KiB) would need 16 times the hashes (ADR 6). With 16 KiB the
// hashes are 0.4 % of the bytes, and one bad byte costs at most one group.
/// Bytes of a group: 16 chunks of BLAKE3 (1 KiB each).
pub const GROUP_BYTES: u64 = 16 * 1024;

// A node keeps a have-map for each peer of each resource: it must stay small for any size.
/// The most pieces of a large file. Its have-map has 256 bytes.
const PIECES_AIM: u64 = 2_048;

/// Groups of the smallest piece: 64 KiB, so that the hashes that come with a
/// piece are little beside it (64 bytes for each level of the tree).
const PIECE_GROUPS_MIN: u64 = 4;

/// Bytes of the hashes of a group, about: a pair for each but the last.
const HASHES_BYTES: u64 = 64;

/// Groups of the smallest piece of hashes: 64 KiB of them, so that the way from
/// the root, which comes with each piece, is little beside it.
// The same reason as for the smallest piece of bytes.
const HASHES_GROUPS_MIN: u64 = 1_024;

// Each file has at least one piece, so this also bounds the pieces: have-maps of 16 KiB.
/// The most files of one resource. A larger directory is refused.
pub const FILES_MAX: usize = 1 << 17;

/// The largest sum of file sizes: 2^50 bytes, so that no sum overflows.
pub const BYTES_MAX: u64 = 1 << 50;

/// The groups of `bytes`. An empty file has one empty group, so that its emptiness can be
/// proven.
pub fn groups(bytes: u64) -> u64 {
    bytes.div_ceil(GROUP_BYTES).max(1)
}

/// A run of groups of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub file: u32,
    pub groups: Range<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a whole group on the wire.
    group_bytes: u64,
    piece_groups: u64,
    files: Vec<Span>,
    pieces: u32,
    bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    first_piece: u32,
    bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("a resource of {0} files; at most {FILES_MAX} are taken: split the directory")]
    TooManyFiles(usize),
    #[error("a resource of more than {BYTES_MAX} bytes: split it")]
    TooLarge,
}

impl Layout {
    /// For one file.
    pub fn file(bytes: u64) -> Result<Self, LayoutError> {
        Self::files(&[bytes])
    }

    /// For files of these sizes in this order.
    pub fn files(sizes: &[u64]) -> Result<Self, LayoutError> {
        if sizes.len() > FILES_MAX {
            return Err(LayoutError::TooManyFiles(sizes.len()));
        }
        Self::new(GROUP_BYTES, PIECE_GROUPS_MIN, sizes)
    }

    /// For the hashes of a file of `size` bytes: its groups, without their bytes.
    pub fn hashes(size: u64) -> Result<Self, LayoutError> {
        if size > BYTES_MAX {
            return Err(LayoutError::TooLarge);
        }
        Self::new(HASHES_BYTES, HASHES_GROUPS_MIN, &[groups(size) * HASHES_BYTES])
    }

    /// `least`: the groups of the smallest piece.
    fn new(group_bytes: u64, least: u64, sizes: &[u64]) -> Result<Self, LayoutError> {
        let total = sizes.iter().try_fold(0u64, |sum, size| sum.checked_add(*size));
        let bytes = total.filter(|sum| *sum <= BYTES_MAX).ok_or(LayoutError::TooLarge)?;
        let groups = |bytes: u64| bytes.div_ceil(group_bytes).max(1);
        let piece_groups = groups(bytes).div_ceil(PIECES_AIM).next_power_of_two().max(least);
        let mut pieces = 0u32;
        let files = sizes.iter().map(|bytes| {
            let span = Span { first_piece: pieces, bytes: *bytes };
            // At most PIECES_AIM and one more for each file.
            pieces += groups(*bytes).div_ceil(piece_groups) as u32;
            span
        });
        let files = files.collect();
        Ok(Self { group_bytes, piece_groups, files, pieces, bytes })
    }

    pub fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of a whole piece; the last one of a file may have fewer.
    pub fn piece_bytes_max(&self) -> u64 {
        self.piece_groups * self.group_bytes
    }

    /// The groups of a piece. `piece` is below [`Layout::pieces`].
    pub fn part(&self, piece: u32) -> Part {
        let file = self.files.partition_point(|span| span.first_piece <= piece) - 1;
        let span = &self.files[file];
        let start = u64::from(piece - span.first_piece) * self.piece_groups;
        let end = (start + self.piece_groups).min(span.bytes.div_ceil(self.group_bytes).max(1));
        Part { file: file as u32, groups: start..end }
    }

    /// How many bytes a part has.
    pub fn part_bytes(&self, part: &Part) -> u64 {
        let bytes = self.files[part.file as usize].bytes;
        let at = |group: u64| (group * self.group_bytes).min(bytes);
        at(part.groups.end) - at(part.groups.start)
    }

    /// How many bytes a piece has.
    pub fn piece_bytes(&self, piece: u32) -> u64 {
        self.part_bytes(&self.part(piece))
    }

    /// The pieces that hold these groups of a file.
    pub fn pieces_of_groups(&self, part: &Part) -> Range<u32> {
        let Some(span) = self.files.get(part.file as usize) else { return 0..0 };
        let last = span.bytes.div_ceil(self.group_bytes).max(1).div_ceil(self.piece_groups);
        let start = (part.groups.start / self.piece_groups).min(last);
        let end = part.groups.end.div_ceil(self.piece_groups).clamp(start, last);
        span.first_piece + start as u32..span.first_piece + end as u32
    }

    /// The pieces that hold these bytes of a file. Bytes beyond its end are ignored.
    pub fn pieces_of(&self, file: u32, bytes: Range<u64>) -> Range<u32> {
        let groups = bytes.start / self.group_bytes..bytes.end.div_ceil(self.group_bytes);
        self.pieces_of_groups(&Part { file, groups })
    }
}
