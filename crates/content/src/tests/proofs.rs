//! Parts with their proofs: whole, damaged, cut short, and of a lying size.

use proptest::prelude::*;

use super::{file, sample};
use crate::{
    GROUP_BYTES, Part, groups,
    proof::{Hashes, ProofError, Verified, Verifier, encode, hash},
};

/// The proof of groups of a sample, and its root.
fn proof(size: u64, part: &Part) -> ([u8; 32], Vec<u8>) {
    let (data, hashes) = (file(), file());
    let bytes = sample(size);
    data.write_at(0, &bytes).expect("memory does not fail");
    let root = hash(&bytes[..], size, &*hashes).expect("it was read");
    assert_eq!(root, *blake3::hash(&bytes).as_bytes());
    let mut out = Vec::new();
    encode(&*data, Hashes { root, size, file: &*hashes }, part, &mut out).expect("all is here");
    (root, out)
}

/// A group and its bytes.
type Came = (u64, Vec<u8>);

/// The groups that were verified before the end or the error.
fn verify(
    root: [u8; 32],
    size: u64,
    part: &Part,
    stream: &[u8],
) -> (Vec<Came>, Result<(), ProofError>) {
    let mut came = Vec::new();
    let verifier = Verifier::new(root, size, part, stream).expect("of sane size");
    let end = verifier.run(|step| {
        if let Verified::Group { group, bytes } = step {
            came.push((group, bytes));
        }
        Ok(())
    });
    (came, end)
}

fn part(groups: std::ops::Range<u64>) -> Part {
    Part { file: 0, groups }
}

#[test]
fn a_part_of_any_size_verifies() {
    for size in [0, 1, GROUP_BYTES - 1, GROUP_BYTES, GROUP_BYTES + 1, 7 * GROUP_BYTES, 130_000] {
        for start in 0..groups(size) {
            for end in start + 1..=groups(size) {
                let asked = part(start..end);
                let (root, stream) = proof(size, &asked);
                let (came, result) = verify(root, size, &asked, &stream);
                result.expect("an honest stream");
                let bytes: Vec<u8> = came.into_iter().flat_map(|(_, bytes)| bytes).collect();
                let to = (end * GROUP_BYTES).min(size) as usize;
                assert_eq!(bytes, sample(size)[(start * GROUP_BYTES) as usize..to]);
            }
        }
    }
}

#[test]
fn a_bad_byte_is_named_by_its_group_and_what_came_before_is_kept() {
    let asked = part(0..8);
    let (root, mut stream) = proof(8 * GROUP_BYTES, &asked);
    // The last byte of the stream is of group 7.
    *stream.last_mut().expect("not empty") ^= 1;
    let (came, result) = verify(root, 8 * GROUP_BYTES, &asked, &stream);
    assert_eq!(came.len(), 7);
    assert!(matches!(result, Err(ProofError::Corrupt { group: 7 })), "{result:?}");
}

#[test]
fn a_stream_that_ends_early_is_short_not_corrupt() {
    let asked = part(2..4);
    let (root, stream) = proof(8 * GROUP_BYTES, &asked);
    let (came, result) = verify(root, 8 * GROUP_BYTES, &asked, &stream[..stream.len() - 1]);
    assert_eq!(came.len(), 1);
    assert!(matches!(result, Err(ProofError::Short { group: 3 })), "{result:?}");
}

/// Each size that is not the true one must be found out by its last group, however
/// the liar builds his proof from the true bytes.
#[test]
fn a_size_that_lies_is_refused_by_its_last_group() {
    let size = 5 * GROUP_BYTES + 100;
    let last = part(5..6);
    let (root, stream) = proof(size, &last);
    for lie in [size - 1, size + 1, 5 * GROUP_BYTES + 1, 6 * GROUP_BYTES] {
        let mut stream = stream.clone();
        stream.resize(stream.len() + 20_000, 0);
        let (came, result) = verify(root, lie, &last, &stream);
        assert!(came.is_empty() && matches!(result, Err(ProofError::Corrupt { .. })), "{lie}");
    }
    for lie in [0, 1, GROUP_BYTES, 3 * GROUP_BYTES, 9 * GROUP_BYTES, 1 << 40] {
        let asked = part(groups(lie) - 1..groups(lie));
        let (came, result) = verify(root, lie, &asked, &stream);
        assert!(came.is_empty() && result.is_err(), "{lie}");
    }
}

#[test]
fn what_rotted_on_disk_is_not_served() {
    let (data, hashes) = (file(), file());
    let bytes = sample(4 * GROUP_BYTES);
    data.write_at(0, &bytes).expect("memory does not fail");
    let root = hash(&bytes[..], 4 * GROUP_BYTES, &*hashes).expect("it was read");
    data.write_at(2 * GROUP_BYTES, &[!bytes[2 * GROUP_BYTES as usize]]).expect("memory");
    let mut out = Vec::new();
    let hashes = Hashes { root, size: 4 * GROUP_BYTES, file: &*hashes };
    let result = encode(&*data, hashes, &part(0..4), &mut out);
    assert!(matches!(result, Err(ProofError::NotHere { group: 2 })), "{result:?}");
    assert!((out.len() as u64) < 3 * GROUP_BYTES, "the bad group was not sent");
}

proptest! {
    /// Any stream, for any claim: verified bytes are the true ones or none.
    #[test]
    fn nothing_false_is_ever_verified(
        flip in 0usize..200_000,
        claim in 0u64..1 << 50,
        start in 0u64..6,
    ) {
        let (size, asked) = (100_000, part(start..7));
        let (root, mut stream) = proof(size, &asked);
        let at = flip % stream.len();
        stream[at] ^= 0x10;
        let (came, result) = verify(root, size, &asked, &stream);
        prop_assert!(result.is_err());
        for (group, bytes) in came {
            let from = (group * GROUP_BYTES) as usize;
            prop_assert_eq!(&bytes[..], &sample(size)[from..from + bytes.len()]);
        }
        let last = part(groups(claim) - 1..groups(claim));
        let (came, result) = verify(root, claim, &last, &stream);
        prop_assert!(came.is_empty() && result.is_err());
    }
}
