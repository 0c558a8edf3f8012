//! Parts with their proofs: whole, damaged, cut short, and of a lying size.

use std::{io, ops::Range};

use bao_tree::{
    BaoTree, BlockSize, ChunkNum, ChunkRanges,
    io::{
        outboard::PreOrderOutboard,
        sync::{CreateOutboard as _, encode_ranges_validated},
    },
};
use proptest::prelude::*;

use super::{file, sample};
use crate::{
    GROUP_BYTES, groups,
    proof::{GroupSource, ProofError, Verified, Verifier, What, hash},
};

/// Bytes that the sample and its hashes begin at, as among other files.
const AT: u64 = 77;

/// The proof of groups of some bytes, and their root.
fn prove(bytes: &[u8], asked: Range<u64>) -> ([u8; 32], Vec<u8>) {
    let (data, hashes) = (file(), file());
    let size = bytes.len() as u64;
    data.write_at(AT, bytes).expect("memory does not fail");
    let root = hash(bytes, size, &*hashes, AT).expect("it was read");
    let source = GroupSource { data: &*data, data_at: AT, hashes: &*hashes, hashes_at: AT };
    let mut out = Vec::new();
    let mut encoder = Verifier::new(What::Groups, root, size, asked).expect("of sane size");
    // In steps, as it is sent.
    while !encoder.is_through() {
        let enough = out.len() + 20_000;
        encoder.fill(&source, &mut out, enough).expect("all is here");
        if size == 0 {
            break;
        }
    }
    (root, out)
}

fn proof(size: u64, asked: Range<u64>) -> ([u8; 32], Vec<u8>) {
    prove(&sample(size), asked)
}

/// A group and its bytes.
type Came = (u64, Vec<u8>);

/// The groups that were verified before the end or the error.
fn verify(
    root: [u8; 32],
    size: u64,
    asked: Range<u64>,
    stream: &[u8],
) -> (Vec<Came>, Result<(), ProofError>) {
    let mut came = Vec::new();
    let mut verifier = Verifier::new(What::Groups, root, size, asked).expect("of sane size");
    let end = verifier.feed(stream, |step| {
        if let Verified::Group { group, bytes } = step {
            came.push((group, bytes.to_vec()));
        }
        Ok(())
    });
    let end = match end {
        Ok(()) if !verifier.is_through() => Err(ProofError::Short { group: u64::MAX }),
        end => end,
    };
    (came, end)
}

const SIZES: [u64; 9] = [
    0,
    1,
    GROUP_BYTES - 1,
    GROUP_BYTES,
    GROUP_BYTES + 1,
    33_000,
    7 * GROUP_BYTES,
    130_000,
    150_000,
];

#[test]
fn a_part_of_any_size_verifies() {
    for size in SIZES {
        for start in 0..groups(size) {
            for end in start + 1..=groups(size) {
                let (root, stream) = proof(size, start..end);
                let (came, result) = verify(root, size, start..end, &stream);
                result.unwrap_or_else(|error| panic!("{size}, {start}..{end}: {error}"));
                let bytes: Vec<u8> = came.into_iter().flat_map(|(_, bytes)| bytes).collect();
                let to = (end * GROUP_BYTES).min(size) as usize;
                assert_eq!(bytes, sample(size)[(start * GROUP_BYTES) as usize..to]);
            }
        }
    }
}

/// The oracle: bao-tree's own encoding of the same part.
#[test]
fn a_part_travels_as_bao_tree_encodes_it() {
    for size in SIZES {
        let bytes = sample(size);
        let group = BlockSize::from_chunk_log(4);
        let outboard =
            PreOrderOutboard::<Vec<u8>>::create(io::Cursor::new(&bytes), group).expect("memory");
        assert_eq!(outboard.tree, BaoTree::new(size, group));
        for start in 0..groups(size) {
            for end in start + 1..=groups(size) {
                let chunks = ChunkRanges::from(ChunkNum(start * 16)..ChunkNum(end * 16));
                let mut expected = Vec::new();
                encode_ranges_validated(&bytes[..], &outboard, &chunks, &mut expected)
                    .expect("all is here");
                let (root, stream) = proof(size, start..end);
                assert_eq!(root, *blake3::hash(&bytes).as_bytes());
                assert!(stream == expected, "{size}, {start}..{end}");
            }
        }
    }
}

#[test]
fn a_bad_byte_is_named_by_its_group_and_what_came_before_is_kept() {
    let (root, mut stream) = proof(8 * GROUP_BYTES, 0..8);
    // The last byte of the stream is of group 7.
    *stream.last_mut().expect("not empty") ^= 1;
    let (came, result) = verify(root, 8 * GROUP_BYTES, 0..8, &stream);
    assert_eq!(came.len(), 7);
    assert!(matches!(result, Err(ProofError::Corrupt { group: 7 })), "{result:?}");
}

#[test]
fn a_stream_that_ends_early_or_late_is_told_from_a_corrupt_one() {
    let (root, mut stream) = proof(8 * GROUP_BYTES, 2..4);
    let (came, result) = verify(root, 8 * GROUP_BYTES, 2..4, &stream[..stream.len() - 1]);
    assert_eq!(came.len(), 1);
    assert!(matches!(result, Err(ProofError::Short { group: 3 })), "{result:?}");
    stream.push(0);
    let (came, result) = verify(root, 8 * GROUP_BYTES, 2..4, &stream);
    assert_eq!(came.len(), 2);
    assert!(matches!(result, Err(ProofError::Excess)), "{result:?}");
}

/// Each size that is not the true one must be found out by its last group, however
/// the liar builds his proof from the true bytes.
#[test]
fn a_size_that_lies_is_refused_by_its_last_group() {
    let size = 5 * GROUP_BYTES + 100;
    let (root, stream) = proof(size, 5..6);
    for lie in [size - 1, size + 1, 5 * GROUP_BYTES + 1, 6 * GROUP_BYTES] {
        let mut stream = stream.clone();
        stream.resize(stream.len() + 20_000, 0);
        let (came, result) = verify(root, lie, 5..6, &stream);
        assert!(came.is_empty() && matches!(result, Err(ProofError::Corrupt { .. })), "{lie}");
    }
    for lie in [0, 1, GROUP_BYTES, 3 * GROUP_BYTES, 9 * GROUP_BYTES, 1 << 40] {
        let (came, result) = verify(root, lie, groups(lie) - 1..groups(lie), &stream);
        assert!(came.is_empty() && result.is_err(), "{lie}");
    }
}

#[test]
fn what_rotted_on_disk_is_not_served() {
    let (data, hashes) = (file(), file());
    let (size, bytes) = (4 * GROUP_BYTES, sample(4 * GROUP_BYTES));
    data.write_at(0, &bytes).expect("memory does not fail");
    let root = hash(&bytes[..], size, &*hashes, 0).expect("it was read");
    data.write_at(2 * GROUP_BYTES, &[!bytes[2 * GROUP_BYTES as usize]]).expect("memory");
    let source = GroupSource { data: &*data, data_at: 0, hashes: &*hashes, hashes_at: 0 };
    let mut out = Vec::new();
    let mut encoder = Verifier::new(What::Groups, root, size, 0..4).expect("of sane size");
    let result = encoder.fill(&source, &mut out, usize::MAX);
    assert!(
        matches!(result, Err(ProofError::Damaged { group: 2, of: What::Groups })),
        "{result:?}"
    );
    assert!((out.len() as u64) < 3 * GROUP_BYTES, "the bad group was not sent");
    // Nor what was cut off.
    data.set_len(GROUP_BYTES).expect("memory does not fail");
    let mut encoder = Verifier::new(What::Groups, root, size, 1..2).expect("of sane size");
    let result = encoder.fill(&source, &mut out, usize::MAX);
    assert!(
        matches!(result, Err(ProofError::Damaged { group: 1, of: What::Groups })),
        "{result:?}"
    );
}

proptest! {
    /// Any stream, for any claim: verified bytes are the true ones or none.
    #[test]
    fn nothing_false_is_ever_verified(
        flip in 0usize..200_000,
        claim in 0u64..1 << 50,
        start in 0u64..6,
    ) {
        let size = 100_000;
        let (root, mut stream) = proof(size, start..7);
        let at = flip % stream.len();
        stream[at] ^= 0x10;
        let (came, result) = verify(root, size, start..7, &stream);
        prop_assert!(result.is_err());
        for (group, bytes) in came {
            let from = (group * GROUP_BYTES) as usize;
            prop_assert_eq!(&bytes[..], &sample(size)[from..from + bytes.len()]);
        }
        let (came, result) = verify(root, claim, groups(claim) - 1..groups(claim), &stream);
        prop_assert!(came.is_empty() && result.is_err());
    }
}
