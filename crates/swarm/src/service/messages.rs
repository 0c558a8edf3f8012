//! Messages from peers and to peers.

use std::time::Instant;

use trefoil_content::{
    News,
    message::SwarmMessage,
    scheduler::{FetchFailure, RejectReason, RequestId, Resource, SchedulerInput, Ticket},
};
use trefoil_types::{Offence, PeerId};

use super::SwarmService;
use crate::{
    events::Announced, peer::RefusedRequest, peer_backlog::HeldBytes, peer_writer::WriterOrder,
};

impl SwarmService {
    /// `held`: room for the message and its answer, until that is made.
    pub(super) fn on_message(&mut self, peer: PeerId, message: SwarmMessage, held: HeldBytes) {
        // Attack: a peer in `p2p.peers` with a self-made certificate of an organisation
        // that is on a list (docs/security.md). It may give, and learns nothing of this
        // node's resources.
        if !self.is_judged(peer) && !unjudged_may_send(&message) {
            return;
        }
        match message {
            SwarmMessage::Find { resource } => self.on_find(peer, resource, held),
            SwarmMessage::Offer { resource, size, origin, proof } => {
                self.on_offer(peer, resource, size, origin, &proof);
            }
            SwarmMessage::Others { resource, others } => self.on_others(peer, resource, others),
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
                if let Some(connected) = self.peers.get_mut(&peer) {
                    connected.asked += 1;
                }
                if self.is_joined(resource, peer) {
                    self.input(SchedulerInput::Asked { resource, peer, ticket, piece, from });
                } else {
                    self.refuse(peer, resource, ticket, RejectReason::Missing);
                }
            }
            SwarmMessage::Unask { resource, ticket } => {
                let Some(connected) = self.peers.get_mut(&peer) else { return };
                // Each takes back one request, which may have been answered meanwhile.
                match connected.asked.checked_sub(1) {
                    Some(asked) => connected.asked = asked,
                    None => return self.on_stray(peer),
                }
                self.input(SchedulerInput::Unasked { resource, peer, ticket });
                self.order(peer, WriterOrder::Stop(ticket));
            }
            SwarmMessage::Refuse { resource, ticket, why } => {
                self.on_refuse(peer, resource, ticket, why);
            }
        }
    }

    fn on_news(&mut self, peer: PeerId, resource: Resource, news: &[u8]) {
        // Attack: by malformed news a peer learns what is open here that it may not have. Of
        // what it takes no part in, nothing is looked at.
        if !self.is_joined(resource, peer) {
            return;
        }
        let Some(opened) = self.opened(resource) else { return };
        let Ok(news) = News::decode(news, opened.layout.pieces()) else {
            return self.blame(peer, Offence::Malformed);
        };
        self.input(SchedulerInput::Announced { resource, peer, news });
    }

    fn on_refuse(&mut self, peer: PeerId, resource: Resource, ticket: Ticket, why: RejectReason) {
        let Some(connected) = self.peers.get(&peer) else { return };
        match connected.streams.refused(ticket) {
            RefusedRequest::Open => {
                let (request, failure) = (RequestId(ticket.0), FetchFailure::Refused(why));
                self.input(SchedulerInput::Failed { resource, request, failure });
            }
            RefusedRequest::Cancelled => {}
            RefusedRequest::Unknown => self.on_stray(peer),
        }
    }

    /// Refuses a peer's request, if the peer reads its answers.
    pub(super) fn refuse(
        &mut self,
        peer: PeerId,
        resource: Resource,
        ticket: Ticket,
        why: RejectReason,
    ) {
        // An origin refuses what it gave to others, as often as it is asked.
        if why != RejectReason::Given {
            self.on_stray(peer);
        }
        if self.peers.get(&peer).is_some_and(|connected| connected.streams.reads()) {
            self.send(peer, &SwarmMessage::Refuse { resource, ticket, why });
        }
    }

    // Attack: requests for what is not there, refusals and cancels of what nobody asked: each kind
    // at its rate, 0.7 of a core (issue 15).
    /// A peer sent what nothing here explains. Some is late: what it asks was closed, or it was
    /// choked meanwhile.
    fn on_stray(&mut self, peer: PeerId) {
        let Some(connected) = self.peers.get_mut(&peer) else { return };
        if connected.stray.take(1, Instant::now()).is_err() {
            self.blame(peer, Offence::Unsolicited);
        }
    }

    /// `None`: to all peers of the resource.
    pub(super) fn send_to(&self, to: Option<PeerId>, resource: Resource, message: &SwarmMessage) {
        let topic = self.topics.get(&resource).into_iter();
        let all = || topic.flat_map(|topic| topic.peers.keys().copied()).collect();
        for peer in to.map_or_else(all, |peer| vec![peer]) {
            self.send(peer, message);
        }
    }

    pub(super) fn send(&self, peer: PeerId, message: &SwarmMessage) {
        if self.is_judged(peer) || may_send_to_unjudged(message) {
            self.order(peer, WriterOrder::Send(message.encode()));
        }
    }

    pub(super) fn order(&self, peer: PeerId, order: WriterOrder) {
        if let Some(connected) = self.peers.get(&peer) {
            connected.streams.order(order);
        }
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
