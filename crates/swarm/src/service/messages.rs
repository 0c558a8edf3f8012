//! What peers send, and what is sent to them.

use tokio::task;
use trefoil_content::{
    News,
    message::Message,
    scheduler::{Failure, Input, Refusal, RequestId, Resource},
};
use trefoil_types::{Offence, PeerId};

use super::Driver;
use crate::{
    events::{Announced, Event},
    fetch::Topic,
};

impl Driver {
    pub(super) fn heard(&mut self, peer: PeerId, message: Message) {
        if !self.is_judged(peer) && !gives(&message) {
            return;
        }
        match message {
            Message::Find { resource } => self.sought(peer, resource),
            Message::Offer { resource, size, origin, proof } => {
                self.offered(peer, resource, size, origin, &proof);
            }
            Message::Others { resource, others } => self.others(resource, others),
            Message::Origins { resource, origins } => {
                if self.topics.get(&resource).is_some_and(|t| t.peers.contains_key(&peer)) {
                    self.origins.told(resource, origins);
                    self.approach(resource);
                }
            }
            Message::Snapshot { resource, height } => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.announced = Some(Announced { height, index: resource.0 });
                }
            }
            Message::News { resource, news } => {
                let Some(held) = self.topics.get(&resource).and_then(Topic::held) else { return };
                match News::decode(&news, held.layout.pieces()) {
                    Ok(news) => self.input(Input::Told { resource, peer, news }),
                    Err(_) => self.blame(peer, Offence::Malformed),
                }
            }
            Message::Choke { resource, choked } => {
                self.input(Input::Choked { resource, peer, choked });
            }
            Message::Ask { resource, ticket, piece, from } => {
                if self.topics.get(&resource).is_some_and(|t| t.peers.contains_key(&peer)) {
                    self.input(Input::Asked { resource, peer, ticket, piece, from });
                } else {
                    self.say(peer, Message::Refuse { resource, ticket, why: Refusal::Missing });
                }
            }
            Message::Unask { resource, ticket } => {
                self.input(Input::Unasked { resource, peer, ticket });
                let streams = self.neighbours.get(&peer).map(|n| n.streams.stop(ticket));
                if streams == Some(false) {
                    self.left(peer);
                }
            }
            Message::Refuse { resource, ticket, why } => {
                let neighbour = self.neighbours.get(&peer);
                if neighbour.is_some_and(|n| n.streams.forget(ticket).is_some()) {
                    let (request, failure) = (RequestId(ticket.0), Failure::Refused(why));
                    self.input(Input::Failed { resource, request, failure });
                }
            }
        }
    }

    /// `None`: to all peers of the resource.
    pub(super) fn say_to(&mut self, to: Option<PeerId>, resource: Resource, message: &Message) {
        let topic = self.topics.get(&resource).into_iter();
        let all = || topic.flat_map(|topic| topic.peers.keys().copied()).collect();
        for peer in to.map_or_else(all, |peer| vec![peer]) {
            self.say(peer, message.clone());
        }
    }

    pub(super) fn say(&mut self, peer: PeerId, message: Message) {
        if !self.is_judged(peer) && !asks(&message) {
            return;
        }
        let told = self.neighbours.get(&peer).map(|n| n.streams.say(message));
        self.unless_slow(peer, told);
    }

    /// Who does not read is left, so that nothing piles up for it. Later, since
    /// the swarm may be in the middle of a step.
    pub(super) fn unless_slow(&mut self, peer: PeerId, told: Option<bool>) {
        let Some(neighbour) = self.neighbours.get(&peer).filter(|_| told == Some(false)) else {
            return;
        };
        let gone = Event::Gone { peer, link: neighbour.streams.link, offence: None };
        let events = self.event_to.clone();
        task::spawn(async move { events.send(gone).await });
    }
}

/// What may be heard of a peer that is not judged yet: what a newcomer needs to fetch
/// from it.
const fn gives(message: &Message) -> bool {
    match message {
        Message::Offer { .. }
        | Message::News { .. }
        | Message::Choke { .. }
        | Message::Refuse { .. }
        | Message::Snapshot { .. } => true,
        Message::Find { .. }
        | Message::Ask { .. }
        | Message::Unask { .. }
        | Message::Others { .. }
        | Message::Origins { .. } => false,
    }
}

/// What may be said to one: what it is asked for, and not what is here.
const fn asks(message: &Message) -> bool {
    matches!(message, Message::Find { .. } | Message::Ask { .. } | Message::Unask { .. })
}
