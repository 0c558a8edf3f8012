//! Messages from peers and to peers.

use tokio::task;
use trefoil_content::{
    News,
    message::SwarmMessage,
    scheduler::{FetchFailure, RejectReason, RequestId, Resource, SchedulerInput, Ticket},
};
use trefoil_types::{Offence, PeerId};

use super::SwarmService;
use crate::{
    events::{Announced, TaskEvent},
    peer::WriterOrder,
};

impl SwarmService {
    pub(super) fn on_message(&mut self, peer: PeerId, message: SwarmMessage) {
        // Attack: a peer in `p2p.peers` with a self-made certificate of an organisation
        // that is on a list (docs/security.md). It may give, and learns nothing of this
        // node's resources.
        if !self.is_judged(peer) && !unjudged_may_send(&message) {
            return;
        }
        match message {
            SwarmMessage::Find { resource } => self.on_find(peer, resource),
            SwarmMessage::Offer { resource, size, origin, proof } => {
                self.on_offer(peer, resource, size, origin, &proof);
            }
            SwarmMessage::Others { resource, others } => self.on_others(resource, others),
            SwarmMessage::Origins { resource, origins } => {
                if self.is_joined(resource, peer) {
                    self.origins.add_named(resource, origins);
                    self.start_origins(resource);
                }
            }
            SwarmMessage::Snapshot { resource, height } => {
                // Only the newest of each peer, so that announcements take bounded memory.
                if let Some(connected) = self.peers.get_mut(&peer) {
                    connected.announced = Some(Announced { height, index: resource.0 });
                }
            }
            SwarmMessage::News { resource, news } => self.on_news(peer, resource, &news),
            SwarmMessage::Choke { resource, choked } => {
                self.input(SchedulerInput::Choked { resource, peer, choked });
            }
            SwarmMessage::Ask { resource, ticket, piece, from } => {
                if self.is_joined(resource, peer) {
                    self.input(SchedulerInput::Asked { resource, peer, ticket, piece, from });
                } else {
                    self.send(
                        peer,
                        SwarmMessage::Refuse { resource, ticket, why: RejectReason::Missing },
                    );
                }
            }
            SwarmMessage::Unask { resource, ticket } => {
                self.input(SchedulerInput::Unasked { resource, peer, ticket });
                if let Some(connected) = self.peers.get(&peer)
                    && !connected.streams.order(WriterOrder::Stop(ticket))
                {
                    self.on_disconnected(peer);
                }
            }
            SwarmMessage::Refuse { resource, ticket, why } => {
                self.on_refuse(peer, resource, ticket, why);
            }
        }
    }

    fn on_news(&mut self, peer: PeerId, resource: Resource, news: &[u8]) {
        let Some(opened) = self.opened(resource) else { return };
        match News::decode(news, opened.layout.pieces()) {
            Ok(news) => self.input(SchedulerInput::Announced { resource, peer, news }),
            Err(_) => self.blame(peer, Offence::Malformed),
        }
    }

    fn on_refuse(&mut self, peer: PeerId, resource: Resource, ticket: Ticket, why: RejectReason) {
        let connected = self.peers.get(&peer);
        if connected.is_some_and(|connected| connected.streams.forget(ticket).is_some()) {
            let (request, failure) = (RequestId(ticket.0), FetchFailure::Refused(why));
            self.input(SchedulerInput::Failed { resource, request, failure });
        }
    }

    /// `None`: to all peers of the resource.
    pub(super) fn send_to(
        &mut self,
        to: Option<PeerId>,
        resource: Resource,
        message: &SwarmMessage,
    ) {
        let topic = self.topics.get(&resource).into_iter();
        let all = || topic.flat_map(|topic| topic.peers.keys().copied()).collect();
        for peer in to.map_or_else(all, |peer| vec![peer]) {
            self.send(peer, message.clone());
        }
    }

    pub(super) fn send(&mut self, peer: PeerId, message: SwarmMessage) {
        if !self.is_judged(peer) && !may_send_to_unjudged(&message) {
            return;
        }
        self.order(peer, WriterOrder::Send(message));
    }

    /// A peer that does not read is disconnected, so that nothing piles up for it. By an
    /// event, since the scheduler may be in the middle of a step.
    pub(super) fn order(&self, peer: PeerId, order: WriterOrder) {
        let Some(connected) = self.peers.get(&peer) else { return };
        if connected.streams.order(order) {
            return;
        }
        let gone =
            TaskEvent::Gone { peer, connection: connected.streams.connection, offence: None };
        let events = self.event_to.clone();
        task::spawn(async move { events.send(gone).await });
    }
}

/// Messages that are accepted from a peer that is not judged yet: those that a newcomer
/// needs to fetch from it.
const fn unjudged_may_send(message: &SwarmMessage) -> bool {
    match message {
        SwarmMessage::Offer { .. }
        | SwarmMessage::News { .. }
        | SwarmMessage::Choke { .. }
        | SwarmMessage::Refuse { .. }
        | SwarmMessage::Snapshot { .. } => true,
        SwarmMessage::Find { .. }
        | SwarmMessage::Ask { .. }
        | SwarmMessage::Unask { .. }
        | SwarmMessage::Others { .. }
        | SwarmMessage::Origins { .. } => false,
    }
}

/// Messages that may be sent to such a peer: requests, and nothing of this node's
/// resources.
const fn may_send_to_unjudged(message: &SwarmMessage) -> bool {
    matches!(
        message,
        SwarmMessage::Find { .. } | SwarmMessage::Ask { .. } | SwarmMessage::Unask { .. }
    )
}
