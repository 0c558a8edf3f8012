//! Out of the store, into a user's file: whole or not at all.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use trefoil_content::GROUP_BYTES;

use super::library::Held;
use crate::disk::{sync_below, sync_directory};

/// Bytes that are copied at once.
const CHUNK: u64 = 64 * GROUP_BYTES;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("cannot write {path}: {source}; {}", crate::disk::cure(.source))]
    Write { path: PathBuf, source: io::Error },
    #[error("{0} is there already; name another place with -o, or remove it")]
    Taken(PathBuf),
    #[error("no file {0:?} in the directory")]
    NoFile(String),
}

impl Held {
    /// The number and bytes of a file of a directory.
    pub fn file(&self, path: &str) -> Option<(u32, u64)> {
        let entries = self.manifest.as_ref()?.entries();
        let at = entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        Some((at as u32, entries[at].size))
    }

    /// Writes bytes of one file to `to`, which comes to be when they are whole.
    /// All of them are here.
    ///
    /// # Errors
    /// `to` is there already, or cannot be written.
    pub fn export_file(&self, file: u32, bytes: Range<u64>, to: &Path) -> Result<(), ExportError> {
        if to.exists() {
            return Err(ExportError::Taken(to.into()));
        }
        let failed = |source| ExportError::Write { path: to.into(), source };
        let parent = parent(to);
        fs::create_dir_all(parent).map_err(failed)?;
        let mut new = tempfile::Builder::new()
            .prefix(".trefoil-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(parent)
            .map_err(failed)?;
        self.copy(file, bytes, new.as_file_mut()).map_err(failed)?;
        new.as_file().sync_all().map_err(failed)?;
        new.persist_noclobber(to).map_err(|error| failed(error.error))?;
        sync_directory(parent).map_err(failed)
    }

    /// Writes all files of a directory below `to`, which comes to be when they are
    /// whole.
    ///
    /// # Errors
    /// `to` is there already, or cannot be written.
    pub fn export_tree(&self, to: &Path) -> Result<(), ExportError> {
        if to.exists() {
            return Err(ExportError::Taken(to.into()));
        }
        let failed = |source| ExportError::Write { path: to.into(), source };
        let parent = parent(to);
        fs::create_dir_all(parent).map_err(failed)?;
        let new = tempfile::Builder::new()
            .prefix(".trefoil-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(parent)
            .map_err(failed)?;
        let entries = self.manifest.as_ref().map_or(&[][..], |manifest| manifest.entries());
        let mut made = PathBuf::new();
        for (at, entry) in entries.iter().enumerate() {
            // Relative, and without `..`: a manifest's decoder saw to it.
            let path = new.path().join(&entry.path);
            let mut write = || {
                // Those of one directory are listed together.
                let parent = self::parent(&path);
                if parent != made {
                    fs::create_dir_all(parent)?;
                    made = parent.into();
                }
                self.copy(at as u32, 0..entry.size, &mut fs::File::create_new(&path)?)
            };
            write().map_err(failed)?;
        }
        sync_below(new.path()).map_err(failed)?;
        fs::rename(new.keep(), to).map_err(failed)?;
        sync_directory(parent).map_err(failed)
    }

    fn copy(&self, file: u32, bytes: Range<u64>, to: &mut fs::File) -> io::Result<()> {
        let most = (bytes.end - bytes.start).min(CHUNK);
        let mut buf = vec![0; most as usize];
        let mut at = bytes.start;
        while at < bytes.end {
            let count = (bytes.end - at).min(CHUNK) as usize;
            self.store.read(file, at, &mut buf[..count])?;
            // What was a hole becomes one.
            match buf[..count].iter().all(|byte| *byte == 0) {
                true => io::Seek::seek_relative(to, count as i64)?,
                false => io::Write::write_all(to, &buf[..count])?,
            }
            at += count as u64;
        }
        to.set_len(bytes.end - bytes.start)
    }
}

/// Where a file lies; a bare name lies here.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
