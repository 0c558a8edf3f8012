//! Shares what this machine or a server has: it is hashed once, and lies where it is.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use trefoil_content::{AllowList, ContentId, Origin, scheduler::Resource};
use trefoil_os::disk::blocking;

use super::Content;
use crate::{
    events::ContentCommand,
    http::{OriginReader, Reach, Server},
    store::{self, PutOptions, StoreError},
};

impl Content {
    /// Hashes a file or directory and shares it where it is, with members of the
    /// organisations on the list and of this node's own. `read` counts bytes.
    ///
    /// # Errors
    /// A file that cannot be read or named; a list on a network without organisations.
    pub async fn put(
        &self,
        path: &Path,
        options: PutOptions,
        read: Arc<AtomicU64>,
    ) -> Result<ContentId, StoreError> {
        let options = self.with_own(options)?;
        let allow = options.allow.clone();
        let (store, path) = (self.store.clone(), path.to_path_buf());
        let id = blocking(move || store.put(&path, options, &read)).await?;
        // Its store may be open in part: it is opened anew, whole.
        self.close(id).await;
        // Peers that had asked for it get an offer.
        for resource in store::resources(id, &allow) {
            let _ = self.opened(resource, false, false).await;
        }
        self.provide();
        Ok(id)
    }

    // The own organisation stands on the list like any other, so no node has a rule of its
    // own for its own resources (ADR 21).
    /// Puts this node's organisation on the list, if there is one.
    fn with_own(&self, options: PutOptions) -> Result<PutOptions, StoreError> {
        if options.allow.is_open() {
            return Ok(options);
        }
        let own = self.organisation.ok_or(StoreError::NoOrganisation)?;
        let allow = AllowList::new(options.allow.organisations().iter().copied().chain([own]))?;
        Ok(PutOptions { allow, ..options })
    }

    /// As [`Content::put`], for a file that other nodes make themselves too: they do not spare
    /// this node.
    ///
    /// # Errors
    /// A file that cannot be read or named.
    pub async fn share(&self, path: &Path) -> Result<ContentId, StoreError> {
        self.put(path, PutOptions { origin: false, ..PutOptions::default() }, Arc::default()).await
    }

    /// Reads the file of an HTTP server once, and shares it from there: only its hashes are
    /// kept. `read` counts bytes, of `total`, which is 0 until it is known.
    ///
    /// # Errors
    /// The server does not give the file, or the disk does not take the hashes.
    pub async fn put_origin(
        &self,
        origin: Origin,
        options: PutOptions,
        read: Arc<AtomicU64>,
        total: Arc<AtomicU64>,
    ) -> Result<ContentId, StoreError> {
        let options = self.with_own(options)?;
        let allow = options.allow.clone();
        let server = Arc::new(Server::new(self.http.clone(), origin.clone(), Reach::All));
        let reading = OriginReader::start(server).await.map_err(|error| {
            let (origin, source) = (origin.clone(), std::io::Error::other(error));
            StoreError::Origin { origin, source }
        })?;
        let size = reading.size;
        total.store(size, Ordering::Relaxed);
        let store = self.store.clone();
        let put = move || store.put_remote(&origin, options, size, reading, &read);
        let id = blocking(put).await?;
        let resource = Resource::file(id.root).among(&allow);
        let _ = self.opened(resource, false, false).await;
        // It may have been open before. The service may have ended.
        let _ = self.commands.send(ContentCommand::NewOrigins { resource }).await;
        Ok(id)
    }
}
