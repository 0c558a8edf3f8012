//! Connections that a search for providers asks for, or a peer that tells who has a resource: few
//! at a time, and left soon, unless they turn out to be of other use; then so many stay.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use trefoil_types::PeerId;

use super::{Service, dials::WaitingDial};
use crate::{
    connection_table::{Connection, ConnectionTable, DialReason, lock},
    discovery::providers::{Providers, ProvidersEvent},
    inbound_limits::slots::SocketId,
    transport::libp2p_types,
};

/// At a time; a new one ends the oldest.
// Each costs a connection and a handshake (ADR 19), and a search asks a few peers at a time.
const SEARCH_DIALS_MAX: usize = 32;

// Attack: peers that name others without end, each of which says that it has something. This node
// dialled eight a second of them, and kept them, until it had no descriptor left.
/// How many of them stay that turned out to be of other use.
const KEPT_MAX: usize = 64;

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
                    self.dial_once(peer, address);
                }
            }
            ProvidersEvent::Misdeed(peer, offence) => {
                let peer = libp2p_types::from_libp2p(&peer);
                peer.into_iter().for_each(|peer| self.peer_table.blame(peer, offence));
            }
        }
    }

    /// Dials a peer that a search asks for, or that a peer named, unless it is dialled now, or was
    /// just before.
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
        connection.dialled_for = Some(DialReason::Kept);
        self.leave_kept();
    }

    /// If too many stay, the one leaves that never brought anything, or not for the longest time.
    fn leave_kept(&mut self) {
        let stays = |it: &&Connection| {
            let left = it.kill_switch.reason().is_some();
            it.dialled_for == Some(DialReason::Kept) && !it.favoured && !left
        };
        let kept = || self.iter().map(|(_, it)| it).filter(stays);
        let least = kept().min_by_key(|it| (it.brought, it.since));
        if let Some(least) = least.filter(|_| kept().count() > KEPT_MAX) {
            least.kill_switch.stop("others are of more use");
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::swarm::ConnectionId;

    use super::*;
    use crate::tests::peer;

    /// Each says that it has something, and is left when the next ones have proved to be of more use.
    #[test]
    fn of_peers_that_others_named_so_many_stay() {
        let (mut table, now) = (ConnectionTable::new(None, [], None), Instant::now());
        let count = KEPT_MAX as u8 + 10;
        for n in 0..count {
            let (id, address) = (ConnectionId::new_unchecked(n.into()), ([10, 0, 0, n], 1).into());
            let since = now + Duration::from_secs(n.into());
            let reason = DialReason::Search { since, kept: true };
            assert!(table.begin_dial(id, Some(peer(n)), address, reason, since));
            if n < 5 {
                table.brought(peer(n), since);
            }
            let id = table.of_swarm(id).expect("it has begun");
            table.end_search_dial(id);
        }
        let left = |n: u8| {
            let id = table.of_swarm(ConnectionId::new_unchecked(n.into()));
            id.and_then(|id| table.get(id)).is_none_or(|it| it.kill_switch.reason().is_some())
        };
        let left: Vec<u8> = (0..count).filter(|n| left(*n)).collect();
        assert_eq!(left, (5..15).collect::<Vec<_>>(), "the oldest that brought nothing");
    }
}
