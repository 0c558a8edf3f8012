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
mod error;
mod hashing;
mod metadata;
mod open_store;
mod put;
mod remote;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use trefoil_content::{
    AllowList, Content, ContentId, Files, Kind, Layout, Link, MANIFEST_BYTES_MAX, Manifest,
    PartialStore, scheduler::Resource,
};
use trefoil_os::disk::OpenFile;
use trefoil_types::DiskFile;

pub use self::{
    error::LibraryError,
    hashing::{Counted, files_below},
    metadata::{About, Terms},
    open_store::{CHUNK, Held},
};
use self::{
    error::failed,
    metadata::{ABOUT, now_s, write_about},
};
use crate::shared_tree::SharedTree;

/// A use is noted anew after so long, in seconds.
const TOUCH_S: u64 = 60;
const HASHES_MAP: &str = "hashes.map";

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

    /// What is shared from where it is, by path.
    pub fn shared(&self) -> BTreeMap<PathBuf, ContentId> {
        let state = self.lock();
        let shared =
            state.about.iter().filter_map(|(id, about)| Some((about.shared.clone()?, *id)));
        shared.collect()
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
}

fn own(dir: &Path, name: &str) -> Result<Arc<dyn DiskFile>, LibraryError> {
    let path = dir.join(name);
    Ok(Arc::new(OpenFile::create(&path).map_err(failed("open", &path))?))
}

fn own_files(dir: &Path, prefix: &str) -> Result<Files, LibraryError> {
    let file = |name| own(dir, &format!("{prefix}{name}"));
    Ok(Files { data: file("data")?, hashes: file("hashes")?, map: file("map")? })
}
