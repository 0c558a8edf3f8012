//! Room on a file system, less a reserve for the journal if that lies there too.
//!
//! What always holds: who writes by this (content, state snapshots, a chain that is restored) leaves the reserve, however
//! fast it writes and whoever else writes.

use std::{
    fmt, fs,
    io::{self, ErrorKind, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use trefoil_types::{Disk, DiskFile};

// A node whose journal cannot be written stops. Blocks of the largest size (9 MiB), one a second,
// take two minutes for this much and those of a usual network days: time to see the warning, and
// to make room with `trefoil rm`.
/// Bytes that are left to the journal, the database and the log.
const RESERVE_BYTES: u64 = 1 << 30;

/// Of a small file system, this part of it at most.
const RESERVE_SHARE: u64 = 10;

/// File systems whose free bytes differ by no more than this share them (64 MiB).
const SAME_ROOM: u64 = 64 << 20;

/// Room below a directory.
#[derive(Debug)]
pub struct DiskSpace {
    dir: PathBuf,
    /// The directory of the journal.
    data: PathBuf,
    /// What there was when it was last looked, less what was taken since.
    room: AtomicU64,
}

impl DiskSpace {
    /// `data`: the directory of the journal for which the reserve is kept.
    pub fn below(dir: &Path, data: &Path) -> Self {
        Self { dir: dir.into(), data: data.into(), room: AtomicU64::new(0) }
    }

    /// Room below another directory; the reserve is for the same journal.
    pub fn elsewhere(&self, dir: &Path) -> Self {
        Self::below(dir, &self.data)
    }

    /// Bytes that may be written.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn look(&self) -> io::Result<u64> {
        let here = FileSystem::of(&self.dir)?;
        let room = here.room(self.holds_journal(&here));
        self.room.store(room, Ordering::Relaxed);
        Ok(room)
    }

    /// Whether the journal lies on this file system. If that cannot be told, it does.
    fn holds_journal(&self, here: &FileSystem) -> bool {
        FileSystem::of(&self.data).map_or(true, |journal| here.shares_room_with(&journal))
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
        let here = FileSystem::of(&self.dir)?;
        if !self.holds_journal(&here) {
            return Err(ErrorKind::StorageFull.into());
        }
        Err(io::Error::new(ErrorKind::StorageFull, Reserved { dir: self.dir.clone() }))
    }
}

/// A file system, as the system tells of it.
#[derive(Clone, Copy, Debug)]
struct FileSystem {
    device: u64,
    /// Bytes that this process may write.
    free: u64,
    all: u64,
}

impl FileSystem {
    fn of(dir: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(Self {
            device: fs::metadata(dir)?.dev(),
            // `f_bavail`, since the reserve of the superuser (`f_bfree`) is not for this process.
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            all: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    // The subvolumes of one btrfs and the datasets of one ZFS have a device number each, and datasets
    // a size of their own too. They have the same free room, but for what is written between two
    // looks; two disks have it by a rare chance.
    fn shares_room_with(&self, other: &Self) -> bool {
        self.device == other.device || self.free.abs_diff(other.free) <= SAME_ROOM
    }

    /// Bytes that may be written. `reserved`: the journal lies here.
    fn room(&self, reserved: bool) -> u64 {
        let reserve = if reserved { RESERVE_BYTES.min(self.all / RESERVE_SHARE) } else { 0 };
        self.free.saturating_sub(reserve)
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

/// A disk whose files leave the reserve.
#[derive(Debug)]
pub struct SpareDisk {
    pub disk: Arc<dyn Disk>,
    pub space: Arc<DiskSpace>,
}

impl Disk for SpareDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SpareFile { file: self.disk.open(name)?, space: self.space.clone() }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

/// A file whose writes leave the reserve.
#[derive(Debug)]
pub struct SpareFile {
    pub file: Arc<dyn DiskFile>,
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
    use trefoil_types::MemDisk;

    use super::*;
    use crate::disk::OpenFile;

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
            let disk = FileSystem { device: 1, free, all };
            assert_eq!(disk.room(true), room, "{free} of {all}");
            assert_eq!(disk.room(false), free, "of another disk than the journal's");
        }
    }

    #[test]
    fn the_reserve_counts_where_the_journal_lies() {
        let dir = tempfile::tempdir().unwrap();
        let (here, other) = (dir.path(), Path::new("/proc"));
        let holds = |data| {
            let space = DiskSpace::below(here, data);
            space.holds_journal(&FileSystem::of(here).unwrap())
        };
        assert!(holds(here) && holds(Path::new("/nowhere")) && !holds(other));
        // A subvolume of the same disk.
        let disk = FileSystem { device: 1, free: 5, all: 9 };
        let subvolume = FileSystem { device: 2, free: 5 + SAME_ROOM, all: 8 };
        assert!(disk.shares_room_with(&subvolume) && subvolume.shares_room_with(&disk));
        assert!(!disk.shares_room_with(&FileSystem { free: 6 + SAME_ROOM, ..subvolume }));
        // Nothing is left to a journal that is elsewhere.
        let [full, room] = [here, other].map(|data| DiskSpace::below(here, data).look().unwrap());
        assert!(full < room || room == 0, "{full}, {room}");
        let error = DiskSpace::below(here, other).take(u64::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(!error.to_string().contains("journal"), "{error}");
    }

    #[test]
    fn more_than_there_is_is_refused_and_takes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let space = DiskSpace::below(dir.path(), dir.path());
        let room = space.look().unwrap();
        let file = OpenFile::create(&dir.path().join("a")).unwrap();
        let error = space.take(u64::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(error.to_string().contains("journal"), "{error}");
        if room > 0 {
            space.take(1).unwrap();
        }
        // As on a disk that is full: nothing is written.
        let full = Arc::new(DiskSpace::below(Path::new("/proc"), Path::new("/proc")));
        let file = SpareFile { file: Arc::new(file), space: full.clone() };
        let disk = SpareDisk { disk: Arc::new(MemDisk::default()), space: full.clone() };
        for file in [Arc::new(file), disk.open("b").unwrap()] {
            assert!(file.write_at(0, b"x").is_err());
            assert_eq!(file.len().unwrap(), 0);
        }
        let mut bytes = Vec::new();
        let mut writer = SpareWriter { to: &mut bytes, space: &full };
        assert!(writer.write_all(b"x").is_err());
        assert!(bytes.is_empty());
    }
}
