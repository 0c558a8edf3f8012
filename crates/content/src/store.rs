//! A store that holds a resource in part: its bytes, its hashes, and the map of groups that
//! are here.
//!
//! The files of a directory lie one behind the other.
//!
//! What always holds: after a restart, a group counts only if its bytes and the hashes above
//! it were synced. A crash at any point leaves groups that verify, and loses only those that
//! came since the last sync. The map of groups is kept twice and written alternately, each
//! copy under a hash: a torn copy is ignored. Bytes leave only through [`StoreReader`] and
//! [`Verifier`], which verify each group that they read. Sizes may be unproven claims: none
//! of them allocates memory or makes a file.

use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use trefoil_types::DiskFile;

use crate::{
    BYTES_MAX, Bits, GROUP_BYTES, Layout, Part, groups,
    proof::{self, GroupSource, ProofError, Verified, Verifier, What},
    runs::Runs,
};

mod map;
mod reader;

pub use reader::StoreReader;

/// The files on disk of one resource.
#[derive(Clone, Debug)]
pub struct Files {
    /// `None`: only hashes are kept. A group is here when its hash is.
    pub data: Option<Arc<dyn DiskFile>>,
    pub hashes: Arc<dyn DiskFile>,
    /// `None`: everything is here, and stays: files of a user, hashed where they are.
    pub map: Option<Arc<dyn DiskFile>>,
}

/// A file of a resource: its BLAKE3 root and its size in bytes.
pub type FileDigest = ([u8; 32], u64);

/// One file's places among all.
#[derive(Clone, Copy, Debug)]
struct FilePlace {
    root: [u8; 32],
    size: u64,
    data_at: u64,
    hashes_at: u64,
    first_group: u64,
}

/// May be shared by writers and readers.
#[derive(Debug)]
pub struct PartialStore {
    /// Binds the map to its resource.
    key: [u8; 32],
    places: Vec<FilePlace>,
    groups: u64,
    bytes: u64,
    files: Files,
    /// Groups that are written and can be served.
    here: Mutex<Runs>,
    /// Groups that were synced, with the sequence number of the newest map.
    synced: Mutex<(u64, Runs)>,
}

impl PartialStore {
    /// Opens the store that an earlier run left, or begins a new one. `key` names the
    /// resource.
    pub fn open(
        key: [u8; 32],
        contents: impl IntoIterator<Item = FileDigest>,
        files: Files,
    ) -> Result<Self, ProofError> {
        let mut places = Vec::new();
        let (mut bytes, mut hashes_at, mut first_group) = (0u64, 0, 0);
        for (root, size) in contents {
            places.push(FilePlace { root, size, data_at: bytes, hashes_at, first_group });
            let sum = bytes.checked_add(size).filter(|sum| *sum <= BYTES_MAX);
            bytes = sum.ok_or(ProofError::TooLarge(size))?;
            hashes_at += proof::hashes_bytes(size);
            first_group += groups(size);
        }
        let (here, synced) = (Runs::all(first_group), (0, Runs::none(first_group)));
        let (here, synced) = (Mutex::new(here), Mutex::new(synced));
        let mut store = Self { key, places, groups: first_group, bytes, files, here, synced };
        store.read_maps()?;
        Ok(store)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The groups that are here, synced or not; those of all files in one row.
    pub fn here(&self) -> Runs {
        lock(&self.here).clone()
    }

    /// The groups that survive a crash.
    pub fn synced(&self) -> Runs {
        lock(&self.synced).1.clone()
    }

    /// Everything was written in place, with its hashes.
    pub fn all_is_here(&self) {
        *lock(&self.here) = Runs::all(self.groups);
    }

    pub fn is_whole(&self) -> bool {
        lock(&self.here).is_full()
    }

    /// How many groups of a part are here from its start, without a gap.
    pub fn prefix(&self, part: &Part) -> u64 {
        lock(&self.here).prefix(self.row(part))
    }

    /// Whether all groups of a part are here.
    pub fn has(&self, part: &Part) -> bool {
        lock(&self.here).has_all(self.row(part))
    }

    /// Whether this node may write its files. It may not write files that a user shares
    /// where they are.
    pub fn is_ours(&self) -> bool {
        self.files.map.is_some()
    }

    /// These groups are no longer here: their bytes have changed on disk.
    pub fn lose(&self, part: &Part) {
        lock(&self.here).remove(self.row(part));
    }

    /// The pieces all of whose groups are here.
    pub fn pieces(&self, layout: &Layout) -> Bits {
        let here = lock(&self.here);
        let mut pieces = Bits::none(layout.pieces().into());
        for piece in 0..layout.pieces() {
            let row = self.row(&layout.part(piece));
            if here.has_all(row) {
                pieces.insert(piece.into());
            }
        }
        pieces
    }

    /// A verifier for a part that is about to arrive.
    pub fn verifier(&self, part: &Part) -> Result<Verifier, ProofError> {
        let place = self.place(part);
        Verifier::new(self.what(), place.root, place.size, part.groups.clone())
    }

    /// Writes one step of a verifier of a part of `file`.
    pub fn write(&self, file: u32, verified: Verified<'_>) -> io::Result<()> {
        let (place, Files { data, hashes, .. }) = (self.places[file as usize], &self.files);
        match verified {
            Verified::Pair { offset, pair } => hashes.write_at(place.hashes_at + offset, pair),
            Verified::Group { group, bytes } => {
                if let Some(data) = data {
                    data.write_at(place.data_at + group * GROUP_BYTES, bytes)?;
                }
                let group = place.first_group + group;
                // Marked after the write: a reader on another thread must never find a
                // marked group unwritten.
                lock(&self.here).insert(group..group + 1);
                Ok(())
            }
        }
    }

    /// Verifies and writes groups that came without their proof, whose hashes are
    /// here. `bytes` end where a group ends. Returns how many groups they are.
    pub fn write_bare(
        &self,
        file: u32,
        verifier: &mut Verifier,
        bytes: &[u8],
    ) -> Result<u64, ProofError> {
        let hashes_at = self.places[file as usize].hashes_at;
        let mut count = 0;
        verifier.feed_bare(&*self.files.hashes, hashes_at, bytes, |group, bytes| {
            count += 1;
            self.write(file, Verified::Group { group, bytes })
        })?;
        Ok(count)
    }

    // The map last. Written first, it would after a crash name groups whose bytes were
    // lost. The older of the two maps is overwritten, so that a torn write leaves the newer
    // one.
    /// Makes everything written so far durable: bytes and hashes first, then the map.
    pub fn sync(&self) -> io::Result<()> {
        let Some(map) = &self.files.map else { return Ok(()) };
        let mut synced = lock(&self.synced);
        let here = self.here();
        // The caller syncs every second: a store that nothing came to costs no fsync.
        if here == synced.1 {
            return Ok(());
        }
        if let Some(data) = &self.files.data {
            data.sync()?;
        }
        self.files.hashes.sync()?;
        let sequence = synced.0 + 1;
        let bytes = self.map_bytes(sequence, &here);
        map.write_at(self.slot_at(sequence % 2), &bytes)?;
        map.sync()?;
        *synced = (sequence, here);
        Ok(())
    }

    /// An encoder for a part that is here, with its proof: see [`PartialStore::encode`].
    pub fn encoder(&self, part: &Part) -> Result<Verifier, ProofError> {
        self.give(self.what(), part)
    }

    /// The same for the part of the tree that `what` names.
    fn give(&self, what: What, part: &Part) -> Result<Verifier, ProofError> {
        let here = self.prefix(part);
        if part.groups.start + here < part.groups.end {
            return Err(ProofError::NotHere { group: part.groups.start + here });
        }
        let place = self.place(part);
        Verifier::new(what, place.root, place.size, part.groups.clone())
    }

    /// Appends to `out` what an encoder of a part of `file` gives next, until
    /// there are `enough` bytes.
    pub fn encode(
        &self,
        file: u32,
        encoder: &mut Verifier,
        out: &mut Vec<u8>,
        enough: usize,
    ) -> Result<(), ProofError> {
        let place = self.places[file as usize];
        let source = GroupSource {
            data: self.files.data.as_ref().unwrap_or(&self.files.hashes).as_ref(),
            data_at: place.data_at,
            hashes: &*self.files.hashes,
            hashes_at: place.hashes_at,
        };
        encoder.fill(&source, out, enough)
    }

    fn what(&self) -> What {
        if self.files.data.is_some() { What::Groups } else { What::Hashes }
    }

    fn place(&self, part: &Part) -> &FilePlace {
        &self.places[part.file as usize]
    }

    /// A part's groups in the row of all.
    fn row(&self, part: &Part) -> Range<u64> {
        let first = self.place(part).first_group;
        first + part.groups.start..first + part.groups.end
    }
}

/// Runs are changed by single steps: a panic elsewhere leaves them whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
