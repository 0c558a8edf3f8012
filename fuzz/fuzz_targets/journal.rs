//! A journal file that something other than this node wrote: what is whole at
//! its beginning is read, a torn tail is cut, and all else is refused.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use trefoil_ledger::{Journal, JournalError, Recovered};
use trefoil_types::{Disk, MemDisk};

const FILE: &str = "journal-00000001";

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    // No mutation finds a checksum: half of the files get theirs here.
    let written = if kind % 2 == 0 { rest.to_vec() } else { frames(rest) };
    let disk = MemDisk::default();
    disk.open(FILE).unwrap().write_at(0, &written).unwrap();
    match Journal::open(Arc::new(disk.clone())) {
        Ok((journal, Recovered { mut records, cut_bytes })) => {
            assert!(cut_bytes <= written.len() as u64);
            drop(journal);
            // What was cut is gone, and the journal goes on from there.
            let (mut journal, again) = Journal::open(Arc::new(disk.clone())).unwrap();
            assert_eq!((&again.records, again.cut_bytes), (&records, 0));
            journal.append(&records).unwrap();
            journal.sync().unwrap();
            records.extend_from_within(..);
            assert_eq!(Journal::open(Arc::new(disk)).unwrap().1.records, records);
        }
        Err(JournalError::Damaged { offset, .. }) => assert!(offset <= written.len() as u64),
        Err(JournalError::Format { found, .. }) => assert_eq!(written[15], found),
        Err(error) => panic!("no disk failed: {error}"),
    }
});

/// A file of whole frames (docs/disk.md); each body's length is its first byte.
fn frames(mut bodies: &[u8]) -> Vec<u8> {
    let mut file = b"trefoil-journal\x02".to_vec();
    while let Some((length, rest)) = bodies.split_first() {
        let (body, rest) = rest.split_at(rest.len().min(4 * usize::from(*length)));
        bodies = rest;
        let start = file.len();
        file.extend(b"TFJR");
        file.extend((body.len() as u32).to_le_bytes());
        file.extend((start as u64).to_le_bytes());
        file.extend(crc32fast::hash(body).to_le_bytes());
        let place = [&1u32.to_le_bytes()[..], &(start as u64).to_le_bytes(), &file[start..]];
        file.extend(crc32fast::hash(&place.concat()).to_le_bytes());
        file.extend(body);
    }
    file
}
