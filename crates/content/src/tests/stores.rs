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
    FileDigest, Files, GROUP_BYTES, Layout, Part, PartialStore, groups,
    proof::{ProofError, Verified, hash, hashes_bytes},
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

/// A resource that is whole, to fetch from.
fn origin(contents: &[u64]) -> (PartialStore, Vec<FileDigest>) {
    let (data, hashes) = (file(), file());
    let (mut data_at, mut hashes_at) = (0, 0);
    let mut roots = Vec::new();
    for size in contents {
        let bytes = sample(*size);
        data.write_at(data_at, &bytes).expect("memory does not fail");
        roots.push((hash(&bytes[..], *size, &*hashes, hashes_at).expect("it was read"), *size));
        data_at += size;
        hashes_at += hashes_bytes(*size);
    }
    let files = Files { data: Some(data), hashes, map: None };
    let store = PartialStore::open([1; 32], roots.clone(), files).expect("of sane size");
    (store, roots)
}

/// Fetches a part, and syncs after some groups by chance.
fn fetch(from: &PartialStore, to: &PartialStore, part: &Part, rng: &mut ChaCha8Rng) {
    let stream = serve(from, part).expect("all is here");
    let mut verifier = to.verifier(part).expect("of sane size");
    let took = verifier.feed(&stream, |step| {
        to.write(part.file, step)?;
        if rng.random_range(0..8) == 0 { to.sync() } else { Ok(()) }
    });
    took.expect("an honest stream");
    assert!(verifier.is_through());
}

fn serve(store: &PartialStore, part: &Part) -> Result<Vec<u8>, ProofError> {
    let (mut out, mut encoder) = (Vec::new(), store.encoder(part)?);
    store.encode(part.file, &mut encoder, &mut out, usize::MAX)?;
    Ok(out)
}

#[test]
fn a_hundred_crashes_lose_no_group_that_counted_and_count_no_lost_one() {
    let (origin, contents) = origin(&[SIZE]);
    for seed in 0..20 {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let disk: Vec<Arc<Forgetful>> = (0..3).map(|_| Arc::default()).collect();
        let open = || {
            let (data, hashes, map) = (disk[0].clone(), disk[1].clone(), disk[2].clone());
            let files = Files { data: Some(data), hashes, map: Some(map) };
            PartialStore::open([1; 32], contents.clone(), files).expect("memory")
        };
        let mut counted = crate::Runs::none(groups(SIZE));
        for _ in 0..5 {
            let start = rng.random_range(0..groups(SIZE));
            let end = rng.random_range(start..groups(SIZE)) + 1;
            let store = open();
            assert!(
                counted.iter().all(|run| store.here().has_all(run)),
                "seed {seed}: lost groups"
            );
            fetch(&origin, &store, &Part { file: 0, groups: start..end }, rng);
            counted = store.synced();
            disk.iter().for_each(|file| file.crash(rng));
            let store = open();
            // All that counts can be served with its proof.
            for run in store.here().iter() {
                let served = serve(&store, &Part { file: 0, groups: run });
                served.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            }
        }
    }
}

/// The power fails while a map is written, at any byte of it.
#[test]
fn a_torn_map_loses_nothing_of_the_one_before() {
    let (origin, contents) = origin(&[SIZE]);
    let files = Files { data: Some(file()), hashes: file(), map: Some(file()) };
    let store = PartialStore::open([1; 32], contents.clone(), files.clone()).expect("memory");
    let map = files.map.clone().expect("it has one");
    // The map after so many groups came and were synced.
    let synced_with = |groups| {
        let part = Part { file: 0, groups };
        let stream = serve(&origin, &part).expect("all is here");
        let mut verifier = store.verifier(&part).expect("of sane size");
        verifier.feed(&stream, |step| store.write(0, step)).expect("an honest stream");
        store.sync().expect("memory does not fail");
        let mut bytes = vec![0; map.len().expect("memory") as usize];
        map.read_at(0, &mut bytes).expect("memory");
        bytes
    };
    synced_with(0..8);
    let before = synced_with(8..16);
    let counted = store.synced();
    let after = synced_with(16..24);
    for cut in 0..after.len() {
        let torn = file();
        torn.write_at(0, &[&after[..cut], &before[cut..]].concat()).expect("memory");
        let files = Files { map: Some(torn), ..files.clone() };
        let again = PartialStore::open([1; 32], contents.clone(), files).expect("memory");
        assert!(counted.iter().all(|run| again.here().has_all(run)), "{cut}");
    }
}

#[test]
fn what_is_written_is_served_and_what_is_absent_is_not() {
    let (origin, contents) = origin(&[SIZE]);
    let files = Files { data: Some(file()), hashes: file(), map: Some(file()) };
    let store = PartialStore::open([1; 32], contents.clone(), files.clone()).expect("memory");
    let asked = Part { file: 0, groups: 4..8 };
    assert!(matches!(serve(&store, &asked), Err(ProofError::NotHere { group: 4 })));
    let mut verifier = store.verifier(&asked).expect("of sane size");
    let stream = serve(&origin, &asked).expect("all is here");
    verifier.feed(&stream, |step| store.write(0, step)).expect("an honest stream");
    assert_eq!(serve(&store, &asked).expect("it is here now"), stream);
    assert!(store.synced().is_empty());
    store.sync().expect("memory does not fail");
    assert_eq!(store.synced(), store.here());
    let layout = Layout::file(SIZE).expect("of sane size");
    assert_eq!(store.pieces(&layout).iter().collect::<Vec<_>>(), [1]);
    // Another resource does not believe this one's map.
    let other = PartialStore::open([9; 32], contents, files).expect("memory");
    assert!(other.here().is_empty());
}

#[test]
fn the_files_of_a_directory_lie_one_behind_the_other() {
    let sizes = [5, 0, 3 * GROUP_BYTES + 1, GROUP_BYTES];
    let (origin, contents) = origin(&sizes);
    let layout = Layout::files(&sizes).expect("of sane size");
    let files = Files { data: Some(file()), hashes: file(), map: Some(file()) };
    let store = PartialStore::open([1; 32], contents.clone(), files.clone()).expect("memory");
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    for piece in [3, 0, 1, 2] {
        assert!(!store.is_whole() && !store.pieces(&layout).has_all(0..4));
        fetch(&origin, &store, &layout.part(piece), rng);
        let piece = u64::from(piece);
        assert!(store.pieces(&layout).has_all(piece..piece + 1));
    }
    let pieces = store.pieces(&layout);
    assert!(pieces.has_all(0..4) && pieces.has_all(4..4));
    assert!(store.is_whole());
    store.sync().expect("memory does not fail");
    let store = PartialStore::open([1; 32], contents, files).expect("memory");
    assert!(store.is_whole() && store.pieces(&layout).is_full());
    for (file, size) in sizes.iter().enumerate() {
        let mut reader = store.reader(file as u32, 0..u64::MAX).expect("it is here");
        let mut bytes = Vec::<u8>::new();
        while let now @ [_, ..] = reader.next(20_000).expect("it is as it was") {
            bytes.extend(now);
        }
        assert_eq!(bytes, sample(*size));
    }
}

/// A store of the hashes of a file.
fn hashes_alone(
    content: FileDigest,
    hashes: Arc<dyn DiskFile>,
    map: Arc<dyn DiskFile>,
) -> PartialStore {
    let files = Files { data: None, hashes, map: Some(map) };
    PartialStore::open([2; 32], [content], files).expect("memory")
}

/// As with an HTTP server: first the hashes from a peer, then bare bytes.
#[test]
fn bare_bytes_are_taken_where_their_hashes_are_and_right() {
    let bytes = sample(SIZE);
    let hashes = file();
    let root = hash(&bytes[..], SIZE, &*hashes, 0).expect("memory");
    let all = hashes_alone((root, SIZE), hashes, file());
    all.all_is_here();
    let files = Files { data: Some(file()), hashes: file(), map: Some(file()) };
    let store = PartialStore::open([1; 32], [(root, SIZE)], files.clone()).expect("memory");
    let asked = Part { file: 0, groups: 2..groups(SIZE) };
    let bare = &bytes[2 * GROUP_BYTES as usize..];
    let mut early = store.verifier(&asked).expect("of sane size");
    let result = store.write_bare(0, &mut early, bare);
    assert!(matches!(result, Err(ProofError::NotHere { .. })), "{result:?}");

    let map = file();
    let open = || hashes_alone((root, SIZE), files.hashes.clone(), map.clone());
    let some = open();
    let layout = Layout::hashes(SIZE).expect("of sane size");
    for piece in 0..layout.pieces() {
        let part = layout.part(piece);
        let stream = serve(&all, &part).expect("all hashes are here");
        assert!(stream.len() as u64 <= hashes_bytes(SIZE), "hashes without bytes");
        let mut verifier = some.verifier(&part).expect("of sane size");
        let mut groups = 0;
        let step = |step: Verified<'_>| {
            groups += u64::from(matches!(step, Verified::Group { .. }));
            some.write(0, step)
        };
        verifier.feed(&stream, step).expect("an honest stream");
        assert!(verifier.is_through() && groups == part.groups.end - part.groups.start);
    }
    some.sync().expect("memory does not fail");
    assert!(open().is_whole(), "what was synced is here in the next life");

    // A hash that rotted is missing: it is no fault of whoever gives the bytes.
    let mut right = [0];
    files.hashes.read_at(0, &mut right).expect("memory");
    files.hashes.write_at(0, &[right[0] ^ 1]).expect("memory");
    let mut verifier = store.verifier(&asked).expect("of sane size");
    let result = store.write_bare(0, &mut verifier, bare);
    assert!(matches!(result, Err(ProofError::NotHere { .. })), "{result:?}");
    files.hashes.write_at(0, &right).expect("memory");

    let mut verifier = store.verifier(&asked).expect("of sane size");
    let (first, rest) = bare.split_at(3 * GROUP_BYTES as usize);
    assert_eq!(store.write_bare(0, &mut verifier, first).expect("right bytes"), 3);
    let mut wrong = rest.to_vec();
    wrong[GROUP_BYTES as usize] ^= 1;
    let result = store.write_bare(0, &mut verifier.clone(), &wrong);
    assert!(matches!(result, Err(ProofError::Corrupt { group: 6 })), "{result:?}");
    assert_eq!(store.prefix(&asked), 4, "what came before the wrong group stays");
    let count = store.write_bare(0, &mut verifier, rest).expect("right bytes");
    assert_eq!(count, groups(SIZE) - 5);
    assert!(verifier.is_through());
    let more = store.write_bare(0, &mut verifier, &[0]);
    assert!(matches!(more, Err(ProofError::Excess)));
    // And are served on with their proof.
    let served = serve(&store, &asked).expect("they are here");
    assert!(served.len() > bare.len());
}

/// One group has no hashes but its root.
#[test]
fn the_hashes_of_little_are_here_at_once() {
    for size in [0, 1, GROUP_BYTES] {
        let root = hash(&sample(size)[..], size, &*file(), 0).expect("memory");
        let store = hashes_alone((root, size), file(), file());
        let part = Layout::hashes(size).expect("of sane size").part(0);
        let mut verifier = store.verifier(&part).expect("of sane size");
        verifier.feed(&[], |step| store.write(0, step)).expect("nothing is wrong with nothing");
        assert!(verifier.is_through() && store.is_whole());
        assert!(serve(&store, &part).expect("it is here").is_empty());
    }
}
