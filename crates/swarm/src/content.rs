//! The handle on this node's content: commands for the service, and the store that is
//! read directly.

mod mending;

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};
use trefoil_content::{AllowList, ContentId, Kind, Link, Manifest, Origin, scheduler::Resource};
use trefoil_net::{ContentLink, NetHandle, PROVIDED_MAX};
use trefoil_types::{Offence, OrganisationId, PeerId};

use crate::{
    config::ContentConfig,
    error::FetchError,
    events::{Announced, Command},
    fetch::{Measure, Progress, Seeking, Selection, Want},
    http::{Http, Reach, Reading, Server},
    origins::Origins,
    service::{Driver, EVENTS_MAX},
    store::{self, About, Held, Library, LibraryError, Terms},
};

/// Commands that wait.
const COMMANDS_MAX: usize = 256;

/// Runs the swarm on threads of its own, which end with it: what it hashes, and the
/// disk that it waits for, hold up no vote.
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

/// The hand on this node's content; clone freely.
#[derive(Clone, Debug)]
pub struct Content {
    commands: mpsc::Sender<Command>,
    library: Arc<Library>,
    http: Arc<Http>,
    net: NetHandle,
    quota: Option<u64>,
    organisation: Option<OrganisationId>,
}

impl Content {
    /// Opens what is here and starts the driver on the current tokio runtime. It
    /// ends with the network.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn start(
        config: ContentConfig,
        net: NetHandle,
        links: mpsc::Receiver<ContentLink>,
    ) -> Result<Self, LibraryError> {
        let library = Arc::new(Library::open(&config.dir, config.quota)?);
        let (event_to, events) = mpsc::channel(EVENTS_MAX);
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        let ContentConfig { me, organisation, manner, rates, quota, .. } = config;
        let http = Arc::new(Http::new(config.credentials));
        let origins = Origins::new(http.clone(), config.origins, event_to.clone());
        let (node, kept) = (net.clone(), library.clone());
        let driver = Driver::new(me, manner, rates, net, kept, origins, event_to);
        run_apart(driver.run(links, events, waiting));
        let content = Self { commands, library, http, net: node, quota, organisation };
        content.provide();
        Ok(content)
    }

    /// Announces what is whole here, where that is done: see `docs/content.md`.
    fn provide(&self) {
        self.net.provide(self.library.whole(PROVIDED_MAX));
    }

    /// Hashes a file or directory and shares it where it is, with members of the
    /// organisations on the list and of this node's own. `read` counts bytes.
    ///
    /// # Errors
    /// What cannot be read or named; a list on a network without organisations.
    pub async fn put(
        &self,
        path: &Path,
        terms: Terms,
        read: Arc<AtomicU64>,
    ) -> Result<ContentId, LibraryError> {
        let terms = self.with_own(terms)?;
        let allow = terms.allow.clone();
        let (library, path) = (self.library.clone(), path.to_path_buf());
        let put = spawn_blocking(move || library.put(&path, terms, &read)).await;
        let id = put.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        // What was open of it is opened anew, whole.
        self.close(id).await;
        // Whoever sought it already is told.
        for resource in store::resources(id, &allow) {
            let store = |reply| Command::Store { resource, begin: false, reply };
            let _ = self.ask(store).await;
        }
        self.provide();
        Ok(id)
    }

    /// Puts this node's organisation on the list, if there is one.
    fn with_own(&self, terms: Terms) -> Result<Terms, LibraryError> {
        if terms.allow.is_open() {
            return Ok(terms);
        }
        let own = self.organisation.ok_or(LibraryError::NoOrganisation)?;
        let allow = AllowList::new(terms.allow.organisations().iter().copied().chain([own]))?;
        Ok(Terms { allow, ..terms })
    }

    /// As [`Content::put`], for a file that others have of themselves too: they do
    /// not spare this node.
    ///
    /// # Errors
    /// What cannot be read or named.
    pub async fn share(&self, path: &Path) -> Result<ContentId, LibraryError> {
        self.put(path, Terms { origin: false, ..Terms::default() }, Arc::default()).await
    }

    /// Reads what an HTTP server has, once, and shares it from there: nothing is kept
    /// but its hashes. `read` counts bytes, of `total`, which is 0 until it is known.
    ///
    /// # Errors
    /// What the server does not give, or the disk does not take.
    pub async fn put_origin(
        &self,
        origin: Origin,
        terms: Terms,
        read: Arc<AtomicU64>,
        total: Arc<AtomicU64>,
    ) -> Result<ContentId, LibraryError> {
        let terms = self.with_own(terms)?;
        let allow = terms.allow.clone();
        let server = Arc::new(Server::new(self.http.clone(), origin.clone(), Reach::All));
        let reading = Reading::start(server).await.map_err(|error| {
            let (origin, source) = (origin.clone(), std::io::Error::other(error));
            LibraryError::Origin { origin, source }
        })?;
        let size = reading.size;
        total.store(size, Ordering::Relaxed);
        let library = self.library.clone();
        let put = spawn_blocking(move || library.put_remote(&origin, terms, size, reading, &read));
        let id = put.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let resource = Resource::file(id.root).among(&allow);
        // A driver that has ended has nobody to tell.
        let _ = self.commands.send(Command::NewOrigins { resource }).await;
        Ok(id)
    }

    /// Fetches a resource or part of it, and returns its store: the files' for a
    /// directory. Dropping the future ends the fetch; what came stays.
    ///
    /// # Errors
    /// When its size is not what the link says or there is no room for it, the disk
    /// fails, or it is removed meanwhile.
    pub async fn get(&self, link: &Link, selection: Selection) -> Result<Arc<Held>, FetchError> {
        let file = self.store(link, selection.measure(link.id.kind)).await?;
        if link.id.kind != Kind::Directory {
            check_size(link, file.layout.bytes())?;
            let pieces = pieces(&file, 0, file.layout.bytes(), selection.range.clone());
            self.fetch(&file, pieces, &selection).await?;
            return self.finished(file);
        }
        let tree = self.tree(link, &file, &selection).await?;
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

    /// The store of a resource, found first if it is not here: the files' for a
    /// directory. Of a file that is not here yet, `wanted` bytes are to come.
    ///
    /// # Errors
    /// When there is no room for it, or the disk fails.
    pub async fn open(&self, id: ContentId, wanted: u64) -> Result<Arc<Held>, FetchError> {
        let mut measure = Selection::default().measure(id.kind);
        let link = id.into();
        match id.kind {
            Kind::Directory => {
                let manifest = self.store(&link, measure).await?;
                // Which of its files is wanted, and whether there is room, is said later.
                let some = Selection { path: Some(String::new()), ..Selection::default() };
                self.tree(&link, &manifest, &some).await
            }
            Kind::File | Kind::Sealed => {
                measure.wanted = wanted;
                self.store(&link, measure).await
            }
        }
    }

    /// The files of a directory, once its manifest is here.
    async fn tree(
        &self,
        link: &Link,
        manifest: &Arc<Held>,
        selection: &Selection,
    ) -> Result<Arc<Held>, FetchError> {
        let id = manifest.id;
        self.fetch(manifest, 0..manifest.layout.pieces(), selection).await?;
        // The files' store is opened by what is on disk.
        tokio::task::block_in_place(|| manifest.store.sync())?;
        let resource = Resource::tree(id.root).among(&manifest.allow);
        let store = |begin| self.ask(move |reply| Command::Store { resource, begin, reply });
        if let Ok(Some(tree)) = store(false).await? {
            check_size(link, tree.layout.bytes())?;
            return Ok(tree);
        }
        // What it says is claimed until it is admitted; and it may have changed on disk.
        let encoded = self.read(manifest, 0, 0..manifest.layout.bytes()).await?;
        let odd = |error: &dyn std::fmt::Display| FetchError::Library(error.to_string());
        let files = Manifest::decode(&encoded).map_err(|error| odd(&error))?;
        let bytes = files.layout().map_err(|error| odd(&error))?.bytes();
        check_size(link, bytes)?;
        if selection.path.is_none() && manifest.store.is_ours() {
            self.library.admit(bytes, self.counts(id, selection))?;
        }
        let gone = || FetchError::Library("its manifest is not here any more".into());
        let tree = store(true).await??.ok_or_else(gone)?;
        self.library.change(id, |about| about.tree_bytes = Some(bytes))?;
        Ok(tree)
    }

    /// Whether what comes of a resource counts for the quota.
    fn counts(&self, id: ContentId, selection: &Selection) -> bool {
        !selection.apart && self.library.about(id).is_none_or(|about| !about.pinned)
    }

    /// Whether there is room for the bytes of a file that are not here.
    ///
    /// # Errors
    /// There is not; or the disk fails.
    pub fn has_room(&self, held: &Held, file: u32, bytes: Range<u64>) -> Result<(), FetchError> {
        self.admit(held, held.layout.pieces_of(file, bytes), &Selection::default())
    }

    fn admit(
        &self,
        held: &Held,
        pieces: Range<u32>,
        selection: &Selection,
    ) -> Result<(), FetchError> {
        let parts = pieces.map(|piece| held.layout.part(piece));
        let lacking = parts.filter(|part| !held.store.has(part));
        let bytes: u64 = lacking.map(|part| held.layout.part_bytes(&part)).sum();
        match bytes {
            0 => Ok(()),
            bytes => Ok(self.library.admit(bytes, self.counts(held.id, selection))?),
        }
    }

    /// The store of a file or manifest, which may have to be found first. What is
    /// here keeps the list that it came with.
    async fn store(&self, link: &Link, measure: Measure) -> Result<Arc<Held>, FetchError> {
        let id = link.id;
        let here = self.library.about(id);
        let allow = here.as_ref().map_or(&link.allow, |about| &about.allow);
        let other = !link.allow.is_open() && link.allow != *allow;
        if other && here.as_ref().is_some_and(|about| !about.whole) {
            return Err(FetchError::OtherList { id, here: allow.clone() });
        }
        let resource = Resource::file(id.root).among(allow);
        let store = |reply| Command::Store { resource, begin: false, reply };
        if let Some(held) = self.ask(store).await?? {
            if self.library.touch(id)? {
                self.provide();
            }
            return Ok(held);
        }
        if !link.allow.admits(self.organisation) {
            let (allow, own) = (link.allow.clone(), self.organisation);
            return Err(FetchError::NotAllowed { allow, own });
        }
        let link = link.clone();
        let seeking = |found| Seeking { link, measure, found };
        self.ask(|found| Command::Seek { resource, seeking: seeking(found) }).await?
    }

    async fn fetch(
        &self,
        held: &Arc<Held>,
        pieces: Range<u32>,
        selection: &Selection,
    ) -> Result<(), FetchError> {
        self.admit(held, pieces.clone(), selection)?;
        let (held, sequential) = (held.clone(), selection.sequential);
        let (id, noted) = (held.id, held.noted());
        let open = held.clone();
        let fetch = |done| Command::Fetch { held, want: Want { pieces, sequential, done } };
        let fetch = async { self.ask(fetch).await? };
        match noted {
            None => fetch.await,
            Some(what) => match self.soon(&open, fetch).await? {
                true => Ok(()),
                false => Err(FetchError::Damaged { id, what }),
            },
        }
    }

    /// Makes durable what was fetched, and makes room if it was too much.
    fn finished(&self, held: Arc<Held>) -> Result<Arc<Held>, FetchError> {
        tokio::task::block_in_place(|| {
            held.store.sync()?;
            let whole = held.store.is_whole();
            if self.library.change(held.id, |about| about.whole |= whole)? == Some(true) {
                self.provide();
            }
            Ok(held)
        })
    }

    /// What peers call the parts of a resource, by the list that it has here.
    fn resources(&self, id: ContentId) -> Vec<Resource> {
        let allow = self.library.about(id).map(|about| about.allow).unwrap_or_default();
        store::resources(id, &allow)
    }

    /// How far the fetch of a resource is.
    pub async fn progress(&self, id: ContentId) -> Result<Option<Progress>, FetchError> {
        for resource in self.resources(id) {
            let progress = self.ask(|reply| Command::Progress { resource, reply }).await?;
            if progress.is_some() {
                return Ok(progress);
            }
        }
        Ok(None)
    }

    /// Everything that is here, whole or in part.
    pub fn list(&self) -> Vec<About> {
        self.library.list()
    }

    pub fn about(&self, id: ContentId) -> Option<About> {
        self.library.about(id)
    }

    /// # Errors
    /// When it is not here or cannot be written down.
    pub fn pin(&self, id: ContentId, pinned: bool) -> Result<(), LibraryError> {
        match self.library.change(id, |about| about.pinned = pinned)? {
            Some(_) => Ok(()),
            None => Err(LibraryError::NotHere(id)),
        }
    }

    /// Removes what is kept of a resource; never a user's file.
    ///
    /// # Errors
    /// When it is not here or cannot be removed.
    pub async fn remove(&self, id: ContentId) -> Result<(), LibraryError> {
        self.close(id).await;
        self.library.remove(id)?;
        self.provide();
        Ok(())
    }

    /// Removes what was not asked for the longest, if more is kept than may be.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub async fn collect(&self) -> Result<Vec<ContentId>, FetchError> {
        let Some(quota) = self.quota else { return Ok(Vec::new()) };
        let open = self.ask(|reply| Command::Open { reply }).await?;
        let removed = self.library.collect(quota, |id| open.contains(&id))?;
        self.provide();
        Ok(removed)
    }

    /// What is shared from where it is, by path.
    pub fn shared(&self) -> BTreeMap<PathBuf, ContentId> {
        self.library.shared()
    }

    /// Moves a file that is whole out of the store to `to`, over what is there, and
    /// shares it from there. Where that cannot be, on another disk, it stays.
    /// Tells where it is.
    ///
    /// # Errors
    /// When it is not here, or cannot be written there; as of [`Content::export`]: it is verified once more where it lies.
    pub async fn move_out(&self, id: ContentId, to: &Path) -> Result<PathBuf, FetchError> {
        let held = self.get(&id.into(), Selection { apart: true, ..Selection::default() }).await?;
        self.sound(&held).await?;
        self.close(id).await;
        Ok(tokio::task::block_in_place(|| self.library.move_out(id, to))?)
    }

    /// Tells all peers, now and as they come, of this node's newest state snapshot.
    pub async fn announce(&self, announced: Announced) {
        // A driver that has ended has nobody to tell.
        let _ = self.commands.send(Command::Announce(announced)).await;
    }

    /// What the peers that are connected told of their newest state snapshots.
    pub async fn announced(&self) -> Result<BTreeMap<PeerId, Announced>, FetchError> {
        self.ask(|reply| Command::Announced { reply }).await
    }

    /// A peer told of what is not so.
    pub async fn blame(&self, peer: PeerId, offence: Offence) {
        // A driver that has ended has nobody to blame.
        let _ = self.commands.send(Command::Blame { peer, offence }).await;
    }

    async fn close(&self, id: ContentId) {
        // A driver that has ended has closed everything.
        let _ = self.ask(|reply| Command::Close { id, reply }).await;
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, FetchError> {
        let (reply, answer) = oneshot::channel();
        let stopping = |_| FetchError::Stopping;
        self.commands.send(command(reply)).await.map_err(|_| FetchError::Stopping)?;
        answer.await.map_err(stopping)
    }
}

/// The pieces of a file, or of some of its bytes. An empty file is a piece too.
fn pieces(held: &Held, file: u32, size: u64, range: Option<Range<u64>>) -> Range<u32> {
    held.layout.pieces_of(file, range.unwrap_or(0..size.max(1)))
}

fn check_size(link: &Link, is: u64) -> Result<(), FetchError> {
    match link.size.filter(|said| *said != is) {
        Some(said) => Err(FetchError::Size { is, said }),
        None => Ok(()),
    }
}
