//! Which connection of a peer carries its messages: verdicts on the sessions that ask.

use std::{net::SocketAddr, sync::Arc};

use libp2p::swarm::ConnectionId;
use trefoil_types::{OrganisationId, PeerId, Standing};

use super::{Connection, Service, search_dials::SearchDial};
use crate::{
    connection::{
        send_queue::SendQueue,
        session::{AdmissionRequest, AdmissionVerdict},
    },
    discovery::{finder::Finder, outbound::DialPurpose},
    membership::admission::RemoteEndpoint,
    peer_table::Admitted,
    transport::libp2p_types,
};

/// In whose share of places a peer counts.
const fn share_of(standing: Standing) -> Option<OrganisationId> {
    match standing {
        Standing::Member(organisation) => Some(organisation),
        Standing::Public | Standing::Unjudged => None,
    }
}

/// Where others can dial a peer, as far as it can be known.
fn reach(connection: &Connection, listen_port: u16) -> Option<SocketAddr> {
    match connection.from {
        Some(from) => (listen_port != 0).then(|| SocketAddr::new(from.ip(), listen_port)),
        None => connection.endpoint.address.parse().ok(),
    }
}

impl Service {
    /// Answers a session that asks whether it may carry messages. One that has ended meanwhile
    /// needs no answer.
    pub(super) fn on_request(&mut self, request: AdmissionRequest) {
        let Some(connection) = self.connections.get(&request.connection) else { return };
        let (peer, inbound) = (connection.peer, connection.endpoint.inbound);
        if let Some(reason) = self.objection(peer, connection) {
            let _ = request.verdict.send(AdmissionVerdict::Refuse(reason));
            return;
        }
        if !request.welcomed {
            let _ = request.verdict.send(AdmissionVerdict::Await);
            return;
        }
        let Some(current) = self.admitted.get(&peer).and_then(|id| self.connections.get(id)) else {
            self.admit(peer, request);
            return;
        };
        // A candidate that turns out to be a peer that is here. The dial was not in vain: the
        // address is known from now on.
        let candidate = self.connections.get(&request.connection).and_then(|new| new.candidate);
        if let Some((finder, address)) = self.finder.as_ref().zip(candidate) {
            finder.met(address, peer);
            let _ = request.verdict.send(AdmissionVerdict::Duplicate);
            return;
        }
        // The same process dialled us while we dialled it: one is enough. If it
        // came back, or dialled again, it has lost the connection that we know.
        let same_process = current.admitted == Some(request.hello.instance);
        let crossed = current.endpoint.inbound != inbound;
        if self.me < peer && same_process && crossed {
            let _ = request.verdict.send(AdmissionVerdict::Duplicate);
            return;
        }
        current.stop.now("replaced by a newer connection");
        if let Some(earlier) = self.successors.insert(peer, request) {
            let _ = earlier.verdict.send(AdmissionVerdict::Duplicate);
        }
    }

    /// What we hold against a peer whose hello was good.
    fn objection(&self, peer: PeerId, connection: &Connection) -> Option<String> {
        if let Some(reason) = self.is_cut(peer, &connection.endpoint) {
            return Some(reason);
        }
        if let Some(left) = self.peer_table.banned_for(peer) {
            return Some(format!("banned for another {} s", left.as_secs() + 1));
        }
        // A peer that is here takes its own former place: when its line breaks, the node often
        // notices later than the peer.
        if self.admitted.contains_key(&peer) {
            return None;
        }
        let (from, share) = (connection.from?, share_of(connection.standing));
        let full = self.peer_table.gate.lock().gate.room(from, share).err()?;
        Some(format!("no room: {full}"))
    }

    /// What the chain holds against the peer of a connection that it let in.
    fn is_cut(&self, peer: PeerId, endpoint: &RemoteEndpoint) -> Option<String> {
        let admissions = self.peer_table.admissions.as_ref()?;
        admissions.member_connection(peer, endpoint).kill_switch.reason().map(Into::into)
    }

    pub(super) fn admit(&mut self, peer: PeerId, request: AdmissionRequest) {
        let Some(connection) = self.connections.get_mut(&request.connection) else { return };
        connection.admitted = Some(request.hello.instance);
        self.admitted.insert(peer, request.connection);
        let standing = connection.standing;
        if let Some(from) = connection.from {
            self.peer_table.gate.admit(from, share_of(standing));
        }
        self.redialer.succeeded(peer);
        let endpoint = connection.endpoint.clone();
        let stranger = endpoint.inbound && !self.peer_table.gate.lock().gate.is_favoured(peer);
        let reach = reach(connection, request.hello.listen_port);
        let own_dial = |dial: &SearchDial| dial.connection == request.connection && !dial.kept;
        let send_queue = Arc::new(SendQueue::new(stranger.then(|| self.strangers_out.clone())));
        let admitted = Admitted {
            send_queue: send_queue.clone(),
            stop: connection.stop.clone(),
            endpoint: endpoint.clone(),
            standing,
            software: request.hello.software.clone(),
            reach,
            search_only: !self.redialer.is_configured(peer)
                && self.search_dials.iter().any(own_dial),
        };
        self.peer_table.lock().peers.insert(peer, admitted);
        // It may have been cut since it asked. A cut from now on finds it among the peers: so
        // there is no moment at which a revoked peer is missed by both.
        if let Some(reason) = self.is_cut(peer, &endpoint) {
            let _ = request.verdict.send(AdmissionVerdict::Refuse(reason));
            return;
        }
        tracing::info!(%peer, address = endpoint.address, inbound = endpoint.inbound, ?standing, "connected");
        if let Some(finder) = self.finder.clone().filter(|_| standing != Standing::Unjudged) {
            self.introduce(&finder, request.connection, request.hello.listen_port);
            send_queue.ask_for_peers();
        }
        if let Some(providers) = self.providers() {
            providers.admit(libp2p_types::to_libp2p(peer), request.connection, reach);
        }
        let _ = request.verdict.send(AdmissionVerdict::Admit(send_queue));
    }

    /// Notes in the address book who was met where. A feeler has done its work.
    fn introduce(&self, finder: &Finder, id: ConnectionId, listen_port: u16) {
        let Some(connection) = self.connections.get(&id) else { return };
        if let Some(from) = connection.from {
            finder.on_claimed_address(SocketAddr::new(from.ip(), listen_port), connection.peer);
        }
        let met = connection.candidate.and_then(|address| finder.met(address, connection.peer));
        if met == Some(DialPurpose::Feeler) {
            connection.stop.now("only to see who is there");
        }
    }
}
