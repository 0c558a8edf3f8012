//! The node's real disk: one directory, held by one process.
//!
//! What always holds: two processes never use one directory, and the directory itself is
//! synced when a file appears in it or goes. An advisory lock on its `LOCK` file, which the
//! system drops when the process dies, sees to the first.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufWriter, ErrorKind, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use trefoil_types::{Disk, DiskFile, room_cure};

use crate::private;

const LOCK: &str = "LOCK";

/// The ending of a file that is being made.
pub const PART: &str = "part";

/// A [`Disk`] over a directory, locked as long as this value lives.
#[derive(Debug)]
pub struct FileDisk {
    dir: PathBuf,
    _lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error(
        "{dir} is in use by another trefoil process; stop that process, or choose another directory with --dir"
    )]
    Locked { dir: PathBuf },
    #[error("cannot use the directory {dir}: {source}; {cure}")]
    Directory { dir: PathBuf, source: io::Error, cure: &'static str },
}

impl FileDisk {
    /// Takes the directory, making it if need be.
    ///
    /// # Errors
    /// When another process holds it, or it cannot be written.
    pub fn open(dir: &Path) -> Result<Self, DiskError> {
        let failed = |source: io::Error| DiskError::Directory {
            dir: dir.into(),
            cure: cure(&source),
            source,
        };
        private::directory(dir).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            // Another process may hold it.
            .truncate(false)
            .write(true)
            .open(dir.join(LOCK))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DiskError::Locked { dir: dir.into() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        // A name is one file of this directory: no path may lead out of it.
        let flat = !name.is_empty() && name != LOCK && !name.contains(['/', '\\']);
        if flat && name != "." && name != ".." {
            Ok(self.dir.join(name))
        } else {
            Err(io::Error::new(ErrorKind::InvalidInput, format!("{name:?} is no file name")))
        }
    }
}

/// Advice to a person about a failed file operation.
pub fn cure(error: &io::Error) -> &'static str {
    if let Some(cure) = room_cure(error) {
        return cure;
    }
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "give this user read and write permission there, or choose another with --dir"
        }
        ErrorKind::ReadOnlyFilesystem => "choose a writable place with --dir",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "something else is in the way: choose another place with --dir"
        }
        ErrorKind::NotFound => "check the path",
        _ => "check the path and the disk",
    }
}

// One call for each of many files would take minutes.
/// Makes all files below a directory durable, and the rest of its file system.
pub fn sync_below(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(directory)?)?)
}

impl Disk for FileDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(name)?;
        let file = OpenFile::create(&path)?;
        // Or a crash can lose the file's name, and with it all that was synced into the file. An
        // earlier try may have made the file and found no room to sync its name.
        if file.is_empty()? {
            sync_directory(&self.dir)?;
        }
        Ok(Arc::new(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            // Others are not ours: every name we make is plain text.
            if let Ok(name) = entry.file_name().into_string()
                && name != LOCK
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)?) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
            Ok(()) => sync_directory(&self.dir),
        }
    }
}

/// Makes durable which files are in a directory.
pub fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes a file, if it is there.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Runs work that waits for the disk beside the async tasks; a panic in it goes on here.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Writes a file that is there whole or not at all.
///
/// # Errors
/// The error of `write`, or a failed disk.
pub fn write_whole<T, E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn io::Write) -> Result<T, E>,
) -> Result<T, E> {
    let part = path.with_added_extension(PART);
    let draft = || {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&part)?);
        let written = write(&mut file)?;
        file.flush()?;
        // Before the rename, which is atomic: the name never shows a part of the file, even
        // after a crash.
        file.get_ref().sync_all()?;
        fs::rename(&part, path)?;
        Ok::<_, E>(written)
    };
    let written = draft().inspect_err(|_| {
        // On a full disk, what remained would keep it full.
        let _ = fs::remove_file(&part);
    })?;
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        sync_directory(dir)?;
    }
    Ok(written)
}

/// A file that is open, named by its path.
#[derive(Debug)]
pub struct OpenFile(File);

impl OpenFile {
    /// Opens a file of ours, or makes it empty.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::options().read(true).write(true).create(true).truncate(false).open(path).map(Self)
    }

    /// Opens a user's file, which the system then lets nobody write by this.
    pub fn read_only(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }
}

impl DiskFile for OpenFile {
    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|meta| meta.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    /// `fdatasync`: the contents, and of the metadata what reading them needs
    /// (the length).
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        {
            let disk = FileDisk::open(dir.path()).unwrap();
            let file = disk.open("b").unwrap();
            file.write_at(3, b"trefoil").unwrap();
            file.sync().unwrap();
            disk.open("a").unwrap();
        }
        let disk = FileDisk::open(dir.path()).unwrap();
        assert_eq!(disk.list().unwrap(), ["a", "b"]);
        let file = disk.open("b").unwrap();
        assert_eq!(file.len().unwrap(), 10);
        let mut buf = [1; 10];
        file.read_at(0, &mut buf).unwrap();
        assert_eq!(&buf, b"\0\0\0trefoil");
        assert!(file.read_at(4, &mut buf).is_err(), "the file ends before that");
        file.set_len(4).unwrap();
        assert_eq!(file.len().unwrap(), 4);
        disk.remove("b").unwrap();
        disk.remove("b").unwrap();
        assert_eq!(disk.list().unwrap(), ["a"]);
    }

    #[test]
    fn a_directory_has_one_user() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let first = FileDisk::open(dir.path()).unwrap();
        let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "and is its user's");
        assert!(matches!(FileDisk::open(dir.path()), Err(DiskError::Locked { .. })));
        drop(first);
        assert!(FileDisk::open(dir.path()).is_ok());
    }

    #[test]
    fn names_stay_in_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(dir.path()).unwrap();
        for name in ["", ".", "..", "../x", "a/b", "LOCK"] {
            assert!(disk.open(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_file_that_failed_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state-8");
        let failed: io::Result<()> = write_whole(&path, |file| {
            file.write_all(b"half")?;
            Err(ErrorKind::Other.into())
        });
        assert!(failed.is_err() && !path.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "its part is gone too");
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write_whole(&taken, |file| file.write_all(b"whole")).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nor does it stay without a name");
        write_whole(&path, |file| file.write_all(b"whole")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }
}
