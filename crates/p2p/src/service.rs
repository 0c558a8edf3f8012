//! The event loop: one task that owns libp2p's swarm, dials, and decides which connection
//! of a peer stays.

mod admit;
mod dials;
mod search_dials;
pub(crate) mod start;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use libp2p::{
    Swarm,
    core::ConnectedPoint,
    swarm::{ConnectionId, SwarmEvent},
};
use tokio::{
    sync::{mpsc, watch},
    task::{self, JoinError, JoinSet},
    time::{interval, sleep_until, timeout},
};
use trefoil_types::{PeerId, Standing, message::Lane};

use self::dials::{WaitingDial, shares_no_wire};
use crate::{
    config::{ContentFrom, Timing},
    connection::{
        behaviour::Protocols,
        budget::{PeerBudget, SharedBudget},
        content_streams::ContentLink,
        hello::{Hello, SOFTWARE_BYTES_MAX},
        lane_limits::LANES,
        lanes::LaneSender,
        session::PeerSession,
        session_end::SessionEnd,
    },
    connection_table::{DialReason, lock},
    discovery::{finder::Finder, outbound, providers, redial::Redialer},
    event::NetEvent,
    inbound_limits::slots::SocketId,
    membership::handshake::RefusedHandshake,
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

struct Service {
    me: PeerId,
    hello: Arc<Hello>,
    timing: Timing,
    content_from: ContentFrom,
    /// What strangers may make this node hold, peers that cannot be judged, and all others.
    strangers: SharedBudget,
    unjudged: SharedBudget,
    others: SharedBudget,
    swarm: Swarm<Protocols>,
    peer_table: Arc<PeerTable>,
    redialer: Redialer,
    waiting_dials: Vec<WaitingDial>,
    finder: Option<Arc<Finder>>,
    sessions: JoinSet<(SocketId, SessionEnd)>,
    requests: mpsc::Receiver<SocketId>,
    request_to: mpsc::Sender<SocketId>,
    /// From the handshakes of a network of members; ends at once elsewhere.
    refusals: mpsc::Receiver<RefusedHandshake>,
    outlets: [LaneSender; LANES.len()],
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
                Some(id) = self.requests.recv() => self.on_request(id),
                Some(refused) = self.refusals.recv() => {
                    let RefusedHandshake { peer, address, reason, versions } = refused;
                    self.refused(Some(peer), &address, &reason, versions);
                }
                Some(ended) = self.sessions.join_next() => self.on_session_end(ended),
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
        self.requests.close();
        for connection in lock(&self.peer_table.connections).values_mut() {
            connection.kill_switch.stop("shutting down");
            // Sessions that wait for a verdict end, since nobody gives one any more.
            connection.verdict = None;
        }
        // Sessions that the node does not listen to are cut with the service.
        let _ = timeout(GOODBYE_MAX, async { while self.sessions.join_next().await.is_some() {} })
            .await;
    }

    fn handle_command(&mut self, command: NetCommand) {
        match command {
            NetCommand::Dial { peer, address, teller } if self.may_be_at(address, teller) => {
                self.dial_for_search(peer, address);
            }
            NetCommand::Dial { .. } => {}
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
                if let ConnectedPoint::Dialer { address, .. } = &endpoint {
                    let address = libp2p_types::to_socket(address);
                    address.into_iter().for_each(|address| self.dial_waiting(address));
                }
            }
            SwarmEvent::Behaviour(event) => self.on_providers(event),
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                let table = lock(&self.peer_table.connections);
                if let Some(connection) = table.of_swarm(connection_id).and_then(|id| table.get(id))
                {
                    let cause = cause.map_or("closed".into(), |e| e.to_string());
                    connection.kill_switch.stop(format!("connection lost: {cause}"));
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                let peer = peer_id.as_ref().and_then(libp2p_types::from_libp2p);
                self.on_dial_failure(connection_id, peer, &error);
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
        let shared = self.peer_table.clone();
        let mut table = lock(&shared.connections);
        let found = table.of_swarm(id);
        let opened = found.and_then(|id| table.get_mut(id)?.opened.take());
        let known = libp2p_types::from_libp2p(&peer);
        let (Some(peer), Some(id), Some(opened)) = (known, found, opened) else {
            found.into_iter().for_each(|id| table.release(id));
            drop(table);
            // One whose socket is gone already is not shown.
            if known.is_none() {
                let address = libp2p_types::printed(at.get_remote_address());
                self.refused(None, &address, &format!("{peer} is no ed25519 identity"), None);
            }
            self.swarm.close_connection(id);
            return;
        };
        let (favoured, rates) = (table.is_favoured(peer), table.rates(peer));
        let Some(connection) = table.get(id) else { return };
        self.redialer.hold(peer);
        let (inbound, standing) = (connection.is_inbound(), connection.standing);
        // A peer that cannot be judged is no member.
        let shared_budget = match standing {
            Standing::Unjudged => &self.unjudged,
            _ if inbound && !favoured => &self.strangers,
            _ => &self.others,
        };
        let kill_switch = connection.kill_switch.clone();
        let budget = Arc::new(PeerBudget::new(shared_budget.clone(), kill_switch.clone(), rates));
        if favoured && standing != Standing::Unjudged {
            budget.favour();
        }
        let session = PeerSession {
            id,
            peer,
            address: connection.address,
            inbound,
            standing,
            kill_switch,
            last_word: self.me < peer,
            hello: self.hello.clone(),
            timing: self.timing,
            opened,
            content_from: self.content_from,
            requests: self.request_to.clone(),
            outlets: self.outlets.clone(),
            content: self.content.clone(),
            peer_table: shared.clone(),
            shared: shared_budget.clone(),
            budget,
            finder: self.finder.clone(),
        };
        table.begin_session(id, session.budget.clone());
        self.sessions.spawn(session.run());
    }

    fn on_session_end(&mut self, ended: Result<(SocketId, SessionEnd), JoinError>) {
        let (id, end) = match ended {
            Ok(ended) => ended,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            // Nobody cancels one.
            Err(_) => return,
        };
        let shared = self.peer_table.clone();
        let mut table = lock(&shared.connections);
        let Some(connection) = table.get(id) else { return };
        let Some(peer) = connection.peer else { return };
        let (address, dialled_for) = (connection.address, connection.dialled_for);
        let (swarm_id, admitted) = (connection.swarm_id, connection.send_queue.is_some());
        let spoke = table.of_peer(peer) == Some(id);
        table.release(id);
        drop(table);
        swarm_id.into_iter().for_each(|id| _ = self.swarm.close_connection(id));
        if let (Some(finder), Some(DialReason::Candidate)) = (&self.finder, dialled_for) {
            finder.ended(address);
        }
        if let SessionEnd::Offence(offence, _) = &end {
            self.peer_table.blame(peer, *offence);
        }
        match (&end, admitted) {
            (
                SessionEnd::Refused(_)
                | SessionEnd::OtherVersion { .. }
                | SessionEnd::RefusedByPeer(_),
                _,
            )
            | (SessionEnd::Offence(..), false) => {
                let address = address.to_string();
                self.refused(Some(peer), &address, &end.reason(), end.versions());
            }
            (_, true) => tracing::info!(%peer, reason = end.reason(), "disconnected"),
            (_, false) => tracing::debug!(%peer, reason = end.reason(), "not connected"),
        }
        if spoke {
            let banned = self.peer_table.banned_for(peer).is_some();
            if let Some(providers) = self.providers() {
                providers.dismiss(libp2p_types::to_libp2p(peer), banned);
            }
            self.admit_successor(peer);
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
        let event = NetEvent::Refused { peer, address: address.into(), reason: reason.into() };
        // If there is room: strangers' refusals wait with nothing else.
        if let Some(charge) = self.strangers.try_event() {
            let _ = self.outlets[Lane::Consensus as usize].send((event, charge, None));
        }
    }
}
