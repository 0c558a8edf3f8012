//! How HTTP servers come to be sources of the swarm, and peers to know of them.

use std::sync::Arc;

use tokio::{sync::oneshot, task};
use trefoil_content::{
    Part,
    message::SwarmMessage,
    scheduler::{FetchFailure, RequestId, Resource, SchedulerInput, SourceRole},
};
use trefoil_types::PeerId;

use super::SwarmService;
use crate::{
    events::TaskEvent,
    fetch::{Topic, Want},
    store::OpenStore,
};

impl SwarmService {
    /// `None`: to all peers of this resource.
    pub(super) fn send_origins(&mut self, resource: Resource, to: Option<PeerId>) {
        let origins = self.origins.announceable(resource);
        if !origins.is_empty() {
            self.send_to(to, resource, &SwarmMessage::Origins { resource, origins });
        }
    }

    /// The operator put origins of a resource that is here.
    pub(super) fn on_new_origins(&mut self, resource: Resource) {
        // One that is opened later has them from the start.
        let Some(id) = self.opened(resource).map(|opened| opened.id) else { return };
        self.origins.add_configured(resource, self.store.origins(id));
        self.send_origins(resource, None);
        self.start_origins(resource);
    }

    /// Hands the origins of a wanted resource to the scheduler, once its hashes are here: a
    /// plain server has no proofs, so that they come from peers first.
    pub(super) fn start_origins(&mut self, resource: Resource) {
        let Some(topic) = self.topics.get(&resource).filter(|topic| topic.seeks()) else { return };
        // An empty file has no range of bytes that a server could be asked for.
        let Some(opened) = topic.opened().filter(|opened| opened.layout.bytes() > 0).cloned()
        else {
            return;
        };
        if !self.origins.has_ready(resource) || !self.has_hashes(&opened) {
            return;
        }
        // As an origin: it is asked only for parts that no peer has, and each part about
        // once in all (ADR 20).
        for source in self.origins.start(resource) {
            self.input(SchedulerInput::Joined { resource, source, role: SourceRole::Origin });
        }
    }

    /// Whether all hashes of a resource are here. If not, they are fetched, and
    /// [`TaskEvent::Hashed`] follows.
    fn has_hashes(&mut self, opened: &OpenStore) -> bool {
        let topic = self.topics.get(&Resource::hashes(opened.id.root).among(&opened.allow));
        if let Some(hashes) = topic.filter(|topic| topic.seeks()).and_then(Topic::opened) {
            return hashes.store.is_whole();
        }
        let hashes = match self.store.open_hashes(opened.id) {
            Ok(hashes) => Arc::new(hashes),
            Err(error) => {
                tracing::warn!(%error, "cannot keep the hashes of what an origin has");
                return false;
            }
        };
        if hashes.store.is_whole() {
            return true;
        }
        let (done, fetched) = oneshot::channel();
        let (events, resource) = (self.event_to.clone(), opened.resource);
        let wait = task::spawn(async move {
            if let Ok(Ok(())) = fetched.await {
                // The service may have ended.
                let _ = events.send(TaskEvent::Hashed { resource }).await;
            }
        });
        self.origins.await_hashes(resource, wait.abort_handle());
        let pieces = 0..hashes.layout.pieces();
        self.fetch(hashes, Want { pieces, sequential: false, done });
        false
    }

    pub(super) fn request_from_origin(
        &mut self,
        request: RequestId,
        resource: Resource,
        web: u16,
        part: Part,
    ) {
        let Some(opened) = self.opened(resource).cloned() else { return };
        if !self.origins.ask(web, request, opened, part) {
            self.input(SchedulerInput::Failed { resource, request, failure: FetchFailure::Closed });
        }
    }
}
