//! Stores that are here in part: what a crash leaves, and what is served.

use std::{
    io,
    sync::{Arc, Mutex},
};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use trefoil_types::DiskFile;

use super::{file, sample};
use crate::{
    Files, GROUP_BYTES, Layout, Part, PartialStore, groups,
    proof::{Hashes, ProofError, Verified, Verifier, encode, hash},
};

/// A file that forgets at a crash any part of what was not synced.
#[derive(Debug, Default)]
struct Forgetful(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Offset and bytes, since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
    syncs: u32,
}

impl Forgetful {
    fn crash(&self, rng: &mut ChaCha8Rng) {
        let state = &mut *self.0.lock().expect("no holder panics");
        for (at, bytes) in std::mem::take(&mut state.pending) {
            let kept = match rng.random_range(0..3) {
                0 => 0,
                1 => bytes.len(),
                _ => rng.random_range(0..=bytes.len()),
            };
            put(&mut state.durable, at, &bytes[..kept]);
        }
        state.now.clone_from(&state.durable);
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

impl DiskFile for Forgetful {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("no holder panics").now.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().expect("no holder panics");
        let found = state.now.get(offset as usize..offset as usize + buf.len());
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let state = &mut *self.0.lock().expect("no holder panics");
        put(&mut state.now, offset as usize, data);
        state.pending.push((offset as usize, data.to_vec()));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *self.0.lock().expect("no holder panics");
        state.now.resize(len as usize, 0);
        state.durable.resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.0.lock().expect("no holder panics");
        for (at, bytes) in std::mem::take(&mut state.pending) {
            put(&mut state.durable, at, &bytes);
        }
        state.syncs += 1;
        Ok(())
    }
}

const SIZE: u64 = 40 * GROUP_BYTES + 5;

/// Verified steps of a part of the sample.
fn steps(asked: &Part) -> ([u8; 32], Vec<Verified>) {
    let (data, hashes) = (file(), file());
    let bytes = sample(SIZE);
    data.write_at(0, &bytes).expect("memory does not fail");
    let root = hash(&bytes[..], SIZE, &*hashes).expect("it was read");
    let mut stream = Vec::new();
    let all = Hashes { root, size: SIZE, file: &*hashes };
    encode(&*data, all, asked, &mut stream).expect("all is here");
    let mut steps = Vec::new();
    let verifier = Verifier::new(root, SIZE, asked, &stream[..]).expect("of sane size");
    let took = verifier.run(|step| {
        steps.push(step);
        Ok(())
    });
    took.expect("an honest stream");
    (root, steps)
}

#[test]
fn a_hundred_crashes_lose_no_group_that_counted_and_count_no_lost_one() {
    for seed in 0..20 {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let disk: Vec<Arc<Forgetful>> = (0..3).map(|_| Arc::default()).collect();
        let files =
            || Files { data: disk[0].clone(), hashes: disk[1].clone(), map: disk[2].clone() };
        let mut counted = crate::Bits::none(groups(SIZE));
        for _ in 0..5 {
            let start = rng.random_range(0..groups(SIZE));
            let end = rng.random_range(start..groups(SIZE)) + 1;
            let (root, steps) = steps(&Part { file: 0, groups: start..end });
            let mut store = PartialStore::open(root, SIZE, files()).expect("memory");
            assert!(counted.minus([store.here()]).next().is_none(), "seed {seed}: lost groups");
            for step in steps {
                store.write(&step).expect("memory does not fail");
                if rng.random_range(0..8) == 0 {
                    store.sync().expect("memory does not fail");
                }
            }
            counted = store.here().clone();
            disk.iter().for_each(|file| file.crash(rng));
            let store = PartialStore::open(root, SIZE, files()).expect("memory");
            // All that counts can be served with its proof.
            for run in store.here().runs() {
                let served = store.encode(&Part { file: 0, groups: run }, io::sink());
                served.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            }
        }
    }
}

#[test]
fn nothing_counts_before_the_sync_and_nothing_absent_is_served() {
    let asked = Part { file: 0, groups: 4..8 };
    let (root, steps) = steps(&asked);
    let files = Files { data: file(), hashes: file(), map: file() };
    let mut store = PartialStore::open(root, SIZE, files.clone()).expect("memory");
    steps.iter().for_each(|step| store.write(step).expect("memory does not fail"));
    assert!(store.here().is_empty());
    let refused = store.encode(&asked, io::sink());
    assert!(matches!(refused, Err(ProofError::NotHere { group: 4 })));
    store.sync().expect("memory does not fail");
    store.encode(&asked, io::sink()).expect("it counts now");
    assert!(!store.size_is_proven());
    let layout = Layout::file(SIZE).expect("of sane size");
    assert_eq!(store.pieces(&layout).iter().collect::<Vec<_>>(), [1]);
    // Another resource does not believe this one's map.
    let other = PartialStore::open([9; 32], SIZE, files).expect("memory");
    assert!(other.here().is_empty());
}
