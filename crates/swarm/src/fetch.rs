//! One resource as the service sees it: callers that wait for its pieces, and peers that
//! take part in it.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::Instant};
use trefoil_content::{
    Bits, ContentId, Link, MANIFEST_BYTES_MAX, ResourceKind, groups,
    proof::{Verifier, What},
    scheduler::Source,
};
use trefoil_types::PeerId;

use crate::{
    error::FetchError,
    named_peers::NamedPeers,
    store::{ContentStore, OpenStore, StoreError},
};

// An open store holds up to three open files, and its map of groups in memory.
/// A store that was not used for this time is closed.
const IDLE: Duration = Duration::from_secs(300);

// A reader fetches each MiB that it comes to, many a second.
/// Peers are asked for a resource again by another fetch after so long.
const FIND_AGAIN: Duration = Duration::from_secs(1);

/// How far a fetch is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// All of it; absent until somebody proved its size.
    pub bytes: Option<u64>,
    pub here: u64,
    pub peers: usize,
    pub from_peers: u64,
    pub from_web: u64,
    pub by_peer: Vec<(PeerId, u64)>,
}

/// Which part of a resource is fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// One file of a directory.
    pub path: Option<String>,
    /// Bytes of the file; all if there is none.
    pub range: Option<Range<u64>>,
    /// In order, for a reader of a stream.
    pub sequential: bool,
    /// The quota does not count it, since it is not kept in the store.
    pub apart: bool,
}

impl Selection {
    /// How much of a resource is fetched for it, if only the id is known.
    pub fn measure(&self, kind: ResourceKind) -> Measure {
        // Of a directory, all of the manifest comes.
        let range = self.range.as_ref().filter(|_| kind != ResourceKind::Directory);
        let wanted = range.map_or(u64::MAX, |range| range.end.saturating_sub(range.start));
        Measure { wanted, most: u64::MAX, kept: !self.apart }
    }
}

/// A caller waits for a resource of which nothing is here yet.
#[derive(Debug)]
pub struct Seeking {
    pub link: Link,
    pub measure: Measure,
    pub found: oneshot::Sender<Result<Arc<OpenStore>, FetchError>>,
}

/// How much of a resource a caller accepts.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Bytes that will be fetched; all of a smaller resource.
    pub wanted: u64,
    /// A larger one is refused.
    pub most: u64,
    /// The bytes count for the quota.
    pub kept: bool,
}

impl Seeking {
    /// Whether a resource of a proven size is accepted: the maker of its id may have made
    /// it of any size.
    fn admit(&self, store: &ContentStore, size: u64) -> Result<(), FetchError> {
        let Link { id, size: said, .. } = &self.link;
        // The link to a directory has the size of its files, not of its manifest.
        let (said, most) = match id.kind {
            ResourceKind::Directory => (None, self.measure.most.min(MANIFEST_BYTES_MAX as u64)),
            ResourceKind::File | ResourceKind::Sealed => (*said, self.measure.most),
        };
        check_size(said, size)?;
        if size > most {
            return Err(FetchError::TooLong { id: *id, is: size, most });
        }
        Ok(store.admit(Some(*id), self.measure.wanted.min(size), self.measure.kept)?)
    }
}

/// Checks a size against that of a link, if the link has one.
pub fn check_size(said: Option<u64>, is: u64) -> Result<(), FetchError> {
    match said.filter(|said| *said != is) {
        Some(said) => Err(FetchError::Size { is, said }),
        None => Ok(()),
    }
}

/// Whether the last group with its proof shows the size of a file.
pub fn shows(root: [u8; 32], size: u64, proof: &[u8]) -> bool {
    let last = groups(size) - 1..groups(size);
    Verifier::new(What::Groups, root, size, last)
        .is_ok_and(|mut verifier| verifier.feed(proof, |_| Ok(())).is_ok() && verifier.is_through())
}

/// A caller waits for pieces.
#[derive(Debug)]
pub struct Want {
    pub pieces: Range<u32>,
    /// In order, and before the wants of others.
    pub sequential: bool,
    pub done: oneshot::Sender<Result<(), FetchError>>,
}

#[derive(Debug)]
pub struct Topic {
    pub id: ContentId,
    opened: Option<Arc<OpenStore>>,
    seeking: Vec<Seeking>,
    wants: Vec<Want>,
    /// Peers that take part, and bytes that came from each.
    pub peers: BTreeMap<PeerId, u64>,
    /// Bytes that came from sources, also from those that are gone.
    from_peers: u64,
    from_web: u64,
    /// Peers that others named as having it or seeking it.
    pub named: NamedPeers,
    /// Whether a check of its progress is scheduled.
    pub watched: bool,
    /// Bytes that had come at the last check.
    seen: Option<u64>,
    /// Something came since the last sync.
    unsynced: bool,
    pub syncing: bool,
    used: Instant,
    /// Peers got bytes of it.
    served: bool,
    /// When the peers were last asked for it.
    pub asked_at: Option<Instant>,
}

impl Topic {
    pub fn new(id: ContentId) -> Self {
        Self {
            id,
            opened: None,
            seeking: Vec::new(),
            wants: Vec::new(),
            peers: BTreeMap::new(),
            from_peers: 0,
            from_web: 0,
            named: NamedPeers::new(),
            watched: false,
            seen: None,
            unsynced: false,
            syncing: false,
            used: Instant::now(),
            served: false,
            asked_at: None,
        }
    }

    pub fn opened(&self) -> Option<&Arc<OpenStore>> {
        self.opened.as_ref()
    }

    /// `false`: it is open already.
    pub fn open(&mut self, opened: Arc<OpenStore>) -> bool {
        let new = self.opened.is_none();
        if new {
            self.opened = Some(opened);
        }
        new
    }

    pub fn seek(&mut self, seeking: Seeking) {
        self.seeking.push(seeking);
    }

    /// Whether somebody waits for its store to be begun.
    pub fn is_sought(&self) -> bool {
        !self.seeking.is_empty()
    }

    /// Begins its store, of a size that `proof` shows, for the first caller that accepts
    /// it; the others get the reason.
    pub fn begin(
        &mut self,
        store: &ContentStore,
        size: u64,
        proof: &[u8],
    ) -> Result<Option<OpenStore>, StoreError> {
        for seeking in std::mem::take(&mut self.seeking) {
            match seeking.admit(store, size) {
                Ok(()) => self.seeking.push(seeking),
                // The caller may have given up.
                Err(error) => drop(seeking.found.send(Err(error))),
            }
        }
        let Some(seeking) = self.seeking.first() else { return Ok(None) };
        store.begin(&seeking.link, size, |opened| opened.write_last_group(proof)).map(Some)
    }

    /// Whether nothing came of it since this was last asked.
    pub fn stalls(&mut self) -> bool {
        let came = self.from_peers + self.from_web;
        self.seen.replace(came) == Some(came)
    }

    /// Answers the callers that sought it.
    pub fn found(&mut self) {
        let Some(opened) = &self.opened else { return };
        for seeking in self.seeking.drain(..) {
            // The caller may have given up.
            let _ = seeking.found.send(Ok(opened.clone()));
        }
    }

    /// Whether more of it is wanted than is here.
    pub fn seeks(&self) -> bool {
        !self.seeking.is_empty() || !self.wants.is_empty()
    }

    pub fn want(&mut self, want: Want) {
        self.used = Instant::now();
        self.wants.push(want);
    }

    /// The pieces to fetch now: a reader of a stream goes first, the newest before all.
    pub fn wanted(&self) -> Option<(Range<u32>, bool)> {
        // A reader waits for the next bytes, all others for the end.
        let reader = self.wants.iter().rev().find(|want| want.sequential);
        let want = reader.or(self.wants.last())?;
        Some((want.pieces.clone(), want.sequential))
    }

    /// Answers the callers whose pieces are all here.
    pub fn finish_wants(&mut self, have: &Bits) {
        let done = |want: &mut Want| {
            have.has_all(u64::from(want.pieces.start)..u64::from(want.pieces.end))
        };
        for want in self.wants.extract_if(.., done) {
            // The caller may have given up.
            let _ = want.done.send(Ok(()));
        }
    }

    /// Drops the wants of callers that gave up.
    pub fn forget_unwanted(&mut self) {
        self.wants.retain(|want| !want.done.is_closed());
        self.seeking.retain(|seeking| !seeking.found.is_closed());
    }

    /// Fails all callers that wait.
    pub fn fail(self, why: &FetchError) {
        for seeking in self.seeking {
            let _ = seeking.found.send(Err(why.clone()));
        }
        for want in self.wants {
            let _ = want.done.send(Err(why.clone()));
        }
    }

    pub fn on_bytes(&mut self, source: Source, bytes: u64) {
        self.unsynced = true;
        match source {
            Source::Peer(peer) => {
                self.from_peers += bytes;
                if let Some(given) = self.peers.get_mut(&peer) {
                    *given += bytes;
                }
            }
            Source::Web(_) => self.from_web += bytes,
        }
    }

    /// A user of this node uses it.
    pub fn touch(&mut self) {
        self.used = Instant::now();
    }

    /// A peer got bytes of it.
    pub fn serve(&mut self) {
        (self.used, self.served) = (Instant::now(), true);
    }

    // One that was only asked for goes before one that is being served, so that a peer that asks
    // for everything does not end the transfers of others.
    /// If this node does not want it itself: the order in which such stores are closed.
    pub fn spare(&self) -> Option<(bool, Instant)> {
        let spare = !self.seeks() && !self.syncing && !self.unsynced;
        spare.then_some((self.served, self.used))
    }

    /// Whether another fetch is to ask the peers for it: also if nothing would look for it later.
    pub fn is_due_again(&self) -> bool {
        !self.watched || self.asked_at.is_none_or(|at| at.elapsed() >= FIND_AGAIN)
    }

    // Attack: a caller asks the gateway for one name after the other and hangs up: each stayed for
    // `IDLE`, 1.5 million of them.
    /// Whether its store may be closed; without a store nothing is kept for later.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.spare().is_some_and(|(_, used)| self.opened.is_none() || now - used > IDLE)
    }

    /// Its store, if something came since the last sync.
    pub fn take_unsynced(&mut self) -> Option<Arc<OpenStore>> {
        if self.syncing || !std::mem::take(&mut self.unsynced) {
            return None;
        }
        self.syncing = true;
        self.opened.clone()
    }

    pub fn progress(&self) -> Progress {
        let opened = self.opened.as_ref();
        let bytes = opened.map(|opened| opened.layout.bytes());
        let here = opened.map_or(0, |opened| opened.bytes_here());
        Progress {
            bytes,
            here,
            peers: self.peers.len(),
            from_peers: self.from_peers,
            from_web: self.from_web,
            by_peer: self.peers.iter().map(|(peer, bytes)| (*peer, *bytes)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_is_given_up_leaves_nothing() {
        let id = ContentId { kind: ResourceKind::File, root: [1; 32] };
        let mut topic = Topic::new(id);
        let (found, caller) = oneshot::channel();
        let measure = Measure { wanted: 1, most: 1, kept: true };
        topic.seek(Seeking { link: id.into(), measure, found });
        topic.forget_unwanted();
        assert!(!topic.is_idle(Instant::now()), "a caller waits");
        drop(caller);
        topic.forget_unwanted();
        assert!(topic.is_idle(Instant::now()));
    }
}
