//! Fetches the files of a snapshot from all peers at once, and brings them into the
//! folder from which this node shares them in turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, interval, sleep};
use trefoil_content::{ContentId, Link};
use trefoil_os::{FileError, disk::remove_file};
use trefoil_swarm::{Announced, FetchError, Selection};
use trefoil_types::PeerId;

use super::{AttemptError, LOOK, STALL, StateSync, attempt_error};
use crate::snapshots::{FileName, ListedFile, SnapshotIndex, file_id};

/// How often the log has how far a fetch is.
// Often enough that an operator sees it move, and 12 lines a minute.
const TELL: Duration = Duration::from_secs(5);

/// Files that are fetched at once.
// The search for one file, its last pieces and its move into the folder leave the links idle:
// the others use them meanwhile. Each may have 16 MiB open at a source (`WINDOW_MAX`).
const AT_ONCE: usize = 8;

/// The longest index that is taken, bytes.
// A peer claims its size, and it is read into memory whole. An archive takes about 60 bytes
// in it: 16 MiB list about 280,000.
const INDEX_BYTES_MAX: u64 = 16 << 20;

impl StateSync {
    /// The index that peers announced.
    pub(super) async fn index(&self, target: Announced) -> Result<SnapshotIndex, AttemptError> {
        let id = file_id(target.index);
        let link = id.into();
        let bytes = tokio::select! {
            bytes = self.content.read_small(&link, INDEX_BYTES_MAX) => bytes,
            () = sleep(STALL) => return Err(AttemptError::Stalled),
        };
        let bytes = match bytes {
            Err(error @ FetchError::Changed { .. }) => {
                return self.drop_changed(id, FileName::Index(target.height), &error).await;
            }
            bytes => bytes.map_err(attempt_error)?,
        };
        let listed =
            ListedFile { name: FileName::Index(target.height), id, size: bytes.len() as u64 };
        self.fetch(vec![listed]).await?;
        let index = SnapshotIndex::decode(&bytes).filter(|index| index.height == target.height);
        index.ok_or_else(|| AttemptError::False("its list of files is none".into()))
    }

    /// Fetches files, several at once, and shares them from the folder; where they are.
    pub(super) async fn fetch(
        &self,
        files: Vec<ListedFile>,
    ) -> Result<BTreeMap<ContentId, PathBuf>, AttemptError> {
        let total = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        // Progress is the sum over the files that are being fetched just now: thousands of
        // archives may wait for their turn.
        let in_flight = Mutex::new(BTreeSet::new());
        let in_flight = || in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        let one = |file: ListedFile| {
            let in_flight = &in_flight;
            async move {
                in_flight().insert(file.id);
                let (name, size) = (Some(file.name.to_string()), Some(file.size));
                let link = Link { name, size, ..file.id.into() };
                // It is moved out and pinned.
                let selection = Selection { apart: true, ..Selection::default() };
                self.content.get(&link, selection).await.map_err(attempt_error)?;
                let from = self.content.progress(file.id).await?.unwrap_or_default().by_peer;
                in_flight().remove(&file.id);
                let path = self.take_out(&file).await?;
                Ok::<_, AttemptError>((file, path, from))
            }
        };
        let mut all = std::pin::pin!(stream::iter(files).map(one).buffer_unordered(AT_ONCE));
        let (began, mut look) = (Instant::now(), interval(LOOK));
        let (mut here, mut moved, mut told) = (0, began, began);
        let (mut shares, mut paths) = (BTreeMap::<PeerId, u64>::new(), BTreeMap::new());
        loop {
            tokio::select! {
                next = all.next() => {
                    let Some(ended) = next else { break };
                    let (file, path, from) = ended?;
                    done += file.size;
                    paths.insert(file.id, path);
                    from.into_iter().for_each(|(peer, bytes)| *shares.entry(peer).or_default() += bytes);
                }
                _ = look.tick() => {
                    let ids = in_flight().iter().copied().collect();
                    let now = done + self.here(ids).await?;
                    if now != here {
                        (here, moved) = (now, Instant::now());
                    }
                    if moved.elapsed() >= STALL {
                        return Err(AttemptError::Stalled);
                    }
                    if told.elapsed() >= TELL {
                        told = Instant::now();
                        tracing::info!(here, total, "fetching");
                    }
                }
            }
        }
        tracing::info!(bytes = total, seconds = began.elapsed().as_secs_f64(), "fetched");
        for (peer, bytes) in shares {
            tracing::info!(%peer, bytes, "gave");
        }
        Ok(paths)
    }

    /// Brings a file that is here into the folder.
    async fn take_out(&self, file: &ListedFile) -> Result<PathBuf, AttemptError> {
        match self.content.move_out(file.id, &self.folder.path(file.name)).await {
            Err(error @ FetchError::Changed { .. }) => {
                self.drop_changed(file.id, file.name, &error).await
            }
            moved => moved.map_err(attempt_error),
        }
    }

    /// Drops a file of the folder that has changed on disk, so that it is fetched again.
    // No peer is blamed: the bytes were verified when they came.
    async fn drop_changed<T>(
        &self,
        id: ContentId,
        name: FileName,
        error: &FetchError,
    ) -> Result<T, AttemptError> {
        tracing::warn!(%error, "fetched again");
        self.content.remove(id).await?;
        self.remove_shared(name)?;
        Err(AttemptError::Stalled)
    }

    pub(super) fn remove_shared(&self, name: FileName) -> Result<(), FileError> {
        let path = self.folder.path(name);
        remove_file(&path).map_err(|e| FileError::new("remove", &path, e))
    }

    /// How many bytes are here of what is being fetched.
    async fn here(&self, ids: Vec<ContentId>) -> Result<u64, FetchError> {
        let mut here = 0;
        for id in ids {
            here += self.content.progress(id).await?.map_or(0, |progress| progress.here);
        }
        Ok(here)
    }
}
