//! A reader of a store gets the bytes of the id, or an error.

use std::{ops::Range, sync::Arc};

use trefoil_types::DiskFile;

use super::{file, sample};
use crate::{
    Files, GROUP_BYTES, Part, PartialStore, groups,
    proof::{ProofError, What, hash, hashes_bytes},
};

const SIZE: u64 = 9 * GROUP_BYTES + 100;

struct Kept {
    store: PartialStore,
    data: Arc<dyn DiskFile>,
    hashes: Arc<dyn DiskFile>,
}

/// Two files, of which the second is looked at.
fn kept() -> Kept {
    let (data, hashes, map) = (file(), file(), file());
    data.write_at(0, &sample(5)).expect("memory");
    data.write_at(5, &sample(SIZE)).expect("memory");
    let first = hash(&sample(5)[..], 5, &*hashes, 0).expect("memory");
    let second = hash(&sample(SIZE)[..], SIZE, &*hashes, hashes_bytes(5)).expect("memory");
    let contents = [(first, 5), (second, SIZE)];
    let files = Files { data: Some(data.clone()), hashes: hashes.clone(), map: Some(map) };
    let store = PartialStore::open([1; 32], contents, files).expect("memory");
    store.all_is_here();
    Kept { store, data, hashes }
}

fn read(store: &PartialStore, bytes: Range<u64>, step: usize) -> (Vec<u8>, Result<(), ProofError>) {
    let mut out = Vec::new();
    let mut reader = match store.reader(1, bytes) {
        Ok(reader) => reader,
        Err(error) => return (out, Err(error)),
    };
    loop {
        match reader.next(step) {
            Ok([]) => return (out, Ok(())),
            Ok(bytes) => out.extend(bytes),
            Err(error) => return (out, Err(error)),
        }
    }
}

#[test]
fn any_range_in_any_steps_is_read() {
    let (kept, all) = (kept(), sample(SIZE));
    let ends = [0, 1, GROUP_BYTES - 1, GROUP_BYTES, GROUP_BYTES + 1, 5 * GROUP_BYTES, SIZE];
    for start in ends {
        for end in ends.into_iter().chain([SIZE + 1, u64::MAX]).filter(|end| *end >= start) {
            for step in [1, 16_384, 100_000, usize::MAX] {
                let (bytes, read) = read(&kept.store, start..end, step);
                read.unwrap_or_else(|error| panic!("{start}..{end}: {error}"));
                assert!(bytes == all[start as usize..end.min(SIZE) as usize], "{start}..{end}");
            }
        }
    }
}

#[test]
fn an_empty_file_is_read_as_such() {
    let hashes = file();
    let root = hash(&[][..], 0, &*hashes, 0).expect("memory");
    let files = Files { data: Some(file()), hashes, map: None };
    let store = PartialStore::open([1; 32], [(root, 0)], files).expect("memory");
    let mut reader = store.reader(0, 0..10).expect("it is here");
    assert_eq!(reader.next(10).expect("it is as it was"), &[0u8; 0]);
}

/// Every byte of a file and of its hashes: what leaves is right, and ends before the
/// damage.
#[test]
fn no_changed_byte_ever_leaves() {
    let (kept, all) = (kept(), sample(SIZE));
    let hashes = hashes_bytes(SIZE);
    let of_data = (0..SIZE).step_by(999).map(|at| (&kept.data, 5 + at, What::Groups));
    let of_hashes = (0..hashes).map(|at| (&kept.hashes, hashes_bytes(5) + at, What::Hashes));
    for (file, at, what) in of_data.chain(of_hashes) {
        let mut byte = [0];
        file.read_at(at, &mut byte).expect("memory");
        file.write_at(at, &[byte[0] ^ 0x40]).expect("memory");
        let (bytes, read) = read(&kept.store, 0..SIZE, 30_000);
        let Err(ProofError::Damaged { group, of }) = read else {
            panic!("{what:?} {at}: {read:?}");
        };
        assert_eq!(of, what, "{at}");
        assert!(bytes.len() as u64 <= group * GROUP_BYTES && all.starts_with(&bytes), "{at}");
        let damaged = kept.store.damaged(1, 0..SIZE).expect("memory");
        assert_eq!(damaged.first().map(|run| run.start), Some(group), "{what:?} {at}");
        if what == What::Groups {
            assert_eq!(damaged, vec![(at - 5) / GROUP_BYTES..(at - 5) / GROUP_BYTES + 1]);
        }
        file.write_at(at, &byte).expect("memory");
    }
    assert_eq!(kept.store.damaged(1, 0..SIZE).expect("memory"), []);
}

#[test]
fn what_was_cut_off_is_damaged_and_what_came_behind_is_not_read() {
    let kept = kept();
    kept.data.set_len(5 + SIZE + 1_000).expect("memory");
    assert!(read(&kept.store, 0..u64::MAX, 1).0 == sample(SIZE), "it grew");
    kept.data.set_len(5 + 4 * GROUP_BYTES + 1).expect("memory");
    let (bytes, result) = read(&kept.store, 0..SIZE, 1);
    assert!(matches!(result, Err(ProofError::Damaged { group: 4, .. })), "{result:?}");
    assert!(bytes == sample(SIZE)[..4 * GROUP_BYTES as usize]);
    assert_eq!(kept.store.damaged(1, 0..SIZE).expect("memory"), vec![4..10]);
}

#[test]
fn what_is_not_here_is_not_damaged_and_is_told_apart() {
    let kept = kept();
    kept.store.lose(&Part { file: 1, groups: 3..5 });
    assert!(read(&kept.store, 0..3 * GROUP_BYTES, 1).1.is_ok());
    let all = read(&kept.store, 0..SIZE, 1).1;
    assert!(matches!(all, Err(ProofError::NotHere { group: 3 })), "{all:?}");
    kept.data.write_at(5 + 4 * GROUP_BYTES, &[0; 9]).expect("memory");
    kept.data.write_at(5 + 6 * GROUP_BYTES, &[0; 9]).expect("memory");
    assert_eq!(kept.store.damaged(1, 0..SIZE).expect("memory"), vec![6..7]);
    kept.store.sync().expect("memory");
    assert!(!kept.store.is_whole() && groups(SIZE) == 10);
}
