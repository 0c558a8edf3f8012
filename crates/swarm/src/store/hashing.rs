//! Hashes the files that a resource is made of, where they are.

use std::{
    fs,
    io::{self, ErrorKind, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use trefoil_content::{
    ContentId, Manifest, ManifestEntry, PartialStore, ResourceKind,
    proof::{self, ProofError},
};
use trefoil_os::disk_space::DiskSpace;
use trefoil_types::DiskFile;

use super::{StoreError, failed, own, own_files};

/// Counts the bytes that are read.
pub struct Counted<'a, R>(pub R, pub &'a AtomicU64);

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buf)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Hashes the bytes that a file has now, no more and no fewer.
pub(super) fn hash_file(
    path: &Path,
    size: u64,
    hashes: &dyn DiskFile,
    at: u64,
    read: &AtomicU64,
) -> Result<[u8; 32], StoreError> {
    let unread = failed("read", path);
    let file = fs::File::open(path).map_err(failed("open", path))?;
    let reader = io::BufReader::with_capacity(1 << 20, Counted(file, read));
    proof::hash(reader, size, hashes, at).map_err(|error| match error {
        ProofError::Io(source) if source.kind() == ErrorKind::UnexpectedEof => {
            unread(io::Error::other("it became shorter while it was read"))
        }
        ProofError::Io(source) => unread(source),
        error => error.into(),
    })
}

/// Hashes every file below a directory.
pub(super) fn hash_tree(
    space: &Arc<DiskSpace>,
    directory: &Path,
    staging: &Path,
    read: &AtomicU64,
) -> Result<Manifest, StoreError> {
    let files = files_below(directory)?;
    let hashes = own(space, staging, "tree.hashes")?;
    let mut at = 0;
    let mut entries = Vec::with_capacity(files.len());
    for (path, size) in files {
        let root = hash_file(&directory.join(&path), size, &*hashes, at, read)?;
        at += proof::hashes_bytes(size);
        entries.push(ManifestEntry { path, size, root });
    }
    hashes.sync().map_err(failed("write", staging))?;
    Ok(Manifest::new(entries)?)
}

/// The files below a directory and their bytes, in the order of a manifest: the hashes
/// lie in it.
pub fn files_below(directory: &Path) -> Result<Vec<(String, u64)>, StoreError> {
    let mut files = Vec::new();
    walk(directory, String::new(), &mut files)?;
    files.sort_unstable();
    Ok(files)
}

/// Lists the files below a directory. Links are followed to files, not to
/// directories, which could go round in circles.
fn walk(directory: &Path, below: String, files: &mut Vec<(String, u64)>) -> Result<(), StoreError> {
    for entry in fs::read_dir(directory).map_err(failed("read", directory))? {
        let entry = entry.map_err(failed("read", directory))?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|_| StoreError::Name(path.clone()))?;
        let relative = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type().map_err(failed("read", &path))?;
        if kind.is_dir() {
            walk(&path, relative, files)?;
            continue;
        }
        let meta = fs::metadata(&path).map_err(failed("read", &path))?;
        if !meta.is_file() {
            return Err(StoreError::Odd(path));
        }
        files.push((relative, meta.len()));
    }
    Ok(())
}

/// Writes a manifest as a resource that is whole.
pub(super) fn write_manifest(
    space: &Arc<DiskSpace>,
    staging: &Path,
    encoded: &[u8],
) -> Result<ContentId, StoreError> {
    let path = staging.join("data");
    let (size, none) = (encoded.len() as u64, AtomicU64::new(0));
    let files = own_files(space, staging, "")?;
    let mut data = files.data.iter();
    data.try_for_each(|data| data.write_at(0, encoded)).map_err(failed("write", &path))?;
    let root = hash_file(&path, size, &*files.hashes, 0, &none)?;
    let store = PartialStore::open(root, [(root, size)], files)?;
    store.all_is_here();
    store.sync().map_err(failed("write", &path))?;
    Ok(ContentId { kind: ResourceKind::Directory, root })
}
