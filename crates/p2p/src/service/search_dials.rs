//! Connections that a search for providers asks for: few at a time, and left
//! soon, unless they turn out to be of other use.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use libp2p::swarm::ConnectionId;
use trefoil_types::PeerId;

use super::{Engine, dials::to_peer};
use crate::{
    providers::{Event, Providers},
    transport,
};

/// At a time; a new one ends the oldest.
const ERRANDS_MAX: usize = 32;

/// A search waits so long for a peer's hello.
const MEETING_MAX: Duration = Duration::from_secs(2);

/// So long a connection lasts: longer than most searches take.
const ERRAND_MAX: Duration = Duration::from_secs(5);

/// A dial for a search, and its connection.
pub(super) struct Errand {
    peer: PeerId,
    pub connection: ConnectionId,
    since: Instant,
    /// Of other use, as was learnt before it was met.
    pub kept: bool,
}

impl Engine {
    pub(super) fn providers(&mut self) -> Option<&mut Providers> {
        self.swarm.behaviour_mut().providers.as_mut()
    }

    pub(super) fn on_providers(&mut self, event: Event) {
        match event {
            Event::Dial(peer, address) => {
                let known = transport::from_libp2p(&peer);
                if !known.is_some_and(|peer| self.begin_errand(peer, address)) {
                    self.providers().into_iter().for_each(|it| it.unreachable(peer));
                }
            }
            Event::Found(peer, address) => {
                let Some(peer) = transport::from_libp2p(&peer) else { return };
                tracing::debug!(%peer, ?address, "found a provider");
                self.shared.keep(peer);
                match (self.errands.iter_mut().find(|errand| errand.peer == peer), address) {
                    (Some(errand), _) => errand.kept = true,
                    (None, Some(address)) => self.dial_once(peer, address),
                    (None, None) => {}
                }
            }
            Event::Misdeed(peer, offence) => {
                let peer = transport::from_libp2p(&peer);
                peer.into_iter().for_each(|peer| self.shared.blame(peer, offence));
            }
        }
    }

    /// Whether the peer is dialled now, or was just before.
    fn begin_errand(&mut self, peer: PeerId, address: SocketAddr) -> bool {
        if self.errands.iter().any(|errand| errand.peer == peer) {
            return true;
        }
        if !self.may_dial(peer) || !self.has_room_for_errand() {
            return false;
        }
        let opts = to_peer(peer, address);
        let connection = opts.connection_id();
        let errand = Errand { peer, connection, since: Instant::now(), kept: false };
        self.errands.push(errand);
        let dialled = self.swarm.dial(opts).is_ok();
        dialled || !self.end_errand(connection)
    }

    /// The oldest makes room, unless it has not met its peer yet.
    fn has_room_for_errand(&mut self) -> bool {
        if self.errands.len() < ERRANDS_MAX {
            return true;
        }
        let oldest = &self.errands[0];
        let met = self.admitted.contains_key(&oldest.peer);
        if met {
            self.shared.end_errand(oldest.peer);
            self.errands.remove(0);
        }
        met
    }

    /// The connection is no errand any more; whether it was one.
    pub(super) fn end_errand(&mut self, id: ConnectionId) -> bool {
        let before = self.errands.len();
        self.errands.retain(|errand| errand.connection != id);
        self.errands.len() < before
    }

    /// Announces what is due, and leaves whom no search needs any more.
    pub(super) fn tend_providers(&mut self) {
        let now = Instant::now();
        let older = |errand: &Errand, than| now - errand.since > than;
        let met = |errand: &Errand| self.admitted.contains_key(&errand.peer);
        let over = |errand: &mut Errand| older(errand, ERRAND_MAX) && met(errand);
        for errand in self.errands.extract_if(.., over) {
            self.shared.end_errand(errand.peer);
        }
        let missed = |errand: &&Errand| older(errand, MEETING_MAX) && !met(errand);
        let missed: Vec<_> = self.errands.iter().filter(missed).map(|it| it.peer).collect();
        let Some(providers) = self.providers() else { return };
        missed.into_iter().for_each(|peer| providers.unreachable(transport::to_libp2p(peer)));
        providers.tick(now);
    }
}
