//! Fetches the files of a snapshot from all peers at once, and brings them into the
//! folder from which this node shares them in turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, interval};
use trefoil_content::{ContentId, Link};
use trefoil_os::{FileError, disk::remove_file};
use trefoil_swarm::{FetchError, Selection};
use trefoil_types::PeerId;

use super::{
    ATTEMPT, Attempt, AttemptError, LOOK, STALL, StateSync, attempt_error, stall::StallClock,
};
use crate::snapshots::{FileName, ListedFile};

/// How often the log has how far a fetch is.
// Often enough that an operator sees it move, and 12 lines a minute.
const TELL: Duration = Duration::from_secs(5);

/// Files that are fetched at once.
// The search for one file, its last pieces and its move into the folder leave the links idle:
// the others use them meanwhile. Each may have 16 MiB open at a source (`WINDOW_MAX`).
const AT_ONCE: usize = 8;

impl StateSync {
    /// Fetches files, several at once, and shares them from the folder; where they are.
    pub(super) async fn fetch(
        &self,
        files: Vec<ListedFile>,
        attempt: &Attempt<'_>,
    ) -> Result<BTreeMap<ContentId, PathBuf>, AttemptError> {
        let total = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        // Progress is the sum over the files that are being fetched just now: thousands of
        // archives may wait for their turn.
        let in_flight = Mutex::new(BTreeSet::new());
        let in_flight = || in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        // Files that are whole, and checked and moved by this node.
        let moving = AtomicUsize::new(0);
        let mut done = 0;
        let one = |file: ListedFile| {
            let (in_flight, moving) = (&in_flight, &moving);
            async move {
                in_flight().insert(file.id);
                let (name, size) = (Some(file.name.to_string()), Some(file.size));
                let link = Link { name, size, ..file.id.into() };
                // It is moved out and pinned.
                let selection = Selection { apart: true, ..Selection::default() };
                self.content.get(&link, selection).await.map_err(attempt_error)?;
                let from = self.content.progress(file.id).await?.unwrap_or_default().by_peer;
                moving.fetch_add(1, Ordering::Relaxed);
                let path = self.take_out(&file).await?;
                moving.fetch_sub(1, Ordering::Relaxed);
                Ok::<_, AttemptError>((file, path, from))
            }
        };
        let mut all = std::pin::pin!(stream::iter(files).map(one).buffer_unordered(AT_ONCE));
        let (began, mut look) = (Instant::now(), interval(LOOK));
        let (mut stall, mut told) = (StallClock::default(), began);
        // What came in an earlier attempt says nothing of the rate.
        let mut first = None;
        let (mut shares, mut paths) = (BTreeMap::<PeerId, u64>::new(), BTreeMap::new());
        loop {
            tokio::select! {
                next = all.next() => {
                    let Some(ended) = next else { break };
                    let (file, path, from) = ended?;
                    in_flight().remove(&file.id);
                    done += file.size;
                    paths.insert(file.id, path);
                    from.into_iter().for_each(|(peer, bytes)| *shares.entry(peer).or_default() += bytes);
                }
                _ = look.tick() => {
                    let ids = in_flight().iter().copied().collect();
                    let now = done + self.here(ids).await?;
                    if moving.load(Ordering::Relaxed) > 0 {
                        stall.excuse(LOOK, Instant::now());
                    }
                    if stall.is_over(now, Instant::now()) {
                        return Err(AttemptError::Stalled);
                    }
                    let came = now.saturating_sub(*first.get_or_insert(now));
                    let left = total.saturating_sub(now);
                    if is_overlong(began.elapsed(), came, left)
                        && attempt.rejected.has_other(&self.told().await?, attempt.choice)
                    {
                        return Err(AttemptError::Stalled);
                    }
                    if told.elapsed() >= TELL {
                        told = Instant::now();
                        tracing::info!(here = now, total, "fetching");
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
    pub(super) async fn drop_changed<T>(
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
    pub(super) async fn here(&self, ids: Vec<ContentId>) -> Result<u64, FetchError> {
        let mut here = 0;
        for id in ids {
            here += self.content.progress(id).await?.map_or(0, |progress| progress.here);
        }
        Ok(here)
    }
}

/// Whether a fetch takes longer than [`ATTEMPT`] in all, by the rate at which so many bytes
/// `came` in that time. `left`: bytes that its files say are still to come.
fn is_overlong(elapsed: Duration, came: u64, left: u64) -> bool {
    // By then the rate is that of the line, and not of its beginning.
    let measured = elapsed >= STALL;
    let all = u128::from(came) + u128::from(left);
    measured && elapsed.as_millis().saturating_mul(all) > ATTEMPT.as_millis() * u128::from(came)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drip_of_a_large_file_is_overlong() {
        let s = Duration::from_secs;
        for (elapsed, came, left, overlong) in [
            // 64 KiB/s of 1 TiB.
            (s(20), 20 << 16, 1 << 40, true),
            // Of 32 MiB.
            (s(20), 20 << 16, 32 << 20, false),
            // 1 GiB at 2 MiB/s.
            (s(20), 40 << 20, 1 << 30, false),
            // It has only begun.
            (s(19), 1, 1 << 40, false),
            // It was fast, and is not any more.
            (s(601), (1 << 40) - 1, 1, true),
            (s(100), 0, 1, true),
            (s(u64::MAX / 1_000), u64::MAX, u64::MAX, true),
        ] {
            let case = format!("{came} came in {elapsed:?}, {left} are left");
            assert_eq!(is_overlong(elapsed, came, left), overlong, "{case}");
        }
    }
}
