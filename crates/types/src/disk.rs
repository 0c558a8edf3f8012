//! The border to storage: the one trait between the node and its machine.
//!
//! It exists so that the simulator can stand in for a disk that tears writes, fills up and
//! forgets all that was not synced. So crashes are tested with the code that runs in
//! production.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard},
};

/// A directory of files. Names are flat, without separators.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file, making it empty if it is not there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// The names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a file durably. Removing what is not there is no error.
    fn remove(&self, name: &str) -> io::Result<()>;
}

// The weakest promise that real disks make. Code that is right on it is right on every file
// system.
/// A file. Written bytes are durable only after [`DiskFile::sync`]. A crash before it may
/// keep any part of the writes, in any order.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from `offset`; an error if the file ends before that.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`, lengthening the file if needed.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Truncates the file, or lengthens it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes everything written so far, and the file's length, durable.
    fn sync(&self) -> io::Result<()>;
}

/// What an operator does so that a write that failed for want of room succeeds when it is tried
/// again; `None`: it failed for something else.
pub fn room_cure(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space on that disk")
        }
        io::ErrorKind::FileTooLarge => {
            Some("raise the limit on the size of files (`ulimit -f`, systemd: `LimitFSIZE=`)")
        }
        _ => None,
    }
}

/// A disk in memory, for tests. It has no faults, and its content is gone when it is
/// dropped. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    files: Arc<Mutex<BTreeMap<String, Arc<MemFile>>>>,
}

#[derive(Debug, Default)]
struct MemFile {
    bytes: Mutex<Vec<u8>>,
}

impl Disk for MemDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock().expect("no holder panics");
        Ok(files.entry(name.to_owned()).or_default().clone())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().expect("no holder panics").keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.lock().expect("no holder panics").remove(name);
        Ok(())
    }
}

impl MemFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().expect("no holder panics")
    }
}

impl DiskFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = from.checked_add(buf.len()).and_then(|to| bytes.get(from..to));
        buf.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes();
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::StorageFull)?;
        let to = from.checked_add(data.len()).ok_or(io::ErrorKind::StorageFull)?;
        if bytes.len() < to {
            bytes.resize(to, 0);
        }
        bytes[from..to].copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?;
        self.bytes().resize(len, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
