//! When resources were asked for last, which decides what goes first.

use trefoil_content::ContentId;

use super::{
    ContentStore,
    metadata::{now_s, write_metadata},
};

// Each note is a write with syncs beside the journal's, and the gateway asks for a resource at
// each MiB that it reads. The order in which resources are removed is exact to a minute; of uses
// that are not yet on disk, a crash forgets those of the last minutes.
/// A use is noted anew after this time, in seconds.
const TOUCH_S: u64 = 60;

/// Of so many resources [`ContentStore::write_uses`] writes the last use.
pub(super) const USES_WRITTEN: usize = 8;

impl ContentStore {
    /// Notes that it was asked for just now (see `TOUCH_S`), and later so on disk. Returns whether
    /// there was something to note.
    pub fn touch(&self, id: ContentId) -> bool {
        let now = now_s();
        let mut state = self.lock();
        let Some(metadata) = state.metadata.get_mut(&id) else { return false };
        let due = metadata.used_s.saturating_add(TOUCH_S) <= now;
        if due {
            metadata.used_s = now;
            state.used.insert(id);
        }
        due
    }

    /// Writes the last uses of some resources, unless something is being written.
    pub fn write_uses(&self) {
        let Ok(_writes) = self.writes.try_lock() else { return };
        for _ in 0..USES_WRITTEN {
            let mut state = self.lock();
            let Some(id) = state.used.pop_first() else { break };
            let Some(metadata) = state.metadata.get(&id).cloned() else { continue };
            drop(state);
            // On a full disk a use cannot be noted, and the content is here all the same.
            if let Err(error) = write_metadata(&self.place(id), &metadata) {
                tracing::debug!(%id, %error, "its last use is not noted");
            }
        }
    }
}
