//! Sizes that are only claimed. The maker of an id can prove any size for it, so a store of
//! the largest must cost no more than one of the smallest.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use blake3::hazmat::{self, HasherExt as _, Mode};
use proptest::prelude::*;
use trefoil_types::DiskFile;

use crate::{
    BYTES_MAX, Files, GROUP_BYTES, Part, PartialStore, Runs, groups,
    proof::{Verifier, What},
};

/// A file with holes; counts what was read and written. Memory is by what was written.
#[derive(Debug, Default)]
struct Sparse(Mutex<(BTreeMap<u64, Vec<u8>>, u64, u64)>);

impl Sparse {
    fn moved(&self) -> u64 {
        self.0.lock().expect("no holder panics").2
    }
}

impl DiskFile for Sparse {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("no holder panics").1)
    }

    /// Reads the bytes of one write.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = &mut *self.0.lock().expect("no holder panics");
        if offset + buf.len() as u64 > state.1 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.2 += buf.len() as u64;
        buf.fill(0);
        if let Some((at, bytes)) = state.0.range(..=offset).next_back()
            && let Some(bytes) = bytes.get((offset - at) as usize..)
        {
            let count = bytes.len().min(buf.len());
            buf[..count].copy_from_slice(&bytes[..count]);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let state = &mut *self.0.lock().expect("no holder panics");
        state.0.insert(offset, data.to_vec());
        state.1 = state.1.max(offset + data.len() as u64);
        state.2 += data.len() as u64;
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        panic!("a file of {len} bytes for what is only claimed");
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An id of which nobody has the bytes: its root, and the proof of its size.
fn tall(size: u64) -> ([u8; 32], Vec<u8>) {
    let last = groups(size) - 1;
    let group = vec![7; (size - last * GROUP_BYTES) as usize];
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(last * GROUP_BYTES).update(&group);
    let mut hash = hasher.finalize_non_root();
    let left = [9; 32];
    // The right edge of a tree of a power of two of groups.
    let levels = groups(size).ilog2();
    let mut pairs = Vec::new();
    for level in 0..levels {
        pairs.push([left, hash]);
        hash = match level + 1 == levels {
            true => *hazmat::merge_subtrees_root(&left, &hash, Mode::Hash).as_bytes(),
            false => hazmat::merge_subtrees_non_root(&left, &hash, Mode::Hash),
        };
    }
    pairs.reverse();
    let proof = pairs.concat().concat().into_iter().chain(group).collect();
    (hash, proof)
}

#[test]
fn a_proven_size_takes_no_memory_no_file_and_no_time() {
    for size in [1 << 34, 1 << 40, BYTES_MAX] {
        let (root, proof) = tall(size);
        let file: Vec<Arc<Sparse>> = (0..3).map(|_| Arc::default()).collect();
        let open = || {
            let (data, hashes, map) = (file[0].clone(), file[1].clone(), file[2].clone());
            let files = Files { data: Some(data), hashes, map: Some(map) };
            PartialStore::open([1; 32], [(root, size)], files)
        };
        let store = open().expect("of sane size");
        assert_eq!(file[0].len().expect("memory"), 0, "made for a claim");
        let last = Part { file: 0, groups: groups(size) - 1..groups(size) };
        let mut verifier = store.verifier(&last).expect("of sane size");
        verifier.feed(&proof, |step| store.write(0, step)).expect("it is proven");
        assert!(verifier.is_through() && store.has(&last));
        store.sync().expect("memory");
        let again = open().expect("of sane size");
        assert_eq!(again.here(), store.here(), "what was synced is here in the next life");
        assert!(again.has(&last) && !again.is_whole());
        let moved: u64 = file.iter().map(|file| file.moved()).sum();
        assert!(moved < 400_000, "{moved} bytes were read and written for {size}");
    }
}

#[test]
fn a_wrong_size_is_not_proven() {
    let (root, proof) = tall(1 << 50);
    for size in [1 << 49, (1 << 50) - 1, (1 << 50) - GROUP_BYTES] {
        let last = groups(size) - 1..groups(size);
        let mut verifier = Verifier::new(What::Groups, root, size, last).expect("of sane size");
        assert!(verifier.feed(&proof, |_| Ok(())).is_err(), "{size}");
    }
    assert!(Verifier::new(What::Groups, root, BYTES_MAX + 1, 0..1).is_err());
}

/// The map of an earlier binary: bits, however many.
#[test]
fn a_map_of_bits_of_a_large_file_is_read_in_steps() {
    let size = 1u64 << 34;
    let (root, _) = tall(size);
    let mut bits = vec![0u8; (groups(size) / 8) as usize];
    (bits[0], bits[70_000]) = (0b110, u8::MAX);
    let mut bytes = 3u64.to_le_bytes().to_vec();
    bytes.extend(&bits);
    let mut hasher = blake3::Hasher::new_keyed(&[1; 32]);
    hasher.update(&size.to_le_bytes()).update(&bytes);
    bytes.extend(hasher.finalize().as_bytes());
    let open = |bytes: &[u8]| {
        let map = super::file();
        map.write_at(bytes.len() as u64, bytes).expect("memory");
        let files = Files { data: Some(super::file()), hashes: super::file(), map: Some(map) };
        let store = PartialStore::open([1; 32], [(root, size)], files).expect("memory");
        store.here().iter().collect::<Vec<_>>()
    };
    assert_eq!(open(&bytes), [1..3, 560_000..560_008]);
    bytes[40_000] ^= 1;
    assert_eq!(open(&bytes), []);
}

proptest! {
    /// Runs are the set that bits are.
    #[test]
    fn runs_are_sets(changes in proptest::collection::vec((any::<bool>(), 0u64..300, 0u64..40), 0..60)) {
        let (mut runs, mut set) = (Runs::none(300), std::collections::BTreeSet::new());
        for (add, start, count) in changes {
            let range = start..(start + count).min(300);
            match add {
                true => { runs.insert(range.clone()); set.extend(range); }
                false => { runs.remove(range.clone()); set.retain(|at| !range.contains(at)); }
            }
            prop_assert_eq!(runs.iter().flatten().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
        }
        let apart: Vec<_> = runs.iter().collect();
        prop_assert!(apart.windows(2).all(|pair| pair[0].end < pair[1].start));
        for start in 0..300 {
            let prefix = (start..300).take_while(|at| set.contains(at)).count() as u64;
            prop_assert_eq!(runs.prefix(start..300), prefix);
        }
        prop_assert_eq!(runs.is_full(), set.len() == 300);
        prop_assert_eq!(Runs::decode(300, &runs.encode()), Some(runs.clone()));
        let mut bits = Runs::none(300);
        prop_assert!(bits.insert_bits(0, &runs.to_bits()));
        prop_assert_eq!(bits, runs);
    }

    #[test]
    fn runs_that_are_no_runs_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Some(runs) = Runs::decode(1 << 36, &bytes) {
            prop_assert_eq!(runs.encode(), bytes);
        }
    }
}
