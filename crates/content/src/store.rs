//! A resource that is here in part: its bytes, its hashes, and which groups
//! count.
//!
//! What always holds: a group counts only after its bytes and the hashes above
//! it were synced, so that a crash at any point leaves groups that verify and
//! loses only what came since the last sync. The map of groups is kept twice
//! and written in turn, each under a hash: a torn one is not believed.

use std::{io, sync::Arc};

use trefoil_types::DiskFile;

use crate::{
    BYTES_MAX, Bits, GROUP_BYTES, Layout, Part, groups,
    proof::{self, Hashes, ProofError, Verified},
};

/// Sequence number before the map, hash behind it.
const SEQUENCE_BYTES: usize = 8;
const CHECK_BYTES: usize = 32;

/// The three files of one resource.
#[derive(Clone, Debug)]
pub struct Files {
    pub data: Arc<dyn DiskFile>,
    pub hashes: Arc<dyn DiskFile>,
    pub map: Arc<dyn DiskFile>,
}

#[derive(Debug)]
pub struct PartialStore {
    root: [u8; 32],
    size: u64,
    files: Files,
    /// What counts: synced.
    here: Bits,
    /// Written since the last sync.
    written: Bits,
    sequence: u64,
}

impl PartialStore {
    /// Opens what an earlier life left, or begins anew. A file's length costs
    /// nothing where files are sparse.
    pub fn open(root: [u8; 32], size: u64, files: Files) -> Result<Self, ProofError> {
        if size > BYTES_MAX {
            return Err(ProofError::TooLarge(size));
        }
        let none = Bits::none(groups(size));
        let mut store = Self { root, size, files, here: none.clone(), written: none, sequence: 0 };
        for slot in 0..2 {
            if let Some((sequence, here)) = store.read_map(slot)?
                && sequence > store.sequence
            {
                (store.sequence, store.here) = (sequence, here);
            }
        }
        store.lengthen()?;
        Ok(store)
    }

    /// The groups that count.
    pub fn here(&self) -> &Bits {
        &self.here
    }

    /// Whether the size is proven: the last group verified under it.
    pub fn size_is_proven(&self) -> bool {
        self.here.has(groups(self.size) - 1)
    }

    /// The pieces of a layout of this one file all of whose groups count.
    pub fn pieces(&self, layout: &Layout) -> Bits {
        let mut pieces = Bits::none(layout.pieces().into());
        for piece in 0..layout.pieces() {
            let groups = layout.part(piece).groups;
            if self.here.prefix(groups.clone()) == groups.end - groups.start {
                pieces.insert(piece.into());
            }
        }
        pieces
    }

    /// Writes one step of a [`proof::Verifier`]; it counts after the next sync.
    pub fn write(&mut self, verified: &Verified) -> io::Result<()> {
        match verified {
            Verified::Pair { offset, pair } => self.files.hashes.write_at(*offset, pair),
            Verified::Group { group, bytes } => {
                self.files.data.write_at(group * GROUP_BYTES, bytes)?;
                self.written.insert(*group);
                Ok(())
            }
        }
    }

    /// Makes all that was written count: bytes and hashes first, then the map.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.written.is_empty() {
            return Ok(());
        }
        self.files.data.sync()?;
        self.files.hashes.sync()?;
        let mut here = self.here.clone();
        here.insert_all(&self.written);
        let sequence = self.sequence + 1;
        self.files.map.write_at(self.slot_at(sequence % 2), &self.map_bytes(sequence, &here))?;
        self.files.map.sync()?;
        (self.sequence, self.here) = (sequence, here);
        self.written = Bits::none(groups(self.size));
        Ok(())
    }

    /// Writes a part that counts, with its proof.
    pub fn encode(&self, part: &Part, out: impl io::Write) -> Result<(), ProofError> {
        let here = self.here.prefix(part.groups.clone());
        if part.groups.start + here < part.groups.end {
            return Err(ProofError::NotHere { group: part.groups.start + here });
        }
        let hashes = Hashes { root: self.root, size: self.size, file: &*self.files.hashes };
        proof::encode(&*self.files.data, hashes, part, out)
    }

    fn lengthen(&self) -> io::Result<()> {
        let hashes = proof::hashes_bytes(self.size);
        for (file, len) in [(&self.files.data, self.size), (&self.files.hashes, hashes)] {
            if file.len()? != len {
                file.set_len(len)?;
            }
        }
        Ok(())
    }

    fn slot_bytes(&self) -> usize {
        SEQUENCE_BYTES + self.here.to_bytes().len() + CHECK_BYTES
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
        let mut hasher = blake3::Hasher::new_keyed(&self.root);
        hasher.update(&self.size.to_le_bytes()).update(bytes);
        *hasher.finalize().as_bytes()
    }

    fn read_map(&self, slot: u64) -> io::Result<Option<(u64, Bits)>> {
        let mut bytes = vec![0; self.slot_bytes()];
        match self.files.map.read_at(self.slot_at(slot), &mut bytes) {
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
        Ok(Bits::from_bytes(groups(self.size), map).map(|here| (sequence, here)))
    }
}
