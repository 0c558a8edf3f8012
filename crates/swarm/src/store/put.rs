//! How a user's file or directory becomes a resource, and a resource a user's file.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
};

use trefoil_content::{ContentId, Kind};
use trefoil_os::disk::{remove_file, sync_directory};

use super::{
    About, Library, LibraryError, Terms,
    error::failed,
    hashing::{hash_file, hash_tree, write_manifest},
    metadata::write_about,
    own,
};

impl Library {
    /// Hashes a file or directory where it is, and shares it from there. `read`
    /// counts the bytes as they are read.
    pub fn put(
        &self,
        path: &Path,
        terms: Terms,
        read: &AtomicU64,
    ) -> Result<ContentId, LibraryError> {
        let path = path.canonicalize().map_err(failed("find", path))?;
        let meta = fs::metadata(&path).map_err(failed("read", &path))?;
        let staging = self.staging()?;
        let name = terms.name.or_else(|| Some(path.file_name()?.to_str()?.to_owned()));
        let (id, size, tree_bytes) = if meta.is_file() {
            let hashes = own(staging.path(), "hashes")?;
            let root = hash_file(&path, meta.len(), &*hashes, 0, read)?;
            let kind = if terms.sealed { Kind::Sealed } else { Kind::File };
            (ContentId { kind, root }, meta.len(), None)
        } else if meta.is_dir() {
            let manifest = hash_tree(&path, staging.path(), read)?;
            let (encoded, bytes) = (manifest.encode(), manifest.layout()?.bytes());
            (write_manifest(staging.path(), &encoded)?, encoded.len() as u64, Some(bytes))
        } else {
            return Err(LibraryError::Odd(path));
        };
        let about = About {
            tree_bytes,
            shared: Some(path),
            pinned: true,
            origin: terms.origin,
            whole: true,
            allow: terms.allow,
            ..About::new(id, name, size)
        };
        write_about(staging.path(), &about)?;
        self.install(id, about, staging)?;
        Ok(id)
    }

    /// Where a resource is made until it is whole.
    pub(super) fn staging(&self) -> Result<tempfile::TempDir, LibraryError> {
        let staging = tempfile::Builder::new().prefix("put-").tempdir_in(&self.dir);
        staging.map_err(failed("write in", &self.dir))
    }

    /// Moves a file that is whole out of the store to `to`, over what is there, and
    /// shares it from there. Where that cannot be, on another disk, it stays.
    /// Tells where it is.
    pub fn move_out(&self, id: ContentId, to: &Path) -> Result<PathBuf, LibraryError> {
        let about = self.about(id).ok_or(LibraryError::NotHere(id))?;
        if let Some(path) = about.shared {
            return Ok(path);
        }
        let place = self.place(id);
        let data = place.join("data");
        remove_file(to).map_err(failed("replace", to))?;
        match fs::hard_link(&data, to) {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => return Ok(data),
            linked => linked.map_err(failed("write", to))?,
        }
        let dir = to.parent().unwrap_or(Path::new("."));
        sync_directory(dir).map_err(failed("sync", dir))?;
        let path = to.canonicalize().map_err(failed("find", to))?;
        self.change(id, |about| {
            (about.shared, about.pinned, about.whole) = (Some(path.clone()), true, true);
        })?;
        for file in [data, place.join("map")] {
            fs::remove_file(&file).map_err(failed("remove", &file))?;
        }
        Ok(path)
    }

    /// Moves what was made into its place, over what was there of it.
    pub(super) fn install(
        &self,
        id: ContentId,
        about: About,
        staging: tempfile::TempDir,
    ) -> Result<(), LibraryError> {
        let place = self.place(id);
        let mut state = self.lock();
        if place.exists() {
            fs::remove_dir_all(&place).map_err(failed("replace", &place))?;
        }
        fs::rename(staging.keep(), &place).map_err(failed("write", &place))?;
        sync_directory(&self.dir).map_err(failed("sync", &self.dir))?;
        state.insert(id, about);
        Ok(())
    }
}
