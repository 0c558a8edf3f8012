//! The handle on this node's content: commands for the service, and the store that is
//! read directly.

mod mending;
mod putting;

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};

use tokio::{
    runtime,
    sync::{mpsc, oneshot},
};
use trefoil_content::{
    ContentId, Link, ResourceKind,
    scheduler::{Rates, Resource, UploadPolicy},
};
use trefoil_p2p::{ContentLink, NetHandle, PROVIDED_MAX};
use trefoil_types::{Offence, OrganisationId, PeerId, Standing};

use crate::{
    error::FetchError,
    events::{Announced, ContentCommand, StoreRequest},
    fetch::{Measure, Progress, Seeking, Selection, Want, check_size},
    http::{Credentials, Http, Reach},
    origins::Origins,
    service::{EVENTS_MAX, SwarmService},
    store::{self, ContentStore, Metadata, OpenStore, Reservation, StoreError},
};

// Callers wait when it is full: a flood of RPC calls takes no more memory here than these.
/// Commands that wait.
const COMMANDS_MAX: usize = 256;

// A frame is verified and written on the thread that read it. To hand each 128 KiB frame to
// a blocking thread took a fifth of all processor time. A slow disk can hold up these
// threads, so they must not be those that carry votes (ADR 17).
/// Runs the swarm on threads of its own, which end with it.
fn run_apart(swarm: impl Future<Output = ()> + Send + 'static) {
    let threads = runtime::Builder::new_multi_thread().thread_name("content").enable_all().build();
    let threads = threads.expect("the system starts threads");
    let body = move || {
        threads.block_on(swarm);
        threads.shutdown_background();
    };
    let swarm = thread::Builder::new().name("swarm".into()).spawn(body);
    swarm.expect("the system starts a thread");
}

/// How a node shares content: the settings that the host hands in.
#[derive(Clone, Debug)]
pub struct ContentConfig {
    pub me: PeerId,
    /// This node's, in a network of members.
    pub organisation: Option<OrganisationId>,
    /// Where resources are kept.
    pub dir: PathBuf,
    pub upload_policy: UploadPolicy,
    pub rates: Rates,
    /// Bytes that may be kept, without pinned resources; `None`: no limit.
    pub quota: Option<u64>,
    /// Bytes of memory for directories that are open and not wanted by this node's own user.
    pub open_bytes_max: usize,
    /// Which of the HTTP servers that peers named are asked; `None`: none.
    pub origins: Option<Reach>,
    /// Headers for HTTP servers.
    pub credentials: Credentials,
}

/// Handle to this node's content; clone freely.
#[derive(Clone, Debug)]
pub struct Content {
    commands: mpsc::Sender<ContentCommand>,
    store: Arc<ContentStore>,
    http: Arc<Http>,
    net: NetHandle,
    organisation: Option<OrganisationId>,
    /// For who decodes a manifest that is not open.
    manifest_turn: Arc<tokio::sync::Mutex<()>>,
}

impl Content {
    /// Opens what is here and starts the service on the current tokio runtime. It
    /// ends with the network.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn start(
        config: ContentConfig,
        net: NetHandle,
        links: mpsc::Receiver<ContentLink>,
    ) -> Result<Self, StoreError> {
        let store = Arc::new(ContentStore::open(&config.dir, config.quota)?);
        let (event_to, events) = mpsc::channel(EVENTS_MAX);
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        let ContentConfig { me, organisation, upload_policy, rates, .. } = config;
        let http = Arc::new(Http::new(config.credentials));
        let origins = Origins::new(http.clone(), config.origins, event_to.clone());
        let (handle, kept) = (net.clone(), store.clone());
        let mut service =
            SwarmService::new(me, upload_policy, rates, handle, kept, origins, event_to);
        service.open_bytes_max = config.open_bytes_max;
        run_apart(service.run(links, events, waiting));
        let manifest_turn = Arc::default();
        let content = Self { commands, store, http, net, organisation, manifest_turn };
        content.provide();
        Ok(content)
    }

    // Called when a resource became whole or its use was noted, not at every read: the
    // gateway reads a MiB at a time.
    /// Announces the resources that are whole here (on public networks: docs/content.md).
    fn provide(&self) {
        self.net.provide(self.store.whole(PROVIDED_MAX));
    }

    /// Fetches a resource or part of it, and returns its store; for a directory, the store of
    /// its files. Dropping the future ends the fetch; the bytes that came stay.
    ///
    /// # Errors
    /// Its size is not the link's; there is no room for it; the disk fails; it is removed
    /// meanwhile.
    pub async fn get(
        &self,
        link: &Link,
        selection: Selection,
    ) -> Result<Arc<OpenStore>, FetchError> {
        let file = self.open_or_seek(link, selection.measure(link.id.kind)).await?;
        if link.id.kind != ResourceKind::Directory {
            check_size(link.size, file.layout.bytes())?;
            let pieces = pieces(&file, 0, file.layout.bytes(), selection.range.clone());
            self.fetch(&file, pieces, &selection).await?;
            return self.finished(file);
        }
        let tree = self.tree(link, &file, &selection, false).await?;
        let pieces = match &selection.path {
            None => 0..tree.layout.pieces(),
            Some(path) => {
                let (at, size) = tree.file(path).ok_or(FetchError::NoFile(path.clone()))?;
                pieces(&tree, at, size, selection.range.clone())
            }
        };
        self.fetch(&tree, pieces, &selection).await?;
        self.finished(tree)
    }

    /// The store of a resource, found first if it is not here; for a directory, the store of
    /// its files. `wanted`: how many bytes of a file that is not here yet will be fetched.
    ///
    /// # Errors
    /// When there is no room for it, or the disk fails; [`FetchError::Busy`].
    pub async fn open(&self, id: ContentId, wanted: u64) -> Result<Arc<OpenStore>, FetchError> {
        let mut measure = Selection::default().measure(id.kind);
        let link = id.into();
        match id.kind {
            ResourceKind::Directory => {
                let manifest = self.open_or_seek(&link, measure).await?;
                // A later call selects files and checks that there is room for them.
                let some = Selection { path: Some(String::new()), ..Selection::default() };
                self.tree(&link, &manifest, &some, true).await
            }
            ResourceKind::File | ResourceKind::Sealed => {
                measure.wanted = wanted;
                self.open_or_seek(&link, measure).await
            }
        }
    }

    /// The store of a file of the size that its link says, found first if it is not here.
    /// `wanted` as of [`Content::open`]; the quota does not count it.
    ///
    /// # Errors
    /// It has another size; there is no room for what is wanted, or the disk fails.
    pub async fn open_apart(&self, link: &Link, wanted: u64) -> Result<Arc<OpenStore>, FetchError> {
        let measure = Measure { wanted, most: u64::MAX, kept: false };
        let opened = self.open_or_seek(link, measure).await?;
        check_size(link.size, opened.layout.bytes())?;
        Ok(opened)
    }

    /// The open store of a resource, if it is here; `begin` and `yields` as of [`StoreRequest`].
    async fn opened(
        &self,
        resource: Resource,
        begin: bool,
        yields: bool,
    ) -> Result<Option<Arc<OpenStore>>, FetchError> {
        let request =
            |reply| ContentCommand::Store(StoreRequest { resource, begin, yields, reply });
        self.ask(request).await?
    }

    /// The files of a directory, once its manifest is here.
    async fn tree(
        &self,
        link: &Link,
        manifest: &Arc<OpenStore>,
        selection: &Selection,
        yields: bool,
    ) -> Result<Arc<OpenStore>, FetchError> {
        let id = manifest.id;
        self.fetch(manifest, 0..manifest.layout.pieces(), selection).await?;
        // The files' store is opened from the manifest on disk.
        tokio::task::block_in_place(|| manifest.store.sync())?;
        let resource = Resource::tree(id.root).among(&manifest.allow);
        match self.opened(resource, false, yields).await {
            Ok(Some(tree)) => {
                check_size(link.size, tree.layout.bytes())?;
                return Ok(tree);
            }
            Err(error @ (FetchError::Busy | FetchError::Stopping)) => return Err(error),
            Ok(None) | Err(_) => {}
        }
        let bytes = self.tree_bytes(manifest).await?;
        check_size(link.size, bytes)?;
        if selection.path.is_none() && manifest.store.is_ours() {
            self.store.admit(Some(id), bytes, self.counts(id, selection))?;
        }
        let gone = || FetchError::Store("its manifest is not here any more".into());
        let tree = self.opened(resource, true, yields).await?.ok_or_else(gone)?;
        self.store.change(id, |metadata| metadata.tree_bytes = Some(bytes))?;
        Ok(tree)
    }

    /// Whether the bytes of a resource count for the quota.
    fn counts(&self, id: ContentId, selection: &Selection) -> bool {
        !selection.apart && self.store.metadata(id).is_none_or(|metadata| !metadata.pinned)
    }

    /// Whether there is room for the bytes of a file that are not here.
    ///
    /// # Errors
    /// There is not; or the disk fails.
    pub fn has_room(
        &self,
        opened: &OpenStore,
        file: u32,
        bytes: Range<u64>,
    ) -> Result<(), FetchError> {
        match lacking(opened, opened.layout.pieces_of(file, bytes)) {
            0 => Ok(()),
            bytes => {
                let kept = self.counts(opened.id, &Selection::default());
                Ok(self.store.admit(Some(opened.id), bytes, kept)?)
            }
        }
    }

    /// If the log is to tell now that it broke off what it gives of a resource: how often it did
    /// before and did not tell.
    pub fn tells_broken_off(&self, opened: &OpenStore) -> Option<u64> {
        self.store.broken_off.shows(opened.resource, Instant::now())
    }

    /// Room for the pieces that are not here; none is needed if all are.
    fn reserve(
        &self,
        opened: &OpenStore,
        pieces: Range<u32>,
        selection: &Selection,
    ) -> Result<Option<Reservation>, FetchError> {
        match lacking(opened, pieces) {
            0 => Ok(None),
            bytes => {
                let kept = self.counts(opened.id, selection);
                Ok(Some(self.store.reserve(opened.id, bytes, opened.layout.bytes(), kept)?))
            }
        }
    }

    /// The store of a file or manifest, which may have to be found first. A resource that
    /// is here keeps its list.
    async fn open_or_seek(
        &self,
        link: &Link,
        measure: Measure,
    ) -> Result<Arc<OpenStore>, FetchError> {
        let id = link.id;
        self.store.set_apart(id, !measure.kept);
        let here = self.store.metadata(id);
        let allow = here.as_ref().map_or(&link.allow, |metadata| &metadata.allow);
        let other = !link.allow.is_open() && link.allow != *allow;
        if other && here.as_ref().is_some_and(|metadata| !metadata.whole) {
            // One resource has one list on a node. Bytes that came under one list are not
            // for the readers of another (ADR 21).
            return Err(FetchError::OtherList { id, here: allow.clone() });
        }
        let resource = Resource::file(id.root).among(allow);
        if let Some(opened) = self.opened(resource, false, false).await? {
            if self.store.touch(id) {
                self.provide();
            }
            return Ok(opened);
        }
        // Members of the list answer others as if the resource were unknown (ADR 21), so
        // the fetch would wait for ever.
        if !link.allow.admits(self.organisation) {
            let (allow, own) = (link.allow.clone(), self.organisation);
            return Err(FetchError::NotAllowed { allow, own });
        }
        let link = link.clone();
        let seeking = |found| Seeking { link, measure, found };
        self.ask(|found| ContentCommand::Seek { resource, seeking: seeking(found) }).await?
    }

    async fn fetch(
        &self,
        opened: &Arc<OpenStore>,
        pieces: Range<u32>,
        selection: &Selection,
    ) -> Result<(), FetchError> {
        // Until this ends, or is dropped.
        let _room = self.reserve(opened, pieces.clone(), selection)?;
        let (opened, sequential) = (opened.clone(), selection.sequential);
        let (id, noted) = (opened.id, opened.noted());
        let open = opened.clone();
        let fetch =
            |done| ContentCommand::Fetch { opened, want: Want { pieces, sequential, done } };
        let fetch = async { self.ask(fetch).await? };
        match noted {
            None => fetch.await,
            Some(what) => match self.soon(&open, fetch).await? {
                true => Ok(()),
                false => Err(FetchError::Damaged { id, what }),
            },
        }
    }

    /// Makes the fetched bytes durable, and notes that the resource is whole if it is.
    fn finished(&self, opened: Arc<OpenStore>) -> Result<Arc<OpenStore>, FetchError> {
        tokio::task::block_in_place(|| {
            opened.store.sync()?;
            let whole = opened.store.is_whole();
            if self.store.change(opened.id, |metadata| metadata.whole |= whole)? == Some(true) {
                self.provide();
            }
            Ok(opened)
        })
    }

    /// How far the fetch of a resource is.
    pub async fn progress(&self, id: ContentId) -> Result<Option<Progress>, FetchError> {
        // By the list that it has here.
        let allow = self.store.metadata(id).map(|metadata| metadata.allow).unwrap_or_default();
        for resource in store::resources(id, &allow) {
            let progress = self.ask(|reply| ContentCommand::Progress { resource, reply }).await?;
            if progress.is_some() {
                return Ok(progress);
            }
        }
        Ok(None)
    }

    /// Everything that is here, whole or in part.
    pub fn list(&self) -> Vec<Metadata> {
        self.store.list()
    }

    pub fn metadata(&self, id: ContentId) -> Option<Metadata> {
        self.store.metadata(id)
    }

    /// Whether a resource is whole here and for everyone.
    pub fn is_open(&self, id: ContentId) -> bool {
        self.store.is_open(id)
    }

    /// Whether a resource is whole here, whoever may have it.
    pub fn is_whole(&self, id: ContentId) -> bool {
        self.store.is_whole(id)
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
    pub async fn remove(&self, id: ContentId) -> Result<(), StoreError> {
        self.close(id).await;
        self.store.remove(id)?;
        self.provide();
        Ok(())
    }

    /// The resources that are shared from their place, by path.
    pub fn shared(&self) -> BTreeMap<PathBuf, ContentId> {
        self.store.shared()
    }

    /// Moves a whole file out of the store to `to`, replaces a file there, and shares it
    /// from there. If `to` is on another disk, the file stays. Returns its path.
    ///
    /// # Errors
    /// When it is not here, or cannot be written there; as of [`Content::export`]: it is
    /// verified once more where it lies.
    pub async fn move_out(&self, id: ContentId, to: &Path) -> Result<PathBuf, FetchError> {
        let opened =
            self.get(&id.into(), Selection { apart: true, ..Selection::default() }).await?;
        self.sound(&opened).await?;
        self.close(id).await;
        Ok(tokio::task::block_in_place(|| self.store.move_out(id, to))?)
    }

    /// Announces this node's newest state snapshot to all peers, now and when they connect.
    pub async fn announce(&self, announced: Announced) {
        // The service may have ended.
        let _ = self.commands.send(ContentCommand::Announce(announced)).await;
    }

    /// The newest state snapshots that connected peers announced, and what each peer is.
    pub async fn announced(&self) -> Result<BTreeMap<PeerId, (Standing, Announced)>, FetchError> {
        self.ask(|reply| ContentCommand::Announced { reply }).await
    }

    /// Reports a peer whose announcement was false.
    pub async fn blame(&self, peer: PeerId, offence: Offence) {
        // The service may have ended.
        let _ = self.commands.send(ContentCommand::Blame { peer, offence }).await;
    }

    async fn close(&self, id: ContentId) {
        // A service that has ended has closed everything.
        let _ = self.ask(|reply| ContentCommand::Close { id, reply }).await;
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> ContentCommand,
    ) -> Result<T, FetchError> {
        let (reply, answer) = oneshot::channel();
        // A service that has ended drops the other end of the answer.
        let _ = self.commands.send(command(reply)).await;
        answer.await.map_err(|_| FetchError::Stopping)
    }
}

/// Bytes of the pieces that are not here.
fn lacking(opened: &OpenStore, pieces: Range<u32>) -> u64 {
    let parts = pieces.map(|piece| opened.layout.part(piece));
    let lacking = parts.filter(|part| !opened.store.has(part));
    lacking.map(|part| opened.layout.part_bytes(&part)).sum()
}

/// The pieces of a file, or of some of its bytes. An empty file is a piece too.
fn pieces(opened: &OpenStore, file: u32, size: u64, range: Option<Range<u64>>) -> Range<u32> {
    opened.layout.pieces_of(file, range.unwrap_or(0..size.max(1)))
}
