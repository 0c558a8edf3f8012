//! Commands of this node's users: resources are opened, fetched and closed.

use std::{collections::BTreeSet, sync::Arc};

use trefoil_content::{Part, scheduler::SchedulerInput};

use super::SwarmService;
use crate::{
    error::FetchError,
    events::ContentCommand,
    fetch::{Topic, Want},
    store::OpenStore,
};

impl SwarmService {
    pub(super) fn on_command(&mut self, command: ContentCommand) {
        match command {
            ContentCommand::Seek { resource, seeking } => self.seek(resource, seeking),
            ContentCommand::Fetch { opened, want } => self.fetch(opened, want),
            ContentCommand::Store(request) => self.open_for_user(request),
            ContentCommand::Lose { opened, lost, reply } => {
                self.drop_damaged(&opened, &lost);
                let _ = reply.send(());
            }
            ContentCommand::NewOrigins { resource } => self.on_new_origins(resource),
            ContentCommand::Progress { resource, reply } => {
                let progress = self.topics.get(&resource).map(Topic::progress);
                let _ = reply.send(progress);
            }
            ContentCommand::Close { id, reply } => {
                self.close_all(id, &FetchError::Removed);
                let _ = reply.send(());
            }
            ContentCommand::Announce(announced) => {
                self.announced = Some(announced);
                for peer in self.peers.keys().copied().collect::<Vec<_>>() {
                    self.send(peer, &announced.message());
                }
            }
            ContentCommand::Announced { reply } => {
                let _ = reply.send(self.announced_snapshots());
            }
            ContentCommand::Blame { peer, offence } => self.blame(peer, offence),
        }
    }

    pub(super) fn fetch(&mut self, opened: Arc<OpenStore>, want: Want) {
        let resource = opened.resource;
        self.add_store(&opened);
        self.change_wants(resource, |topic, _| topic.want(want));
        self.finish_wants(resource);
        self.find_if_due(resource);
        self.start_origins(resource);
    }

    /// Hands a store to the scheduler, and offers it to the peers that sought it.
    pub(super) fn add_store(&mut self, opened: &Arc<OpenStore>) {
        let resource = opened.resource;
        let topic = self.topics.entry(resource).or_insert_with(|| Topic::new(opened.id));
        if !topic.open(opened.clone()) {
            return;
        }
        self.input(SchedulerInput::Open {
            resource,
            layout: opened.layout.clone(),
            have: opened.store.pieces(&opened.layout),
            upload_policy: self.upload_policy,
            origin: opened.origin && opened.store.is_whole(),
        });
        if opened.is_bytes() {
            self.origins.add_configured(resource, self.store.origins(opened.id));
        }
        // A peer asks once for a resource, so it gets the offer now.
        let wishing = self.peers.iter_mut();
        let wishing = wishing
            .filter_map(|(peer, connected)| connected.wishes.remove(&resource).then_some(*peer));
        for peer in wishing.collect::<Vec<_>>() {
            self.offer(peer, resource);
        }
    }

    /// Groups have changed on disk: they are not here any more, and are fetched anew when
    /// they are wanted. A user's file is left alone: it may come to be right again.
    pub(super) fn drop_damaged(&mut self, opened: &OpenStore, lost: &[Part]) {
        let resource = opened.resource;
        let opened = self.opened(resource).map_or(opened, |open| open);
        if !opened.store.is_ours() {
            return;
        }
        let mut pieces = BTreeSet::new();
        for part in lost {
            opened.store.lose(part);
            pieces.extend(opened.layout.pieces_of_groups(part));
        }
        self.input(SchedulerInput::Lost { resource, pieces });
    }
}
