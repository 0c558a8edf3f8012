//! The event loop: one task that owns the swarm, dials, and decides which
//! connection of a peer stays.

mod dials;
mod errands;
mod start;

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
    sync::{mpsc, oneshot, watch},
    task::{self, JoinError, JoinSet},
    time::{interval, sleep_until, timeout},
};
use trefoil_types::{OrganisationId, PeerId, Standing, message::Lane};

pub(crate) use self::start::start;
use self::{dials::shares_no_wire, errands::Errand};
use crate::{
    Givers, NetEvent, Timing,
    behaviour::Protocols,
    board::{Place, Refused},
    content::ContentLink,
    dial::Dialler,
    discovery::Finder,
    guard::Door,
    handle::{Admitted, Order, Shared},
    hello::{Hello, SOFTWARE_BYTES_MAX},
    lane::{Outlet, StrangersRoom},
    link::{End, Link, Report, Stop, Verdict},
    outbox::Outbox,
    providers,
    seek::{self, Purpose},
    transport,
};

/// What this program calls itself in its hello.
const SOFTWARE: &str = concat!("trefoil/", env!("CARGO_PKG_VERSION"));
const _: () = assert!(SOFTWARE.len() <= SOFTWARE_BYTES_MAX);

/// The address book is written this often, and at the end.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Reports that wait for the engine.
const REPORTS_MAX: usize = 64;

/// Orders that wait; more are dropped.
const ORDERS_MAX: usize = 64;

/// Between two looks at what is announced and sought.
const TEND_EVERY: Duration = Duration::from_millis(500);

/// Links whose content streams nobody has taken up yet.
const CONTENT_LINKS_MAX: usize = 64;

/// How long the node may take to hear of every `Disconnected` at the end.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// A connection, from its authentication to its link's end.
struct Connection {
    peer: PeerId,
    place: Place,
    /// Where an inbound connection comes from.
    from: Option<SocketAddr>,
    standing: Standing,
    /// The candidate that was dialled for it.
    sought: Option<SocketAddr>,
    stop: Stop,
    /// The peer's instance, once admitted.
    admitted: Option<u64>,
}

struct Engine {
    me: PeerId,
    hello: Arc<Hello>,
    timing: Timing,
    givers: Givers,
    door: Door,
    strangers_in: StrangersRoom,
    strangers_out: StrangersRoom,
    swarm: Swarm<Protocols>,
    shared: Arc<Shared>,
    dialler: Dialler,
    finder: Option<Arc<Finder>>,
    /// Dials to candidates of the address book.
    sought: BTreeMap<ConnectionId, SocketAddr>,
    /// Dials for searches, and their connections, the oldest first.
    errands: Vec<Errand>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Which connection a peer's messages pass over.
    admitted: BTreeMap<PeerId, ConnectionId>,
    /// Links that take a peer's place once its old link has ended.
    successors: BTreeMap<PeerId, Report>,
    links: JoinSet<End>,
    link_of: BTreeMap<task::Id, ConnectionId>,
    reports: mpsc::Receiver<Report>,
    report_to: mpsc::Sender<Report>,
    /// From the board; ends at once where there is none.
    refusals: mpsc::Receiver<Refused>,
    outlets: [Outlet; 3],
    content: mpsc::Sender<ContentLink>,
    orders: mpsc::Receiver<Order>,
}

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
        None => connection.place.address.parse().ok(),
    }
}

impl Engine {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let mut seek = interval(Duration::from_millis(seek::ROUND.0));
        let mut save = interval(SAVE_EVERY);
        let mut tend = interval(TEND_EVERY);
        let mut provided = self.shared.provided.subscribe();
        let public = self.providers().is_some();
        loop {
            let deadline = self.dialler.deadline();
            let due = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                event = self.swarm.select_next_some() => self.on_swarm(event),
                Some(report) = self.reports.recv() => self.on_report(report),
                Some(Refused { peer, address, reason }) = self.refusals.recv() => {
                    self.refused(Some(peer), &address, &reason);
                }
                Some(ended) = self.links.join_next_with_id() => self.on_link_end(ended),
                () = due => self.dial(),
                Some(order) = self.orders.recv() => self.obey(order),
                Ok(()) = provided.changed(), if public => {
                    let roots = provided.borrow_and_update().clone();
                    self.providers().into_iter().for_each(|it| it.provide(&roots, Instant::now()));
                }
                _ = tend.tick(), if public => self.tend_providers(),
                _ = seek.tick(), if self.finder.is_some() => self.seek(),
                _ = save.tick(), if self.finder.is_some() => self.save(),
            }
        }
        // Now, while the anchors are those that are connected.
        self.finder.iter().for_each(|finder| finder.save());
        for connection in self.connections.values() {
            connection.stop.now("shutting down");
        }
        // Answers that nobody gives any more.
        self.reports.close();
        self.successors.clear();
        // Links that the node does not listen to are cut with the engine.
        let _ =
            timeout(GOODBYE_MAX, async { while self.links.join_next().await.is_some() {} }).await;
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Dial(peer, address) => self.dial_once(peer, address),
            Order::Search(root) => self.providers().into_iter().for_each(|it| it.search(root)),
        }
    }

    /// Writes the address book, beside the loop.
    fn save(&self) {
        if let Some(finder) = self.finder.clone() {
            task::spawn_blocking(move || finder.save());
        }
    }

    fn on_swarm(&mut self, event: SwarmEvent<providers::Event>) {
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
                let peer = peer_id.as_ref().and_then(transport::from_libp2p);
                let sought = self.finder.as_ref().zip(self.sought.get(&connection_id));
                if let (Some((finder, at)), DialError::WrongPeerId { .. }) = (sought, &error) {
                    finder.mistaken(*at);
                }
                match peer {
                    _ if self.unsought(connection_id) || self.end_errand(connection_id) => {}
                    Some(peer) => self.on_dial_failure(peer, &error),
                    None => {}
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                // Without the port, which is another each time.
                match transport::to_socket(&send_back_addr) {
                    Some(from) if shares_no_wire(&error) => {
                        self.refused(None, &from.ip().to_string(), &self.other_kind());
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
        let address = transport::printed(remote);
        let (Some(peer), Some(opened)) =
            (transport::from_libp2p(&peer), self.swarm.behaviour_mut().streams.take(id))
        else {
            self.refused(None, &address, &format!("{peer} is no ed25519 identity"));
            self.swarm.close_connection(id);
            return;
        };
        self.dialler.hold(peer);
        let (stop, stopped) = Stop::new();
        let inbound = at.is_listener();
        let place = Place { address: address.clone(), inbound };
        let stranger = inbound && !self.door.is_favoured(peer);
        let board = self.shared.board.as_ref();
        let link = Link {
            id,
            peer,
            address,
            inbound,
            last_word: self.me < peer,
            hello: self.hello.clone(),
            timing: self.timing,
            opened,
            stopped,
            entry: board.map(|board| board.entry(peer, &place)),
            givers: self.givers,
            reports: self.report_to.clone(),
            outlets: self.outlets.clone(),
            content: self.content.clone(),
            shared: self.shared.clone(),
            strangers: stranger.then(|| self.strangers_in.clone()),
            finder: self.finder.clone(),
            from: transport::to_socket(remote),
        };
        let from = inbound.then(|| transport::to_socket(remote)).flatten();
        let sought = self.sought.remove(&id);
        let standing = link.standing();
        let connection = Connection { peer, place, from, standing, sought, stop, admitted: None };
        self.connections.insert(id, connection);
        let task = self.links.spawn(link.run());
        self.link_of.insert(task.id(), id);
    }

    fn on_report(&mut self, report: Report) {
        let Some(connection) = self.connections.get(&report.link) else { return };
        let (peer, inbound) = (connection.peer, connection.place.inbound);
        if let Some(reason) = self.objection(peer, connection) {
            answer(report.verdict, Verdict::Refuse(reason));
            return;
        }
        if !report.welcomed {
            answer(report.verdict, Verdict::Await);
            return;
        }
        let Some(current) = self.admitted.get(&peer).and_then(|id| self.connections.get(id)) else {
            self.admit(peer, report);
            return;
        };
        // A candidate that turns out to be someone we know.
        let sought = self.connections.get(&report.link).and_then(|new| new.sought);
        if let Some((finder, address)) = self.finder.as_ref().zip(sought) {
            finder.met(address, peer);
            answer(report.verdict, Verdict::Duplicate);
            return;
        }
        // The same process dialled us while we dialled it: one is enough. If it
        // came back, or dialled again, it has lost the connection that we know.
        let same_process = current.admitted == Some(report.hello.instance);
        let crossed = current.place.inbound != inbound;
        if self.me < peer && same_process && crossed {
            answer(report.verdict, Verdict::Duplicate);
            return;
        }
        current.stop.now("replaced by a newer connection");
        if let Some(earlier) = self.successors.insert(peer, report) {
            answer(earlier.verdict, Verdict::Duplicate);
        }
    }

    /// What we hold against a peer whose hello was good.
    fn objection(&self, peer: PeerId, connection: &Connection) -> Option<String> {
        if let Some(reason) = self.is_cut(peer, &connection.place) {
            return Some(reason);
        }
        if let Some(left) = self.shared.banned_for(peer) {
            return Some(format!("banned for another {} s", left.as_secs() + 1));
        }
        // A peer that is here takes its own former place.
        if self.admitted.contains_key(&peer) {
            return None;
        }
        let full = self.door.room(connection.from?, share_of(connection.standing)).err()?;
        Some(format!("no room: {full}"))
    }

    /// What the chain holds against the peer of a connection that it let in.
    fn is_cut(&self, peer: PeerId, place: &Place) -> Option<String> {
        let board = self.shared.board.as_ref()?;
        board.entry(peer, place).switch.reason().map(Into::into)
    }

    fn admit(&mut self, peer: PeerId, report: Report) {
        let Some(connection) = self.connections.get_mut(&report.link) else { return };
        connection.admitted = Some(report.hello.instance);
        self.admitted.insert(peer, report.link);
        let standing = connection.standing;
        connection.from.into_iter().for_each(|from| self.door.admit(from, share_of(standing)));
        self.dialler.succeeded(peer);
        let place = connection.place.clone();
        let stranger = place.inbound && !self.door.is_favoured(peer);
        let reach = reach(connection, report.hello.listen_port);
        let errand = |errand: &Errand| errand.connection == report.link && !errand.kept;
        let outbox = Arc::new(Outbox::new(stranger.then(|| self.strangers_out.clone())));
        self.shared.admit(
            peer,
            Admitted {
                outbox: outbox.clone(),
                stop: connection.stop.clone(),
                place: place.clone(),
                standing,
                software: report.hello.software.clone(),
                reach,
                errand: !self.dialler.is_configured(peer) && self.errands.iter().any(errand),
            },
        );
        // It may have been cut since it asked. Whoever cuts it now finds it among
        // the peers.
        if let Some(reason) = self.is_cut(peer, &place) {
            answer(report.verdict, Verdict::Refuse(reason));
            return;
        }
        tracing::info!(%peer, address = place.address, inbound = place.inbound, ?standing, "connected");
        if let Some(finder) = self.finder.clone().filter(|_| standing != Standing::Unjudged) {
            self.introduce(&finder, report.link, report.hello.listen_port);
            outbox.ask_for_peers();
        }
        if let Some(providers) = self.providers() {
            providers.admit(transport::to_libp2p(peer), report.link, reach);
        }
        answer(report.verdict, Verdict::Admit(outbox));
    }

    /// Notes in the address book who was met where. A feeler has done its work.
    fn introduce(&self, finder: &Finder, id: ConnectionId, listen_port: u16) {
        let Some(connection) = self.connections.get(&id) else { return };
        if let Some(from) = connection.from {
            finder.claimed(SocketAddr::new(from.ip(), listen_port), connection.peer);
        }
        let met = connection.sought.and_then(|address| finder.met(address, connection.peer));
        if met == Some(Purpose::Feel) {
            connection.stop.now("only to see who is there");
        }
    }

    fn on_link_end(&mut self, ended: Result<(task::Id, End), JoinError>) {
        let (task, end) = match ended {
            Ok(ended) => ended,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(e) => (e.id(), End::Closed("cancelled".into())),
        };
        let Some(id) = self.link_of.remove(&task) else { return };
        self.swarm.close_connection(id);
        let Some(connection) = self.connections.remove(&id) else { return };
        let peer = connection.peer;
        self.end_errand(id);
        if let Some((finder, address)) = self.finder.as_ref().zip(connection.sought) {
            finder.ended(address);
        }
        if let End::Offence(offence, _) = &end {
            self.shared.blame(peer, *offence);
        }
        match (&end, connection.admitted) {
            (End::Refused(_) | End::RefusedByPeer(_), _) | (End::Offence(..), None) => {
                self.refused(Some(peer), &connection.place.address, &end.reason());
            }
            (_, Some(_)) => tracing::info!(%peer, reason = end.reason(), "disconnected"),
            (_, None) => tracing::debug!(%peer, reason = end.reason(), "not connected"),
        }
        if self.admitted.get(&peer) == Some(&id) {
            self.admitted.remove(&peer);
            self.shared.dismiss(peer);
            let banned = self.shared.banned_for(peer).is_some();
            if let Some(providers) = self.providers() {
                providers.dismiss(transport::to_libp2p(peer), banned);
            }
            if let Some(successor) = self.successors.remove(&peer) {
                self.admit(peer, successor);
            }
        }
        self.retry(peer);
    }

    /// Shows a refusal: to the node, to `trefoil peers`, and once in the log.
    fn refused(&self, peer: Option<PeerId>, address: &str, reason: &str) {
        if self.shared.note_refusal(peer, address, reason) {
            let peer = peer.map(|peer| peer.to_string());
            tracing::warn!(peer, address, reason, "refused");
        }
        let (address, reason) = (address.into(), reason.into());
        self.outlets[Lane::Consensus as usize].try_tell(NetEvent::Refused {
            peer,
            address,
            reason,
        });
    }
}

/// A link that has ended meanwhile needs no answer.
fn answer(to: oneshot::Sender<Verdict>, verdict: Verdict) {
    let _ = to.send(verdict);
}
