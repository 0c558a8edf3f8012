//! A resource whose store is open.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use trefoil_content::{
    AllowList, ContentId, GROUP_BYTES, Layout, Manifest, Part, PartialStore, groups,
    proof::ProofError, scheduler::Resource,
};
use trefoil_os::disk_space::DiskSpace;

use super::{Metadata, StoreError, open_directories::OpenDirectory};

// A reader holds one of them in memory.
/// Bytes that are read or copied at once: 1 MiB.
pub const CHUNK: usize = 64 * GROUP_BYTES as usize;

/// A resource, or the files of a directory, with its store open.
#[derive(Debug)]
pub struct OpenStore {
    pub id: ContentId,
    pub resource: Resource,
    pub store: PartialStore,
    pub layout: Layout,
    pub origin: bool,
    /// The organisations whose members may have it.
    pub allow: AllowList,
    /// Only of a directory's files: the manifest that lists them.
    pub manifest: Option<Arc<Manifest>>,
    /// Likewise: what it takes of the memory of all.
    pub directory: Option<OpenDirectory>,
    /// The file that its bytes are in, or the directory if that is shared where it is.
    pub place: PathBuf,
    /// Damage that was found on disk, in words, until all is here again.
    pub damaged: Mutex<Option<String>>,
    /// The room where the store lies.
    pub space: Arc<DiskSpace>,
}

impl OpenStore {
    /// `part`: the name of this part of the resource, without the allow-list.
    pub fn new(
        id: ContentId,
        metadata: &Metadata,
        part: Resource,
        store: PartialStore,
        layout: Layout,
        place: PathBuf,
        space: Arc<DiskSpace>,
    ) -> Self {
        let (resource, allow) = (part.among(&metadata.allow), metadata.allow.clone());
        Self {
            id,
            resource,
            store,
            layout,
            origin: metadata.origin,
            allow,
            manifest: None,
            directory: None,
            place,
            damaged: Mutex::default(),
            space,
        }
    }

    /// Whether it is the store of the bytes of a file or manifest. Stores of hashes alone, and
    /// of a directory's files, are not.
    pub fn is_bytes(&self) -> bool {
        self.resource == Resource::file(self.id.root).among(&self.allow)
    }

    /// The last group with its proof, which proves the size. Empty for hashes and for the
    /// files of a directory: their sizes are known.
    pub fn last_group(&self) -> Result<Vec<u8>, ProofError> {
        let mut proof = Vec::new();
        if self.is_bytes() {
            let mut encoder = self.store.encoder(&self.last_part())?;
            self.store.encode(0, &mut encoder, &mut proof, usize::MAX)?;
        }
        Ok(proof)
    }

    /// Writes the last group that another node's [`OpenStore::last_group`] gave.
    pub fn write_last_group(&self, proof: &[u8]) -> Result<(), StoreError> {
        let mut verifier = self.store.verifier(&self.last_part())?;
        Ok(verifier.feed(proof, |step| self.store.write(0, step))?)
    }

    fn last_part(&self) -> Part {
        let groups = groups(self.layout.bytes());
        Part { file: 0, groups: groups - 1..groups }
    }

    /// Bytes that it takes in memory because it has many files.
    pub fn memory(&self) -> usize {
        self.directory.as_ref().map_or(0, |directory| directory.bytes)
    }

    /// Bytes of whole pieces that are here.
    pub fn bytes_here(&self) -> u64 {
        let pieces = self.store.pieces(&self.layout);
        pieces.iter().map(|piece| self.layout.piece_bytes(piece as u32)).sum()
    }

    /// All bytes of a file or manifest that has at most `most` of them.
    pub fn read_small(&self, most: u64) -> Result<Vec<u8>, ProofError> {
        let size = self.layout.bytes();
        if size > most {
            return Err(ProofError::TooLarge(size));
        }
        self.read(0, 0..size)
    }

    /// Reads bytes of a file, all of which are here.
    pub fn read(&self, file: u32, bytes: Range<u64>) -> Result<Vec<u8>, ProofError> {
        let (mut reader, mut all) = (self.store.reader(file, bytes)?, Vec::new());
        while let now @ [_, ..] = reader.next(CHUNK)? {
            all.extend_from_slice(now);
        }
        Ok(all)
    }
}
