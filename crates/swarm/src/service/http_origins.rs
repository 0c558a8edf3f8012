//! How HTTP servers come to be sources of the swarm, and peers to know of them.

use std::sync::Arc;

use tokio::{sync::oneshot, task};
use trefoil_content::{
    Part,
    message::Message,
    scheduler::{Failure, Input, RequestId, Resource, Role},
};
use trefoil_types::PeerId;

use super::Driver;
use crate::{
    events::Event,
    fetch::{Topic, Want},
    store::Held,
};

impl Driver {
    /// `None`: tells all peers of this resource.
    pub(super) fn tell_origins(&mut self, resource: Resource, to: Option<PeerId>) {
        let origins = self.origins.tellable(resource);
        if !origins.is_empty() {
            self.say_to(to, resource, &Message::Origins { resource, origins });
        }
    }

    /// The operator put origins of a resource that is here.
    pub(super) fn new_origins(&mut self, resource: Resource) {
        let Some(held) = self.shared(resource) else { return };
        self.origins.own(resource, self.library.origins(held.id));
        self.tell_origins(resource, None);
        self.approach(resource);
    }

    /// Lets the swarm ask the origins of what is wanted, once its hashes are here: a
    /// plain server has no proofs, so that they come from peers first.
    pub(super) fn approach(&mut self, resource: Resource) {
        let Some(topic) = self.topics.get(&resource).filter(|topic| topic.seeks()) else { return };
        let Some(held) = topic.held().filter(|held| held.layout.bytes() > 0).cloned() else {
            return;
        };
        if !self.origins.has_ready(resource) || !self.has_hashes(&held) {
            return;
        }
        for source in self.origins.start(resource) {
            self.input(Input::Joined { resource, source, role: Role::Origin });
        }
    }

    /// Whether all hashes of a resource are here. If not, they are fetched, and
    /// [`Event::Hashed`] follows.
    fn has_hashes(&mut self, held: &Held) -> bool {
        let topic = self.topics.get(&Resource::hashes(held.id.root).among(&held.allow));
        if let Some(hashes) = topic.filter(|topic| topic.seeks()).and_then(Topic::held) {
            return hashes.store.is_whole();
        }
        let hashes = match self.library.open_hashes(held.id) {
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
        let (events, resource) = (self.event_to.clone(), held.resource);
        let wait = task::spawn(async move {
            if let Ok(Ok(())) = fetched.await {
                // The driver may have ended.
                let _ = events.send(Event::Hashed { resource }).await;
            }
        });
        self.origins.wait(resource, wait.abort_handle());
        let pieces = 0..hashes.layout.pieces();
        self.fetch(hashes, Want { pieces, sequential: false, done });
        false
    }

    pub(super) fn ask_origin(
        &mut self,
        request: RequestId,
        resource: Resource,
        web: u16,
        part: Part,
    ) {
        let Some(held) = self.topics.get(&resource).and_then(Topic::held).cloned() else { return };
        if !self.origins.ask(web, request, held, part) {
            self.input(Input::Failed { resource, request, failure: Failure::Closed });
        }
    }
}
