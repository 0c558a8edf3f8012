//! Which connection of a peer carries its messages: verdicts on the sessions that ask.

use std::{net::SocketAddr, time::Instant};

use trefoil_types::{PeerId, Standing};

use super::Service;
use crate::{
    connection::{hello::Hello, session_end::SessionEnd},
    connection_table::{ConnectionTable, DialReason, Verdict, lock},
    discovery::outbound::DialPurpose,
    inbound_limits::slots::SocketId,
    transport::libp2p_types,
};

/// Answers a session that asks. One that has ended meanwhile needs no answer.
fn answer(table: &mut ConnectionTable, id: SocketId, verdict: Verdict) {
    if let Some(waits) = table.get_mut(id).and_then(|connection| connection.verdict.take()) {
        let _ = waits.send(verdict);
    }
}

/// Why the connection was cut, if it was.
fn cut(table: &ConnectionTable, id: SocketId) -> Option<String> {
    let kill_switch = &table.get(id)?.kill_switch;
    kill_switch.reason().filter(|_| kill_switch.is_cut()).map(Into::into)
}

impl Service {
    /// Answers a session that asks whether it may carry messages.
    pub(super) fn on_request(&mut self, id: SocketId) {
        let shared = self.peer_table.clone();
        let Some(peer) = lock(&shared.connections).asks(id) else { return };
        let objection = self.objection(peer, id);
        let mut table = lock(&shared.connections);
        if let Some(reason) = objection {
            return answer(&mut table, id, Err(SessionEnd::Refused(reason)));
        }
        let Some(new) = table.get(id) else { return };
        if !new.welcomed {
            return answer(&mut table, id, Ok(None));
        }
        let Some(current) = table.of_peer(peer).and_then(|id| table.get(id)) else {
            drop(table);
            return self.admit(id);
        };
        // A candidate that turns out to be a peer that is here. The dial was not in vain: the
        // address is known from now on.
        if let (Some(finder), Some(DialReason::Candidate)) = (&self.finder, new.dialled_for) {
            let address = new.address;
            answer(&mut table, id, Err(SessionEnd::Duplicate));
            drop(table);
            finder.met(address, peer);
            return;
        }
        // The same process dialled us while we dialled it: one is enough. If it
        // came back, or dialled again, it has lost the connection that we know.
        let instance = |hello: &Option<Hello>| hello.as_ref().map(|hello| hello.instance);
        let same_process = instance(&current.hello) == instance(&new.hello);
        let crossed = current.is_inbound() != new.is_inbound();
        if self.me < peer && same_process && crossed {
            return answer(&mut table, id, Err(SessionEnd::Duplicate));
        }
        current.kill_switch.stop("replaced by a newer connection");
        if let Some(earlier) = table.successor(peer) {
            answer(&mut table, earlier, Err(SessionEnd::Duplicate));
        }
        table.set_successor(id);
    }

    /// What we hold against a peer whose hello was good.
    fn objection(&self, peer: PeerId, id: SocketId) -> Option<String> {
        let banned = self.banned(peer);
        let table = lock(&self.peer_table.connections);
        if let Some(reason) = cut(&table, id).or(banned) {
            return Some(reason);
        }
        // A peer that is here takes its own former place: when its line breaks, the node often
        // notices later than the peer.
        if table.of_peer(peer).is_some() {
            return None;
        }
        let full = table.room(id).err()?;
        Some(format!("no room: {full}"))
    }

    fn banned(&self, peer: PeerId) -> Option<String> {
        let left = self.peer_table.banned_for(peer)?;
        Some(format!("banned for another {} s", left.as_secs() + 1))
    }

    /// A peer's old session has ended: the one that waits for its place has it.
    pub(super) fn admit_successor(&mut self, peer: PeerId) {
        let successor = lock(&self.peer_table.connections).successor(peer);
        successor.into_iter().for_each(|id| self.admit(id));
    }

    fn admit(&mut self, id: SocketId) {
        let shared = self.peer_table.clone();
        let mut table = lock(&shared.connections);
        let Some(peer) = table.asks(id) else { return };
        if let Some(reason) = cut(&table, id) {
            return answer(&mut table, id, Err(SessionEnd::Refused(reason)));
        }
        drop(table);
        // A successor has waited, and its peer may have been banned meanwhile.
        let banned = self.banned(peer);
        let mut table = lock(&shared.connections);
        if let Some(reason) = banned {
            return answer(&mut table, id, Err(SessionEnd::Refused(reason)));
        }
        table.admit(id, Instant::now());
        let Some((peer, send_queue)) = table.set_admitted(id) else { return };
        let Some(connection) = table.get_mut(id) else { return };
        self.redialer.succeeded(peer);
        if let Some(DialReason::Search { kept, .. }) = &mut connection.dialled_for
            && self.redialer.is_configured(peer)
        {
            *kept = true;
        }
        let (address, inbound) = (connection.address, connection.is_inbound());
        let (standing, reach) = (connection.standing, connection.reach());
        let (swarm_id, dialled_for) = (connection.swarm_id, connection.dialled_for);
        tracing::info!(%peer, %address, inbound, ?standing, "connected");
        // From now on a cut finds it among the peers, under the same lock: so there is no moment
        // at which a revoked peer is missed by both.
        answer(&mut table, id, Ok(Some(send_queue.clone())));
        drop(table);
        if standing != Standing::Unjudged && self.finder.is_some() {
            self.introduce(id, peer, (address, reach), dialled_for);
            send_queue.ask_for_peers();
        }
        if let Some((providers, swarm_id)) = self.providers().zip(swarm_id) {
            providers.admit(libp2p_types::to_libp2p(peer), swarm_id, reach);
        }
    }

    /// Notes in the address book who was met where. A feeler has done its work.
    fn introduce(
        &self,
        id: SocketId,
        peer: PeerId,
        (address, reach): (SocketAddr, Option<SocketAddr>),
        dialled_for: Option<DialReason>,
    ) {
        let Some(finder) = &self.finder else { return };
        if let (None, Some(claimed)) = (dialled_for, reach) {
            finder.on_claimed_address(claimed, peer);
        }
        if dialled_for == Some(DialReason::Candidate)
            && finder.met(address, peer) == Some(DialPurpose::Feeler)
            && let Some(connection) = lock(&self.peer_table.connections).get(id)
        {
            connection.kill_switch.stop("only to see who is there");
        }
    }
}
