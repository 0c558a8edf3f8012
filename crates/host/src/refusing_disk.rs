//! A disk for tests that refuses what it is told to.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use trefoil_types::{Disk, DiskFile, MemDisk};

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct RefusingDisk {
    disk: MemDisk,
    refused: Arc<Mutex<Refused>>,
}

/// The errors with which it refuses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refused {
    pub write: Option<io::ErrorKind>,
    pub sync: Option<io::ErrorKind>,
}

#[derive(Debug)]
struct RefusingFile {
    file: Arc<dyn DiskFile>,
    refused: Arc<Mutex<Refused>>,
}

impl RefusingDisk {
    pub fn refuse(&self, refused: Refused) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }
}

impl Disk for RefusingDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let (file, refused) = (self.disk.open(name)?, self.refused.clone());
        Ok(Arc::new(RefusingFile { file, refused }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

impl RefusingFile {
    fn check(&self, which: impl Fn(Refused) -> Option<io::ErrorKind>) -> io::Result<()> {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        which(refused).map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl DiskFile for RefusingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(|refused| refused.write)?;
        self.file.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.check(|refused| refused.sync)?;
        self.file.sync()
    }
}
