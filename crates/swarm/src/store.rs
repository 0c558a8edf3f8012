//! The resources on this node's disk.
//!
//! ```text
//! DIR/data/content/<id>/about.json   what it is, and whether it is kept
//!                       data         its bytes, unless they are shared where they are
//!                       hashes, map  see `trefoil_content::PartialStore`
//!                       hashes.map   which hashes are here, of a file on an HTTP server
//!                       tree.*       the same for the files of a directory
//!                  aside-*           what this version could not read; see [`ContentStore::open`]
//! ```
//!
//! What always holds: `about.json` is whole or absent; a resource without it is
//! not there, and its other files are removed when a node starts. It is written only
//! for a size that was proven and admitted, and after the last group, which proves it.

mod admission;
mod error;
mod hashing;
mod metadata;
mod open_directories;
mod open_store;
mod put;
mod remote;
mod resource_index;
mod uses;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use trefoil_content::{
    AllowList, ContentId, FileDigest, Files, Layout, Link, MANIFEST_BYTES_MAX, Manifest,
    PartialStore, ResourceKind, scheduler::Resource,
};
use trefoil_os::{
    disk::OpenFile,
    disk_space::{DiskSpace, SpareFile},
    log_limit::LogLimit,
};
use trefoil_types::DiskFile;

use self::{
    admission::Promises,
    metadata::{METADATA_FILE, read_metadata, write_metadata},
    open_directories::OpenDirectories,
    resource_index::ResourceIndex,
};
pub use self::{
    admission::Reservation,
    error::{StoreError, failed, is_full},
    hashing::{Counted, files_below},
    metadata::{Metadata, PutOptions},
    open_store::{CHUNK, OpenStore},
    resource_index::resources,
};
use crate::shared_tree::SharedTree;

// Attack: a peer asks for what its owner deleted or edited, over and over, or a page for what breaks
// off: thousands of lines a second.
/// One line about each in this time.
pub const COMPLAINT_EVERY: Duration = Duration::from_secs(60);

const HASHES_MAP: &str = "hashes.map";

/// How the name of what was set aside begins.
const ASIDE: &str = "aside-";

/// How the name of what is being removed begins.
const GONE: &str = "gone-";

/// A way to remove a resource.
pub type Remove = fn(&ContentStore, ContentId) -> Result<(), StoreError>;

#[derive(Debug)]
pub struct ContentStore {
    dir: PathBuf,
    /// Bytes that may be kept, without pinned resources; `None`: no limit.
    pub quota: Option<u64>,
    pub space: Arc<DiskSpace>,
    pub directories: OpenDirectories,
    state: Mutex<ResourceIndex>,
    // A page reads many small resources, and each use was a sync under the lock that the service
    // and the gateway's threads look at.
    /// Held while what is on disk of a resource changes: before the index, which no write holds.
    writes: Mutex<()>,
    promises: Promises,
    /// Which resources the log said of that they cannot be read.
    pub complaints: LogLimit<Resource>,
    /// What is given over HTTP and breaks off.
    pub broken_off: LogLimit<Resource>,
}

/// What lies in the directory and is no resource of this node.
enum Remains {
    /// Nothing of it counts yet, or any more: a crash left it.
    Unfinished,
    /// What it says of itself is not so.
    Refused(String),
    Unreadable(String),
}

impl ContentStore {
    /// Opens the directory for a node, and removes the remains of a crash and resources whose
    /// size is not proven. What cannot be read is set aside, and comes back when it can: after
    /// another version ran here, or a disk failed once.
    pub fn open(dir: &Path, quota: Option<u64>) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(failed("make", dir))?;
        for path in paths(dir)?.into_iter().filter(|path| has_prefix(path, ASIDE)) {
            if let Ok(Some((id, _))) = read_metadata(&path) {
                let place = dir.join(id.to_string());
                if !place.exists() {
                    fs::rename(&path, &place).map_err(failed("take back", &path))?;
                }
            }
        }
        let (store, remains) = Self::read(dir, quota)?;
        for (path, remains) in remains {
            match remains {
                Remains::Unreadable(why) => {
                    let aside = aside(&path);
                    tracing::error!(
                        path = %path.display(), why, aside = %aside.display(),
                        "a resource on disk cannot be read and is set aside: it comes back when \
                         a version that can read it starts; remove it if it is not wanted"
                    );
                    fs::rename(&path, &aside).map_err(failed("set aside", &path))?;
                    continue;
                }
                Remains::Refused(why) => tracing::error!(
                    path = %path.display(), why,
                    "what is on disk of a resource is refused and removed"
                ),
                Remains::Unfinished => {}
            }
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        }
        Ok(store)
    }

    /// Opens the directory as it is: nothing in it changes.
    pub fn open_stopped(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self::read(dir, None)?.0)
    }

    fn read(dir: &Path, quota: Option<u64>) -> Result<(Self, Vec<(PathBuf, Remains)>), StoreError> {
        let (mut state, mut all) = (ResourceIndex::default(), Vec::new());
        for path in paths(dir)?.into_iter().filter(|path| !has_prefix(path, ASIDE)) {
            let remains = match read_metadata(&path) {
                Ok(Some((id, metadata))) if path == dir.join(id.to_string()) => {
                    let Some(why) = metadata.refusal(&path, id) else {
                        state.insert(id, metadata);
                        continue;
                    };
                    Remains::Refused(why)
                }
                Ok(_) => Remains::Unfinished,
                Err(why) => Remains::Unreadable(why),
            };
            all.push((path, remains));
        }
        // The journal is beside it.
        let space = Arc::new(DiskSpace::below(dir, dir.parent().unwrap_or(dir)));
        let store = Self {
            dir: dir.into(),
            quota,
            space,
            directories: OpenDirectories::default(),
            state: Mutex::new(state),
            writes: Mutex::default(),
            promises: Promises::default(),
            complaints: LogLimit::new(COMPLAINT_EVERY),
            broken_off: LogLimit::new(COMPLAINT_EVERY),
        };
        Ok((store, all))
    }

    /// What is on disk changes while this is held.
    fn write(&self) -> MutexGuard<'_, ()> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, ResourceIndex> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, id: ContentId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Everything that is here, whole or in part.
    pub fn list(&self) -> Vec<Metadata> {
        self.lock().metadata.values().cloned().collect()
    }

    /// The roots of the resources that are whole here and for everyone: of more than
    /// `count`, those asked for last.
    pub fn whole(&self, count: usize) -> BTreeSet<[u8; 32]> {
        let state = self.lock();
        let whole =
            state.open.iter().filter_map(|id| Some((state.metadata.get(id)?.used_s, id.root)));
        let mut whole: Vec<_> = whole.collect();
        whole.sort_unstable_by(|a, b| b.cmp(a));
        whole.into_iter().take(count).map(|(_, root)| root).collect()
    }

    pub fn metadata(&self, id: ContentId) -> Option<Metadata> {
        self.lock().metadata.get(&id).cloned()
    }

    // Attack: what has an allow-list is told from what is not here by 93 ns, the median of 15,000
    // requests (the copy of its metadata). It is in no table that is looked at.
    /// Whether a resource is whole here and for everyone.
    pub fn is_open(&self, id: ContentId) -> bool {
        self.lock().open.contains(&id)
    }

    /// Whether a resource is whole here, whoever may have it.
    pub fn is_whole(&self, id: ContentId) -> bool {
        self.lock().metadata.get(&id).is_some_and(|metadata| metadata.whole)
    }

    pub fn id(&self, resource: Resource) -> Option<ContentId> {
        self.lock().ids.get(&resource).copied()
    }

    /// Whether a resource is here, and its list is one of those that are admitted.
    pub fn has(&self, resource: Resource, admits: impl FnOnce(&AllowList) -> bool) -> bool {
        let state = self.lock();
        let metadata = state.ids.get(&resource).and_then(|id| state.metadata.get(id));
        metadata.is_some_and(|metadata| admits(&metadata.allow))
    }

    /// Changes a resource's metadata; returns whether that made a difference, or
    /// `None` if it is not here.
    pub fn change(
        &self,
        id: ContentId,
        change: impl FnOnce(&mut Metadata),
    ) -> Result<Option<bool>, StoreError> {
        let _writes = self.write();
        let Some(metadata) = self.metadata(id) else { return Ok(None) };
        let mut changed = metadata.clone();
        change(&mut changed);
        let differs = changed != metadata;
        if differs {
            write_metadata(&self.place(id), &changed)?;
            let mut state = self.lock();
            // It may have been used meanwhile.
            if let Some(now) = state.metadata.get(&id).filter(|now| now.used_s != metadata.used_s) {
                changed.used_s = now.used_s;
            }
            state.set(id, changed);
        }
        Ok(Some(differs))
    }

    /// Notes whether a resource is kept whatever happens.
    pub fn pin(&self, id: ContentId, pinned: bool) -> Result<(), StoreError> {
        let changed = self.change(id, |metadata| metadata.pinned = pinned)?;
        changed.map(drop).ok_or(StoreError::NotHere(id))
    }

    /// Opens the store of a resource, if it is here. The files of a directory are here once its
    /// manifest is whole and they were begun. `begin`: they are begun now.
    pub fn open_store(
        &self,
        resource: Resource,
        begin: bool,
    ) -> Result<Option<OpenStore>, StoreError> {
        let Some(id) = self.id(resource) else { return Ok(None) };
        let Some(metadata) = self.metadata(id) else { return Ok(None) };
        if resource == Resource::hashes(id.root).among(&metadata.allow) {
            let kept = metadata.whole || self.place(id).join(HASHES_MAP).exists();
            return if kept { self.open_hashes(id).map(Some) } else { Ok(None) };
        }
        let bytes = self.open_bytes(id, &metadata)?;
        if resource == bytes.resource {
            return Ok(Some(bytes));
        }
        let begun = begin || metadata.shared.is_some() || self.place(id).join("tree.map").exists();
        if !bytes.store.is_whole() || !begun {
            return Ok(None);
        }
        self.open_tree(id, &metadata, &bytes).map(Some)
    }

    fn open_bytes(&self, id: ContentId, metadata: &Metadata) -> Result<OpenStore, StoreError> {
        let place = self.place(id);
        // A directory's manifest is always ours.
        let shared = metadata.shared.as_ref().filter(|_| id.kind != ResourceKind::Directory);
        let files = match shared {
            Some(path) => {
                let data = OpenFile::read_only(path).map_err(failed("open", path))?;
                let hashes = own(&self.space, &place, "hashes")?;
                Files { data: Some(Arc::new(data)), hashes, map: None }
            }
            None => own_files(&self.space, &place, "")?,
        };
        let store = PartialStore::open(id.root, [(id.root, metadata.size)], files)?;
        let layout = Layout::file(metadata.size)?;
        let lies = shared.cloned().unwrap_or_else(|| place.join("data"));
        let part = Resource::file(id.root);
        Ok(OpenStore::new(id, metadata, part, store, layout, lies, self.space.clone()))
    }

    /// Opens the store of the hashes alone of a file or manifest that is here, or
    /// begins one.
    pub fn open_hashes(&self, id: ContentId) -> Result<OpenStore, StoreError> {
        let (metadata, place) = (self.metadata(id).ok_or(StoreError::NotHere(id))?, self.place(id));
        let part = Resource::hashes(id.root);
        let hashes = own(&self.space, &place, "hashes")?;
        let files = Files { data: None, hashes, map: Some(own(&self.space, &place, HASHES_MAP)?) };
        let store = PartialStore::open(part.0, [(id.root, metadata.size)], files)?;
        if metadata.whole {
            store.all_is_here();
        }
        let layout = Layout::hashes(metadata.size)?;
        let lies = place.join("hashes");
        Ok(OpenStore::new(id, &metadata, part, store, layout, lies, self.space.clone()))
    }

    fn open_tree(
        &self,
        id: ContentId,
        metadata: &Metadata,
        bytes: &OpenStore,
    ) -> Result<OpenStore, StoreError> {
        let place = self.place(id);
        let manifest = Manifest::decode(&bytes.read_small(MANIFEST_BYTES_MAX as u64)?)?;
        let manifest = Arc::new(manifest);
        let directory = self.directories.add(manifest.entries().len(), manifest.memory());
        let contents: Vec<FileDigest> =
            manifest.entries().iter().map(|entry| (entry.root, entry.size)).collect();
        let part = Resource::tree(id.root);
        let files = match &metadata.shared {
            Some(path) => {
                let data = Arc::new(SharedTree::new(path, manifest.clone()));
                let hashes = own(&self.space, &place, "tree.hashes")?;
                Files { data: Some(data), hashes, map: None }
            }
            None => own_files(&self.space, &place, "tree.")?,
        };
        let store = PartialStore::open(part.0, contents, files)?;
        let layout = manifest.layout()?;
        let lies = metadata.shared.clone().unwrap_or_else(|| place.join("tree.data"));
        let opened = OpenStore::new(id, metadata, part, store, layout, lies, self.space.clone());
        Ok(OpenStore { manifest: Some(manifest), directory: Some(directory), ..opened })
    }

    /// Begins the store of a resource whose size is proven and admitted. `prove` writes the
    /// last group, which proves it: without it, nothing is kept.
    pub fn begin(
        &self,
        link: &Link,
        size: u64,
        prove: impl FnOnce(&OpenStore) -> Result<(), StoreError>,
    ) -> Result<OpenStore, StoreError> {
        let id = link.id;
        let place = self.place(id);
        let metadata =
            Metadata { allow: link.allow.clone(), ..Metadata::new(id, link.name.clone(), size) };
        // What was removed goes first: else its directory would be this one's.
        let _writes = self.write();
        let begin = || {
            fs::create_dir_all(&place).map_err(failed("make", &place))?;
            let opened = self.open_bytes(id, &metadata)?;
            prove(&opened)?;
            // Last: after a crash, only proven sizes are found here.
            write_metadata(&place, &metadata)?;
            Ok::<_, StoreError>(opened)
        };
        let opened = begin().inspect_err(|_| {
            // Files that remain are removed at the next start.
            let _ = fs::remove_dir_all(&place);
        })?;
        self.lock().insert(id, metadata);
        Ok(opened)
    }

    /// The resources that are shared from their place, by path.
    pub fn shared(&self) -> BTreeMap<PathBuf, ContentId> {
        let state = self.lock();
        let shared = state
            .metadata
            .iter()
            .filter_map(|(id, metadata)| Some((metadata.shared.clone()?, *id)));
        shared.collect()
    }

    /// Whether a part of it is here that nobody pinned: it may go if there is no room.
    pub fn is_partial(&self, id: ContentId) -> bool {
        self.metadata(id).is_some_and(|metadata| {
            !metadata.whole && !metadata.pinned && metadata.shared.is_none()
        })
    }

    // A quota smaller than a file of a state snapshot would remove it before it is moved out.
    /// Notes whether the quota does not count a resource, since it is not kept here.
    pub fn set_apart(&self, id: ContentId, apart: bool) {
        let mut state = self.lock();
        match apart {
            true => state.apart.insert(id),
            false => state.apart.remove(&id),
        };
    }

    /// Removes the kept bytes of a resource; never a user's file.
    pub fn remove(&self, id: ContentId) -> Result<(), StoreError> {
        self.remove_if(id, |_| true)
    }

    /// Removes it if it is still what goes to make room: nobody pinned it since.
    pub(crate) fn remove_excess(&self, id: ContentId) -> Result<(), StoreError> {
        self.remove_if(id, |metadata| {
            let goes = self.counts(id, metadata) && !self.is_awaited(id);
            if goes {
                tracing::info!(%id, "it is removed: more is kept than `content.quota_mib`");
            }
            goes
        })
    }

    fn remove_if(
        &self,
        id: ContentId,
        goes: impl FnOnce(&Metadata) -> bool,
    ) -> Result<(), StoreError> {
        let writes = self.write();
        let metadata = self.metadata(id).ok_or(StoreError::NotHere(id))?;
        if !goes(&metadata) {
            return Ok(());
        }
        let mut state = self.lock();
        state.apart.remove(&id);
        state.forget(id);
        drop(state);
        let place = self.place(id);
        // The metadata first: a crash leaves no half of a resource.
        fs::remove_file(place.join(METADATA_FILE)).map_err(failed("remove", &place))?;
        // A large file takes long, and others wait to write. The name stays free for another
        // fetch meanwhile, unless one that was removed before still goes.
        let gone = self.dir.join(format!("{GONE}{id}"));
        if fs::rename(&place, &gone).is_err() {
            return fs::remove_dir_all(&place).map_err(failed("remove", &place));
        }
        drop(writes);
        fs::remove_dir_all(&gone).map_err(failed("remove", &gone))
    }

    /// Removes what a crash left of resources that were being removed. Nobody else removes.
    pub fn remove_gone(&self) -> Result<(), StoreError> {
        let mut gone = paths(&self.dir)?.into_iter().filter(|path| has_prefix(path, GONE));
        gone.try_for_each(|path| fs::remove_dir_all(&path).map_err(failed("remove", &path)))
    }
}

/// What is in a directory; nothing if it is not there.
fn paths(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("read", dir))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<Result<_, _>>().map_err(failed("read", dir))
}

fn has_prefix(path: &Path, prefix: &str) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(prefix))
}

/// A free place for what cannot be read.
fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let named = |n: u32| path.with_file_name(format!("{ASIDE}{n}-{name}"));
    (0..).map(named).find(|aside| !aside.exists()).expect("a directory has fewer entries")
}

/// A file of ours, which leaves the disk's reserve.
fn own(space: &Arc<DiskSpace>, dir: &Path, name: &str) -> Result<Arc<dyn DiskFile>, StoreError> {
    let path = dir.join(name);
    let file = OpenFile::create(&path).map_err(failed("open", &path))?;
    Ok(Arc::new(SpareFile { file: Arc::new(file), space: space.clone() }))
}

fn own_files(space: &Arc<DiskSpace>, dir: &Path, prefix: &str) -> Result<Files, StoreError> {
    let file = |name| own(space, dir, &format!("{prefix}{name}"));
    Ok(Files { data: Some(file("data")?), hashes: file("hashes")?, map: Some(file("map")?) })
}

#[cfg(test)]
mod tests;
