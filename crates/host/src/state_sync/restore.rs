//! Takes the files of a snapshot into the ledger.
//!
//! What always holds: what is written leaves the disk's reserve; a snapshot of which no chain came,
//! for whatever reason, leaves nothing that is in the way of the next one, in this process or after it.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufReader, Seek as _},
    path::Path,
    pin::pin,
    sync::Arc,
};

use tokio::time::{Instant, sleep};
use trefoil_ledger::state_sync::{self, ChainOnDisk, JoinError};
use trefoil_os::{
    FileError,
    disk::blocking,
    disk_space::{DiskSpace, SpareDisk},
};
use trefoil_types::Disk;

use super::{
    AttemptError, LOOK, StateSync,
    choice::{Choice, RejectedSnapshots, Trust},
    marker::JoinMarker,
};
use crate::{
    HostError,
    snapshots::{FileName, ListedFile, senders_are_right},
};

impl StateSync {
    pub(super) async fn restore(
        &self,
        state: &ListedFile,
        path: &Path,
    ) -> Result<(), AttemptError> {
        let (spec, began) = (self.spec.clone(), Instant::now());
        let restored = self
            .read(state, path, move |disk, file| state_sync::restore(disk, &spec, file, None))
            .await?;
        let seconds = began.elapsed().as_secs_f64();
        tracing::info!(height = restored.height, counts = ?restored.counts, seconds, "restored the state");
        Ok(())
    }

    pub(super) async fn import(
        &self,
        archive: &ListedFile,
        path: &Path,
    ) -> Result<(), AttemptError> {
        let spec = self.spec.clone();
        let import = move |disk: &SpareDisk, mut file| {
            state_sync::import_archive(disk, &spec, &mut file, &senders_are_right)
        };
        self.read(archive, path, import).await.map(drop)
    }

    /// Takes a file in. One that proves false, or has no room, is removed.
    async fn read<T: Send + 'static>(
        &self,
        file: &ListedFile,
        path: &Path,
        take: impl FnOnce(&SpareDisk, BufReader<fs::File>) -> Result<T, JoinError> + Send + 'static,
    ) -> Result<T, AttemptError> {
        let unreadable = |error| FileError::new("read", path, error);
        let mut opened = fs::File::open(path).map_err(unreadable)?;
        let reader = BufReader::with_capacity(1 << 20, opened.try_clone().map_err(unreadable)?);
        let disk = spare(&self.disk, &self.folder.data);
        let space = disk.space.clone();
        let free = space.look().map_err(unreadable)?;
        // It computes and waits for the disk for seconds: not on the async runtime's threads.
        let mut taken = pin!(blocking(move || take(&disk, reader)));
        let taken = loop {
            tokio::select! {
                taken = &mut taken => break taken,
                // The files that are being fetched take room too.
                () = sleep(LOOK) => {
                    space.look().map_err(unreadable)?;
                }
            }
        };
        let failed = match taken {
            Ok(taken) => return Ok(taken),
            Err(error) => failure(file, error),
        };
        if !matches!(failed, AttemptError::Ours(_)) {
            self.content.remove(file.id).await?;
            self.remove_shared(file.name)?;
        }
        let AttemptError::TooLarge(why) = failed else { return Err(failed) };
        let read = opened.stream_position().map_err(unreadable)?;
        let needed = room_needed(free, read, file.size);
        let why = format!("{why}; it needs about {needed} bytes of room, and {free} were free");
        Err(AttemptError::TooLarge(why))
    }
}

impl StateSync {
    // Attack: a true block, most of a state that takes the whole disk, and no more of it; or one whose
    // restore ended the process. An honest snapshot was refused for the room that this took.
    /// Drops what came of other states, while there is no chain. `false`: there was nothing.
    pub(super) async fn make_room(
        &self,
        rejected: &mut RejectedSnapshots,
    ) -> Result<bool, HostError> {
        let parts = std::mem::take(&mut rejected.parts);
        let ChainOnDisk::Nothing { .. } = self.standing()? else { return Ok(false) };
        let states = self.folder.list().map_err(|e| FileError::new("read", &self.folder.dir, e))?;
        let shared = self.content.shared();
        let whole = states.iter().filter_map(|(_, path)| shared.get(path)).copied();
        let here = parts.into_iter().chain(whole).filter(|id| self.content.metadata(*id).is_some());
        let here: BTreeSet<_> = here.collect();
        for id in &here {
            self.content.remove(*id).await?;
        }
        for (height, _) in &states {
            self.remove_shared(FileName::State(*height))?;
        }
        Ok(!here.is_empty() || !states.is_empty())
    }
}

// Attack: 600 MB of storage slots of 6 bytes each, with a true block before them, whose root is
// looked at last: they would take 18 GB of the disk, and then end the node.
/// The disk of the ledger, less what is kept free on it.
pub fn spare(disk: &Arc<dyn Disk>, data: &Path) -> SpareDisk {
    SpareDisk { disk: disk.clone(), space: Arc::new(DiskSpace::below(data, data)) }
}

/// What all of a file takes, by the room that a part of it took.
fn room_needed(took: u64, read: u64, size: u64) -> u64 {
    let whole = u128::from(took) * u128::from(size) / u128::from(read.max(1));
    u64::try_from(whole).unwrap_or(u64::MAX).max(took)
}

/// What an error says of the snapshot that the file is of.
pub fn failure(file: &ListedFile, error: JoinError) -> AttemptError {
    let name = file.name;
    match error {
        error if error.lacks_room() => AttemptError::TooLarge(format!("{name}: {error}")),
        error if is_false(&error) => AttemptError::False(format!("{name}: {error}")),
        error => AttemptError::Ours(error.into()),
    }
}

/// Whether the peers that announced a file are to blame for its error.
pub fn is_false(error: &JoinError) -> bool {
    match error {
        JoinError::NotOurs { .. }
        | JoinError::Truncated { .. }
        | JoinError::Damaged { .. }
        | JoinError::OtherChain { .. }
        | JoinError::Unproven(_)
        | JoinError::NotNext { .. } => true,
        JoinError::Ledger(_)
        | JoinError::File(_)
        | JoinError::Taken { .. }
        | JoinError::Missing(_) => false,
    }
}

// What was fetched before a restart should not be fetched again.
// Attack: a snapshot whose restore ends the process. It was the first one at each start, and alone.
/// The snapshot by which the node was joining when it ended, to go on with. If its restore had begun,
/// that is dropped, and the snapshot is left for others.
pub fn resume(
    disk: &dyn Disk,
    marker: &JoinMarker,
    rejected: &mut RejectedSnapshots,
) -> Result<Option<Choice>, HostError> {
    let Some(snapshot) = marker.read() else { return Ok(None) };
    let choice = Choice { snapshot, trust: Trust::Unjudged, tellers: BTreeSet::new() };
    if state_sync::standing(disk)? != (ChainOnDisk::Nothing { unfinished: true }) {
        return Ok(Some(choice));
    }
    tracing::warn!(height = snapshot.height, "a restore was not finished: others come first");
    drop_unfinished(disk, marker)?;
    rejected.leave(&choice);
    Ok(None)
}

/// Drops what an attempt left that brought no chain. Of one that did, archives are still to come.
pub fn drop_unfinished(disk: &dyn Disk, marker: &JoinMarker) -> Result<(), HostError> {
    if let ChainOnDisk::Nothing { .. } = state_sync::standing(disk)? {
        state_sync::abandon(disk)?;
        // Last: without it nobody may drop what a restore left.
        marker.remove()?;
    }
    Ok(())
}
