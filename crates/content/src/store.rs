//! A resource that is here in part: its bytes, its hashes, and which groups
//! are here.
//!
//! A file, or the files of a directory one behind the other. What always holds:
//! a group is believed after a restart only if its bytes and the hashes above it
//! were synced, so that a crash at any point leaves groups that verify and loses
//! only what came since the last sync. The map of groups is kept twice and
//! written in turn, each under a hash: a torn one is not believed.

use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use trefoil_types::DiskFile;

use crate::{
    BYTES_MAX, Bits, GROUP_BYTES, Layout, Part, groups,
    proof::{self, Encoder, ProofError, Source, Verified, Verifier, What},
};

/// Sequence number before the map, hash behind it.
const SEQUENCE_BYTES: usize = 8;
const CHECK_BYTES: usize = 32;

/// The files on disk of one resource.
#[derive(Clone, Debug)]
pub struct Files {
    pub data: Arc<dyn DiskFile>,
    pub hashes: Arc<dyn DiskFile>,
    pub map: Arc<dyn DiskFile>,
}

/// A file of a resource: its BLAKE3 root and bytes.
pub type Content = ([u8; 32], u64);

/// One file's places among all.
#[derive(Clone, Copy, Debug)]
struct Place {
    root: [u8; 32],
    size: u64,
    data_at: u64,
    hashes_at: u64,
    first_group: u64,
}

/// Writers and readers may share it.
#[derive(Debug)]
pub struct PartialStore {
    /// Binds the map to its resource.
    key: [u8; 32],
    places: Vec<Place>,
    groups: u64,
    bytes: u64,
    /// `None`: only hashes are kept, and a group is here when its hash is.
    data: Option<Arc<dyn DiskFile>>,
    hashes: Arc<dyn DiskFile>,
    /// `None`: all is here, and stays.
    map: Option<Arc<dyn DiskFile>>,
    /// What is written, and can be served.
    here: Mutex<Bits>,
    /// What was synced, under the map's newest number.
    synced: Mutex<(u64, Bits)>,
}

impl PartialStore {
    /// Opens what an earlier life left, or begins anew. `key` names the resource.
    /// A file's length costs nothing where files are sparse.
    pub fn open(
        key: [u8; 32],
        contents: impl IntoIterator<Item = Content>,
        files: Files,
    ) -> Result<Self, ProofError> {
        let mut store = Self::new(key, contents, Some(files.data), files.hashes)?;
        store.read_maps(files.map)?;
        store.lengthen()?;
        Ok(store)
    }

    /// As [`PartialStore::open`], of the hashes of a file alone.
    pub fn hashes(
        key: [u8; 32],
        content: Content,
        hashes: Arc<dyn DiskFile>,
        map: Arc<dyn DiskFile>,
    ) -> Result<Self, ProofError> {
        let mut store = Self::new(key, [content], None, hashes)?;
        store.read_maps(map)?;
        store.lengthen()?;
        Ok(store)
    }

    fn read_maps(&mut self, map: Arc<dyn DiskFile>) -> io::Result<()> {
        self.map = Some(map);
        let mut newest = (0, Bits::none(self.groups));
        for slot in 0..2 {
            if let Some((sequence, here)) = self.read_map(slot)?
                && sequence > newest.0
            {
                newest = (sequence, here);
            }
        }
        self.here = Mutex::new(newest.1.clone());
        self.synced = Mutex::new(newest);
        Ok(())
    }

    /// All is here: files that were hashed where they are.
    pub fn whole(
        key: [u8; 32],
        contents: impl IntoIterator<Item = Content>,
        data: Arc<dyn DiskFile>,
        hashes: Arc<dyn DiskFile>,
    ) -> Result<Self, ProofError> {
        let mut store = Self::new(key, contents, Some(data), hashes)?;
        store.here = Mutex::new(Bits::all(store.groups));
        Ok(store)
    }

    fn new(
        key: [u8; 32],
        contents: impl IntoIterator<Item = Content>,
        data: Option<Arc<dyn DiskFile>>,
        hashes: Arc<dyn DiskFile>,
    ) -> Result<Self, ProofError> {
        let mut places = Vec::new();
        let (mut bytes, mut hashes_at, mut first_group) = (0u64, 0, 0);
        for (root, size) in contents {
            places.push(Place { root, size, data_at: bytes, hashes_at, first_group });
            let sum = bytes.checked_add(size).filter(|sum| *sum <= BYTES_MAX);
            bytes = sum.ok_or(ProofError::TooLarge(size))?;
            hashes_at += proof::hashes_bytes(size);
            first_group += groups(size);
        }
        let none = Bits::none(first_group);
        let (here, synced) = (Mutex::new(none.clone()), Mutex::new((0, none)));
        Ok(Self { key, places, groups: first_group, bytes, data, hashes, map: None, here, synced })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The groups that are here, synced or not; those of all files in one row.
    pub fn here(&self) -> Bits {
        lock(&self.here).clone()
    }

    /// The groups that a crash leaves.
    pub fn synced(&self) -> Bits {
        lock(&self.synced).1.clone()
    }

    /// All of it was written where it is, with its hashes.
    pub fn all_is_here(&self) {
        *lock(&self.here) = Bits::all(self.groups);
    }

    pub fn is_whole(&self) -> bool {
        lock(&self.here).is_full()
    }

    /// How many groups of a part are here from its start, without a gap.
    pub fn prefix(&self, part: &Part) -> u64 {
        lock(&self.here).prefix(self.row(part))
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

    /// Checks a part of this resource that is about to come.
    pub fn verifier(&self, part: &Part) -> Result<Verifier, ProofError> {
        let place = self.place(part);
        Verifier::new(self.what(), place.root, place.size, part.groups.clone())
    }

    /// Writes one step of a verifier of a part of `file`.
    pub fn write(&self, file: u32, verified: Verified<'_>) -> io::Result<()> {
        let place = self.places[file as usize];
        match verified {
            Verified::Pair { offset, pair } => self.hashes.write_at(place.hashes_at + offset, pair),
            Verified::Group { group, bytes } => {
                if let Some(data) = &self.data {
                    data.write_at(place.data_at + group * GROUP_BYTES, bytes)?;
                }
                lock(&self.here).insert(place.first_group + group);
                Ok(())
            }
        }
    }

    /// Verifies and writes groups that came without their proof, whose hashes are
    /// here; tells how many. They end where one ends.
    pub fn write_bare(
        &self,
        file: u32,
        verifier: &mut Verifier,
        bytes: &[u8],
    ) -> Result<u64, ProofError> {
        let hashes_at = self.places[file as usize].hashes_at;
        let mut count = 0;
        verifier.feed_bare(&*self.hashes, hashes_at, bytes, |group, bytes| {
            count += 1;
            self.write(file, Verified::Group { group, bytes })
        })?;
        Ok(count)
    }

    /// Makes all that was written last: bytes and hashes first, then the map.
    pub fn sync(&self) -> io::Result<()> {
        let Some(map) = &self.map else { return Ok(()) };
        let mut synced = lock(&self.synced);
        let here = self.here();
        if here == synced.1 {
            return Ok(());
        }
        if let Some(data) = &self.data {
            data.sync()?;
        }
        self.hashes.sync()?;
        let sequence = synced.0 + 1;
        map.write_at(self.slot_at(sequence % 2), &self.map_bytes(sequence, &here))?;
        map.sync()?;
        *synced = (sequence, here);
        Ok(())
    }

    /// Gives a part that is here, with its proof: see [`PartialStore::encode`].
    pub fn encoder(&self, part: &Part) -> Result<Encoder, ProofError> {
        let here = self.prefix(part);
        if part.groups.start + here < part.groups.end {
            return Err(ProofError::NotHere { group: part.groups.start + here });
        }
        let place = self.place(part);
        Encoder::new(self.what(), place.root, place.size, part.groups.clone())
    }

    /// Appends to `out` what an encoder of a part of `file` gives next, until
    /// there are `enough` bytes.
    pub fn encode(
        &self,
        file: u32,
        encoder: &mut Encoder,
        out: &mut Vec<u8>,
        enough: usize,
    ) -> Result<(), ProofError> {
        let place = self.places[file as usize];
        let source = Source {
            data: self.data.as_ref().unwrap_or(&self.hashes).as_ref(),
            data_at: place.data_at,
            hashes: &*self.hashes,
            hashes_at: place.hashes_at,
        };
        encoder.fill(&source, out, enough)
    }

    /// Reads bytes of a file, all of which are here.
    pub fn read(&self, file: u32, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let data = self.data.as_ref().ok_or(io::ErrorKind::NotFound)?;
        data.read_at(self.places[file as usize].data_at + offset, buf)
    }

    fn what(&self) -> What {
        if self.data.is_some() { What::Groups } else { What::Hashes }
    }

    fn place(&self, part: &Part) -> &Place {
        &self.places[part.file as usize]
    }

    /// A part's groups in the row of all.
    fn row(&self, part: &Part) -> Range<u64> {
        let first = self.place(part).first_group;
        first + part.groups.start..first + part.groups.end
    }

    fn lengthen(&self) -> io::Result<()> {
        let hashes = self.places.iter().map(|place| proof::hashes_bytes(place.size)).sum();
        let data = self.data.as_ref().map(|data| (data, self.bytes));
        for (file, len) in data.into_iter().chain([(&self.hashes, hashes)]) {
            if file.len()? != len {
                file.set_len(len)?;
            }
        }
        Ok(())
    }

    fn slot_bytes(&self) -> usize {
        SEQUENCE_BYTES + self.groups.div_ceil(8) as usize + CHECK_BYTES
    }

    fn slot_at(&self, slot: u64) -> u64 {
        slot * self.slot_bytes() as u64
    }

    fn map_bytes(&self, sequence: u64, here: &Bits) -> Vec<u8> {
        let mut bytes = sequence.to_le_bytes().to_vec();
        bytes.extend(here.to_bytes());
        let check = self.check(&bytes);
        bytes.extend(check);
        bytes
    }

    /// Binds a map to its resource, so that no other's is believed.
    fn check(&self, bytes: &[u8]) -> [u8; CHECK_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&self.bytes.to_le_bytes()).update(bytes);
        *hasher.finalize().as_bytes()
    }

    fn read_map(&self, slot: u64) -> io::Result<Option<(u64, Bits)>> {
        let Some(map) = &self.map else { return Ok(None) };
        let mut bytes = vec![0; self.slot_bytes()];
        match map.read_at(self.slot_at(slot), &mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let (body, check) = bytes.split_at(bytes.len() - CHECK_BYTES);
        if self.check(body) != check {
            return Ok(None);
        }
        let (sequence, map) = body.split_at(SEQUENCE_BYTES);
        let sequence = u64::from_le_bytes(sequence.try_into().expect("8 bytes"));
        Ok(Bits::from_bytes(self.groups, map).map(|here| (sequence, here)))
    }
}

/// Bits are changed by single steps: a panic elsewhere leaves them whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
