//! Which of several announced snapshots is fetched: the best of those whose block is proven.
//!
//! What always holds: of a snapshot whose block nobody signed, no more is fetched than its list
//! of files and the beginning of its state; no such snapshot delays another.

use std::{
    collections::BTreeSet,
    io::{self, BufReader},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, timeout, timeout_at};
use trefoil_content::{ContentId, GROUP_BYTES, Link, Part, groups};
use trefoil_ledger::state_sync::{self, ChainOnDisk, JoinError};
use trefoil_os::{FileError, disk::blocking, disk_space::DiskSpace};
use trefoil_swarm::{FetchError, OpenStore, Selection};

use super::{
    AttemptError, GATHER, STALL, STALL_BYTES, StateSync, attempt_error,
    choice::{Choice, RejectedSnapshots},
    coming_file::{ComingFile, Pace},
    restore::is_false,
    stall::{StallClock, while_it_comes},
};
use crate::{
    HostError,
    snapshots::{FileName, INDEX_BYTES_MAX, ListedFile, SnapshotIndex, file_id},
};

// A change of validators takes 4 KB and more. Several candidates have room for so much at a time.
/// So much of a state is fetched at most before its block is proven: 64 MiB. If the way to the
/// block is longer, it is believed as far as that.
const BEGINNING_BYTES_MAX: u64 = 64 << 20;

/// A snapshot whose block is proven.
pub struct ProvenSnapshot {
    pub choice: Choice,
    pub index: SnapshotIndex,
    /// The file of the index.
    pub listed: ListedFile,
}

/// What was begun of the candidates of one round.
type Begun = Mutex<BTreeSet<ContentId>>;

impl StateSync {
    // Attack: five strangers, each with another false snapshot of which nothing comes. One after
    // the other they would hold up a newcomer for two minutes.
    /// The first of the candidates, best first, whose block is proven; all are tried at once.
    /// Those that fail are left.
    pub(super) async fn first_proven(
        &self,
        candidates: Vec<Choice>,
        rejected: &mut RejectedSnapshots,
    ) -> Result<Option<ProvenSnapshot>, HostError> {
        let begun = Begun::default();
        let best = self.prove_all(candidates, &begun, rejected).await?;
        // What came of the others takes room and is of no use.
        let kept = best.iter().flat_map(|best| [best.listed.id, best.index.state.id]);
        let mut begun = begun.into_inner().unwrap_or_else(PoisonError::into_inner);
        kept.for_each(|id| _ = begun.remove(&id));
        for id in begun {
            let here = self.content.metadata(id);
            if here.is_some_and(|here| here.shared.is_none() && !here.pinned) {
                self.content.remove(id).await?;
            }
        }
        Ok(best)
    }

    async fn prove_all(
        &self,
        candidates: Vec<Choice>,
        begun: &Begun,
        rejected: &mut RejectedSnapshots,
    ) -> Result<Option<ProvenSnapshot>, HostError> {
        let prove = move |(rank, choice): (usize, Choice)| async move {
            let proven = self.prove(&choice, begun).await;
            (rank, choice, proven)
        };
        let mut all: FuturesUnordered<_> = candidates.into_iter().enumerate().map(prove).collect();
        let mut best: Option<(usize, ProvenSnapshot)> = None;
        let mut until = None;
        while best.as_ref().is_none_or(|(rank, _)| *rank > 0) {
            // Once one is proven, the better ones have a moment more.
            let next = match until {
                None => all.next().await,
                Some(until) => timeout_at(until, all.next()).await.ok().flatten(),
            };
            let Some((rank, choice, proven)) = next else { break };
            match proven {
                Ok((listed, index)) => {
                    until.get_or_insert_with(|| Instant::now() + GATHER);
                    if best.as_ref().is_none_or(|(of_best, _)| rank < *of_best) {
                        best = Some((rank, ProvenSnapshot { choice, index, listed }));
                    }
                }
                Err(AttemptError::Ours(failure)) => return Err(failure),
                Err(failed) => self.reject(choice, &failed, rejected).await?,
            }
        }
        Ok(best.map(|(_, best)| best))
    }

    /// The files of a snapshot, once its block is proven.
    async fn prove(
        &self,
        choice: &Choice,
        begun: &Begun,
    ) -> Result<(ListedFile, SnapshotIndex), AttemptError> {
        let note = |id| begun.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        note(file_id(choice.snapshot.index));
        let (listed, index) = self.read_index(choice).await?;
        if let ChainOnDisk::Nothing { .. } = self.standing()? {
            note(index.state.id);
            self.prove_block(&index).await?;
        }
        Ok((listed, index))
    }

    /// The index that peers announced.
    async fn read_index(
        &self,
        choice: &Choice,
    ) -> Result<(ListedFile, SnapshotIndex), AttemptError> {
        let (height, id) = (choice.snapshot.height, file_id(choice.snapshot.index));
        let (name, link) = (FileName::Index(height), id.into());
        let read = self.content.read_small(&link, INDEX_BYTES_MAX);
        let here = || self.here(vec![id]);
        let bytes = match while_it_comes(StallClock::default(), here, read).await? {
            Err(error @ FetchError::Changed { .. }) => {
                return self.drop_changed(id, name, &error).await;
            }
            bytes => bytes.map_err(attempt_error)?,
        };
        let index = SnapshotIndex::decode(&bytes).filter(|index| index.height == height);
        let index = index.ok_or_else(|| AttemptError::False("its list of files is none".into()))?;
        Ok((ListedFile { name, id, size: bytes.len() as u64 }, index))
    }

    /// Fetches the beginning of a state, until it proves its block or turns out to be false.
    async fn prove_block(&self, index: &SnapshotIndex) -> Result<(), AttemptError> {
        let state = &index.state;
        let end = state.size.min(BEGINNING_BYTES_MAX);
        let link = Link { size: Some(state.size), ..state.id.into() };
        // A part that is here was admitted before.
        if self.content.metadata(state.id).is_none() {
            self.check_room(state.size)?;
        }
        // Only its size is asked for, with one proof: an answer that is small, whoever makes it.
        let opened = timeout(STALL, self.content.open_apart(&link, end)).await;
        let opened = opened.map_err(|_| AttemptError::Stalled)?.map_err(attempt_error)?;
        // The proof ends when this is dropped.
        let caller = Arc::new(());
        let file = ComingFile {
            here: move |at, most| bytes_here(&opened, at, most),
            size: end,
            at: 0,
            pace: Pace::new(STALL_BYTES, STALL),
            caller: Arc::downgrade(&caller),
        };
        let spec = self.spec.clone();
        let mut proof = pin!(blocking(move || {
            state_sync::prove(&spec, BufReader::with_capacity(1 << 20, file))
        }));
        let range = Some(0..end);
        let selection = Selection { range, sequential: true, apart: true, ..Selection::default() };
        let proven = tokio::select! {
            proven = &mut proof => proven,
            fetched = self.content.get(&link, selection) => {
                fetched.map_err(attempt_error)?;
                proof.await
            }
        };
        match proven {
            Ok((height, _)) if height == index.height => Ok(()),
            Ok((height, _)) => Err(AttemptError::False(format!("its state is of block {height}"))),
            Err(JoinError::Truncated { .. }) if end < state.size => Ok(()),
            // Too little came, or what came has changed on disk.
            Err(JoinError::File(_)) => Err(AttemptError::Stalled),
            Err(error) if is_false(&error) => Err(AttemptError::False(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    // Attack: candidates that claim sizes which fill the disk together, so that a true one finds
    // no room. What is fetched of one before it is proven is a small part of its size.
    /// Checks that a state fits on this disk, before anything of it is written.
    fn check_room(&self, bytes: u64) -> Result<(), AttemptError> {
        let data = &self.folder.data;
        let free = DiskSpace::below(data, data).look();
        let free = free.map_err(|error| FileError::new("read", data, error))?;
        match bytes <= free {
            true => Ok(()),
            false => Err(AttemptError::NoRoom(format!("{bytes} bytes; {free} are free"))),
        }
    }
}

/// Bytes of a file from `at` on that are here and verify, at most so many.
fn bytes_here(opened: &OpenStore, at: u64, most: usize) -> io::Result<Vec<u8>> {
    let end = opened.layout.bytes().min(at.saturating_add(most as u64));
    let first = at / GROUP_BYTES;
    let here = opened.store.prefix(&Part { file: 0, groups: first..groups(end) });
    let end = end.min((first + here) * GROUP_BYTES);
    match at < end {
        true => opened.read(0, at..end).map_err(io::Error::other),
        false => Ok(Vec::new()),
    }
}
