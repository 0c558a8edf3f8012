//! Writes resources into a user's files, whole or not at all.

use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind},
    ops::Range,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::{NamedTempFile, TempDir};
use trefoil_content::proof::ProofError;
use trefoil_os::disk::{sync_below, sync_directory};

use crate::store::{CHUNK, OpenStore};

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("cannot write {path}: {source}; {}", trefoil_os::disk::cure(.source))]
    Write { path: PathBuf, source: io::Error },
    #[error("{0} is there already; name another place with -o, or remove it")]
    Taken(PathBuf),
    #[error("no file {0:?} in the directory")]
    NoFile(String),
    #[error("what is here has changed on disk again and again: check the disk")]
    Damaged,
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: ProofError },
}

impl OpenStore {
    /// The number and bytes of a file of a directory.
    pub fn file(&self, path: &str) -> Option<(u32, u64)> {
        let entries = self.manifest.as_ref()?.entries();
        let at = entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        Some((at as u32, entries[at].size))
    }

    /// Writes bytes of one file to `to`, which appears when they are whole.
    /// All of them are here.
    ///
    /// # Errors
    /// `to` is there already, or cannot be written; they are not what they were.
    pub fn export_file(&self, file: u32, bytes: Range<u64>, to: &Path) -> Result<(), ExportError> {
        if to.exists() {
            return Err(ExportError::Taken(to.into()));
        }
        let failed = |source| ExportError::Write { path: to.into(), source };
        fs::create_dir_all(parent(to)).map_err(failed)?;
        let mut new = draft_file(to).map_err(failed)?;
        self.copy(file, bytes, new.as_file_mut(), to)?;
        file_into_place(new, to).map_err(failed)
    }

    /// Writes all files of a directory below `to`, which appears when they are whole.
    ///
    /// # Errors
    /// `to` is there already, or cannot be written; they are not what they were.
    pub fn export_tree(&self, to: &Path) -> Result<(), ExportError> {
        if to.exists() {
            return Err(ExportError::Taken(to.into()));
        }
        let failed = |source| ExportError::Write { path: to.into(), source };
        fs::create_dir_all(parent(to)).map_err(failed)?;
        let new = draft_directory(to).map_err(failed)?;
        let entries = self.manifest.as_ref().map_or(&[][..], |manifest| manifest.entries());
        for (at, entry) in entries.iter().enumerate() {
            // The decoder of a manifest takes only relative paths without `..`.
            let mut file = create_file(&new.path().join(&entry.path)).map_err(failed)?;
            self.copy(at as u32, 0..entry.size, &mut file, to)?;
        }
        into_place(new.path(), to).map_err(failed)
    }

    /// Verifies what it reads: the very bytes that are written.
    fn copy(
        &self,
        file: u32,
        bytes: Range<u64>,
        to: &mut fs::File,
        path: &Path,
    ) -> Result<(), ExportError> {
        let failed = |source| ExportError::Write { path: path.into(), source };
        let unread = |source| match source {
            ProofError::Damaged { .. } => ExportError::Damaged,
            source => ExportError::Read { path: self.place.clone(), source },
        };
        let count = bytes.end - bytes.start;
        let space = self.space.elsewhere(parent(path));
        let mut reader = self.store.reader(file, bytes).map_err(unread)?;
        while let now @ [_, ..] = reader.next(CHUNK).map_err(unread)? {
            // A hole stays a hole, so that a sparse file takes no more room here.
            let written = match now.iter().all(|byte| *byte == 0) {
                true => io::Seek::seek_relative(to, now.len() as i64),
                false => space.take(now.len() as u64).and_then(|()| io::Write::write_all(to, now)),
            };
            written.map_err(failed)?;
        }
        to.set_len(count).map_err(failed)
    }
}

// Beside it, since a rename cannot cross file systems.
/// A draft of the file `to`, beside it. It is removed if it is dropped.
pub(super) fn draft_file(to: &Path) -> io::Result<NamedTempFile> {
    draft().permissions(Permissions::from_mode(0o644)).tempfile_in(parent(to))
}

/// A draft directory beside `to`: it, or its content, becomes `to`.
pub fn draft_directory(to: &Path) -> io::Result<TempDir> {
    draft().permissions(Permissions::from_mode(0o755)).tempdir_in(parent(to))
}

fn draft() -> tempfile::Builder<'static, 'static> {
    let mut draft = tempfile::Builder::new();
    draft.prefix(".trefoil-");
    draft
}

// The files of one directory come together, so the directory is mostly there.
/// Makes a file, and its directory if that is not there.
pub(super) fn create_file(path: &Path) -> io::Result<fs::File> {
    match fs::File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(parent(path))?;
            fs::File::create_new(path)
        }
        made => made,
    }
}

// The bytes are durable before the name: after a crash, a file with this name is whole.
/// Makes a draft durable, and `to`, where there must be nothing.
pub(super) fn file_into_place(draft: NamedTempFile, to: &Path) -> io::Result<()> {
    draft.as_file().sync_all()?;
    draft.persist_noclobber(to).map_err(|error| error.error)?;
    sync_directory(parent(to))
}

/// As [`file_into_place`], of a draft directory or its content.
pub(super) fn into_place(draft: &Path, to: &Path) -> io::Result<()> {
    sync_below(draft)?;
    fs::rename(draft, to)?;
    sync_directory(parent(to))
}

/// The directory of a file; that of a bare name is the current one.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
