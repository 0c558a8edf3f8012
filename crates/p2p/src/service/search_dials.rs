//! Connections that a search for providers asks for: few at a time, and left
//! soon, unless they turn out to be of other use.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use trefoil_types::PeerId;

use super::{Service, dials::WaitingDial};
use crate::{
    connection_table::{ConnectionTable, DialReason, lock},
    discovery::providers::{Providers, ProvidersEvent},
    inbound_limits::slots::SocketId,
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

impl Service {
    pub(super) fn providers(&mut self) -> Option<&mut Providers> {
        self.swarm.behaviour_mut().providers.as_mut()
    }

    pub(super) fn on_providers(&mut self, event: ProvidersEvent) {
        match event {
            ProvidersEvent::Dial(peer, address) => match libp2p_types::from_libp2p(&peer) {
                Some(peer) if self.may_be_at(address, None) => {
                    self.dial_for_search(peer, address);
                }
                _ => self.providers().into_iter().for_each(|it| it.unreachable(peer)),
            },
            ProvidersEvent::Found(peer, address) => {
                let Some(peer) = libp2p_types::from_libp2p(&peer) else { return };
                tracing::debug!(%peer, ?address, "found a provider");
                self.peer_table.keep(peer);
                let dialled =
                    lock(&self.peer_table.connections).search_dials().any(|dial| dial.peer == peer);
                if let Some(address) = address.filter(|_| !dialled) {
                    self.dial_once(peer, address, None);
                }
            }
            ProvidersEvent::Misdeed(peer, offence) => {
                let peer = libp2p_types::from_libp2p(&peer);
                peer.into_iter().for_each(|peer| self.peer_table.blame(peer, offence));
            }
        }
    }

    /// Dials a peer that a search asks for, unless it is dialled now, or was just before.
    pub(super) fn dial_for_search(&mut self, peer: PeerId, address: SocketAddr) {
        if lock(&self.peer_table.connections).search_dials().any(|dial| dial.peer == peer) {
            return;
        }
        let reason = DialReason::Search { since: Instant::now(), kept: false };
        if self.is_wanted(peer) && self.has_room_for_search_dial() {
            match self.begin_dial(Some(peer), address, reason) {
                Ok(()) => return,
                Err(None) => {
                    return self.dial_later(WaitingDial { peer, address, search: true });
                }
                Err(Some(_)) => {}
            }
        }
        let peer = libp2p_types::to_libp2p(peer);
        self.providers().into_iter().for_each(|it| it.unreachable(peer));
    }

    /// The oldest makes room, unless it has not met its peer yet.
    fn has_room_for_search_dial(&self) -> bool {
        let mut table = lock(&self.peer_table.connections);
        let mut dials = table.search_dials();
        let Some(oldest) = dials.next() else { return true };
        if 1 + dials.count() < SEARCH_DIALS_MAX {
            return true;
        }
        if oldest.met {
            table.end_search_dial(oldest.id);
        }
        oldest.met
    }

    /// Announces what is due, and leaves whom no search needs any more.
    pub(super) fn tick_providers(&mut self) {
        let now = Instant::now();
        let mut table = lock(&self.peer_table.connections);
        let dials: Vec<_> = table.search_dials().collect();
        let older = |dial: &&SearchDial, than| now.saturating_duration_since(dial.since) > than;
        for over in dials.iter().filter(|dial| older(dial, SEARCH_DIAL_MAX) && dial.met) {
            table.end_search_dial(over.id);
        }
        drop(table);
        let missed = dials.iter().filter(|dial| older(dial, MEETING_MAX) && !dial.met);
        let Some(providers) = self.providers() else { return };
        missed.for_each(|dial| providers.unreachable(libp2p_types::to_libp2p(dial.peer)));
        providers.tick(now);
    }
}

/// A dial for a search, or its connection.
struct SearchDial {
    id: SocketId,
    peer: PeerId,
    since: Instant,
    /// Whether its peer's messages pass.
    met: bool,
}

impl ConnectionTable {
    /// The oldest first.
    fn search_dials(&self) -> impl Iterator<Item = SearchDial> + '_ {
        self.iter().filter_map(|(id, connection)| match (connection.dialled_for, connection.peer) {
            (Some(DialReason::Search { since, .. }), Some(peer)) => {
                Some(SearchDial { id, peer, since, met: self.of_peer(peer).is_some() })
            }
            _ => None,
        })
    }

    /// A search needs the connection no more: it is left, unless it is of other use.
    fn end_search_dial(&mut self, id: SocketId) {
        let Some(connection) = self.get_mut(id) else { return };
        if connection.is_search_only() {
            connection.kill_switch.stop("the search is over");
        }
        connection.dialled_for = Some(DialReason::Named);
    }
}
