//! The peers that the service dials: the configured peers, candidates of the address book,
//! and providers that a search found.

use std::{error::Error, io, net::SocketAddr, time::Instant};

use libp2p::swarm::{
    ConnectionId, DialError,
    dial_opts::{DialOpts, PeerCondition},
};
use multistream_select::NegotiationError;
use trefoil_types::{PeerId, spec::Kind};

use super::Service;
use crate::{
    connection_table::{Connection, DialReason, lock},
    discovery::{
        address_book::DialCandidate,
        reachability::{is_global, may_tell},
    },
    transport::libp2p_types,
};

/// Dials that wait for another to their address.
// As many as commands that wait: who named the peer names it again.
const WAITING_DIALS_MAX: usize = 64;

/// A dial to an address that is being dialled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WaitingDial {
    pub peer: PeerId,
    pub address: SocketAddr,
    pub search: bool,
}

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

impl Service {
    /// Dials the configured peers that are due.
    pub(super) fn dial(&mut self) {
        for (peer, address) in self.redialer.due(Instant::now()) {
            if self.peer_table.is_unwanted(peer) {
                self.retry(peer);
                continue;
            }
            match self.begin_dial(Some(peer), address, DialReason::Named) {
                Ok(()) => {}
                Err(Some(error)) => self.on_failure(peer, &error),
                Err(None) => _ = self.redialer.retry(peer, Instant::now(), rand::random()),
            }
        }
    }

    /// Begins a dial, and enters it.
    ///
    /// # Errors
    /// Why it was not begun; nothing, if one to the address is under way.
    pub(super) fn begin_dial(
        &mut self,
        peer: Option<PeerId>,
        address: SocketAddr,
        reason: DialReason,
    ) -> Result<(), Option<DialError>> {
        let to = libp2p_types::to_multiaddr(address);
        let opts = match peer {
            Some(peer) => DialOpts::peer_id(libp2p_types::to_libp2p(peer))
                .addresses(vec![to])
                .condition(PeerCondition::Always)
                .allocate_new_port()
                .build(),
            None => DialOpts::unknown_peer_id().address(to).allocate_new_port().build(),
        };
        let (id, now) = (opts.connection_id(), Instant::now());
        if !lock(&self.peer_table.connections).begin_dial(id, peer, address, reason, now) {
            return Err(None);
        }
        self.swarm.dial(opts).map_err(|error| {
            let mut table = lock(&self.peer_table.connections);
            table.of_swarm(id).into_iter().for_each(|id| table.release(id));
            Some(error)
        })
    }

    /// Dials a provider that a search found, unless it is here or unwanted.
    pub(super) fn dial_once(&mut self, peer: PeerId, address: SocketAddr) {
        self.peer_table.keep(peer);
        if self.may_be_at(address, None) {
            self.dial_named(peer, address);
        }
    }

    fn dial_named(&mut self, peer: PeerId, address: SocketAddr) {
        if !self.is_wanted(peer) {
            return;
        }
        match self.begin_dial(Some(peer), address, DialReason::Named) {
            Ok(()) => {}
            Err(Some(error)) => tracing::debug!(%peer, %error, "cannot be reached"),
            Err(None) => self.dial_later(WaitingDial { peer, address, search: false }),
        }
    }

    /// A dial waits until the one to its address has ended. Of many some are dropped.
    pub(super) fn dial_later(&mut self, dial: WaitingDial) {
        if self.waiting_dials.len() < WAITING_DIALS_MAX && !self.waiting_dials.contains(&dial) {
            self.waiting_dials.push(dial);
        }
    }

    /// A dial to an address has ended.
    pub(super) fn dial_waiting(&mut self, address: SocketAddr) {
        let due = self.waiting_dials.extract_if(.., |dial| dial.address == address);
        for WaitingDial { peer, address, search } in due.collect::<Vec<_>>() {
            match search {
                true => self.dial_for_search(peer, address),
                false => self.dial_named(peer, address),
            }
        }
    }

    /// Whether a peer is neither here nor unwanted.
    pub(super) fn is_wanted(&self, peer: PeerId) -> bool {
        let known = lock(&self.peer_table.connections).has_session(peer);
        peer != self.me && !known && !self.peer_table.is_unwanted(peer)
    }

    /// Whether `teller` may name an address.
    // Attack: a peer that names this node's own machine or network, so that the node knocks there.
    // Who told a search is not known: a node whose peers are all on such networks may hear of others.
    pub(super) fn may_be_at(&self, address: SocketAddr, teller: Option<PeerId>) -> bool {
        // Members may name each other's networks.
        if self.hello.network.kind != Kind::Public || is_global(address.ip()) {
            return true;
        }
        let table = lock(&self.peer_table.connections);
        let may_tell = |peer: &Connection| may_tell(address, peer.address);
        match teller {
            Some(teller) => table.admitted(teller).is_some_and(may_tell),
            None => table.all_admitted().all(|(_, peer)| may_tell(peer)),
        }
    }

    /// Dials candidates of the address book.
    pub(super) fn dial_candidates(&mut self) {
        let Some(finder) = self.finder.clone() else { return };
        let shared = self.peer_table.clone();
        let lasting = |connection: &Connection| {
            let reason = connection.dialled_for;
            connection.has_session() && matches!(reason, Some(DialReason::Named | DialReason::Kept))
        };
        let others = lock(&shared.connections)
            .iter()
            .filter(|(_, connection)| lasting(connection))
            .map(|(_, connection)| connection.address)
            .collect();
        let due = finder.due(others, |peer| {
            peer == self.me
                || lock(&shared.connections).of_peer(peer).is_some()
                || shared.banned_for(peer).is_some()
        });
        for DialCandidate { address, peer } in due {
            match self.begin_dial(peer, address, DialReason::Candidate) {
                Ok(()) => {}
                Err(Some(_)) => finder.ended(address),
                Err(None) => finder.dropped(address),
            }
        }
    }

    /// Plans the next dial, unless there is a connection still or already.
    pub(super) fn retry(&mut self, peer: PeerId) -> u32 {
        if lock(&self.peer_table.connections).has_session(peer) {
            return 0;
        }
        self.redialer.retry(peer, Instant::now(), rand::random())
    }

    /// A dial has failed.
    pub(super) fn on_dial_failure(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        error: &DialError,
    ) {
        let mut table = lock(&self.peer_table.connections);
        let Some(id) = table.of_swarm(id) else { return };
        let dial = table.get(id).and_then(|it| Some((it.address, it.dialled_for?)));
        table.release(id);
        drop(table);
        let Some((address, reason)) = dial else { return };
        match (reason, &self.finder, peer) {
            (DialReason::Candidate, Some(finder), _) => {
                if matches!(error, DialError::WrongPeerId { .. }) {
                    finder.wrong_peer(address);
                }
                finder.ended(address);
            }
            (DialReason::Named, _, Some(peer)) => self.on_failure(peer, error),
            _ => {}
        }
        self.dial_waiting(address);
    }

    fn on_failure(&mut self, peer: PeerId, error: &DialError) {
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
