//! Stores opened for users of this node, and which of the open ones make room for others.
//!
//! What always holds: of the directories that peers and readers had opened, no more stay in memory
//! than a bound; what somebody reads stays open.

use std::sync::Arc;

use tokio::task;
use trefoil_content::scheduler::Resource;
use trefoil_os::disk::blocking;

use super::SwarmService;
use crate::{
    error::FetchError,
    events::{StoreRequest, TaskEvent},
    store::{OpenStore, StoreError},
};

// Attack: a peer asks for all that is here. An open store has three files, and a map in memory.
/// Stores that are open and not wanted by this node itself. One more closes one of them.
const SHARED_MAX: usize = 256;

// Attack: a peer, or a page that is open in a browser, asks for one large directory after the
// other. 50,000 files with paths of a kilobyte take 60 MiB, and did for five minutes.
/// Bytes of memory that directories may take whose files' stores are open (64 MiB). A larger one
/// is open alone.
pub const OPEN_BYTES_MAX: usize = 64 << 20;

impl SwarmService {
    /// Answers with the store of a resource. One that is not open is opened beside the service,
    /// which waits for no disk: a manifest of 64 MiB takes a tenth of a second.
    pub(super) fn open_for_user(&mut self, request: StoreRequest) {
        if let Some(topic) = self.topics.get_mut(&request.resource)
            && let Some(opened) = topic.opened().cloned()
        {
            topic.touch();
            // The caller may be gone.
            let _ = request.reply.send(Ok(Some(opened)));
            return;
        }
        let (turn, store, events) =
            (self.own_opens.clone(), self.store.clone(), self.event_to.clone());
        let (closings, resource, begin) = (self.closings, request.resource, request.begin);
        task::spawn(async move {
            let _turn = turn.lock().await;
            let open = move || store.open_store(resource, begin).map(|opened| opened.map(Arc::new));
            let result = blocking(open).await;
            // The service may have ended.
            let _ = events.send(TaskEvent::OpenedForUser { request, closings, result }).await;
        });
    }

    pub(super) fn on_opened_for_user(
        &mut self,
        request: StoreRequest,
        closings: u64,
        result: Result<Option<Arc<OpenStore>>, StoreError>,
    ) {
        if closings != self.closings {
            return self.open_for_user(request);
        }
        let answer = match result {
            Ok(Some(opened)) => self.keep_open(opened, request.yields),
            Ok(None) => Ok(None),
            Err(error) => Err(error.into()),
        };
        // The caller may be gone.
        let _ = request.reply.send(answer);
    }

    /// Keeps a store open that was opened beside the service, unless it is open by now or is not here
    /// any more. Directories that are in use may leave no room for it; one that `yields` is not kept
    /// then.
    pub(super) fn keep_open(
        &mut self,
        opened: Arc<OpenStore>,
        yields: bool,
    ) -> Result<Option<Arc<OpenStore>>, FetchError> {
        // It may have been opened otherwise meanwhile, or removed.
        if let Some(open) = self.opened(opened.resource) {
            return Ok(Some(open.clone()));
        }
        if !self.store.has(opened.resource, |_| true) {
            return Ok(None);
        }
        if !self.make_room(&opened) && yields {
            return Err(FetchError::Busy);
        }
        self.add_store(&opened);
        Ok(Some(opened))
    }

    /// Closes stores that nobody uses, so that there is room for one more. `false`: the
    /// directories that are in use leave none.
    pub(super) fn make_room(&mut self, opened: &OpenStore) -> bool {
        if self.spare(|_| true).count() >= SHARED_MAX {
            self.close_oldest(|_| true);
        }
        let own = opened.memory();
        while own > 0 && self.store.directories.bytes() > own.max(self.open_bytes_max) {
            // One that somebody reads would stay in memory, and be opened a second time.
            if !self.close_oldest(|open| open.memory() > 0 && Arc::strong_count(open) == 1) {
                return false;
            }
        }
        true
    }

    /// The stores that this node itself does not want, with the order in which they are closed.
    fn spare(
        &self,
        which: impl Fn(&Arc<OpenStore>) -> bool,
    ) -> impl Iterator<Item = (impl Ord, Resource)> {
        self.topics.iter().filter_map(move |(resource, topic)| {
            topic.opened().filter(|opened| which(opened))?;
            Some((topic.spare()?, *resource))
        })
    }

    /// `false`: there is none.
    fn close_oldest(&mut self, which: impl Fn(&Arc<OpenStore>) -> bool) -> bool {
        let oldest = self.spare(which).min().map(|(_, resource)| resource);
        oldest.inspect(|resource| self.close(*resource, &FetchError::Removed)).is_some()
    }
}

#[cfg(test)]
mod tests;
