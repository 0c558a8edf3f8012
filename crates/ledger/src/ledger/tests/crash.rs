//! A crash at any moment of founding and checkpointing leaves a whole database.

use std::{
    io,
    sync::{Arc, Mutex},
};

use trefoil_types::{Disk, DiskFile, MemDisk};

use super::*;

/// A disk that remembers every operation on one file, so that a crash after
/// any of them can be played.
#[derive(Clone, Debug, Default)]
struct RecordingDisk {
    disk: MemDisk,
    done: Arc<Mutex<Vec<DiskOperation>>>,
}

#[derive(Clone, Debug)]
enum DiskOperation {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Debug)]
struct Recorded {
    file: Arc<dyn DiskFile>,
    done: Arc<Mutex<Vec<DiskOperation>>>,
}

impl Disk for RecordingDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Recorded { file: self.disk.open(name)?, done: self.done.clone() }))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

impl Recorded {
    fn note(&self, done: DiskOperation) {
        self.done.lock().unwrap().push(done);
    }
}

impl DiskFile for Recorded {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(DiskOperation::Write(offset, data.to_vec()));
        self.file.write_at(offset, data)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(DiskOperation::SetLen(len));
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.note(DiskOperation::Sync);
        self.file.sync()
    }
}

/// The disk after a crash: all that was synced, and of the writes since, those
/// that `kept` names.
fn crashed(done: &[DiskOperation], kept: impl Fn(usize) -> bool) -> MemDisk {
    let disk = MemDisk::default();
    let file = disk.open("ledger.redb").unwrap();
    let synced = done.iter().rposition(|d| matches!(d, DiskOperation::Sync)).unwrap_or(0);
    for (n, done) in done.iter().enumerate() {
        match done {
            DiskOperation::Write(offset, data) if n < synced || kept(n) => {
                file.write_at(*offset, data).unwrap();
            }
            // A longer file than was synced is harmless; a shorter one is kept.
            DiskOperation::SetLen(len) if n < synced || kept(n) => file.set_len(*len).unwrap(),
            _ => {}
        }
    }
    disk
}

#[test]
fn a_crash_at_any_operation_leaves_the_last_checkpoint_or_the_one_being_made() {
    let disk = RecordingDisk::default();
    let mut ledger = Ledger::open(Arc::new(disk.clone()), spec(), History::Archive).unwrap();
    // Operations done when a checkpoint was durable, and the tip that it has.
    let mut durable = vec![(disk.done.lock().unwrap().len(), ledger.tip_hash())];
    let mut state = ModelState::new();
    for n in 0..12u8 {
        let slots = BTreeMap::from([(n % 6, n % 3)]);
        let diff = apply(&mut state, &BlockChanges::from([(n, Some((u64::from(n), slots)))]));
        commit(&mut ledger, diff);
        if n % 4 == 3 {
            checkpoint(&mut ledger);
            durable.push((disk.done.lock().unwrap().len(), ledger.tip_hash()));
        }
    }
    let end = durable.last().unwrap().0;
    let done = disk.done.lock().unwrap().clone();
    for at in (0..=end).step_by(3) {
        let last = durable.iter().rposition(|(end, _)| *end <= at);
        let allowed: Vec<B256> = match last {
            None => vec![durable[0].1],
            Some(last) => durable[last..].iter().take(2).map(|(_, hash)| *hash).collect(),
        };
        let keep: [&dyn Fn(usize) -> bool; 3] = [&|_| false, &|n| n % 2 == 0, &|_| true];
        for (how, kept) in keep.into_iter().enumerate() {
            let disk = crashed(&done[..at], kept);
            let opened = Ledger::open(Arc::new(disk), spec(), History::Archive);
            let ledger = opened.unwrap_or_else(|e| panic!("crash after {at}, kept {how}: {e}"));
            assert!(allowed.contains(&ledger.tip_hash()), "crash after {at}, kept {how}");
        }
    }
}

#[test]
fn a_database_that_something_changed_is_an_error_and_no_crash() {
    let whole = MemDisk::default();
    let mut ledger = open(&whole, History::Archive);
    let (mut state, mut states) = (ModelState::new(), vec![ModelState::new()]);
    for n in 0..8u8 {
        let slots = BTreeMap::from([(n % 6, n % 3)]);
        let diff = apply(&mut state, &BlockChanges::from([(n, Some((u64::from(n), slots)))]));
        commit(&mut ledger, diff);
        checkpoint(&mut ledger);
        states.push(state.clone());
    }
    drop(ledger);
    let file = whole.open("ledger.redb").unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    let mut refused = 0;
    for at in (0..bytes.len()).step_by(509) {
        let disk = MemDisk::default();
        let file = disk.open("ledger.redb").unwrap();
        file.write_at(0, &bytes).unwrap();
        file.write_at(at as u64, &[bytes[at] ^ 0x5a; 16]).unwrap();
        match Ledger::open(Arc::new(disk), spec(), History::Archive) {
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("ledger.redb") && text.contains("trefoil repair"), "{text}");
                refused += 1;
            }
            // It hit what is not in use, or redb fell back on its other copy.
            Ok(ledger) => {
                let tip = ledger.tip().number;
                check_state(&ledger.snapshot(), tip, &states[tip as usize]);
                (0..=tip).for_each(|height| check_proofs(&ledger.snapshot(), height));
            }
        }
    }
    assert!(refused > 10, "{refused}");
}
