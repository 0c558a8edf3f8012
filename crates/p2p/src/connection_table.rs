//! Every connection, from the accepted socket (or the dial) to the closed one, under one
//! lock: where it is, who dialled and for what, how far it has come, who the peer is and
//! what it is, what may end it.
//!
//! Two parts of the node end with a connection at different times: the socket, and the
//! service's dial or session. What always holds: an entry is in the table as long as one
//! of them is; a socket counts from its acceptance until it is closed, whatever becomes of
//! the connection above it; a peer's messages pass over one connection at most.
//!
//! What judges is beside it: the gate (`gate.rs`) says which inbound connection has a place,
//! the chain (`admission.rs`) which peer is a member, `credit.rs` what follows from what a peer
//! brought. Time is handed in.

mod admission;
mod connection;
mod credit;
mod gate;
mod handle;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use alloy_primitives::bytes::Bytes;
use libp2p::swarm::ConnectionId;
use tokio::sync::mpsc;
use trefoil_crypto::NodeCertificate;
use trefoil_types::{PeerId, Standing, message::Lane};

use self::credit::CreditedPeer;
pub(crate) use self::{
    connection::{Connection, DialReason, Stage, Verdict},
    gate::sockets_max,
    handle::ConnectionHandle,
};
use crate::{
    config::Membership,
    connection::{
        budget::PeerBudget,
        lane_limits::LANES,
        send_queue::{Broadcasts, SendQueue},
        streams::Opened,
    },
    inbound_limits::{
        peer_rates::PeerRates,
        peer_score::PeerScores,
        slots::{Full, SlotLimits, SocketId},
        subnet::SourceIp,
    },
    membership::trial::Doubts,
};

/// Shared by the sockets, the handshakes, the sessions, the service and the handle.
pub(crate) type SharedTable = Arc<Mutex<ConnectionTable>>;

/// Held only for look-ups and changes, never across a wait.
pub(crate) fn lock(table: &SharedTable) -> MutexGuard<'_, ConnectionTable> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub(crate) struct ConnectionTable {
    connections: BTreeMap<SocketId, Connection>,
    next: SocketId,
    /// Of inbound sockets that are open, the newest from each address.
    by_address: BTreeMap<SocketAddr, SocketId>,
    /// Over which connection a peer's messages pass.
    by_peer: BTreeMap<PeerId, SocketId>,
    /// By lane: what was said to all.
    broadcasts: [Broadcasts; LANES.len()],
    /// Of admitted strangers; without it nobody is refused for want of room.
    strangers: Option<SlotLimits>,
    /// Sources of handshakes that proved no identity, and what is held against them.
    pub failed: PeerScores<SourceIp>,
    /// Sockets that were closed as soon as they were accepted.
    pub turned_away: u64,
    /// Peers that the operator named.
    configured: BTreeMap<PeerId, SourceIp>,
    /// Configured peers and validators, and where each was last known to be.
    favoured: BTreeMap<PeerId, Option<SourceIp>>,
    /// How fast peers are read that have a connection, or are favoured.
    rates: BTreeMap<PeerId, Arc<PeerRates>>,
    /// Peers that are not favoured, and whose proposals have room of their own.
    credited: Vec<CreditedPeer>,
    /// Of a network of members.
    membership: Option<Membership>,
    /// This node's certificate before, until the present one counts.
    replaced: Option<NodeCertificate>,
    /// This node has no chain yet.
    pub newcomer: bool,
    /// Peers that are or were on trial.
    doubts: Doubts,
}

impl ConnectionTable {
    /// A table of a node that admits `strangers`, and all `configured` peers.
    pub fn new(
        strangers: Option<SlotLimits>,
        configured: impl IntoIterator<Item = (PeerId, SocketAddr)>,
        membership: Option<Membership>,
    ) -> Self {
        let source = |(peer, address): (PeerId, SocketAddr)| (peer, SourceIp::of(address.ip()));
        let mut table = Self {
            connections: BTreeMap::new(),
            next: 0,
            by_address: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            broadcasts: LANES.map(Broadcasts::new),
            strangers,
            failed: PeerScores::default(),
            turned_away: 0,
            configured: configured.into_iter().map(source).collect(),
            favoured: BTreeMap::new(),
            rates: BTreeMap::new(),
            credited: Vec::new(),
            membership,
            replaced: None,
            newcomer: false,
            doubts: Doubts::default(),
        };
        table.favour([]);
        table
    }

    pub fn get(&self, id: SocketId) -> Option<&Connection> {
        self.connections.get(&id)
    }

    pub fn get_mut(&mut self, id: SocketId) -> Option<&mut Connection> {
        self.connections.get_mut(&id)
    }

    /// All connections, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (SocketId, &Connection)> {
        self.connections.iter().map(|(id, connection)| (*id, connection))
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.connections.values_mut()
    }

    /// The connection that libp2p's swarm names so.
    pub fn of_swarm(&self, id: ConnectionId) -> Option<SocketId> {
        self.iter().rev().find(|(_, it)| it.swarm_id == Some(id)).map(|(id, _)| id)
    }

    /// The newest inbound connection from an address.
    pub fn from(&self, address: SocketAddr) -> Option<SocketId> {
        self.by_address.get(&address).copied()
    }

    /// Over which connection a peer's messages pass, or passed until it was cut.
    pub fn of_peer(&self, peer: PeerId) -> Option<SocketId> {
        self.by_peer.get(&peer).copied()
    }

    /// The connection over which a peer's messages pass.
    pub fn admitted(&self, peer: PeerId) -> Option<&Connection> {
        self.get(self.of_peer(peer)?).filter(|connection| !connection.kill_switch.is_cut())
    }

    /// All peers whose messages pass, in order of peer id.
    pub fn all_admitted(&self) -> impl Iterator<Item = (PeerId, &Connection)> {
        let peers = self.by_peer.keys();
        peers.filter_map(|peer| Some((*peer, self.admitted(*peer)?)))
    }

    /// Sends a frame to all peers but `except`, and but those that are not judged yet; how
    /// many frames were dropped for it.
    pub fn broadcast(&mut self, lane: Lane, bytes: Bytes, except: Option<PeerId>) -> u64 {
        let Self { connections, by_peer, broadcasts, .. } = self;
        broadcasts[lane as usize].add(bytes, |frame| {
            let hear = |(peer, id): (&PeerId, &SocketId)| {
                let connection = connections.get(id)?;
                let deaf = Some(*peer) == except
                    || connection.standing == Standing::Unjudged
                    || connection.kill_switch.is_cut();
                connection.send_queue.as_ref().filter(|_| !deaf)
            };
            let queues = by_peer.iter().filter_map(hear);
            queues.map(|queue| queue.push(lane, frame.clone())).sum()
        })
    }

    /// The peer of a session that waits for a verdict.
    // A session may have ended while its question waited.
    pub fn asks(&self, id: SocketId) -> Option<PeerId> {
        let connection = self.get(id)?;
        let asks = connection.has_session() && connection.verdict.is_some();
        connection.peer.filter(|_| asks)
    }

    /// Whether there is a session with the peer.
    pub fn has_session(&self, peer: PeerId) -> bool {
        self.connections.values().any(|it| it.peer == Some(peer) && it.has_session())
    }

    /// What a connection is before anything is proven.
    fn standing(&self) -> Standing {
        if self.membership.is_some() { Standing::Unjudged } else { Standing::Public }
    }

    fn insert(&mut self, connection: Connection) -> SocketId {
        let id = self.next;
        self.next += 1;
        self.connections.insert(id, connection);
        id
    }

    /// A dial begins; whether it may.
    // One dial to an address at a time until its socket is open: the transport knows only the
    // address, and must not take one dial for another.
    pub fn begin_dial(
        &mut self,
        swarm_id: ConnectionId,
        peer: Option<PeerId>,
        address: SocketAddr,
        reason: DialReason,
        now: Instant,
    ) -> bool {
        if self.connections.values().any(|it| it.waits_for_socket(address)) {
            return false;
        }
        let mut connection = Connection::new(address, Stage::Dialling, self.standing(), now);
        connection.dialled_for = Some(reason);
        connection.swarm_id = Some(swarm_id);
        connection.peer = peer;
        connection.owned = true;
        self.insert(connection);
        true
    }

    /// This node's socket to an address is open. The programs that measure the wire dial
    /// without a service.
    fn dialled(&mut self, address: SocketAddr, now: Instant) -> SocketId {
        let id = self.iter().find(|(_, it)| it.waits_for_socket(address)).map(|(id, _)| id);
        let id = id.unwrap_or_else(|| {
            let mut connection = Connection::new(address, Stage::Dialling, self.standing(), now);
            connection.dialled_for = Some(DialReason::Named);
            self.insert(connection)
        });
        if let Some(connection) = self.get_mut(id) {
            connection.socket = true;
        }
        id
    }

    /// libp2p's swarm has the connection, and its streams come through `opened`. `None`: its
    /// socket has gone meanwhile.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn established(
        &mut self,
        swarm_id: ConnectionId,
        peer: Option<PeerId>,
        (address, inbound): (SocketAddr, bool),
        opened: mpsc::Receiver<Opened>,
        now: Instant,
    ) -> Result<Option<SocketId>, Full> {
        let unnamed = |it: &Connection| {
            it.stage == Stage::Dialling && it.address == address && it.swarm_id.is_none()
        };
        let id = if inbound {
            self.from(address)
        } else {
            let unnamed = || self.iter().find(|(_, it)| unnamed(it)).map(|(id, _)| id);
            self.of_swarm(swarm_id).or_else(unnamed)
        };
        let Some(id) = id else { return Ok(None) };
        if inbound && let Some(peer) = peer {
            self.authenticated(id, peer, now)?;
        }
        let connection = self.get_mut(id).filter(|connection| connection.socket);
        Ok(connection.map(|connection| {
            if !inbound {
                (connection.stage, connection.since) = (Stage::Greeting, now);
                connection.peer = peer;
            }
            connection.swarm_id = Some(swarm_id);
            connection.opened = Some(opened);
            id
        }))
    }

    /// A session begins; the peer may make the node hold so much.
    pub fn begin_session(&mut self, id: SocketId, budget: Arc<PeerBudget>) {
        if let Some(connection) = self.get_mut(id) {
            (connection.owned, connection.budget) = (true, Some(budget));
        }
    }

    /// The session that takes a peer's place once its old one has ended.
    pub fn successor(&self, peer: PeerId) -> Option<SocketId> {
        let waits = |it: &Connection| it.successor && it.peer == Some(peer) && it.verdict.is_some();
        self.iter().find(|(_, it)| waits(it)).map(|(id, _)| id)
    }

    pub fn set_successor(&mut self, id: SocketId) {
        if let Some(connection) = self.get_mut(id) {
            connection.successor = true;
        }
    }

    /// Messages pass from now on, to and from the peer.
    pub fn set_admitted(&mut self, id: SocketId) -> Option<(PeerId, Arc<SendQueue>)> {
        let connection = self.connections.get_mut(&id)?;
        let (peer, budget) = (connection.peer?, connection.budget.clone()?);
        let send_queue = Arc::new(SendQueue::new(budget));
        (connection.successor, connection.send_queue) = (false, Some(send_queue.clone()));
        self.by_peer.insert(peer, id);
        Some((peer, send_queue))
    }

    /// The dial failed, or the session has ended.
    pub fn release(&mut self, id: SocketId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.owned = false;
        (connection.opened, connection.verdict) = (None, None);
        (connection.budget, connection.send_queue) = (None, None);
        self.by_peer.retain(|_, other| *other != id);
        if !connection.socket {
            self.connections.remove(&id);
        }
    }

    /// The socket is closed.
    pub fn on_closed(&mut self, id: SocketId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.socket = false;
        let (address, owned) = (connection.address, connection.owned);
        self.blame_failed_handshake(id, now);
        self.end_trial(id, now);
        // The same address may have come again before this one was seen to close.
        if self.from(address) == Some(id) {
            self.by_address.remove(&address);
        }
        if !owned {
            self.connections.remove(&id);
        }
    }

    /// Whether nothing is counted.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.by_address.is_empty() && self.by_peer.is_empty()
    }
}
