//! A user's directory as stores see it: its files, shared where they are.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use trefoil_content::Manifest;
use trefoil_types::DiskFile;

/// The files of a user's directory, one behind the other as its manifest lists
/// them, shared where they are.
#[derive(Debug)]
pub struct SharedTree {
    directory: PathBuf,
    manifest: Arc<Manifest>,
    /// Where each file begins.
    files: Vec<u64>,
    bytes: u64,
    /// The file that was read last.
    last: Mutex<Option<(usize, File)>>,
}

impl SharedTree {
    pub fn new(directory: &Path, manifest: Arc<Manifest>) -> Self {
        let mut bytes = 0;
        let files = manifest.entries().iter().map(|entry| {
            let at = bytes;
            bytes += entry.size;
            at
        });
        let files = files.collect();
        Self { directory: directory.into(), manifest, files, bytes, last: Mutex::new(None) }
    }

    /// Reads within one file.
    fn read_of(&self, file: usize, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((open, handle)) if *open == file => handle.read_exact_at(buf, offset),
            _ => {
                let path = self.directory.join(&self.manifest.entries()[file].path);
                let named =
                    |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
                let handle = File::open(&path).map_err(named)?;
                let read = handle.read_exact_at(buf, offset);
                *last = Some((file, handle));
                read
            }
        }
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::Error::new(ErrorKind::PermissionDenied, "a file of the user's is never written"))
}

impl DiskFile for SharedTree {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            // The last of those that begin there: empty files have no bytes.
            let file = self.files.partition_point(|at| *at <= offset);
            let file = file.checked_sub(1).ok_or(ErrorKind::UnexpectedEof)?;
            let end = self.files.get(file + 1).copied().unwrap_or(self.bytes);
            let count = (end.saturating_sub(offset)).min(buf.len() as u64) as usize;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let (now, rest) = buf.split_at_mut(count);
            self.read_of(file, offset - self.files[file], now)?;
            (offset, buf) = (offset + count as u64, rest);
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
