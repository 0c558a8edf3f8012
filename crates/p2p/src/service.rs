//! The event loop: one task that owns libp2p's swarm, dials, and decides which connection
//! of a peer stays.

mod admit;
mod dials;
mod search_dials;
pub(crate) mod start;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, Swarm,
    core::ConnectedPoint,
    swarm::{ConnectionId, DialError, SwarmEvent},
};
use tokio::{
    sync::{mpsc, watch},
    task::{self, JoinError, JoinSet},
    time::{interval, sleep_until, timeout},
};
use trefoil_types::{PeerId, Standing, message::Lane};

use self::{dials::shares_no_wire, search_dials::SearchDial};
use crate::{
    config::{ContentFrom, Timing},
    connection::{
        behaviour::Protocols,
        content_streams::ContentLink,
        hello::{Hello, SOFTWARE_BYTES_MAX},
        lanes::{LaneSender, StrangersRoom},
        session::{AdmissionRequest, PeerSession},
        session_end::SessionEnd,
        stop::Stop,
    },
    discovery::{finder::Finder, outbound, providers, redial::Redialer},
    event::NetEvent,
    membership::admission::{RefusedHandshake, RemoteEndpoint},
    network::VersionMismatch,
    peer_table::{NetCommand, PeerTable},
    transport::libp2p_types,
};

/// What this program calls itself in its hello.
const SOFTWARE: &str = concat!("trefoil/", env!("CARGO_PKG_VERSION"));
const _: () = assert!(SOFTWARE.len() <= SOFTWARE_BYTES_MAX);

/// The address book is written this often, and at the end.
// It may be lost: a crash costs a minute of what was learnt, and no more.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Admission requests that wait for the service; a session waits for room.
const REQUESTS_MAX: usize = 64;

/// Commands that wait; more are dropped, so that the handle never waits.
const COMMANDS_MAX: usize = 64;

/// Between two looks at what is announced and sought.
// The shortest wait that depends on it is `MEETING_MAX`, 2 s.
const PROVIDERS_TICK: Duration = Duration::from_millis(500);

/// Sessions whose content streams nobody has taken up yet.
// A node without a content swarm never takes them up: they must not pile up.
const CONTENT_LINKS_MAX: usize = 64;

/// How long the node may take to read every `Disconnected` at the end.
// A shutdown must end, though the node has stopped reading.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// A connection, from its authentication to its session's end.
struct Connection {
    peer: PeerId,
    endpoint: RemoteEndpoint,
    /// Where an inbound connection comes from.
    from: Option<SocketAddr>,
    standing: Standing,
    /// The candidate that was dialled for it.
    candidate: Option<SocketAddr>,
    stop: Stop,
    /// The peer's instance, once admitted.
    admitted: Option<u64>,
}

struct Service {
    me: PeerId,
    hello: Arc<Hello>,
    timing: Timing,
    content_from: ContentFrom,
    strangers_in: StrangersRoom,
    strangers_out: StrangersRoom,
    swarm: Swarm<Protocols>,
    peer_table: Arc<PeerTable>,
    redialer: Redialer,
    finder: Option<Arc<Finder>>,
    /// Dials to candidates of the address book.
    candidate_dials: BTreeMap<ConnectionId, SocketAddr>,
    /// Dials for searches, and their connections, the oldest first.
    search_dials: Vec<SearchDial>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Which connection a peer's messages pass over.
    admitted: BTreeMap<PeerId, ConnectionId>,
    /// Sessions that take a peer's place once its old session has ended.
    successors: BTreeMap<PeerId, AdmissionRequest>,
    sessions: JoinSet<SessionEnd>,
    session_of: BTreeMap<task::Id, ConnectionId>,
    requests: mpsc::Receiver<AdmissionRequest>,
    request_to: mpsc::Sender<AdmissionRequest>,
    /// From the admission table; ends at once where there is none.
    refusals: mpsc::Receiver<RefusedHandshake>,
    outlets: [LaneSender; 3],
    content: mpsc::Sender<ContentLink>,
    commands: mpsc::Receiver<NetCommand>,
}

impl Service {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let mut round = interval(Duration::from_millis(outbound::ROUND.0));
        let mut save = interval(SAVE_EVERY);
        let mut providers_tick = interval(PROVIDERS_TICK);
        let mut provided = self.peer_table.provided.subscribe();
        let public = self.providers().is_some();
        loop {
            let deadline = self.redialer.deadline();
            let due = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                event = self.swarm.select_next_some() => self.on_swarm(event),
                Some(request) = self.requests.recv() => self.on_request(request),
                Some(refused) = self.refusals.recv() => {
                    let RefusedHandshake { peer, address, reason, versions } = refused;
                    self.refused(Some(peer), &address, &reason, versions);
                }
                Some(ended) = self.sessions.join_next_with_id() => self.on_session_end(ended),
                () = due => self.dial(),
                Some(command) = self.commands.recv() => self.handle_command(command),
                Ok(()) = provided.changed(), if public => {
                    let roots = provided.borrow_and_update().clone();
                    self.providers().into_iter().for_each(|it| it.provide(&roots, Instant::now()));
                }
                _ = providers_tick.tick(), if public => self.tick_providers(),
                _ = round.tick(), if self.finder.is_some() => self.dial_candidates(),
                _ = save.tick(), if self.finder.is_some() => self.save(),
            }
        }
        // Now, while the anchors are those that are connected.
        self.finder.iter().for_each(|finder| finder.save());
        for connection in self.connections.values() {
            connection.stop.now("shutting down");
        }
        // Sessions that wait for a verdict end, since nobody gives one any more.
        self.requests.close();
        self.successors.clear();
        // Sessions that the node does not listen to are cut with the service.
        let _ = timeout(GOODBYE_MAX, async { while self.sessions.join_next().await.is_some() {} })
            .await;
    }

    fn handle_command(&mut self, command: NetCommand) {
        match command {
            NetCommand::Dial(peer, address) => self.dial_once(peer, address),
            NetCommand::Search(root) => self.providers().into_iter().for_each(|it| it.search(root)),
        }
    }

    /// Writes the address book, beside the loop.
    fn save(&self) {
        if let Some(finder) = self.finder.clone() {
            task::spawn_blocking(move || finder.save());
        }
    }

    fn on_swarm(&mut self, event: SwarmEvent<providers::ProvidersEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connection(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::Behaviour(event) => self.on_providers(event),
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                if let Some(connection) = self.connections.get(&connection_id) {
                    let cause = cause.map_or("closed".into(), |e| e.to_string());
                    connection.stop.now(format!("connection lost: {cause}"));
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                let peer = peer_id.as_ref().and_then(libp2p_types::from_libp2p);
                let candidate = self.finder.as_ref().zip(self.candidate_dials.get(&connection_id));
                if let (Some((finder, at)), DialError::WrongPeerId { .. }) = (candidate, &error) {
                    finder.wrong_peer(*at);
                }
                match peer {
                    _ if self.end_candidate_dial(connection_id)
                        || self.end_search_dial(connection_id) => {}
                    Some(peer) => self.on_dial_failure(peer, &error),
                    None => {}
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                // Without the port, which is another each time: otherwise each try would be a
                // refusal of its own.
                match libp2p_types::to_socket(&send_back_addr) {
                    Some(from) if shares_no_wire(&error) => {
                        self.refused(None, &from.ip().to_string(), &self.other_kind(), None);
                    }
                    _ => {
                        tracing::debug!(from = %send_back_addr, %error, "inbound connection failed")
                    }
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener"),
            _ => {}
        }
    }

    fn on_connection(&mut self, peer: libp2p::PeerId, id: ConnectionId, at: &ConnectedPoint) {
        let remote: &Multiaddr = at.get_remote_address();
        let address = libp2p_types::printed(remote);
        let (Some(peer), Some(opened)) =
            (libp2p_types::from_libp2p(&peer), self.swarm.behaviour_mut().streams.take(id))
        else {
            self.refused(None, &address, &format!("{peer} is no ed25519 identity"), None);
            self.swarm.close_connection(id);
            return;
        };
        self.redialer.hold(peer);
        let (stop, stopped) = Stop::new();
        let inbound = at.is_listener();
        let endpoint = RemoteEndpoint { address: address.clone(), inbound };
        let stranger = inbound && !self.peer_table.gate.lock().gate.is_favoured(peer);
        let admissions = self.peer_table.admissions.as_ref();
        let session = PeerSession {
            id,
            peer,
            address,
            inbound,
            last_word: self.me < peer,
            hello: self.hello.clone(),
            timing: self.timing,
            opened,
            stopped,
            member: admissions.map(|admissions| admissions.member_connection(peer, &endpoint)),
            content_from: self.content_from,
            requests: self.request_to.clone(),
            outlets: self.outlets.clone(),
            content: self.content.clone(),
            peer_table: self.peer_table.clone(),
            strangers: stranger.then(|| self.strangers_in.clone()),
            finder: self.finder.clone(),
            from: libp2p_types::to_socket(remote),
        };
        let from = inbound.then(|| libp2p_types::to_socket(remote)).flatten();
        let candidate = self.candidate_dials.remove(&id);
        let standing = session.standing();
        let connection =
            Connection { peer, endpoint, from, standing, candidate, stop, admitted: None };
        self.connections.insert(id, connection);
        let task = self.sessions.spawn(session.run());
        self.session_of.insert(task.id(), id);
    }

    fn on_session_end(&mut self, ended: Result<(task::Id, SessionEnd), JoinError>) {
        let (task, end) = match ended {
            Ok(ended) => ended,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(e) => (e.id(), SessionEnd::Closed("cancelled".into())),
        };
        let Some(id) = self.session_of.remove(&task) else { return };
        self.swarm.close_connection(id);
        let Some(connection) = self.connections.remove(&id) else { return };
        let peer = connection.peer;
        self.end_search_dial(id);
        if let Some((finder, address)) = self.finder.as_ref().zip(connection.candidate) {
            finder.ended(address);
        }
        if let SessionEnd::Offence(offence, _) = &end {
            self.peer_table.blame(peer, *offence);
        }
        match (&end, connection.admitted) {
            (
                SessionEnd::Refused(_)
                | SessionEnd::OtherVersion { .. }
                | SessionEnd::RefusedByPeer(_),
                _,
            )
            | (SessionEnd::Offence(..), None) => {
                let address = &connection.endpoint.address;
                self.refused(Some(peer), address, &end.reason(), end.versions());
            }
            (_, Some(_)) => tracing::info!(%peer, reason = end.reason(), "disconnected"),
            (_, None) => tracing::debug!(%peer, reason = end.reason(), "not connected"),
        }
        if self.admitted.get(&peer) == Some(&id) {
            self.admitted.remove(&peer);
            self.peer_table.lock().peers.remove(&peer);
            let banned = self.peer_table.banned_for(peer).is_some();
            if let Some(providers) = self.providers() {
                providers.dismiss(libp2p_types::to_libp2p(peer), banned);
            }
            if let Some(successor) = self.successors.remove(&peer) {
                self.admit(peer, successor);
            }
        }
        self.retry(peer);
    }

    /// Shows a refusal: to the node, to `trefoil peers`, and once in the log.
    fn refused(
        &self,
        peer: Option<PeerId>,
        address: &str,
        reason: &str,
        versions: Option<VersionMismatch>,
    ) {
        if self.peer_table.note_refusal(peer, address, reason, versions) {
            let peer = peer.map(|peer| peer.to_string());
            tracing::warn!(peer, address, reason, "refused");
        }
        let (address, reason) = (address.into(), reason.into());
        self.outlets[Lane::Consensus as usize].try_send(NetEvent::Refused {
            peer,
            address,
            reason,
        });
    }
}
