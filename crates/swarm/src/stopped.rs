//! The content of a node that does not run: what takes room can be listed and removed, so that a
//! disk that is too full for the node to start can be freed.

use std::path::Path;

use trefoil_content::ContentId;
use trefoil_os::disk::FileDisk;

use crate::store::{ContentStore, Metadata, StoreError};

/// A node's resources on disk. No node runs there while this lives.
#[derive(Debug)]
pub struct StoppedContent {
    store: ContentStore,
    _lock: FileDisk,
}

impl StoppedContent {
    /// Opens the directory of the resources as it is; `lock` is on the node's.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(lock: FileDisk, dir: &Path) -> Result<Self, StoreError> {
        Ok(Self { store: ContentStore::open_stopped(dir)?, _lock: lock })
    }

    /// Everything that is here, whole or in part.
    pub fn list(&self) -> Vec<Metadata> {
        self.store.list()
    }

    /// # Errors
    /// When it is not here or cannot be written down.
    pub fn pin(&self, id: ContentId, pinned: bool) -> Result<(), StoreError> {
        self.store.pin(id, pinned)
    }

    /// Removes the kept bytes of a resource; never a user's file.
    ///
    /// # Errors
    /// When it is not here or cannot be removed.
    pub fn remove(&self, id: ContentId) -> Result<(), StoreError> {
        // What a crash left half removed takes room too.
        self.store.remove_gone()?;
        self.store.remove(id)
    }
}
