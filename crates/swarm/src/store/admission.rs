//! Which sizes are accepted. The maker of an id can prove any size for it, so a proof alone
//! admits nothing.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use trefoil_content::{BYTES_MAX, ContentId, MANIFEST_BYTES_MAX, ResourceKind, proof};

use super::{ContentStore, Metadata, StoreError, failed};

/// The unit of `st_blocks` (stat(2)), whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

// Two transfers that each fit would fill the disk together.
/// Room that fetches were promised, by resource.
#[derive(Debug, Default)]
pub struct Promises(Mutex<BTreeMap<ContentId, Promise>>);

#[derive(Debug, Default)]
struct Promise {
    /// Bytes that have not come yet.
    left: u64,
    fetches: usize,
}

impl Promises {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContentId, Promise>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for a fetch, for as long as this lives.
#[derive(Debug)]
pub struct Reservation {
    store: Arc<ContentStore>,
    id: ContentId,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut promises = self.store.promises.lock();
        if let Some(promise) = promises.get_mut(&self.id) {
            promise.fetches -= 1;
            if promise.fetches == 0 {
                promises.remove(&self.id);
            }
        }
    }
}

impl ContentStore {
    /// Checks that there is room for bytes that are still to come. `kept`: they count for the
    /// quota too.
    pub fn admit(&self, bytes: u64, kept: bool) -> Result<(), StoreError> {
        let promised = self.promises.lock().values().map(|promise| promise.left).sum();
        self.check_room(bytes, promised, kept)
    }

    /// As [`ContentStore::admit`], and keeps the room for a fetch of a resource of which `all`
    /// bytes can come.
    pub fn reserve(
        self: &Arc<Self>,
        id: ContentId,
        bytes: u64,
        all: u64,
        kept: bool,
    ) -> Result<Reservation, StoreError> {
        let mut promises = self.promises.lock();
        let others = promises.iter().filter(|(of, _)| **of != id);
        let others: u64 = others.map(|(_, promise)| promise.left).sum();
        // Two fetches may be of the same bytes.
        let own = promises.get(&id).map_or(0, |promise| promise.left);
        let left = own.saturating_add(bytes).min(all.max(own));
        self.check_room(bytes, others.saturating_add(left - bytes.min(left)), kept)?;
        let promise = promises.entry(id).or_default();
        promise.left = left;
        promise.fetches += 1;
        Ok(Reservation { store: self.clone(), id })
    }

    /// So many bytes that were promised room have come.
    pub fn arrived(&self, id: ContentId, bytes: u64) {
        if let Some(promise) = self.promises.lock().get_mut(&id) {
            promise.left = promise.left.saturating_sub(bytes);
        }
    }

    fn check_room(&self, bytes: u64, promised: u64, kept: bool) -> Result<(), StoreError> {
        if let Some(quota) = self.quota.filter(|quota| kept && bytes > *quota) {
            return Err(StoreError::Quota { bytes, quota });
        }
        let free = self.space.look().map_err(failed("read", &self.dir))?.saturating_sub(promised);
        match bytes.saturating_add(proof::hashes_bytes(bytes)) <= free {
            true => Ok(()),
            false => Err(StoreError::NoRoom { bytes, free, dir: self.dir.clone() }),
        }
    }

    /// Bytes that a resource takes on disk and that count for the quota. A part that is
    /// here counts by its own bytes, not by the size that is claimed for the whole: that
    /// would drive out all other resources.
    pub(super) fn kept(&self, id: ContentId, metadata: &Metadata) -> u64 {
        if metadata.shared.is_some() || metadata.pinned {
            return 0;
        }
        let place = self.place(id);
        let taken = |name, said: u64| {
            let meta = fs::metadata(place.join(name)).ok();
            meta.map_or(0, |meta| meta.blocks().saturating_mul(BLOCK_BYTES).min(said))
        };
        let tree = metadata.tree_bytes.unwrap_or(0);
        taken("data", metadata.size).saturating_add(taken("tree.data", tree))
    }

    /// Removes the least recently used resources, until no more than `quota` bytes are
    /// kept; pinned and `busy` ones stay.
    pub fn collect(
        &self,
        quota: u64,
        busy: impl Fn(ContentId) -> bool,
    ) -> Result<Vec<ContentId>, StoreError> {
        let (mut left, mut candidates) = (0_u64, Vec::new());
        for (id, metadata) in &self.lock().metadata {
            let bytes = self.kept(*id, metadata);
            left = left.saturating_add(bytes);
            if !metadata.pinned && !busy(*id) {
                candidates.push((metadata.used_s, bytes, *id));
            }
        }
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

impl Metadata {
    /// Why the directory `place` holds no valid resource, whatever this says.
    pub(super) fn refusal(&self, place: &Path, id: ContentId) -> Option<String> {
        let size = self.size;
        if size > BYTES_MAX {
            return Some(format!("it says {size} bytes; {BYTES_MAX} are the most"));
        }
        if id.kind == ResourceKind::Directory && size > MANIFEST_BYTES_MAX as u64 {
            return Some(format!("it says a manifest of {size} bytes"));
        }
        let ours = self.shared.is_none() || id.kind == ResourceKind::Directory;
        if self.whole || !ours {
            return None;
        }
        // The last group is written before all others, and before the metadata.
        let is = fs::metadata(place.join("data")).map_or(0, |meta| meta.len());
        (is != size)
            .then(|| format!("it says {size} bytes, and nothing here proves that: {is} came"))
    }
}
