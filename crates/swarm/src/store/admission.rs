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
    /// Checks that there is room for bytes that are still to come, of which others may wait for the
    /// same ones if they are of a resource. `kept`: they count for the quota too.
    pub fn admit(&self, id: Option<ContentId>, bytes: u64, kept: bool) -> Result<(), StoreError> {
        self.check_room(id, bytes, 0, kept, &self.promises.lock())
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
        // Two fetches may be of the same bytes.
        let own = promises.get(&id).map_or(0, |promise| promise.left);
        let left = own.saturating_add(bytes).min(all.max(own));
        self.check_room(Some(id), bytes, left - bytes.min(left), kept, &promises)?;
        let promise = promises.entry(id).or_default();
        promise.left = left;
        promise.fetches += 1;
        Ok(Reservation { store: self.clone(), id })
    }

    /// Whether a fetch of it is under way.
    pub fn is_awaited(&self, id: ContentId) -> bool {
        self.promises.lock().contains_key(&id)
    }

    /// So many bytes that were promised room have come.
    pub fn arrived(&self, id: ContentId, bytes: u64) {
        if let Some(promise) = self.promises.lock().get_mut(&id) {
            promise.left = promise.left.saturating_sub(bytes);
        }
    }

    /// `more`: bytes of the same resource that others wait for.
    fn check_room(
        &self,
        id: Option<ContentId>,
        bytes: u64,
        more: u64,
        kept: bool,
        promises: &BTreeMap<ContentId, Promise>,
    ) -> Result<(), StoreError> {
        let others = || promises.iter().filter(|(of, _)| Some(**of) != id);
        // Of one resource, readers and what fetches ahead of them wait for the same bytes.
        if let Some(quota) = self.quota.filter(|_| kept) {
            let used = others().map(|(of, promise)| self.in_use(*of, promise.left)).sum::<u64>();
            if bytes.saturating_add(used) > quota {
                return Err(StoreError::Quota { bytes, used, quota });
            }
        }
        let promised = others().map(|(_, promise)| promise.left).sum::<u64>().saturating_add(more);
        let free = self.space.look().map_err(failed("read", &self.dir))?.saturating_sub(promised);
        match bytes.saturating_add(proof::hashes_bytes(bytes)) <= free {
            true => Ok(()),
            false => Err(StoreError::NoRoom { bytes, free, dir: self.dir.clone() }),
        }
    }

    /// What a resource that is being fetched takes of the quota, when `left` more bytes have come.
    fn in_use(&self, id: ContentId, left: u64) -> u64 {
        let metadata = self.metadata(id).filter(|metadata| self.counts(id, metadata));
        metadata.map_or(0, |metadata| self.kept(id, &metadata).saturating_add(left))
    }

    /// Whether the bytes of a resource count for the quota.
    pub(super) fn counts(&self, id: ContentId, metadata: &Metadata) -> bool {
        metadata.shared.is_none() && !metadata.pinned && !self.lock().apart.contains(&id)
    }

    /// Bytes that a resource takes on disk and that count for the quota. A part that is
    /// here counts by its own bytes, not by the size that is claimed for the whole: that
    /// would drive out all other resources.
    fn kept(&self, id: ContentId, metadata: &Metadata) -> u64 {
        if !self.counts(id, metadata) {
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

    // Attack: one resource of the quota's size after the other, through the gateway, stayed all.
    /// The least recently used resources, without which no more than the quota is kept; what is
    /// pinned or being fetched stays.
    pub fn excess(&self) -> Vec<ContentId> {
        let Some(quota) = self.quota else { return Vec::new() };
        let all = self.lock().metadata.clone();
        let kept =
            all.iter().map(|(id, metadata)| (metadata.used_s, self.kept(*id, metadata), *id));
        let mut kept: Vec<_> = kept.filter(|(_, bytes, _)| *bytes > 0).collect();
        kept.sort_unstable();
        let mut left: u64 = kept.iter().map(|(_, bytes, _)| *bytes).sum();
        let promises = self.promises.lock();
        kept.retain(|(_, bytes, id)| {
            let goes = left > quota && !promises.contains_key(id);
            left -= if goes { *bytes } else { 0 };
            goes
        });
        kept.into_iter().map(|(_, _, id)| id).collect()
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
