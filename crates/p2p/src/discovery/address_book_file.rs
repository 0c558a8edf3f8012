//! The address book on disk: one file, written whole beside the old one and
//! moved over it, with a checksum. A damaged file is logged and set aside: a node without
//! its book starts from its configured peers.

use std::{fs, io, io::Write as _, net::SocketAddr, path::Path};

use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use trefoil_types::{B256, PeerId, PublicKey, Time, keccak256};

use crate::{
    discovery::{
        address_book::{ANCHORS_MAX, AddressBook, BookEntry, DialCandidate},
        peer_record::{Address, PeerRecord},
        reachability::is_reachable,
    },
    inbound_limits::subnet::NetGroup,
};

const MAGIC: [u8; 16] = *b"trefoil/peers/2\n";

/// The largest file: every place taken by a record of the largest size.
// 5,120 places (`address_book`) of a record (256 bytes) and what is known of its address (less
// than 200 bytes) are 2.3 MB. A file that is larger was not written by this node.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a file is no address book.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    #[error("it is {0} bytes long, where at most {FILE_BYTES_MAX} are allowed")]
    TooLarge(usize),
    #[error("it does not begin like an address book of this version")]
    Magic,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it cannot be decoded: {0}")]
    Malformed(#[from] alloy_rlp::Error),
}

#[derive(RlpEncodable, RlpDecodable)]
struct BookWire {
    key: B256,
    anchors: Vec<CandidateWire>,
    entries: Vec<EntryWire>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct CandidateWire {
    address: Address,
    /// None or one.
    peer: Vec<PublicKey>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct EntryWire {
    at: CandidateWire,
    /// An address of the network group that sent it.
    source: Address,
    /// When its peer was first met there; none or one.
    met: Vec<u64>,
    last_dial: u64,
    failures: u32,
    /// Empty, or a record.
    record: alloy_primitives::Bytes,
}

impl From<&DialCandidate> for CandidateWire {
    fn from(candidate: &DialCandidate) -> Self {
        Self {
            address: candidate.address.into(),
            peer: candidate.peer.iter().map(|peer| peer.0).collect(),
        }
    }
}

impl CandidateWire {
    fn candidate(&self) -> Option<DialCandidate> {
        let address = self.address.socket().filter(|address| is_reachable(*address))?;
        Some(DialCandidate { address, peer: self.peer.first().map(|key| PeerId(*key)) })
    }
}

/// The bytes of the file.
pub fn encode(book: &AddressBook) -> Vec<u8> {
    let entries = book.entries().iter().map(|(address, entry)| {
        let mut record = Vec::new();
        entry.record.iter().for_each(|r| r.encode(&mut record));
        EntryWire {
            at: (&DialCandidate { address: *address, peer: entry.peer }).into(),
            source: SocketAddr::new(entry.source.ip(), 0).into(),
            met: entry.met.iter().map(|met| met.0).collect(),
            last_dial: entry.last_dial.0,
            failures: entry.failures,
            record: record.into(),
        }
    });
    let wire = BookWire {
        key: book.key().into(),
        anchors: book.anchors().iter().map(CandidateWire::from).collect(),
        entries: entries.collect(),
    };
    let mut out = MAGIC.to_vec();
    wire.encode(&mut out);
    let checksum = keccak256(&out);
    out.extend_from_slice(checksum.as_slice());
    out
}

/// Reads a book. An entry that is not sound is left out; places are found
/// anew, so no file can break what the book holds to.
///
/// # Errors
/// The bytes are no book, or damaged.
pub fn decode(bytes: &[u8], seed: [u8; 32]) -> Result<AddressBook, BookError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(BookError::TooLarge(bytes.len()));
    }
    let (body, checksum) = bytes.split_last_chunk::<32>().ok_or(BookError::Magic)?;
    let mut rest = body.strip_prefix(&MAGIC).ok_or(BookError::Magic)?;
    if keccak256(body) != *checksum {
        return Err(BookError::Checksum);
    }
    let wire = BookWire::decode(&mut rest)?;
    if !rest.is_empty() {
        return Err(BookError::Malformed(alloy_rlp::Error::UnexpectedLength));
    }
    let mut book = AddressBook::new(wire.key.0, seed);
    let anchors = wire.anchors.iter().filter_map(CandidateWire::candidate);
    book.set_anchors(anchors.take(ANCHORS_MAX).collect());
    for entry in wire.entries {
        let Some(at) = entry.at.candidate() else { continue };
        let Some(source) = entry.source.socket() else { continue };
        let record = PeerRecord::decode(&mut entry.record.as_ref()).ok();
        book.restore(
            at.address,
            BookEntry::new(
                at.peer,
                record,
                NetGroup::of(source.ip()),
                entry.met.first().map(|met| Time(*met)),
                Time(entry.last_dial),
                entry.failures,
            ),
        );
    }
    Ok(book)
}

/// Reads the book at `path`; a new one, with `key`, if there is none. A file
/// that cannot be read as one is set aside, and named in the log.
pub fn load(path: &Path, key: [u8; 32], seed: [u8; 32]) -> AddressBook {
    let read = fs::read(path);
    let error = match read.as_deref().map(|bytes| decode(bytes, seed)) {
        Ok(Ok(book)) => return book,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return AddressBook::new(key, seed);
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    let aside = path.with_added_extension("damaged");
    let moved = fs::rename(path, &aside).is_ok();
    tracing::warn!(
        file = %path.display(), %error, moved_to = moved.then(|| aside.display().to_string()),
        "the address book cannot be used; a new one is begun"
    );
    AddressBook::new(key, seed)
}

/// Writes the book whole, so that a crash leaves the old one or the new one.
///
/// # Errors
/// The disk's.
pub fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_added_extension("draft");
    let write = || {
        let mut file = fs::File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().inspect_err(|_| {
        // On a full disk, what remained would keep it full.
        let _ = fs::remove_file(&draft);
    })
}
