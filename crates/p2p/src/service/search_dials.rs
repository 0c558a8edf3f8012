//! Connections that a search for providers asks for: few at a time, and left
//! soon, unless they turn out to be of other use.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use libp2p::swarm::ConnectionId;
use trefoil_types::PeerId;

use super::{Service, dials::to_peer};
use crate::{
    discovery::providers::{Providers, ProvidersEvent},
    transport::libp2p_types,
};

/// At a time; a new one ends the oldest.
// Each costs a connection and a handshake (ADR 19), and a search asks a few peers at a time.
const SEARCH_DIALS_MAX: usize = 32;

/// A search waits so long for a peer's hello.
// A search has 10 s in all (`SEARCH_MAX`): one dead address must not take most of it.
const MEETING_MAX: Duration = Duration::from_secs(2);

/// So long a connection lasts: longer than most searches take.
const SEARCH_DIAL_MAX: Duration = Duration::from_secs(5);

/// A dial for a search, and its connection.
pub(super) struct SearchDial {
    peer: PeerId,
    pub connection: ConnectionId,
    since: Instant,
    /// Of other use, as was learnt before it was met.
    pub kept: bool,
}

impl Service {
    pub(super) fn providers(&mut self) -> Option<&mut Providers> {
        self.swarm.behaviour_mut().providers.as_mut()
    }

    pub(super) fn on_providers(&mut self, event: ProvidersEvent) {
        match event {
            ProvidersEvent::Dial(peer, address) => {
                let known = libp2p_types::from_libp2p(&peer);
                if !known.is_some_and(|peer| self.begin_search_dial(peer, address)) {
                    self.providers().into_iter().for_each(|it| it.unreachable(peer));
                }
            }
            ProvidersEvent::Found(peer, address) => {
                let Some(peer) = libp2p_types::from_libp2p(&peer) else { return };
                tracing::debug!(%peer, ?address, "found a provider");
                self.peer_table.keep(peer);
                match (self.search_dials.iter_mut().find(|dial| dial.peer == peer), address) {
                    (Some(dial), _) => dial.kept = true,
                    (None, Some(address)) => self.dial_once(peer, address),
                    (None, None) => {}
                }
            }
            ProvidersEvent::Misdeed(peer, offence) => {
                let peer = libp2p_types::from_libp2p(&peer);
                peer.into_iter().for_each(|peer| self.peer_table.blame(peer, offence));
            }
        }
    }

    /// Whether the peer is dialled now, or was just before.
    fn begin_search_dial(&mut self, peer: PeerId, address: SocketAddr) -> bool {
        if self.search_dials.iter().any(|search_dial| search_dial.peer == peer) {
            return true;
        }
        if !self.may_dial(peer) || !self.has_room_for_search_dial() {
            return false;
        }
        let opts = to_peer(peer, address);
        let connection = opts.connection_id();
        let search_dial = SearchDial { peer, connection, since: Instant::now(), kept: false };
        self.search_dials.push(search_dial);
        let dialled = self.swarm.dial(opts).is_ok();
        dialled || !self.end_search_dial(connection)
    }

    /// The oldest makes room, unless it has not met its peer yet.
    fn has_room_for_search_dial(&mut self) -> bool {
        if self.search_dials.len() < SEARCH_DIALS_MAX {
            return true;
        }
        let oldest = &self.search_dials[0];
        let met = self.admitted.contains_key(&oldest.peer);
        if met {
            self.peer_table.end_search_dial(oldest.peer);
            self.search_dials.remove(0);
        }
        met
    }

    /// The connection is no search dial any more; whether it was one.
    pub(super) fn end_search_dial(&mut self, id: ConnectionId) -> bool {
        let before = self.search_dials.len();
        self.search_dials.retain(|search_dial| search_dial.connection != id);
        self.search_dials.len() < before
    }

    /// Announces what is due, and leaves whom no search needs any more.
    pub(super) fn tick_providers(&mut self) {
        let now = Instant::now();
        let older = |search_dial: &SearchDial, than| now - search_dial.since > than;
        let met = |search_dial: &SearchDial| self.admitted.contains_key(&search_dial.peer);
        let over =
            |search_dial: &mut SearchDial| older(search_dial, SEARCH_DIAL_MAX) && met(search_dial);
        for search_dial in self.search_dials.extract_if(.., over) {
            self.peer_table.end_search_dial(search_dial.peer);
        }
        let missed =
            |search_dial: &&SearchDial| older(search_dial, MEETING_MAX) && !met(search_dial);
        let missed: Vec<_> = self.search_dials.iter().filter(missed).map(|it| it.peer).collect();
        let Some(providers) = self.providers() else { return };
        missed.into_iter().for_each(|peer| providers.unreachable(libp2p_types::to_libp2p(peer)));
        providers.tick(now);
    }
}
