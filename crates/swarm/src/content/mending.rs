//! Damage on disk, found after the bytes were verified: named, and fetched anew.
//!
//! Bytes leave a store only verified ([`trefoil_content::StoreReader`]), so that damage is
//! found when the bytes are read. Bytes that the node keeps are then fetched again from peers
//! and origins; a user's own file is reported and left as it is.

use std::{
    ops::Range,
    path::Path,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;
use trefoil_content::{Link, Manifest, proof::ProofError};
use trefoil_os::disk::blocking;

use super::Content;
use crate::{
    error::FetchError,
    events::ContentCommand,
    export::ExportError,
    fetch::{Measure, Selection},
    store::{OpenStore, StoreError},
};

// Perhaps nobody has those bytes any more, and a reader must not wait for ever. Longer than the
// 3 s after which the scheduler turns to another source.
/// When nothing comes for this time, the reader gets the error.
const STALL: Duration = Duration::from_secs(5);

// A disk that damages the new bytes again would be mended without end.
/// How often in a row something is mended for one reader.
const MENDS_MAX: usize = 3;

impl Content {
    /// Fetches a resource or part of it, and writes it to `to`, which appears when it is
    /// whole. Damaged bytes here are fetched anew.
    ///
    /// # Errors
    /// As of [`Content::get`]; `to` is there already or cannot be written; a user's own
    /// file is damaged, or nobody has the bytes.
    pub async fn export(
        &self,
        link: &Link,
        selection: &Selection,
        to: &Path,
    ) -> Result<Arc<OpenStore>, FetchError> {
        let mut mends = 0;
        loop {
            let opened = self.get(link, selection.clone()).await?;
            let (reading, selected, path) = (opened.clone(), selection.clone(), to.to_path_buf());
            match blocking(move || reading.export(&selected, &path)).await {
                Ok(()) => return Ok(opened),
                Err(ExportError::Damaged) if mends < MENDS_MAX => {
                    mends += 1;
                    let all = opened.selected(selection).map_err(unwritten)?;
                    self.mend(&opened, all).await?;
                }
                Err(error) => return Err(unwritten(error)),
            }
        }
    }

    /// Fetches a small file and reads it.
    ///
    /// # Errors
    /// As of [`Content::export`]; it has more than `most` bytes.
    pub async fn read_small(&self, link: &Link, most: u64) -> Result<Vec<u8>, FetchError> {
        let measure = Measure { wanted: u64::MAX, most, kept: false };
        let opened = self.open_or_seek(link, measure).await?;
        let is = opened.layout.bytes();
        if is > most {
            return Err(FetchError::TooLong { id: link.id, is, most });
        }
        let selection = Selection { apart: true, ..Selection::default() };
        let mut mends = 0;
        loop {
            self.fetch(&opened, 0..opened.layout.pieces(), &selection).await?;
            match opened.read_small(most) {
                // Groups that are absent were dropped by another reader, which found the
                // damage first.
                Err(ProofError::Damaged { .. } | ProofError::NotHere { .. })
                    if mends < MENDS_MAX =>
                {
                    mends += 1;
                    self.mend(&opened, vec![(0, 0..is)]).await?;
                }
                read => return Ok(read.map_err(StoreError::from)?),
            }
        }
    }

    /// Reads some bytes of a file that are here.
    ///
    /// # Errors
    /// A user's own file is damaged, or nobody has the bytes; the disk fails.
    pub async fn read(
        &self,
        opened: &Arc<OpenStore>,
        file: u32,
        bytes: Range<u64>,
    ) -> Result<Vec<u8>, FetchError> {
        let mut mends = 0;
        loop {
            match tokio::task::block_in_place(|| opened.read(file, bytes.clone())) {
                Err(ProofError::Damaged { .. }) if mends < MENDS_MAX => {
                    mends += 1;
                    self.mend(opened, vec![(file, bytes.clone())]).await?;
                }
                read => return Ok(read.map_err(StoreError::from)?),
            }
        }
    }

    // Its sizes are claims until they are admitted; and it may have changed on disk. Attack: 32
    // requests for one directory at once, each of which decoded its manifest of 64 MiB beside the
    // others: 4 GiB.
    /// The bytes of all files of a directory, as its manifest says. One manifest at a time.
    ///
    /// # Errors
    /// It is no manifest; as of [`Self::read`].
    pub(super) async fn tree_bytes(&self, manifest: &Arc<OpenStore>) -> Result<u64, FetchError> {
        let all = 0..manifest.layout.bytes();
        let mut mends = 0;
        loop {
            let turn = self.manifest_turn.lock().await;
            match tokio::task::block_in_place(|| manifest.read(0, all.clone())) {
                Err(ProofError::Damaged { .. }) if mends < MENDS_MAX => mends += 1,
                read => {
                    let odd = |error: &dyn std::fmt::Display| FetchError::Store(error.to_string());
                    let encoded = read.map_err(StoreError::from)?;
                    let files = Manifest::decode(&encoded).map_err(|error| odd(&error))?;
                    return Ok(files.layout().map_err(|error| odd(&error))?.bytes());
                }
            }
            // Peers are waited for: not with the turn.
            drop(turn);
            self.mend(manifest, vec![(0, all.clone())]).await?;
        }
    }

    /// Finds the damage in these bytes, logs it, and fetches the bytes anew.
    ///
    /// # Errors
    /// It is a user's own file, which is left as it is; nobody has the bytes.
    pub async fn mend(
        &self,
        opened: &Arc<OpenStore>,
        what: Vec<(u32, Range<u64>)>,
    ) -> Result<(), FetchError> {
        let looking = opened.clone();
        let runs = what.iter().map(|(file, bytes)| opened.layout.pieces_of(*file, bytes.clone()));
        let seen = runs.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0);
        let damage = blocking(move || looking.look(&what)).await.map_err(StoreError::from)?;
        let id = opened.id;
        let selection = Selection { apart: true, ..Selection::default() };
        if damage.parts.is_empty() {
            // It is as it was again, or another reader has found it and it is on its way.
            return self.fetch(opened, seen, &selection).await;
        }
        if self.store.complaints.shows(opened.resource, Instant::now()).is_some() {
            tracing::error!(%id, damage = %damage.words, "what is here has changed on disk");
        }
        if !opened.store.is_ours() {
            return Err(FetchError::Changed { id, what: damage.words });
        }
        self.store.change(id, |metadata| metadata.whole = false)?;
        let lost = damage.parts.clone();
        let opened = opened.clone();
        self.ask(|reply| ContentCommand::Lose { opened: opened.clone(), lost, reply }).await?;
        let mut pieces: Vec<Range<u32>> =
            damage.parts.iter().map(|part| opened.layout.pieces_of_groups(part)).collect();
        // Those in between are here.
        let all = pieces.first().map_or(0, |run| run.start)..pieces.pop().map_or(0, |run| run.end);
        opened.note(Some(damage.words));
        self.fetch(&opened, all, &selection).await?;
        opened.note(None);
        self.finished(opened).map(drop)
    }

    /// Waits for a fetch of damaged bytes as long as anything comes. `false`: nothing does.
    pub(super) async fn soon(
        &self,
        opened: &OpenStore,
        fetch: impl Future<Output = Result<(), FetchError>>,
    ) -> Result<bool, FetchError> {
        let mut fetch = pin!(fetch);
        let here =
            || async { Ok::<_, FetchError>(self.progress(opened.id).await?.map(|p| p.here)) };
        let mut seen = here().await?;
        loop {
            if let Ok(fetched) = timeout(STALL, &mut fetch).await {
                return fetched.map(|()| true);
            }
            let now = here().await?;
            if now == seen {
                return Ok(false);
            }
            seen = now;
        }
    }

    /// The whole of a file that is here, checked on disk and mended.
    ///
    /// # Errors
    /// As of [`Content::mend`].
    pub(super) async fn sound(&self, opened: &Arc<OpenStore>) -> Result<(), FetchError> {
        let size = opened.layout.bytes();
        for _ in 0..MENDS_MAX {
            let looking = opened.clone();
            let damage = blocking(move || looking.store.damaged(0, 0..size)).await;
            if damage.map_err(StoreError::from)?.is_empty() {
                return Ok(());
            }
            self.mend(opened, vec![(0, 0..size)]).await?;
        }
        Ok(())
    }
}

fn unwritten(error: ExportError) -> FetchError {
    match error {
        ExportError::NoFile(path) => FetchError::NoFile(path),
        error => FetchError::Output(error.to_string()),
    }
}
