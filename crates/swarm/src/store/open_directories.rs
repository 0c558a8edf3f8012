//! The memory of directories whose files' stores are open, for as long as anybody holds one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

// The place of a file in its store, in the layout of the pieces and in the user's directory.
/// Bytes of memory for each file, besides its entry in the manifest; about.
const FILE_BYTES: usize = 128;

/// The bytes of all of them.
#[derive(Clone, Debug, Default)]
pub struct OpenDirectories(Arc<AtomicUsize>);

/// The bytes of one of them, until this is dropped.
#[derive(Debug)]
pub struct OpenDirectory {
    all: OpenDirectories,
    pub bytes: usize,
}

impl OpenDirectories {
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One of so many files, whose manifest takes so much.
    pub fn add(&self, files: usize, manifest: usize) -> OpenDirectory {
        let bytes = files * FILE_BYTES + manifest;
        self.0.fetch_add(bytes, Ordering::Relaxed);
        OpenDirectory { all: self.clone(), bytes }
    }
}

impl Drop for OpenDirectory {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
