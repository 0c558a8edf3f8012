//! Inputs to the scheduler, and its effects carried out.

use trefoil_content::{
    Part,
    message::SwarmMessage,
    scheduler::{Effect, RequestId, Resource, SchedulerInput, Source, Ticket},
};
use trefoil_types::PeerId;

use super::SwarmService;
use crate::{
    peer::Incoming,
    peer_writer::{Serving, WriterOrder},
};

impl SwarmService {
    /// Hands an input to the scheduler and carries out its effects. An input that an effect
    /// causes waits until all effects are carried out.
    pub(super) fn input(&mut self, input: SchedulerInput) {
        self.inputs.push_back(input);
        if std::mem::replace(&mut self.stepping, true) {
            return;
        }
        let mut effects = Vec::new();
        while let Some(input) = self.inputs.pop_front() {
            self.swarm.step(self.clock.now(), input, &mut effects);
            effects.drain(..).for_each(|effect| self.apply(effect));
        }
        self.stepping = false;
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Ask { request, resource, source, piece, part } => match source {
                Source::Peer(peer) => self.request(request, resource, peer, piece, part),
                Source::Web(web) => self.request_from_origin(request, resource, web, part),
            },
            Effect::Cancel { request, source } => match source {
                Source::Peer(peer) => self.cancel(request, peer),
                Source::Web(web) => self.origins.cancel(web, request),
            },
            Effect::Forget { request, peer } => {
                if let Some(connected) = self.peers.get(&peer) {
                    connected.streams.forget(Ticket(request.0));
                }
            }
            Effect::Announce { resource, to, news } => {
                self.send_to(to, resource, &SwarmMessage::News { resource, news: news.encode() });
            }
            Effect::Choke { resource, peer, choked } => {
                self.send(peer, &SwarmMessage::Choke { resource, choked });
            }
            Effect::Serve { resource, peer, ticket, part } => {
                let Some(opened) = self.opened(resource).cloned() else { return };
                self.order(peer, WriterOrder::Serve(Serving { ticket, opened, part }));
            }
            Effect::Refuse { resource, peer, ticket, why } => {
                self.refuse(peer, resource, ticket, why);
            }
            Effect::Blame { peer, offence } => self.blame(peer, offence),
            Effect::Leave { resource, source, failure } => {
                tracing::info!(?source, ?failure, "a source of content is left");
                if let (Source::Peer(peer), Some(topic)) = (source, self.topics.get_mut(&resource))
                {
                    topic.peers.remove(&peer);
                }
            }
            Effect::Done { resource } => self.finish_wants(resource),
        }
    }

    fn request(
        &mut self,
        request: RequestId,
        resource: Resource,
        peer: PeerId,
        piece: u32,
        part: Part,
    ) {
        let ticket = Ticket(request.0);
        let Some(opened) = self.opened(resource).cloned() else { return };
        let Some(connected) = self.peers.get(&peer) else { return };
        let from = part.groups.start - opened.layout.part(piece).groups.start;
        let verifier = opened.store.verifier(&part).expect("a store's parts are of sane size");
        connected.streams.expect(ticket, Incoming { opened, file: part.file, verifier });
        self.send(peer, &SwarmMessage::Ask { resource, ticket, piece, from });
    }

    fn cancel(&mut self, request: RequestId, peer: PeerId) {
        let ticket = Ticket(request.0);
        let incoming = self.peers.get(&peer).and_then(|connected| connected.streams.forget(ticket));
        if let Some(incoming) = incoming {
            self.send(peer, &SwarmMessage::Unask { resource: incoming.opened.resource, ticket });
        }
    }
}
