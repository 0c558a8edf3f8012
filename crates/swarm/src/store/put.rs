//! How a user's file or directory becomes a resource, and a resource a user's file.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
};

use trefoil_content::{ContentId, ResourceKind, proof};
use trefoil_os::disk::{remove_file, sync_directory};

use super::{
    ContentStore, Metadata, PutOptions, StoreError, failed,
    hashing::{hash_file, hash_tree, write_manifest},
    metadata::write_metadata,
    own,
};

impl ContentStore {
    /// Hashes a file or directory where it is, and shares it from there. `read`
    /// counts the bytes as they are read.
    pub fn put(
        &self,
        path: &Path,
        options: PutOptions,
        read: &AtomicU64,
    ) -> Result<ContentId, StoreError> {
        // The path must mean the same file after a restart in another directory.
        let path = path.canonicalize().map_err(failed("find", path))?;
        let meta = fs::metadata(&path).map_err(failed("read", &path))?;
        let staging = self.staging()?;
        let name = options.name.or_else(|| Some(path.file_name()?.to_str()?.to_owned()));
        let (id, size, tree_bytes) = if meta.is_file() {
            self.admit(None, proof::hashes_bytes(meta.len()), false)?;
            let hashes = own(&self.space, staging.path(), "hashes")?;
            let root = hash_file(&path, meta.len(), &*hashes, 0, read)?;
            let kind = if options.sealed { ResourceKind::Sealed } else { ResourceKind::File };
            (ContentId { kind, root }, meta.len(), None)
        } else if meta.is_dir() {
            let manifest = hash_tree(&self.space, &path, staging.path(), read)?;
            let (encoded, bytes) = (manifest.encode(), manifest.layout()?.bytes());
            (
                write_manifest(&self.space, staging.path(), &encoded)?,
                encoded.len() as u64,
                Some(bytes),
            )
        } else {
            return Err(StoreError::Odd(path));
        };
        let metadata = Metadata {
            tree_bytes,
            shared: Some(path),
            pinned: true,
            origin: options.origin,
            whole: true,
            allow: options.allow,
            ..Metadata::new(id, name, size)
        };
        self.install(id, metadata, staging)?;
        Ok(id)
    }

    /// Where a resource is made until it is whole.
    pub(super) fn staging(&self) -> Result<tempfile::TempDir, StoreError> {
        let staging = tempfile::Builder::new().prefix("put-").tempdir_in(&self.dir);
        staging.map_err(failed("write in", &self.dir))
    }

    /// Moves a whole file out of the store to `to`, replaces a file there, and shares it
    /// from there. If `to` is on another disk, the file stays. Returns its path.
    pub fn move_out(&self, id: ContentId, to: &Path) -> Result<PathBuf, StoreError> {
        let metadata = self.metadata(id).ok_or(StoreError::NotHere(id))?;
        if let Some(path) = metadata.shared {
            return Ok(path);
        }
        let place = self.place(id);
        let data = place.join("data");
        remove_file(to).map_err(failed("replace", to))?;
        // A hard link needs no room for a second copy.
        match fs::hard_link(&data, to) {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => return Ok(data),
            linked => linked.map_err(failed("write", to))?,
        }
        let dir = to.parent().unwrap_or(Path::new("."));
        sync_directory(dir).map_err(failed("sync", dir))?;
        let path = to.canonicalize().map_err(failed("find", to))?;
        // Before the files here are removed: a crash in between leaves one copy too many,
        // not none.
        self.change(id, |metadata| {
            (metadata.shared, metadata.pinned, metadata.whole) = (Some(path.clone()), true, true);
        })?;
        for file in [data, place.join("map")] {
            fs::remove_file(&file).map_err(failed("remove", &file))?;
        }
        Ok(path)
    }

    /// Moves a finished resource into its place, and replaces the one that was there.
    pub(super) fn install(
        &self,
        id: ContentId,
        metadata: Metadata,
        staging: tempfile::TempDir,
    ) -> Result<(), StoreError> {
        write_metadata(staging.path(), &metadata)?;
        let place = self.place(id);
        let _writes = self.write();
        if place.exists() {
            fs::remove_dir_all(&place).map_err(failed("replace", &place))?;
        }
        fs::rename(staging.keep(), &place).map_err(failed("write", &place))?;
        sync_directory(&self.dir).map_err(failed("sync", &self.dir))?;
        self.lock().insert(id, metadata);
        Ok(())
    }
}
