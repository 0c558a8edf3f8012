//! Inputs to the scheduler, and its effects carried out.

use trefoil_content::{
    News, Part,
    message::Message,
    scheduler::{Effect, Input, RequestId, Resource, Source, Ticket},
};
use trefoil_types::PeerId;

use super::Driver;
use crate::{
    fetch::Topic,
    peer::{Incoming, Serving},
};

impl Driver {
    /// Hands an input to the swarm and carries out what follows. An input that
    /// comes of that waits until the rest is carried out.
    pub(super) fn input(&mut self, input: Input) {
        self.inputs.push_back(input);
        if std::mem::replace(&mut self.stepping, true) {
            return;
        }
        let mut effects = Vec::new();
        while let Some(input) = self.inputs.pop_front() {
            self.swarm.step(self.clock.now(), input, &mut effects);
            effects.drain(..).for_each(|effect| self.carry_out(effect));
        }
        self.stepping = false;
    }

    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Ask { request, resource, source, piece, part } => match source {
                Source::Peer(peer) => self.ask(request, resource, peer, piece, part),
                Source::Web(web) => self.ask_origin(request, resource, web, part),
            },
            Effect::Cancel { request, source } => self.cancel(request, source),
            Effect::Tell { resource, to, news } => self.tell(resource, to, &news),
            Effect::Choke { resource, peer, choked } => {
                self.say(peer, Message::Choke { resource, choked });
            }
            Effect::Serve { resource, peer, ticket, part } => {
                let Some(held) = self.topics.get(&resource).and_then(Topic::held) else { return };
                let serving = Serving { ticket, held: held.clone(), part };
                let told = self.neighbours.get(&peer).map(|n| n.streams.serve(serving));
                self.unless_slow(peer, told);
            }
            Effect::Refuse { resource, peer, ticket, why } => {
                self.say(peer, Message::Refuse { resource, ticket, why });
            }
            Effect::Blame { peer, offence } => self.blame(peer, offence),
            Effect::Leave { resource, source, failure } => {
                tracing::info!(?source, ?failure, "a source of content is left");
                if let (Source::Peer(peer), Some(topic)) = (source, self.topics.get_mut(&resource))
                {
                    topic.peers.remove(&peer);
                }
            }
            Effect::Done { resource } => self.settle(resource),
        }
    }

    pub(super) fn ask(
        &mut self,
        request: RequestId,
        resource: Resource,
        peer: PeerId,
        piece: u32,
        part: Part,
    ) {
        let ticket = Ticket(request.0);
        let Some(held) = self.topics.get(&resource).and_then(Topic::held).cloned() else { return };
        let Some(neighbour) = self.neighbours.get(&peer) else { return };
        let from = part.groups.start - held.layout.part(piece).groups.start;
        let verifier = held.store.verifier(&part).expect("a store's parts are of sane size");
        neighbour.streams.expect(ticket, Incoming { held, file: part.file, verifier });
        self.say(peer, Message::Ask { resource, ticket, piece, from });
    }

    pub(super) fn cancel(&mut self, request: RequestId, source: Source) {
        let ticket = Ticket(request.0);
        let peer = match source {
            Source::Peer(peer) => peer,
            Source::Web(web) => return self.origins.cancel(web, request),
        };
        let incoming = self.neighbours.get(&peer).and_then(|n| n.streams.forget(ticket));
        if let Some(incoming) = incoming {
            self.say(peer, Message::Unask { resource: incoming.held.resource, ticket });
        }
    }

    pub(super) fn tell(&mut self, resource: Resource, to: Option<PeerId>, news: &News) {
        self.say_to(to, resource, &Message::News { resource, news: news.encode() });
    }
}
