//! The journal: the node's write-ahead log. A record is durable before any message depends on
//! it.
//!
//! Owns the files `journal-NNNNNNNN`, oldest first, without gaps. What always holds: only
//! the newest file is written; an older one was synced whole before the next was made. A
//! frame holds the length of its file that was already synced when it was written. So on
//! opening, the torn tail of a crash (truncated and reported) is distinguished from damage by
//! something else (an error). The layout is in `docs/disk.md`.
//!
//! Why before the message: a validator that crashed after a vote and forgot it could vote for
//! another block of the same round. That is equivocation, and costs its stake.

use std::{collections::VecDeque, io, ops::Range, sync::Arc};

use alloy_rlp::{Decodable, Encodable};
use trefoil_types::{Certificate, Disk, DiskFile, Height, RecoveredBlock, room_cure};

use crate::codec;

/// One journalled record. The records of a height follow each other in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A block that this node may vote for, or took from block sync.
    Block(Arc<RecoveredBlock>),
    /// A record of consensus at a height: bytes that only consensus reads.
    Consensus { height: Height, bytes: Vec<u8> },
    /// The block of this certificate is final. Its [`Record::Block`] comes before.
    Decided(Certificate),
}

/// The content of a journal when it was opened.
#[derive(Debug)]
pub struct Recovered {
    pub records: Vec<Record>,
    /// Bytes of a torn tail that were truncated (the last write before a crash).
    pub cut_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(
        "journal {file}: {source}; nothing that this node said is lost: {}",
        room_cure(.source).unwrap_or("mend the disk, then start it again")
    )]
    Disk { file: String, source: io::Error },
    /// Damage before the tail: something other than a crash changed the file.
    #[error(
        "journal {file} is damaged at byte {offset}; restore the node's blocks from its peers with \
         `trefoil repair --dir DIR`"
    )]
    Damaged { file: String, offset: u64 },
    #[error(
        "journal {file} is of format {found}, this program writes format {FORMAT}; use the program that wrote it"
    )]
    Format { file: String, found: u8 },
}

impl JournalError {
    /// Whether the disk had no room, so that the same call may succeed later. Any other error is
    /// final: the process must end.
    pub fn lacks_room(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if room_cure(source).is_some())
    }
}

// After a failed fsync the kernel may drop the dirty pages and report success the next time
// (Rebello et al., USENIX ATC 2020), so trying again proves nothing. A disk without room may say so
// only at the fsync (NFS, thin volumes): what was not synced is written anew before the next one.
/// Append-only segments on a [`Disk`]: `append`, then `sync`; nothing is sent between the
/// two. A failed append or sync is final unless the disk lacks room
/// ([`JournalError::lacks_room`]): then the journal is as before the call.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    /// Older files by number, each with the highest height in it.
    old: VecDeque<(u32, Height)>,
    number: u32,
    file: Arc<dyn DiskFile>,
    /// Bytes of `file` that are synced, and what is written behind them.
    synced: u64,
    unsynced: Vec<u8>,
    /// The last sync found no room.
    is_doubtful: bool,
    /// The highest height in `file`.
    highest: Height,
    segment_bytes: u64,
}

// Whole files are removed when a checkpoint covers them: smaller files are removed sooner,
// larger ones are fewer. Two of the largest blocks fill one.
/// A file of at least this length is closed, and the next one begun.
const SEGMENT_BYTES: u64 = 16 << 20;

/// The version of the layout; the last byte of [`FILE_MAGIC`].
const FORMAT: u8 = 2;

/// The first bytes of each file.
const FILE_MAGIC: [u8; 16] = *b"trefoil-journal\x02";

/// The first bytes of each frame.
const FRAME_MAGIC: [u8; 4] = *b"TFJR";

/// Magic, length of the body, bytes of the file synced before, CRC-32 of the
/// body, CRC-32 of all that and of the frame's place.
const FRAME_HEADER: usize = 24;

impl Journal {
    /// Opens or founds the journal and reads all that it holds.
    pub fn open(disk: Arc<dyn Disk>) -> Result<(Self, Recovered), JournalError> {
        let mut recovered = Recovered { records: Vec::new(), cut_bytes: 0 };
        let numbers = segment_numbers(&*disk)?;
        let number = numbers.last().copied().unwrap_or(1);
        let name = file_name(number);
        let file = disk.open(&name).map_err(|source| disk_error(number, source))?;
        let mut journal = Self {
            disk,
            old: VecDeque::new(),
            number,
            file,
            synced: 0,
            unsynced: Vec::new(),
            is_doubtful: false,
            highest: 0,
            segment_bytes: SEGMENT_BYTES,
        };
        for old in numbers.iter().copied().filter(|n| *n < number) {
            let segment = Segment::read(&*journal.disk, old)?;
            // It was synced whole before the next file was begun, so no crash explains a
            // bad frame.
            if segment.whole < segment.bytes.len() {
                return Err(segment.damaged());
            }
            let highest = segment.records(&mut recovered.records)?;
            journal.old.push_back((old, highest));
        }
        journal.open_newest(&mut recovered)?;
        Ok((journal, recovered))
    }

    /// Reads the newest file, cuts its torn tail, and gives it its magic if it
    /// has none yet.
    fn open_newest(&mut self, recovered: &mut Recovered) -> Result<(), JournalError> {
        let segment = Segment::read(&*self.disk, self.number)?;
        if segment.is_damaged_before_its_tail() {
            return Err(segment.damaged());
        }
        self.highest = segment.records(&mut recovered.records)?;
        recovered.cut_bytes = (segment.bytes.len() - segment.whole) as u64;
        self.synced = segment.whole as u64;
        let number = self.number;
        if recovered.cut_bytes > 0 {
            self.file.set_len(self.synced).map_err(|source| disk_error(number, source))?;
        }
        if self.synced == 0 {
            self.file.write_at(0, &FILE_MAGIC).map_err(|source| disk_error(number, source))?;
            self.unsynced = FILE_MAGIC.to_vec();
        }
        self.sync()
    }

    /// Closes files of at least this length (16 MiB by default).
    pub fn set_segment_bytes(&mut self, bytes: u64) {
        self.segment_bytes = bytes;
    }

    pub fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        if self.len() >= self.segment_bytes {
            self.begin_next()?;
        }
        let (at, before) = (self.len(), self.unsynced.len());
        for record in records {
            let position = FramePosition { number: self.number, offset: self.len() };
            position.write_frame(self.synced, &encode(record), &mut self.unsynced);
        }
        if let Err(source) = self.file.write_at(at, &self.unsynced[before..]) {
            self.unsynced.truncate(before);
            // A part may be there, and keeps a full disk full. If it stays, it is written over, or
            // cut by who opens the journal.
            let _ = self.file.set_len(at);
            return Err(disk_error(self.number, source));
        }
        self.highest = records.iter().map(Record::height).fold(self.highest, Height::max);
        Ok(())
    }

    /// Durable after this. One fsync.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        let synced = if self.is_doubtful { self.write_anew() } else { self.file.sync() };
        self.is_doubtful = synced.as_ref().is_err_and(|error| room_cure(error).is_some());
        synced.map_err(|source| disk_error(self.number, source))?;
        self.synced = self.len();
        self.unsynced = Vec::new();
        Ok(())
    }

    /// Writes what is not synced as if it never was, and syncs it.
    fn write_anew(&self) -> io::Result<()> {
        self.file.set_len(self.synced)?;
        self.file.write_at(self.synced, &self.unsynced)?;
        self.file.sync()
    }

    /// Bytes of the newest file.
    fn len(&self) -> u64 {
        self.synced + self.unsynced.len() as u64
    }

    // Only after the checkpoint is durable. Until then these records are the only copy of
    // the blocks.
    /// Drops whole segments whose every record is of a height ≤ `height`, which a durable
    /// checkpoint covers.
    pub fn prune(&mut self, height: Height) -> Result<(), JournalError> {
        while let Some((number, highest)) = self.old.front().copied()
            && highest <= height
        {
            let removed = self.disk.remove(&file_name(number));
            removed.map_err(|source| disk_error(number, source))?;
            self.old.pop_front();
        }
        Ok(())
    }

    fn begin_next(&mut self) -> Result<(), JournalError> {
        // The old file first: an older file counts as damaged if it is not whole.
        self.sync()?;
        let number = self.number + 1;
        let open = || {
            let file = self.disk.open(&file_name(number))?;
            file.write_at(0, &FILE_MAGIC)?;
            Ok::<_, io::Error>(file)
        };
        let file = open().map_err(|source| disk_error(number, source))?;
        self.old.push_back((self.number, self.highest));
        (self.number, self.file, self.highest) = (number, file, 0);
        (self.synced, self.unsynced) = (0, FILE_MAGIC.to_vec());
        Ok(())
    }
}

impl Record {
    /// The height that it belongs to.
    pub fn height(&self) -> Height {
        match self {
            Self::Block(block) => block.header.number,
            Self::Consensus { height, .. } => *height,
            Self::Decided(certificate) => certificate.height,
        }
    }
}

fn file_name(number: u32) -> String {
    format!("journal-{number:08}")
}

fn disk_error(number: u32, source: io::Error) -> JournalError {
    JournalError::Disk { file: file_name(number), source }
}

/// The numbers of the files, ascending.
///
/// # Errors
/// A gap between two numbers is damage at the first byte of the missing file: no crash
/// makes a gap.
fn segment_numbers(disk: &dyn Disk) -> Result<Vec<u32>, JournalError> {
    let listed = disk.list().map_err(|source| disk_error(0, source))?;
    let number = |name: &String| {
        let number = name.strip_prefix("journal-")?.parse().ok()?;
        (file_name(number) == *name).then_some(number)
    };
    let mut numbers: Vec<u32> = listed.iter().filter_map(number).collect();
    numbers.sort_unstable();
    if let Some(pair) = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        return Err(JournalError::Damaged { file: file_name(pair[0] + 1), offset: 0 });
    }
    Ok(numbers)
}

const BLOCK: u8 = 1;
const CONSENSUS: u8 = 2;
const DECIDED: u8 = 3;

/// A kind byte, then RLP.
fn encode(record: &Record) -> Vec<u8> {
    match record {
        Record::Block(block) => [&[BLOCK], codec::encode_block(block).as_slice()].concat(),
        Record::Consensus { height, bytes } => {
            let mut out = vec![CONSENSUS];
            height.encode(&mut out);
            bytes.as_slice().encode(&mut out);
            out
        }
        Record::Decided(certificate) => {
            let mut out = vec![DECIDED];
            certificate.encode(&mut out);
            out
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Record> {
    let (kind, mut body) = bytes.split_first()?;
    match *kind {
        BLOCK => Some(Record::Block(Arc::new(codec::decode_block(body)?))),
        CONSENSUS => {
            let height = Height::decode(&mut body).ok()?;
            let bytes = alloy_primitives::Bytes::decode(&mut body).ok()?;
            body.is_empty().then(|| Record::Consensus { height, bytes: bytes.to_vec() })
        }
        DECIDED => Some(Record::Decided(alloy_rlp::decode_exact(body).ok()?)),
        _ => None,
    }
}

// Attack: a peer's transaction contains the bytes of a frame. After a torn write, an
// opening node would take them for a record. The place enters the checksum, and a peer does
// not know it.
/// The place of a frame. It is part of the frame's checksum, so that the bytes of a frame
/// at another place (for example inside a transaction) are no frame.
#[derive(Clone, Copy)]
struct FramePosition {
    number: u32,
    offset: u64,
}

/// A frame header whose checksum is right.
struct FrameHeader {
    body_len: usize,
    synced: u64,
    body_crc: u32,
}

impl FramePosition {
    fn write_frame(self, synced: u64, body: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let len = u32::try_from(body.len()).expect("a record is smaller than 4 GiB");
        out.extend(FRAME_MAGIC);
        out.extend(len.to_le_bytes());
        out.extend(synced.to_le_bytes());
        out.extend(crc32fast::hash(body).to_le_bytes());
        out.extend(self.header_crc(&out[start..]).to_le_bytes());
        out.extend(body);
    }

    fn header_crc(self, fields: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.number.to_le_bytes());
        crc.update(&self.offset.to_le_bytes());
        crc.update(fields);
        crc.finalize()
    }

    fn read_header(self, bytes: &[u8]) -> Option<FrameHeader> {
        let header = bytes.get(..FRAME_HEADER)?;
        let u32_at = |at: usize| Some(u32::from_le_bytes(header[at..at + 4].try_into().ok()?));
        // The header has a checksum of its own: a bad length must not be followed.
        if header[..4] != FRAME_MAGIC || u32_at(20)? != self.header_crc(&header[..20]) {
            return None;
        }
        let synced = u64::from_le_bytes(header[8..16].try_into().ok()?);
        let body_len = usize::try_from(u32_at(4)?).ok()?;
        Some(FrameHeader { body_len, synced, body_crc: u32_at(16)? })
    }
}

/// A file as it was found on opening.
struct Segment {
    number: u32,
    bytes: Vec<u8>,
    /// The bodies of the whole frames, from the start.
    bodies: Vec<Range<usize>>,
    /// The bytes of these frames and of the file's magic.
    whole: usize,
}

impl Segment {
    fn read(disk: &dyn Disk, number: u32) -> Result<Self, JournalError> {
        let read = || {
            let file = disk.open(&file_name(number))?;
            let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
            let mut bytes = vec![0; len];
            file.read_at(0, &mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| disk_error(number, source))?;
        // Before anything is called a torn tail: a journal of another version must not be
        // truncated.
        if let Some((found, name)) = bytes.get(..16).and_then(|magic| magic.split_last())
            && name == &FILE_MAGIC[..15]
            && *found != FORMAT
        {
            return Err(JournalError::Format { file: file_name(number), found: *found });
        }
        let mut segment = Self { number, bytes, bodies: Vec::new(), whole: 0 };
        if segment.bytes.starts_with(&FILE_MAGIC) {
            segment.whole = FILE_MAGIC.len();
            while let Some(body) = segment.frame_at(segment.whole) {
                segment.whole = body.end;
                segment.bodies.push(body);
            }
        }
        Ok(segment)
    }

    fn header_at(&self, offset: usize) -> Option<FrameHeader> {
        let position = FramePosition { number: self.number, offset: offset as u64 };
        position.read_header(self.bytes.get(offset..)?)
    }

    /// The body of the whole frame at `offset`.
    fn frame_at(&self, offset: usize) -> Option<Range<usize>> {
        let header = self.header_at(offset)?;
        let start = offset + FRAME_HEADER;
        let range = start..start.checked_add(header.body_len)?;
        let body = self.bytes.get(range.clone())?;
        (crc32fast::hash(body) == header.body_crc).then_some(range)
    }

    /// Whether a frame after the first bad byte was written when that byte was already
    /// synced. Then no crash explains it.
    fn is_damaged_before_its_tail(&self) -> bool {
        let later = (self.whole + 1)..self.bytes.len();
        later.filter_map(|at| self.header_at(at)).any(|h| h.synced > self.whole as u64)
    }

    /// Decodes the whole frames into `records`; the highest height among them.
    fn records(&self, records: &mut Vec<Record>) -> Result<Height, JournalError> {
        let mut highest = 0;
        for body in &self.bodies {
            // A crash tears frames. It makes none with a right checksum that holds no
            // record.
            let offset = (body.start - FRAME_HEADER) as u64;
            let damaged = || JournalError::Damaged { file: file_name(self.number), offset };
            let record = decode(&self.bytes[body.clone()]).ok_or_else(damaged)?;
            highest = highest.max(record.height());
            records.push(record);
        }
        Ok(highest)
    }

    fn damaged(&self) -> JournalError {
        JournalError::Damaged { file: file_name(self.number), offset: self.whole as u64 }
    }
}

#[cfg(test)]
mod tests;
