//! A resource whose bytes an HTTP server has: nothing is kept here but its hashes,
//! by which they can be verified, and the last group, which shows the size.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use trefoil_content::{
    ContentId, Files, GROUP_BYTES, ORIGINS_MAX, Origin, Part, PartialStore, ResourceKind, groups,
    proof::{self, ProofError},
    scheduler::Resource,
};
use trefoil_os::{disk::sync_directory, disk_space::DiskSpace};

use super::{
    ContentStore, HASHES_MAP, Metadata, PutOptions, StoreError, failed, hashing::Counted, own,
    own_files,
};

impl ContentStore {
    /// Reads the `size` bytes that `origin` has and hashes them. `read` counts them.
    pub fn put_remote(
        &self,
        origin: &Origin,
        options: PutOptions,
        size: u64,
        data: impl Read,
        read: &AtomicU64,
    ) -> Result<ContentId, StoreError> {
        self.admit(None, proof::hashes_bytes(size), false)?;
        let staging = self.staging()?;
        let root = hash_remote(&self.space, staging.path(), origin, size, Counted(data, read))?;
        let id = ContentId { kind: ResourceKind::File, root };
        let last = origin.url().path_segments().and_then(|mut path| path.next_back());
        let name = options.name.or_else(|| last.filter(|name| !name.is_empty()).map(str::to_owned));
        match self.metadata(id) {
            Some(here) if here.allow != options.allow => {
                return Err(StoreError::OtherList(id));
            }
            Some(here) => self.add_origin(id, &here, origin, staging.path())?,
            None => {
                let metadata = Metadata {
                    pinned: true,
                    origins: vec![origin.to_string()],
                    origin: options.origin,
                    allow: options.allow,
                    ..Metadata::new(id, name, size)
                };
                self.install(id, metadata, staging)?;
            }
        }
        Ok(id)
    }

    /// Adds an origin to a resource that is here already, whole or in part.
    fn add_origin(
        &self,
        id: ContentId,
        here: &Metadata,
        origin: &Origin,
        staging: &Path,
    ) -> Result<(), StoreError> {
        let place = self.place(id);
        if !here.whole {
            // In place, since the files may be open; the bytes that are there are the same.
            for name in ["hashes", HASHES_MAP] {
                let path = place.join(name);
                let copy = || {
                    let mut options = fs::OpenOptions::new();
                    let options = options.write(true).create(true).truncate(false);
                    let mut to = options.open(&path)?;
                    io::copy(&mut fs::File::open(staging.join(name))?, &mut to)?;
                    to.sync_all()
                };
                copy().map_err(failed("write", &path))?;
            }
            sync_directory(&place).map_err(failed("sync", &place))?;
        }
        let origin = origin.to_string();
        self.change(id, |metadata| {
            metadata.pinned = true;
            metadata.origins.retain(|other| *other != origin);
            metadata.origins.insert(0, origin);
            metadata.origins.truncate(ORIGINS_MAX);
        })?;
        Ok(())
    }

    /// The origins of a resource that the operator put.
    pub fn origins(&self, id: ContentId) -> Vec<Origin> {
        let origins = self.metadata(id).map(|metadata| metadata.origins).unwrap_or_default();
        origins.iter().filter_map(|origin| origin.parse().ok()).collect()
    }
}

/// Writes all hashes and the last group, and returns the root.
fn hash_remote(
    space: &Arc<DiskSpace>,
    staging: &Path,
    origin: &Origin,
    size: u64,
    data: impl Read,
) -> Result<[u8; 32], StoreError> {
    let files = own_files(space, staging, "")?;
    let start = (groups(size) - 1) * GROUP_BYTES;
    let mut data = LastGroupReader { data, start, at: 0, last: Vec::new(), failed: None };
    let root = match (proof::hash(&mut data, size, &*files.hashes, 0), data.failed) {
        (_, Some(source)) => {
            return Err(StoreError::Origin { origin: origin.clone(), source });
        }
        (root, None) => root.map_err(kept_in(staging))?,
    };
    let map = Some(own(space, staging, HASHES_MAP)?);
    let alone = Files { data: None, hashes: files.hashes.clone(), map };
    let hashes = PartialStore::open(Resource::hashes(root).0, [(root, size)], alone);
    let hashes = hashes.map_err(kept_in(staging))?;
    hashes.all_is_here();
    hashes.sync().map_err(failed("write in", staging))?;
    // Of all bytes, only these take room: the file is sparse.
    let store = PartialStore::open(root, [(root, size)], files).map_err(kept_in(staging))?;
    let part = Part { file: 0, groups: groups(size) - 1..groups(size) };
    let mut verifier = store.verifier(&part)?;
    store.write_bare(0, &mut verifier, &data.last).map_err(kept_in(staging))?;
    store.sync().map_err(failed("write in", staging))?;
    Ok(root)
}

fn kept_in(staging: &Path) -> impl FnOnce(ProofError) -> StoreError {
    move |error| match error {
        ProofError::Io(error) => failed("write in", staging)(error),
        error => error.into(),
    }
}

/// A reader that keeps the last group, and the error if reading fails.
struct LastGroupReader<R> {
    data: R,
    /// Where the last group begins.
    start: u64,
    at: u64,
    last: Vec<u8>,
    failed: Option<io::Error>,
}

impl<R: Read> Read for LastGroupReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = match self.data.read(buf) {
            Ok(count) => count,
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                return Err(kind.into());
            }
        };
        let before = self.start.saturating_sub(self.at).min(count as u64) as usize;
        self.last.extend_from_slice(&buf[before..count]);
        self.at += count as u64;
        Ok(count)
    }
}
