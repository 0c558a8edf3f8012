use std::{io, sync::Mutex};

use alloy_consensus::{Signed, TxLegacy, transaction::Recovered as Sent};
use alloy_primitives::{B256, Signature, U256};
use trefoil_crypto::SecretKey;
use trefoil_types::{Address, Attached, Evidence, Header, MemDisk, TxEnvelope, Vote, VoteKind};

use super::*;

fn block(height: Height) -> Record {
    let tx = TxLegacy { nonce: height, gas_limit: 21_000, ..Default::default() };
    let signed = Signed::new_unhashed(tx, Signature::new(U256::ONE, U256::ONE, false));
    let tx = Sent::new_unchecked(TxEnvelope::Legacy(signed), Address::repeat_byte(7));
    let header = Header { number: height, ..Default::default() };
    let attached = Attached {
        parent_certificate: Some(certificate(height - 1)),
        evidence: vec![evidence(height)],
    };
    Record::Block(Arc::new(RecoveredBlock::new(header, vec![Arc::new(tx)], attached)))
}

fn certificate(height: Height) -> Certificate {
    Certificate { height, round: 1, block: B256::repeat_byte(3), signatures: vec![] }
}

fn evidence(height: Height) -> Evidence {
    let key = SecretKey::from_seed(&[1; 32]);
    let vote = |block| Vote::sign(&key, &B256::ZERO, VoteKind::Prevote, height, 0, block);
    Evidence::of_votes(vote(None), vote(Some(B256::ZERO))).unwrap()
}

fn consensus(height: Height, len: usize) -> Record {
    Record::Consensus { height, bytes: vec![height as u8; len] }
}

fn records() -> Vec<Record> {
    vec![block(1), consensus(1, 40), Record::Decided(certificate(1)), consensus(2, 5)]
}

fn written(records: &[Record]) -> MemDisk {
    let disk = MemDisk::default();
    let (mut journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
    for record in records {
        journal.append(std::slice::from_ref(record)).unwrap();
        journal.sync().unwrap();
    }
    disk
}

fn open(disk: &MemDisk) -> Result<Recovered, JournalError> {
    Journal::open(Arc::new(disk.clone())).map(|(_, recovered)| recovered)
}

fn bytes(disk: &MemDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn it_reads_back_what_it_wrote() {
    let recovered = open(&written(&records())).unwrap();
    assert_eq!(recovered.records, records());
    assert_eq!(recovered.cut_bytes, 0);
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let golden = include_str!("../../../../vectors/journal-2.hex").replace(['\n', ' '], "");
    assert_eq!(
        alloy_primitives::hex::encode(bytes(&written(&records()), "journal-00000001")),
        golden
    );
}

#[test]
fn a_tail_torn_anywhere_is_cut_at_the_last_whole_record_and_told() {
    let whole = bytes(&written(&records()), "journal-00000001");
    let ends: Vec<usize> = (1..=records().len())
        .map(|n| bytes(&written(&records()[..n]), "journal-00000001").len())
        .collect();
    for cut in 0..whole.len() {
        let disk = MemDisk::default();
        disk.open("journal-00000001").unwrap().write_at(0, &whole[..cut]).unwrap();
        let recovered = open(&disk).unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(recovered.records, records()[..kept], "cut at {cut}");
        // The rest was cut off, and the journal continues from there.
        let (mut journal, again) = Journal::open(Arc::new(disk.clone())).unwrap();
        assert_eq!((again.records.len(), again.cut_bytes), (kept, 0));
        journal.append(&[consensus(9, 3)]).unwrap();
        assert_eq!(open(&disk).unwrap().records.last(), Some(&consensus(9, 3)));
    }
}

#[test]
fn any_changed_byte_before_the_last_record_is_damage_with_file_and_place() {
    let whole = bytes(&written(&records()), "journal-00000001");
    let last = bytes(&written(&records()[..3]), "journal-00000001").len();
    for at in 0..whole.len() {
        let disk = MemDisk::default();
        let file = disk.open("journal-00000001").unwrap();
        file.write_at(0, &whole).unwrap();
        file.write_at(at as u64, &[whole[at] ^ 0x40]).unwrap();
        match open(&disk) {
            Err(JournalError::Damaged { file, offset }) => {
                assert!(at < last && offset as usize <= at, "byte {at}, told {offset}");
                assert_eq!(file, "journal-00000001");
            }
            Err(JournalError::Format { .. }) => assert_eq!(at, 15),
            Err(error) => panic!("byte {at}: {error}"),
            // The newest record may be a crash's torn write.
            Ok(recovered) => {
                assert!(at >= last, "byte {at} changed unnoticed");
                assert_eq!(recovered.records, records()[..3]);
            }
        }
    }
}

/// A crash before the sync may keep a later write and lose an earlier one.
#[test]
fn an_unsynced_batch_whose_first_write_was_lost_is_a_torn_tail() {
    let disk = written(&records()[..1]);
    let (mut journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
    let lost = bytes(&disk, "journal-00000001").len();
    journal.append(&[consensus(1, 100), consensus(1, 50)]).unwrap();
    disk.open("journal-00000001").unwrap().write_at(lost as u64, &[0; 30]).unwrap();
    let recovered = open(&disk).unwrap();
    assert_eq!(recovered.records, records()[..1]);
    assert!(recovered.cut_bytes > 150);
}

/// A peer's transaction may hold the bytes of a frame; they are none there.
#[test]
fn a_frame_inside_a_record_is_no_frame() {
    let whole = bytes(&written(&[consensus(1, 10), consensus(2, 10)]), "journal-00000001");
    let inner = whole[FILE_MAGIC.len()..].to_vec();
    let disk = written(&[Record::Consensus { height: 1, bytes: inner }]);
    let len = bytes(&disk, "journal-00000001").len();
    disk.open("journal-00000001").unwrap().set_len(len as u64 - 1).unwrap();
    let recovered = open(&disk).unwrap();
    assert_eq!(recovered.records, []);
    assert!(recovered.cut_bytes > 0);
}

#[test]
fn old_segments_are_dropped_when_a_checkpoint_covers_them() {
    let disk = MemDisk::default();
    let (mut journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
    let big = SEGMENT_BYTES as usize;
    for height in 1..=3 {
        journal.append(&[consensus(height, big)]).unwrap();
    }
    journal.append(&[consensus(3, 1)]).unwrap();
    journal.sync().unwrap();
    assert_eq!(disk.list().unwrap().len(), 4);
    journal.prune(0).unwrap();
    assert_eq!(disk.list().unwrap().len(), 4);
    journal.prune(2).unwrap();
    assert_eq!(disk.list().unwrap(), ["journal-00000003", "journal-00000004"]);
    // The newest is kept whatever the height; numbers go on after a restart.
    let (mut journal, recovered) = Journal::open(Arc::new(disk.clone())).unwrap();
    assert_eq!(recovered.records, [consensus(3, big), consensus(3, 1)]);
    journal.prune(9).unwrap();
    assert_eq!(disk.list().unwrap(), ["journal-00000004"]);
}

/// What was recorded last need not be the highest: a late vote, say.
#[test]
fn a_segment_stays_for_the_highest_of_its_records() {
    let disk = MemDisk::default();
    let (mut journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
    journal.set_segment_bytes(1_000);
    journal.append(&[consensus(3, 900), consensus(2, 900)]).unwrap();
    journal.append(&[consensus(4, 10)]).unwrap();
    journal.prune(2).unwrap();
    assert_eq!(disk.list().unwrap(), ["journal-00000001", "journal-00000002"]);
    journal.prune(3).unwrap();
    assert_eq!(disk.list().unwrap(), ["journal-00000002"]);
}

/// A disk that notes what is asked of it.
#[derive(Clone, Debug, Default)]
struct NotingDisk {
    disk: MemDisk,
    asked: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
struct NotingFile {
    name: String,
    file: Arc<dyn DiskFile>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Disk for NotingDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let (name, file, asked) = (name.to_owned(), self.disk.open(name)?, self.asked.clone());
        Ok(Arc::new(NotingFile { name, file, asked }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

impl NotingFile {
    fn note(&self, what: &str) {
        self.asked.lock().unwrap().push(format!("{what} {}", self.name));
    }
}

impl DiskFile for NotingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note("write");
        self.file.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.note("sync");
        self.file.sync()
    }
}

/// A disk that forgets what is not synced: nothing counts as durable before, and no file is
/// begun before the one before it is whole.
#[test]
fn what_is_appended_is_synced_and_an_old_segment_before_the_next_is_begun() {
    let disk = NotingDisk::default();
    let (mut journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
    journal.set_segment_bytes(1_000);
    let asked = || disk.asked.lock().unwrap().drain(..).collect::<Vec<_>>();
    let (first, second) = ("journal-00000001", "journal-00000002");
    assert_eq!(asked(), [format!("write {first}"), format!("sync {first}")]);
    journal.append(&[consensus(1, 2_000)]).unwrap();
    assert_eq!(asked(), [format!("write {first}")]);
    journal.append(&[consensus(1, 10)]).unwrap();
    let begun = [format!("sync {first}"), format!("write {second}"), format!("write {second}")];
    assert_eq!(asked(), begun);
    journal.sync().unwrap();
    assert_eq!(asked(), [format!("sync {second}")]);
}

/// How a disk refuses: a write is taken in half, and a sync loses what was written since the last
/// one, as a kernel drops dirty pages.
#[derive(Clone, Debug, Default)]
struct RefusingDisk {
    disk: MemDisk,
    refused: Arc<Mutex<Refused>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    open: Option<io::ErrorKind>,
    write: Option<io::ErrorKind>,
    sync: Option<io::ErrorKind>,
}

#[derive(Debug)]
struct RefusingFile {
    file: Arc<dyn DiskFile>,
    /// As of the last sync.
    durable: Mutex<Vec<u8>>,
    refused: Arc<Mutex<Refused>>,
}

impl RefusingDisk {
    fn refuse(&self, refused: Refused) {
        *self.refused.lock().unwrap() = refused;
    }
}

impl Disk for RefusingDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(kind) = self.refused.lock().unwrap().open {
            return Err(kind.into());
        }
        let durable = Mutex::new(bytes(&self.disk, name));
        let (file, refused) = (self.disk.open(name)?, self.refused.clone());
        Ok(Arc::new(RefusingFile { file, durable, refused }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

impl RefusingFile {
    fn refused(&self) -> Refused {
        *self.refused.lock().unwrap()
    }
}

impl DiskFile for RefusingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let Some(kind) = self.refused().write else { return self.file.write_at(offset, data) };
        self.file.write_at(offset, &data[..data.len() / 2])?;
        Err(kind.into())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut durable = self.durable.lock().unwrap();
        if let Some(kind) = self.refused().sync {
            self.file.set_len(0)?;
            self.file.write_at(0, &durable)?;
            return Err(kind.into());
        }
        *durable = vec![0; self.file.len()? as usize];
        self.file.read_at(0, &mut durable)
    }
}

/// A full disk, a quota that is used up, and a limit on the size of files.
const NO_ROOM: [io::ErrorKind; 3] =
    [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];

#[test]
fn a_write_without_room_leaves_nothing_and_is_tried_again() {
    for kind in NO_ROOM {
        let disk = RefusingDisk::default();
        let (mut journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
        journal.append(&records()[..2]).unwrap();
        let before = bytes(&disk.disk, "journal-00000001");
        for _ in 0..3 {
            disk.refuse(Refused { write: Some(kind), ..Refused::default() });
            let error = journal.append(&records()[2..]).unwrap_err();
            assert!(error.lacks_room(), "{error}");
            let cure = if kind == io::ErrorKind::FileTooLarge { "LimitFSIZE" } else { "space" };
            assert!(error.to_string().contains(cure), "{error}");
            assert_eq!(bytes(&disk.disk, "journal-00000001"), before, "the torn part is gone");
        }
        disk.refuse(Refused::default());
        journal.append(&records()[2..]).unwrap();
        journal.sync().unwrap();
        let recovered = open(&disk.disk).unwrap();
        assert_eq!((recovered.records, recovered.cut_bytes), (records(), 0));
    }
}

// A success after a failed fsync says nothing of what was written before it.
#[test]
fn what_a_sync_without_room_lost_is_written_anew() {
    for kind in NO_ROOM {
        let disk = RefusingDisk::default();
        let (mut journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
        journal.append(&records()[..2]).unwrap();
        journal.sync().unwrap();
        journal.append(&records()[2..3]).unwrap();
        disk.refuse(Refused { sync: Some(kind), ..Refused::default() });
        for _ in 0..2 {
            assert!(journal.sync().unwrap_err().lacks_room());
        }
        // There is room for a moment, and then none to write it anew.
        disk.refuse(Refused { write: Some(kind), ..Refused::default() });
        assert!(journal.sync().unwrap_err().lacks_room());
        disk.refuse(Refused::default());
        journal.append(&records()[3..]).unwrap();
        journal.sync().unwrap();
        let recovered = open(&disk.disk).unwrap();
        assert_eq!((recovered.records, recovered.cut_bytes), (records(), 0));
    }
}

#[test]
fn a_next_segment_without_room_is_begun_later() {
    let kind = Some(io::ErrorKind::StorageFull);
    let none = Refused::default();
    for refused in [
        Refused { open: kind, ..none },
        Refused { write: kind, ..none },
        Refused { sync: kind, ..none },
    ] {
        let disk = RefusingDisk::default();
        let (mut journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
        journal.set_segment_bytes(1_000);
        journal.append(&[consensus(1, 900), consensus(1, 900)]).unwrap();
        disk.refuse(refused);
        for _ in 0..2 {
            assert!(journal.append(&[consensus(2, 10)]).unwrap_err().lacks_room());
        }
        // The process ends here, or there is room.
        let recovered = open(&disk.disk).unwrap();
        assert!(recovered.records.len() <= 2, "{refused:?}");
        disk.refuse(none);
        journal.append(&[consensus(2, 10)]).unwrap();
        journal.sync().unwrap();
        let recovered = open(&disk.disk).unwrap();
        assert_eq!(recovered.records, [consensus(1, 900), consensus(1, 900), consensus(2, 10)]);
        journal.prune(1).unwrap();
        assert_eq!(disk.disk.list().unwrap(), ["journal-00000002"]);
    }
}

#[test]
fn any_other_error_of_the_disk_is_final() {
    for refused in [
        Refused { write: Some(io::ErrorKind::Other), ..Refused::default() },
        Refused { sync: Some(io::ErrorKind::Other), ..Refused::default() },
    ] {
        let disk = RefusingDisk::default();
        let (mut journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
        disk.refuse(refused);
        let error = journal.append(&records()).and_then(|()| journal.sync()).unwrap_err();
        assert!(!error.lacks_room() && error.to_string().contains("start it again"), "{error}");
    }
}

#[test]
fn a_missing_segment_and_a_torn_old_one_are_damage() {
    let disk = MemDisk::default();
    let (mut journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
    for height in 1..=3 {
        journal.append(&[consensus(height, SEGMENT_BYTES as usize)]).unwrap();
    }
    disk.open("journal-00000001").unwrap().set_len(1_000).unwrap();
    let error = open(&disk).unwrap_err().to_string();
    assert!(error.contains("journal-00000001 is damaged at byte 16"), "{error}");
    disk.remove("journal-00000001").unwrap();
    disk.remove("journal-00000002").unwrap();
    disk.open("journal-00000001").unwrap();
    let error = open(&disk).unwrap_err().to_string();
    assert!(error.contains("journal-00000002 is damaged at byte 0"), "{error}");
}

#[test]
fn a_journal_of_another_format_is_left_alone() {
    let disk = written(&records());
    disk.open("journal-00000001").unwrap().write_at(15, &[1]).unwrap();
    assert!(matches!(open(&disk), Err(JournalError::Format { found: 1, .. })));
}

proptest::proptest! {
    #[test]
    fn opening_any_bytes_never_panics(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let disk = MemDisk::default();
        let file = disk.open("journal-00000001").unwrap();
        file.write_at(0, &FILE_MAGIC).unwrap();
        let mut out = Vec::new();
        FramePosition { number: 1, offset: 16 }.write_frame(16, &body, &mut out);
        file.write_at(16, &out).unwrap();
        let _ = open(&disk);
    }
}
