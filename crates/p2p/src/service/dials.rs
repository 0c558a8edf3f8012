//! Whom the service dials: the configured peers, candidates of the address book,
//! and whom somebody named.

use std::{error::Error, io, net::SocketAddr, time::Instant};

use libp2p::swarm::{
    ConnectionId, DialError,
    dial_opts::{DialOpts, PeerCondition},
};
use multistream_select::NegotiationError;
use trefoil_types::PeerId;

use super::{Connection, Service};
use crate::{discovery::address_book::DialCandidate, transport::libp2p_types};

/// Whether two sides found no protocol that both offer. Transports box their
/// errors in each other's.
pub(super) fn shares_no_wire(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(NegotiationError::Failed) = error.downcast_ref() {
            return true;
        }
        next = match error.downcast_ref::<io::Error>() {
            Some(boxed) => boxed.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    false
}

pub(super) fn to_peer(peer: PeerId, address: SocketAddr) -> DialOpts {
    DialOpts::peer_id(libp2p_types::to_libp2p(peer))
        .addresses(vec![libp2p_types::to_multiaddr(address)])
        .condition(PeerCondition::Always)
        .allocate_new_port()
        .build()
}

impl Service {
    pub(super) fn dial(&mut self) {
        for (peer, address) in self.redialer.due(Instant::now()) {
            if self.peer_table.is_unwanted(peer) {
                self.retry(peer);
                continue;
            }
            if let Err(error) = self.swarm.dial(to_peer(peer, address)) {
                self.on_dial_failure(peer, &error);
            }
        }
    }

    /// Dials a peer that somebody named, unless it is here or unwanted.
    pub(super) fn dial_once(&mut self, peer: PeerId, address: SocketAddr) {
        self.peer_table.keep(peer);
        if self.may_dial(peer)
            && let Err(error) = self.swarm.dial(to_peer(peer, address))
        {
            tracing::debug!(%peer, %error, "cannot be reached");
        }
    }

    /// Whether a peer is neither here nor unwanted.
    pub(super) fn may_dial(&self, peer: PeerId) -> bool {
        let known = self.connections.values().any(|connection| connection.peer == peer);
        peer != self.me && !known && !self.peer_table.is_unwanted(peer)
    }

    /// Dials candidates of the address book.
    pub(super) fn dial_candidates(&mut self) {
        let Some(finder) = &self.finder else { return };
        let lasting = |(id, c): &(&ConnectionId, &Connection)| {
            let search_dial =
                self.search_dials.iter().any(|search_dial| search_dial.connection == **id);
            !c.endpoint.inbound && c.candidate.is_none() && !search_dial
        };
        let others = self.connections.iter().filter(lasting);
        let others = others.filter_map(|(_, c)| c.endpoint.address.parse().ok()).collect();
        let due = finder.due(others, |peer| {
            peer == self.me
                || self.admitted.contains_key(&peer)
                || self.peer_table.banned_for(peer).is_some()
        });
        for DialCandidate { address, peer } in due {
            let opts = match peer {
                Some(peer) => to_peer(peer, address),
                None => {
                    let to = libp2p_types::to_multiaddr(address);
                    DialOpts::unknown_peer_id().address(to).allocate_new_port().build()
                }
            };
            let id = opts.connection_id();
            self.candidate_dials.insert(id, address);
            if self.swarm.dial(opts).is_err() {
                self.end_candidate_dial(id);
            }
        }
    }

    /// Whether the dial was to a candidate, which now is over.
    pub(super) fn end_candidate_dial(&mut self, id: ConnectionId) -> bool {
        let address = self.candidate_dials.remove(&id);
        if let Some((finder, address)) = self.finder.as_ref().zip(address) {
            finder.ended(address);
        }
        address.is_some()
    }

    /// Plans the next dial, unless there is a connection still or already.
    pub(super) fn retry(&mut self, peer: PeerId) -> u32 {
        if self.connections.values().any(|connection| connection.peer == peer) {
            return 0;
        }
        self.redialer.retry(peer, Instant::now(), rand::random())
    }

    pub(super) fn on_dial_failure(&mut self, peer: PeerId, error: &DialError) {
        let failures = self.retry(peer);
        if let DialError::WrongPeerId { obtained, address } = error {
            let reason = format!(
                "expected peer {peer} there, found {obtained}; correct the address or the peer id"
            );
            self.refused(Some(peer), &libp2p_types::printed(address), &reason, None);
        } else if let DialError::Transport(errors) = error
            && let Some((address, _)) = errors.iter().find(|(_, error)| shares_no_wire(error))
        {
            self.refused(Some(peer), &libp2p_types::printed(address), &self.other_kind(), None);
        } else if failures == 1 {
            tracing::info!(%peer, %error, "cannot be reached, dialling on");
        }
    }

    /// Each kind of network offers wires of its own: a peer that shares none is of another kind.
    pub(super) fn other_kind(&self) -> String {
        let kind = self.hello.network.kind.name();
        format!(
            "different kind of network: ours is {kind}, and the peer speaks none of its wires (public networks share none with private ones and consortia)"
        )
    }
}
