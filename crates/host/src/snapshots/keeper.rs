//! Makes the files by which newcomers join, as they fall due, and shares them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use tokio::sync::watch;
use trefoil_content::{ContentId, ManifestError};
use trefoil_ledger::{
    Snapshot,
    state_sync::{self, JoinError},
};
use trefoil_os::{
    disk::{blocking, write_whole},
    disk_space::{DiskSpace, SpareWriter},
};
use trefoil_swarm::{Announced, Content, StoreError};
use trefoil_types::{ChainSpec, Height};

use super::{
    KEPT, SnapshotFolder, archives_up_to,
    index::{ARCHIVES_MAX, FileName, ListedFile, SnapshotIndex},
};

/// Why nothing is offered to newcomers.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Library(#[from] StoreError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("cannot read or write the snapshots: {0}")]
    Disk(#[from] std::io::Error),
}

/// Makes each snapshot as it falls due, one at a time, with the archive of the
/// blocks up to it, until the node stops. When blocks come faster than snapshots
/// can be made, the newest counts.
pub async fn keep(
    folder: SnapshotFolder,
    spec: Arc<ChainSpec>,
    mut chain: watch::Receiver<Snapshot>,
    content: Content,
) {
    let mut offered = None;
    loop {
        let snapshot = chain.borrow_and_update().clone();
        let due = state_sync::snapshot_height(&spec, snapshot.tip().number);
        if let Some(height) = due.filter(|due| offered < Some(*due)) {
            offered = Some(height);
            if let Err(error) = offer(&folder, &content, snapshot, height, &spec).await {
                tracing::warn!(height, %error, "offers newcomers nothing new");
            }
        }
        if chain.changed().await.is_err() {
            return;
        }
    }
}

/// Makes the missing files, shares them, announces them to the peers, and drops those that
/// are too old.
async fn offer(
    folder: &SnapshotFolder,
    content: &Content,
    snapshot: Snapshot,
    height: Height,
    spec: &ChainSpec,
) -> Result<(), KeepError> {
    let (making, every) = (folder.clone(), spec.snapshot_every);
    let names = blocking(move || making.make_all(&snapshot, height, every)).await?;
    let shared = content.shared();
    let mut files = Vec::new();
    for name in names {
        files.push(share(folder, content, &shared, name).await?);
    }
    let Some(index) = SnapshotIndex::of(files) else { return Ok(()) };
    let (path, encoded) = (folder.path(FileName::Index(height)), index.encode()?);
    let write = move || write_whole(&path, |file| Ok::<_, JoinError>(file.write_all(&encoded)?));
    blocking(write).await?;
    let index = share(folder, content, &shared, FileName::Index(height)).await?.id.root;
    content.announce(Announced { height, index }).await;
    // Last: the new snapshot is announced before an old one goes.
    for name in folder.outdated()? {
        let path = folder.path(name);
        if let Some(id) = shared.get(&path.canonicalize()?) {
            content.remove(*id).await?;
        }
        std::fs::remove_file(path)?;
    }
    Ok(())
}

async fn share(
    folder: &SnapshotFolder,
    content: &Content,
    shared: &BTreeMap<PathBuf, ContentId>,
    name: FileName,
) -> Result<ListedFile, KeepError> {
    let path = folder.path(name).canonicalize()?;
    let size = std::fs::metadata(&path)?.len();
    let id = match shared.get(&path) {
        Some(id) => *id,
        None => content.share(&path).await?,
    };
    Ok(ListedFile { name, id, size })
}

impl SnapshotFolder {
    /// Makes the state snapshot of a block and the archives up to it that are not
    /// there yet; names all of them.
    fn make_all(
        &self,
        snapshot: &Snapshot,
        height: Height,
        every: u64,
    ) -> Result<Vec<FileName>, JoinError> {
        if !self.path(FileName::State(height)).exists() {
            let counts = self.make(snapshot, height)?;
            tracing::info!(height, ?counts, "made a state snapshot");
        }
        let mut names = vec![FileName::State(height)];
        for archived in archives_up_to(snapshot, height, every).take(ARCHIVES_MAX) {
            // An archive never changes, so it serves every later snapshot and is hashed once
            // (ADR 18).
            let path = self.path(FileName::Blocks(archived));
            if !path.exists() {
                let space = DiskSpace::below(&self.dir, &self.data);
                write_whole(&path, |to| {
                    let mut file = SpareWriter { to, space: &space };
                    state_sync::write_archive(snapshot, archived, &mut file)
                })?;
            }
            names.push(FileName::Blocks(archived));
        }
        Ok(names)
    }

    /// States and lists that are not among the newest.
    fn outdated(&self) -> std::io::Result<Vec<FileName>> {
        let states = self.list()?;
        let oldest = states.len().checked_sub(KEPT).map_or(0, |at| states[at].0);
        let named = self.names()?.into_iter();
        let old = named.filter(|name| match name {
            FileName::State(height) | FileName::Index(height) => *height < oldest,
            FileName::Blocks(_) => false,
        });
        Ok(old.collect())
    }
}
