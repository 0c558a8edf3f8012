//! Room on a file system, less a reserve for the journal.
//!
//! What always holds: who writes by this (content, state snapshots) leaves the reserve, however
//! fast it writes and whoever else writes.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use trefoil_types::DiskFile;

use crate::disk::OpenFile;

// A node whose journal cannot be written stops. Blocks of the largest size (9 MiB), one a second,
// take two minutes for this much and those of a usual network days: time to see the warning, and
// to make room with `trefoil rm`.
/// Bytes that are left to the journal, the database and the log.
const RESERVE_BYTES: u64 = 1 << 30;

/// Of a small file system, this part of it at most.
const RESERVE_SHARE: u64 = 10;

/// Room below a directory.
#[derive(Debug)]
pub struct DiskSpace {
    dir: PathBuf,
    /// What there was when it was last looked, less what was taken since.
    room: AtomicU64,
}

impl DiskSpace {
    pub fn below(dir: &Path) -> Self {
        Self { dir: dir.into(), room: AtomicU64::new(0) }
    }

    /// Bytes that may be written.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn look(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        // `f_bavail`, since the reserve of the superuser (`f_bfree`) is not for this process.
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let room = beyond_reserve(free, stat.f_blocks.saturating_mul(stat.f_frsize));
        self.room.store(room, Ordering::Relaxed);
        Ok(room)
    }

    // Asked of the system only when what it said last is used up, and each second by whoever
    // keeps this: a system call for each frame would cost more than the frame.
    /// So many bytes are about to be written.
    ///
    /// # Errors
    /// They have no room ([`ErrorKind::StorageFull`]).
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        let taken = |room: u64| room.checked_sub(bytes);
        let take = || self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok();
        if take() || self.look()? >= bytes && take() {
            return Ok(());
        }
        Err(io::Error::new(ErrorKind::StorageFull, Reserved { dir: self.dir.clone() }))
    }
}

/// Why nothing more is written.
#[derive(Debug)]
struct Reserved {
    dir: PathBuf,
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = RESERVE_BYTES >> 20;
        let dir = self.dir.display();
        write!(
            f,
            "what is free at {dir} is kept for the journal ({mib} MiB, or a tenth of the disk)"
        )
    }
}

impl std::error::Error for Reserved {}

fn beyond_reserve(free: u64, all: u64) -> u64 {
    free.saturating_sub(RESERVE_BYTES.min(all / RESERVE_SHARE))
}

/// A writer that leaves the reserve.
#[derive(Debug)]
pub struct SpareWriter<'a, W> {
    pub to: W,
    pub space: &'a DiskSpace,
}

impl<W: Write> Write for SpareWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.space.take(bytes.len() as u64)?;
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A file whose writes leave the reserve.
#[derive(Debug)]
pub struct SpareFile {
    pub file: OpenFile,
    pub space: Arc<DiskSpace>,
}

impl DiskFile for SpareFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.space.take(data.len() as u64)?;
        self.file.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_gibibyte_or_a_tenth() {
        const GIB: u64 = 1 << 30;
        for (free, all, room) in [
            (100 * GIB, 200 * GIB, 99 * GIB),
            (GIB, 200 * GIB, 0),
            (0, 200 * GIB, 0),
            // A small disk is not refused whole.
            (GIB, 2 * GIB, GIB - GIB / 5),
            (10, 0, 10),
        ] {
            assert_eq!(beyond_reserve(free, all), room, "{free} of {all}");
        }
    }

    #[test]
    fn more_than_there_is_is_refused_and_takes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let space = DiskSpace::below(dir.path());
        let room = space.look().unwrap();
        let file = OpenFile::create(&dir.path().join("a")).unwrap();
        let error = space.take(u64::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(error.to_string().contains("journal"), "{error}");
        if room > 0 {
            space.take(1).unwrap();
        }
        // As on a disk that is full: nothing is written.
        let full = Arc::new(DiskSpace::below(Path::new("/proc")));
        let file = SpareFile { file, space: full.clone() };
        assert!(file.write_at(0, b"x").is_err());
        assert_eq!(file.len().unwrap(), 0);
        let mut bytes = Vec::new();
        let mut writer = SpareWriter { to: &mut bytes, space: &full };
        assert!(writer.write_all(b"x").is_err());
        assert!(bytes.is_empty());
    }
}
