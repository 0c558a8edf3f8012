//! What users of this node ask for: resources are opened, fetched and closed.

use std::{collections::BTreeSet, sync::Arc};

use trefoil_content::{
    Part,
    scheduler::{Input, Resource},
};

use super::Driver;
use crate::{
    error::FetchError,
    events::Command,
    fetch::{Topic, Want},
    store::{Held, LibraryError},
};

impl Driver {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Seek { resource, seeking } => self.seek(resource, seeking),
            Command::Fetch { held, want } => self.fetch(held, want),
            // Whoever asked may be gone.
            Command::Store { resource, begin, reply } => {
                let _ = reply.send(self.store(resource, begin).map_err(FetchError::from));
            }
            Command::Lose { held, lost, reply } => {
                self.lose(&held, &lost);
                let _ = reply.send(());
            }
            Command::NewOrigins { resource } => self.new_origins(resource),
            Command::Progress { resource, reply } => {
                let progress = self.topics.get(&resource).map(Topic::progress);
                let _ = reply.send(progress);
            }
            Command::Close { id, reply } => {
                let topics = self.topics.iter().filter(|(_, topic)| topic.id == id);
                for resource in topics.map(|(resource, _)| *resource).collect::<Vec<_>>() {
                    self.close(resource, &FetchError::Removed);
                }
                let _ = reply.send(());
            }
            Command::Open { reply } => {
                let _ = reply.send(self.topics.values().map(|topic| topic.id).collect());
            }
            Command::Announce(announced) => {
                self.announced = Some(announced);
                for peer in self.neighbours.keys().copied().collect::<Vec<_>>() {
                    self.say(peer, announced.message());
                }
            }
            Command::Announced { reply } => {
                let _ = reply.send(self.told_of());
            }
            Command::Blame { peer, offence } => self.blame(peer, offence),
        }
    }

    pub(super) fn fetch(&mut self, held: Arc<Held>, want: Want) {
        let resource = held.resource;
        self.open(&held);
        self.wish(resource, |topic, _| topic.want(want));
        self.settle(resource);
        self.find(resource);
        self.approach(resource);
    }

    /// The open store of a resource; opens it if it is on disk.
    pub(super) fn store(
        &mut self,
        resource: Resource,
        begin: bool,
    ) -> Result<Option<Arc<Held>>, LibraryError> {
        if let Some(held) = self.topics.get(&resource).and_then(Topic::held) {
            return Ok(Some(held.clone()));
        }
        let held = self.library.open_store(resource, begin)?.map(Arc::new);
        held.iter().for_each(|held| self.open(held));
        Ok(held)
    }

    /// The same for others: what cannot be opened is not here.
    pub(super) fn shared(&mut self, resource: Resource) -> Option<Arc<Held>> {
        self.store(resource, false).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot share what was here");
            None
        })
    }

    /// Lets the swarm have a store, and tells those who wished for it.
    pub(super) fn open(&mut self, held: &Arc<Held>) {
        let resource = held.resource;
        let topic = self.topics.entry(resource).or_insert_with(|| Topic::new(held.id));
        if !topic.open(held.clone()) {
            return;
        }
        self.input(Input::Open {
            resource,
            layout: held.layout.clone(),
            have: held.store.pieces(&held.layout),
            manner: self.manner,
            origin: held.origin && held.store.is_whole(),
        });
        if held.is_bytes() {
            self.origins.own(resource, self.library.origins(held.id));
        }
        let wishing = self.neighbours.iter_mut();
        let wishing = wishing.filter_map(|(peer, n)| n.wishes.remove(&resource).then_some(*peer));
        for peer in wishing.collect::<Vec<_>>() {
            self.offer(peer, resource);
        }
    }

    /// Groups have changed on disk: they are not here any more, and are fetched anew when
    /// they are wanted. A user's file is left alone: it may come to be right again.
    pub(super) fn lose(&mut self, held: &Held, lost: &[Part]) {
        let resource = held.resource;
        let held = self.topics.get(&resource).and_then(Topic::held).map_or(held, |open| open);
        if !held.store.is_ours() {
            return;
        }
        let mut pieces = BTreeSet::new();
        for part in lost {
            held.store.lose(part);
            pieces.extend(held.layout.pieces_of_groups(part));
        }
        self.input(Input::Lost { resource, pieces });
    }
}
