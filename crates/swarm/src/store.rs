//! The resources on this node's disk.
//!
//! ```text
//! DIR/data/content/<id>/about.json   what it is, and whether it is kept
//!                       data         its bytes, unless they are shared where they are
//!                       hashes, map  see `trefoil_content::PartialStore`
//!                       hashes.map   which hashes are here, where an HTTP server has the bytes
//!                       tree.*       the same for the files of a directory
//! ```
//!
//! What always holds: `about.json` is whole or absent; a resource without it is
//! not there, and what lies around of it is swept at the start. It is written only
//! for a size that was proven and admitted, and after what proves it.

mod admission;
mod hashing;
mod remote;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use serde::{Deserialize, Serialize};
use trefoil_content::{
    AllowError, AllowList, Content, ContentId, Files, Kind, Layout, LayoutError, Link,
    MANIFEST_BYTES_MAX, Manifest, ManifestError, Origin, PartialStore, proof::ProofError,
    scheduler::Resource,
};
use trefoil_os::{
    clock,
    disk::{OpenFile, remove_file, sync_directory, write_whole},
};
use trefoil_types::DiskFile;

pub(super) use self::hashing::{Counted, files_below};
use self::hashing::{hash_file, hash_tree, write_manifest};
use super::shared_tree::SharedTree;

const ABOUT: &str = "about.json";
/// A use is noted anew after so long, in seconds.
const TOUCH_S: u64 = 60;
const HASHES_MAP: &str = "hashes.map";

#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error("cannot {act} {path}: {source}; {}", trefoil_os::disk::cure(.source))]
    File { act: &'static str, path: PathBuf, source: io::Error },
    #[error("{0} is neither a file nor a directory; name one")]
    Odd(PathBuf),
    #[error("{0:?} is no UTF-8: other systems could not write this name; rename it")]
    Name(PathBuf),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Allow(#[from] AllowError),
    #[error(
        "a list of organisations is for networks of members, and this node is of no organisation; leave the list out: anyone may have what it shares"
    )]
    NoOrganisation,
    #[error("{0} is here already, for others; remove it first: `trefoil rm`")]
    OtherList(ContentId),
    #[error("{0} is not here")]
    NotHere(ContentId),
    #[error("{0} is not whole here yet; get it first")]
    NotWhole(ContentId),
    #[error(
        "{bytes} bytes are more than this node keeps: {quota}; raise `content.quota_mib`, or get a part with --range or --path"
    )]
    Quota { bytes: u64, quota: u64 },
    #[error(
        "{bytes} bytes are more than is free at {dir}: {free}; free some space on that disk, or get a part with --range or --path"
    )]
    NoRoom { bytes: u64, free: u64, dir: PathBuf },
    #[error("cannot read {origin}: {source}")]
    Origin { origin: Origin, source: io::Error },
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LibraryError {
    let path = path.to_path_buf();
    move |source| LibraryError::File { act, path, source }
}

/// What is written of a resource beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// Bytes of the file, or of the manifest.
    pub size: u64,
    /// Bytes of all files of a directory, once the manifest is here.
    pub tree_bytes: Option<u64>,
    /// Where it is shared from; ours if there is none.
    pub shared: Option<PathBuf>,
    /// Never removed to make room.
    pub pinned: bool,
    /// HTTP servers that have it, as the operator put them.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Whether this node spreads it first: the others spare it.
    pub origin: bool,
    /// When it was last asked for, seconds since 1970.
    pub used_s: u64,
    /// All of it was here.
    pub whole: bool,
    /// Who may have it of this node.
    #[serde(default, skip_serializing_if = "AllowList::is_open")]
    pub allow: AllowList,
}

impl About {
    /// Of something of which nothing is here yet, and that is for everyone.
    fn new(id: ContentId, name: Option<String>, size: u64) -> Self {
        Self {
            id: id.to_string(),
            name,
            size,
            tree_bytes: None,
            shared: None,
            pinned: false,
            origins: Vec::new(),
            origin: false,
            used_s: now_s(),
            whole: false,
            allow: AllowList::default(),
        }
    }
}

/// What is said of something when it is put.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What people call it; `None`: by its file name.
    pub name: Option<String>,
    pub allow: AllowList,
    /// Whether it is what [`super::sealed::seal`] made.
    pub sealed: bool,
    /// Whether this node spreads it first: the others spare it.
    pub origin: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { name: None, allow: AllowList::default(), sealed: false, origin: true }
    }
}

/// A resource, or the files of a directory, with its store open.
#[derive(Debug)]
pub struct Held {
    pub id: ContentId,
    pub resource: Resource,
    pub store: PartialStore,
    pub layout: Layout,
    pub origin: bool,
    /// Who may have it.
    pub allow: AllowList,
    /// Whose files these are.
    pub manifest: Option<Manifest>,
    /// The file that its bytes are in; the directory, of one that is shared where it is.
    pub place: PathBuf,
    /// What was found to have changed on disk, in words, until all is here again.
    pub damaged: Mutex<Option<String>>,
}

impl Held {
    /// `part`: which part of the resource it is, as if it were for everyone.
    fn new(
        id: ContentId,
        about: &About,
        part: Resource,
        store: PartialStore,
        layout: Layout,
        manifest: Option<Manifest>,
        place: PathBuf,
    ) -> Self {
        let (resource, allow) = (part.among(&about.allow), about.allow.clone());
        Self {
            id,
            resource,
            store,
            layout,
            origin: about.origin,
            allow,
            manifest,
            place,
            damaged: Mutex::default(),
        }
    }

    /// Whether it is the bytes of a file or manifest, not their hashes, nor a
    /// directory's files.
    pub fn is_bytes(&self) -> bool {
        self.resource == Resource::file(self.id.root).among(&self.allow)
    }
}

#[derive(Debug)]
pub struct Library {
    dir: PathBuf,
    /// Bytes that may be kept, besides what is pinned; `None`: no limit.
    quota: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    about: BTreeMap<ContentId, About>,
    /// By what peers call their parts, see [`resources`].
    ids: BTreeMap<Resource, ContentId>,
}

impl State {
    fn insert(&mut self, id: ContentId, about: About) {
        self.forget(id);
        for resource in resources(id, &about.allow) {
            self.ids.insert(resource, id);
        }
        self.about.insert(id, about);
    }

    /// `false`: it was not known.
    fn forget(&mut self, id: ContentId) -> bool {
        let Some(about) = self.about.remove(&id) else {
            return false;
        };
        for resource in resources(id, &about.allow) {
            self.ids.remove(&resource);
        }
        true
    }
}

/// What peers call the parts of a resource: what most of its bytes are in comes first.
pub fn resources(id: ContentId, allow: &AllowList) -> Vec<Resource> {
    let tree = (id.kind == Kind::Directory).then(|| Resource::tree(id.root));
    let file = [Resource::file(id.root), Resource::hashes(id.root)];
    tree.into_iter().chain(file).map(|part| part.among(allow)).collect()
}

impl Library {
    /// Opens the directory, and sweeps what a crash left of no use, and what only
    /// claims a size.
    pub fn open(dir: &Path, quota: Option<u64>) -> Result<Self, LibraryError> {
        fs::create_dir_all(dir).map_err(failed("make", dir))?;
        let mut state = State::default();
        for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
            let path = entry.map_err(failed("read", dir))?.path();
            let about = fs::read(path.join(ABOUT)).ok();
            let about = about.and_then(|bytes| serde_json::from_slice::<About>(&bytes).ok());
            match about.and_then(|about| Some((about.id.parse::<ContentId>().ok()?, about))) {
                Some((id, about)) => match admission::refusal(&path, id, &about) {
                    None => state.insert(id, about),
                    Some(why) => {
                        tracing::error!(%id, why, "what is on disk of a resource is refused and removed");
                        fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
                    }
                },
                None => fs::remove_dir_all(&path).map_err(failed("remove", &path))?,
            }
        }
        Ok(Self { dir: dir.into(), quota, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, id: ContentId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Everything that is here, whole or in part.
    pub fn list(&self) -> Vec<About> {
        self.lock().about.values().cloned().collect()
    }

    /// The roots of what is whole here and for everyone: of more than `count`, those
    /// asked for last.
    pub fn whole(&self, count: usize) -> BTreeSet<[u8; 32]> {
        let state = self.lock();
        let whole = state.about.iter().filter(|(_, about)| about.whole && about.allow.is_open());
        let mut whole: Vec<_> = whole.map(|(id, about)| (about.used_s, id.root)).collect();
        whole.sort_unstable_by(|a, b| b.cmp(a));
        whole.into_iter().take(count).map(|(_, root)| root).collect()
    }

    pub fn about(&self, id: ContentId) -> Option<About> {
        self.lock().about.get(&id).cloned()
    }

    pub fn id_of(&self, resource: Resource) -> Option<ContentId> {
        self.lock().ids.get(&resource).copied()
    }

    /// Changes what is written of a resource; tells whether that made a difference, or
    /// `None` if it is not here.
    pub fn change(
        &self,
        id: ContentId,
        change: impl FnOnce(&mut About),
    ) -> Result<Option<bool>, LibraryError> {
        let mut state = self.lock();
        let Some(about) = state.about.get_mut(&id) else { return Ok(None) };
        let mut changed = about.clone();
        change(&mut changed);
        let differs = changed != *about;
        if differs {
            write_about(&self.place(id), &changed)?;
            *about = changed;
        }
        Ok(Some(differs))
    }

    /// Notes that it was asked for just now, to the minute: each note is a sync.
    /// Tells whether there was something to note.
    pub fn touch(&self, id: ContentId) -> Result<bool, LibraryError> {
        let now = now_s();
        let touch = |about: &mut About| {
            if about.used_s.saturating_add(TOUCH_S) <= now {
                about.used_s = now;
            }
        };
        Ok(self.change(id, touch)? == Some(true))
    }

    /// Opens the store of a resource, if it is here. The files of a directory are
    /// here once its manifest is whole and they were begun; `begin`: they are now.
    pub fn open_store(
        &self,
        resource: Resource,
        begin: bool,
    ) -> Result<Option<Held>, LibraryError> {
        let Some(id) = self.id_of(resource) else { return Ok(None) };
        let Some(about) = self.about(id) else { return Ok(None) };
        if resource == Resource::hashes(id.root).among(&about.allow) {
            let kept = about.whole || self.place(id).join(HASHES_MAP).exists();
            return if kept { self.open_hashes(id).map(Some) } else { Ok(None) };
        }
        let bytes = self.open_bytes(id, &about)?;
        if resource == bytes.resource {
            return Ok(Some(bytes));
        }
        let begun = begin || about.shared.is_some() || self.place(id).join("tree.map").exists();
        if !bytes.store.is_whole() || !begun {
            return Ok(None);
        }
        self.open_tree(id, &about, &bytes).map(Some)
    }

    fn open_bytes(&self, id: ContentId, about: &About) -> Result<Held, LibraryError> {
        let place = self.place(id);
        let content = [(id.root, about.size)];
        // A directory's manifest is always ours.
        let shared = about.shared.as_ref().filter(|_| id.kind != Kind::Directory);
        let store = match shared {
            Some(path) => {
                let data = OpenFile::read_only(path).map_err(failed("open", path))?;
                PartialStore::whole(id.root, content, Arc::new(data), own(&place, "hashes")?)?
            }
            None => PartialStore::open(id.root, content, own_files(&place, "")?)?,
        };
        let layout = Layout::file(about.size)?;
        let lies = shared.cloned().unwrap_or_else(|| place.join("data"));
        Ok(Held::new(id, about, Resource::file(id.root), store, layout, None, lies))
    }

    /// Opens the store of the hashes alone of a file or manifest that is here, or
    /// begins one.
    pub fn open_hashes(&self, id: ContentId) -> Result<Held, LibraryError> {
        let (about, place) = (self.about(id).ok_or(LibraryError::NotHere(id))?, self.place(id));
        let part = Resource::hashes(id.root);
        let (hashes, map) = (own(&place, "hashes")?, own(&place, HASHES_MAP)?);
        let store = PartialStore::hashes(part.0, (id.root, about.size), hashes, map)?;
        if about.whole {
            store.all_is_here();
        }
        let layout = Layout::hashes(about.size)?;
        Ok(Held::new(id, &about, part, store, layout, None, place.join("hashes")))
    }

    fn open_tree(&self, id: ContentId, about: &About, bytes: &Held) -> Result<Held, LibraryError> {
        let place = self.place(id);
        let manifest = Manifest::decode(&bytes.read_small(MANIFEST_BYTES_MAX as u64)?)?;
        let contents: Vec<Content> =
            manifest.entries().iter().map(|entry| (entry.root, entry.size)).collect();
        let part = Resource::tree(id.root);
        let store = match &about.shared {
            Some(path) => {
                let data = Arc::new(SharedTree::new(path, &manifest));
                PartialStore::whole(part.0, contents, data, own(&place, "tree.hashes")?)?
            }
            None => PartialStore::open(part.0, contents, own_files(&place, "tree.")?)?,
        };
        let layout = manifest.layout()?;
        let lies = about.shared.clone().unwrap_or_else(|| place.join("tree.data"));
        Ok(Held::new(id, about, part, store, layout, Some(manifest), lies))
    }

    /// Makes room for what a link leads to, whose size is proven and admitted. `prove`
    /// writes what proves it: only with that does the resource come to be.
    pub fn begin(
        &self,
        link: &Link,
        size: u64,
        prove: impl FnOnce(&Held) -> Result<(), LibraryError>,
    ) -> Result<Held, LibraryError> {
        let id = link.id;
        let place = self.place(id);
        let about = About { allow: link.allow.clone(), ..About::new(id, link.name.clone(), size) };
        let begin = || {
            fs::create_dir_all(&place).map_err(failed("make", &place))?;
            let held = self.open_bytes(id, &about)?;
            prove(&held)?;
            write_about(&place, &about)?;
            Ok::<_, LibraryError>(held)
        };
        let held = begin().inspect_err(|_| {
            // What stays is swept at the next start.
            let _ = fs::remove_dir_all(&place);
        })?;
        self.lock().insert(id, about);
        Ok(held)
    }

    /// Hashes a file or directory where it is, and shares it from there. `read`
    /// counts the bytes as they are read.
    pub fn put(
        &self,
        path: &Path,
        terms: Terms,
        read: &AtomicU64,
    ) -> Result<ContentId, LibraryError> {
        let path = path.canonicalize().map_err(failed("find", path))?;
        let meta = fs::metadata(&path).map_err(failed("read", &path))?;
        let staging = self.staging()?;
        let name = terms.name.or_else(|| Some(path.file_name()?.to_str()?.to_owned()));
        let (id, size, tree_bytes) = if meta.is_file() {
            let hashes = own(staging.path(), "hashes")?;
            let root = hash_file(&path, meta.len(), &*hashes, 0, read)?;
            let kind = if terms.sealed { Kind::Sealed } else { Kind::File };
            (ContentId { kind, root }, meta.len(), None)
        } else if meta.is_dir() {
            let manifest = hash_tree(&path, staging.path(), read)?;
            let (encoded, bytes) = (manifest.encode(), manifest.layout()?.bytes());
            (write_manifest(staging.path(), &encoded)?, encoded.len() as u64, Some(bytes))
        } else {
            return Err(LibraryError::Odd(path));
        };
        let about = About {
            tree_bytes,
            shared: Some(path),
            pinned: true,
            origin: terms.origin,
            whole: true,
            allow: terms.allow,
            ..About::new(id, name, size)
        };
        write_about(staging.path(), &about)?;
        self.install(id, about, staging)?;
        Ok(id)
    }

    /// Where a resource is made until it is whole.
    fn staging(&self) -> Result<tempfile::TempDir, LibraryError> {
        let staging = tempfile::Builder::new().prefix("put-").tempdir_in(&self.dir);
        staging.map_err(failed("write in", &self.dir))
    }

    /// What is shared from where it is, by path.
    pub fn shared(&self) -> BTreeMap<PathBuf, ContentId> {
        let state = self.lock();
        let shared =
            state.about.iter().filter_map(|(id, about)| Some((about.shared.clone()?, *id)));
        shared.collect()
    }

    /// Moves a file that is whole out of the store to `to`, over what is there, and
    /// shares it from there. Where that cannot be, on another disk, it stays.
    /// Tells where it is.
    pub fn move_out(&self, id: ContentId, to: &Path) -> Result<PathBuf, LibraryError> {
        let about = self.about(id).ok_or(LibraryError::NotHere(id))?;
        if let Some(path) = about.shared {
            return Ok(path);
        }
        let place = self.place(id);
        let data = place.join("data");
        remove_file(to).map_err(failed("replace", to))?;
        match fs::hard_link(&data, to) {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => return Ok(data),
            linked => linked.map_err(failed("write", to))?,
        }
        let dir = to.parent().unwrap_or(Path::new("."));
        sync_directory(dir).map_err(failed("sync", dir))?;
        let path = to.canonicalize().map_err(failed("find", to))?;
        self.change(id, |about| {
            (about.shared, about.pinned, about.whole) = (Some(path.clone()), true, true);
        })?;
        for file in [data, place.join("map")] {
            fs::remove_file(&file).map_err(failed("remove", &file))?;
        }
        Ok(path)
    }

    /// Moves what was made into its place, over what was there of it.
    fn install(
        &self,
        id: ContentId,
        about: About,
        staging: tempfile::TempDir,
    ) -> Result<(), LibraryError> {
        let place = self.place(id);
        let mut state = self.lock();
        if place.exists() {
            fs::remove_dir_all(&place).map_err(failed("replace", &place))?;
        }
        fs::rename(staging.keep(), &place).map_err(failed("write", &place))?;
        sync_directory(&self.dir).map_err(failed("sync", &self.dir))?;
        state.insert(id, about);
        Ok(())
    }

    /// Removes what is kept of a resource; never a user's file.
    pub fn remove(&self, id: ContentId) -> Result<(), LibraryError> {
        let mut state = self.lock();
        if !state.forget(id) {
            return Err(LibraryError::NotHere(id));
        }
        let place = self.place(id);
        // First what makes it a resource, so that a crash leaves no half of one.
        fs::remove_file(place.join(ABOUT)).map_err(failed("remove", &place))?;
        fs::remove_dir_all(&place).map_err(failed("remove", &place))
    }

    /// Bytes that the resources here take on disk, those shared in place or pinned
    /// aside.
    pub fn bytes_kept(&self) -> u64 {
        let state = self.lock();
        let kept = state.about.iter().map(|(id, about)| self.kept(*id, about));
        kept.fold(0, u64::saturating_add)
    }

    /// Removes what was not asked for the longest, until no more than `quota`
    /// bytes are kept; what is pinned or `busy` stays.
    pub fn collect(
        &self,
        quota: u64,
        busy: impl Fn(ContentId) -> bool,
    ) -> Result<Vec<ContentId>, LibraryError> {
        let mut left = self.bytes_kept();
        let mut candidates: Vec<(u64, u64, ContentId)> = {
            let state = self.lock();
            let idle = state.about.iter().filter(|(id, about)| !about.pinned && !busy(**id));
            idle.map(|(id, about)| (about.used_s, self.kept(*id, about), *id)).collect()
        };
        candidates.sort_unstable();
        let mut removed = Vec::new();
        for (_, bytes, id) in candidates {
            if left <= quota {
                break;
            }
            self.remove(id)?;
            left = left.saturating_sub(bytes);
            removed.push(id);
        }
        Ok(removed)
    }
}

fn now_s() -> u64 {
    clock::wall().0 / 1_000
}

fn own(dir: &Path, name: &str) -> Result<Arc<dyn DiskFile>, LibraryError> {
    let path = dir.join(name);
    Ok(Arc::new(OpenFile::create(&path).map_err(failed("open", &path))?))
}

fn own_files(dir: &Path, prefix: &str) -> Result<Files, LibraryError> {
    let file = |name| own(dir, &format!("{prefix}{name}"));
    Ok(Files { data: file("data")?, hashes: file("hashes")?, map: file("map")? })
}

fn write_about(dir: &Path, about: &About) -> Result<(), LibraryError> {
    let path = dir.join(ABOUT);
    let text = serde_json::to_vec_pretty(about).expect("it is plain data");
    write_whole(&path, |file| file.write_all(&text)).map_err(failed("write", &path))
}
