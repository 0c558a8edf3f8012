//! The event loop: one task that owns the swarm, dials, and decides which
//! connection of a peer stays.

use std::{
    collections::BTreeMap,
    error::Error,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, Swarm,
    core::ConnectedPoint,
    swarm::{
        self, ConnectionId, DialError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use multistream_select::NegotiationError;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{self, JoinError, JoinSet},
    time::{interval, sleep_until, timeout},
};
use trefoil_types::{OrganisationId, PeerId, message::Lane};

use crate::{
    Config, Lanes, NetError, NetEvent, NetHandle, Timing,
    behaviour::Behaviour,
    board::{Place, Refused},
    book::Candidate,
    content::ContentLink,
    dial::Dialler,
    discovery::Finder,
    files,
    gate::{self, Gate},
    guard::Door,
    handle::{Admitted, Shared},
    hello::{Hello, SOFTWARE_BYTES_MAX},
    lane::{self, Outlet, StrangersRoom},
    link::{End, Link, Report, Stop, Verdict},
    outbox::Outbox,
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

/// Peers to dial once that wait; more are dropped.
const DIALS_MAX: usize = 64;

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
    /// Whose node the peer is, in a network of members.
    organisation: Option<OrganisationId>,
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
    door: Door,
    strangers_in: StrangersRoom,
    strangers_out: StrangersRoom,
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    dialler: Dialler,
    finder: Option<Arc<Finder>>,
    /// Dials to candidates of the address book.
    sought: BTreeMap<ConnectionId, SocketAddr>,
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
    /// Whom to dial once.
    orders: mpsc::Receiver<(PeerId, SocketAddr)>,
}

pub(crate) async fn start(config: Config, timing: Timing) -> Result<(NetHandle, Lanes), NetError> {
    let me = PeerId(config.identity.public());
    // libp2p's TLS obeys it, whoever set it.
    if config.access.membership().is_some() && std::env::var_os("SSLKEYLOGFILE").is_some() {
        return Err(NetError::KeyLog);
    }
    let (strangers, of_source) = (config.inbound_max, config.inbound_per_source_max);
    let door = Door::new(Gate::new(strangers, of_source, config.peers.iter().copied()));
    let members = config.access.membership();
    let validators: Vec<_> = members.iter().flat_map(|m| m.admission.validators()).collect();
    let favoured = config.peers.len().saturating_add(validators.len());
    files::provide(gate::sockets_max(strangers, favoured))?;
    door.favour(validators);
    let (wire, members) = transport::wire(&config, Some(door.clone()));
    let (board, refusals) = members.unzip();
    let mut swarm = Swarm::new(
        wire,
        Behaviour::new(door.clone()),
        transport::to_libp2p(me),
        swarm::Config::with_tokio_executor().with_max_negotiating_inbound_streams(8),
    );
    let listen = bind(&mut swarm, config.listen).await?;
    let (dials, orders) = mpsc::channel(DIALS_MAX);
    let shared = Arc::new(Shared::new(listen, board, door.clone(), dials));
    let (consensus, consensus_in) = lane::lane(Lane::Consensus);
    let (catch_up, catch_up_in) = lane::lane(Lane::CatchUp);
    let (gossip, gossip_in) = lane::lane(Lane::Gossip);
    let (content, content_in) = mpsc::channel(CONTENT_LINKS_MAX);
    let (report_to, reports) = mpsc::channel(REPORTS_MAX);
    let (network, genesis) = (config.network(), config.genesis);
    let open = |discovery| Arc::new(Finder::open(discovery, &config.identity, genesis));
    let finder = config.discovery.map(open);
    let peers = config.peers.into_iter().filter(|(peer, _)| *peer != me);
    let engine = Engine {
        me,
        hello: Arc::new(Hello {
            network,
            instance: rand::random(),
            software: SOFTWARE.into(),
            listen_port: listen.port(),
        }),
        timing,
        door,
        strangers_in: StrangersRoom::default(),
        strangers_out: StrangersRoom::default(),
        swarm,
        shared: shared.clone(),
        dialler: Dialler::new(peers, &timing, Instant::now()),
        finder,
        sought: BTreeMap::new(),
        connections: BTreeMap::new(),
        admitted: BTreeMap::new(),
        successors: BTreeMap::new(),
        links: JoinSet::new(),
        link_of: BTreeMap::new(),
        reports,
        report_to,
        refusals: refusals.unwrap_or_else(|| mpsc::channel(1).1),
        outlets: [consensus, catch_up, gossip],
        content,
        orders,
    };
    tokio::spawn(engine.run(shared.stopping.subscribe()));
    let lanes = Lanes {
        consensus: consensus_in,
        catch_up: catch_up_in,
        gossip: gossip_in,
        content: content_in,
    };
    Ok((NetHandle(shared), lanes))
}

/// Whether two sides found no protocol that both offer. Transports box their
/// errors in each other's.
fn shares_no_wire(error: &(dyn Error + 'static)) -> bool {
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

/// Where others can dial a peer, as far as it can be known.
fn reach(connection: &Connection, listen_port: u16) -> Option<SocketAddr> {
    match connection.from {
        Some(from) => (listen_port != 0).then(|| SocketAddr::new(from.ip(), listen_port)),
        None => connection.place.address.parse().ok(),
    }
}

fn to_peer(peer: PeerId, address: SocketAddr) -> DialOpts {
    DialOpts::peer_id(transport::to_libp2p(peer))
        .addresses(vec![transport::to_multiaddr(address)])
        .condition(PeerCondition::Always)
        .allocate_new_port()
        .build()
}

/// Listens, and returns the address with its actual port.
async fn bind(swarm: &mut Swarm<Behaviour>, address: SocketAddr) -> Result<SocketAddr, NetError> {
    let failed = |e: &dyn std::fmt::Display| NetError::Listen { address, reason: e.to_string() };
    // libp2p sets SO_REUSEPORT, with which two nodes of one user would share a
    // port in silence. A plain bind tells.
    drop(TcpListener::bind(address).map_err(|e| failed(&e))?);
    swarm.listen_on(transport::to_multiaddr(address)).map_err(|e| failed(&e))?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address: actual, .. } => {
                let port = transport::to_socket(&actual).map_or(address.port(), |a| a.port());
                return Ok(SocketAddr::new(address.ip(), port));
            }
            SwarmEvent::ListenerError { error, .. } => return Err(failed(&error)),
            SwarmEvent::ListenerClosed { reason: Err(error), .. } => return Err(failed(&error)),
            _ => {}
        }
    }
}

impl Engine {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let mut seek = interval(Duration::from_millis(seek::ROUND.0));
        let mut save = interval(SAVE_EVERY);
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
                Some((peer, address)) = self.orders.recv() => self.dial_once(peer, address),
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

    fn dial(&mut self) {
        for (peer, address) in self.dialler.due(Instant::now()) {
            if self.shared.banned_for(peer).is_some() || self.shared.is_revoked(peer) {
                self.retry(peer);
                continue;
            }
            if let Err(error) = self.swarm.dial(to_peer(peer, address)) {
                self.on_dial_failure(peer, &error);
            }
        }
    }

    /// Dials a peer that somebody named, unless it is here or unwanted.
    fn dial_once(&mut self, peer: PeerId, address: SocketAddr) {
        let known = self.connections.values().any(|connection| connection.peer == peer);
        let unwanted = self.shared.banned_for(peer).is_some() || self.shared.is_revoked(peer);
        if peer != self.me
            && !known
            && !unwanted
            && let Err(error) = self.swarm.dial(to_peer(peer, address))
        {
            tracing::debug!(%peer, %error, "cannot be reached");
        }
    }

    /// Dials candidates of the address book.
    fn seek(&mut self) {
        let Some(finder) = &self.finder else { return };
        let dialled = self.connections.values().filter(|c| !c.place.inbound && c.sought.is_none());
        let others = dialled.filter_map(|c| c.place.address.parse().ok()).collect();
        let due = finder.due(others, |peer| {
            peer == self.me
                || self.admitted.contains_key(&peer)
                || self.shared.banned_for(peer).is_some()
        });
        for Candidate { address, peer } in due {
            let opts = match peer {
                Some(peer) => to_peer(peer, address),
                None => {
                    let to = transport::to_multiaddr(address);
                    DialOpts::unknown_peer_id().address(to).allocate_new_port().build()
                }
            };
            let id = opts.connection_id();
            self.sought.insert(id, address);
            if self.swarm.dial(opts).is_err() {
                self.unsought(id);
            }
        }
    }

    /// Whether the dial was to a candidate, which now is over.
    fn unsought(&mut self, id: ConnectionId) -> bool {
        let address = self.sought.remove(&id);
        if let Some((finder, address)) = self.finder.as_ref().zip(address) {
            finder.ended(address);
        }
        address.is_some()
    }

    /// Writes the address book, beside the loop.
    fn save(&self) {
        if let Some(finder) = self.finder.clone() {
            task::spawn_blocking(move || finder.save());
        }
    }

    /// Plans the next dial, unless there is a connection still or already.
    fn retry(&mut self, peer: PeerId) -> u32 {
        if self.connections.values().any(|connection| connection.peer == peer) {
            return 0;
        }
        self.dialler.retry(peer, Instant::now(), rand::random())
    }

    fn on_swarm(&mut self, event: SwarmEvent<std::convert::Infallible>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connection(peer_id, connection_id, &endpoint);
            }
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
                    _ if self.unsought(connection_id) => {}
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

    fn on_dial_failure(&mut self, peer: PeerId, error: &DialError) {
        let failures = self.retry(peer);
        if let DialError::WrongPeerId { obtained, address } = error {
            let reason = format!(
                "expected peer {peer} there, found {obtained}; correct the address or the peer id"
            );
            self.refused(Some(peer), &transport::printed(address), &reason);
        } else if let DialError::Transport(errors) = error
            && let Some((address, _)) = errors.iter().find(|(_, error)| shares_no_wire(error))
        {
            self.refused(Some(peer), &transport::printed(address), &self.other_kind());
        } else if failures == 1 {
            tracing::info!(%peer, %error, "cannot be reached, dialling on");
        }
    }

    /// Each kind offers its own wires, so that who shares none is of another.
    fn other_kind(&self) -> String {
        let kind = format!("{:?}", self.hello.network.kind).to_lowercase();
        format!(
            "different kind of network: ours is {kind}, and the peer speaks none of its wires (public networks share none with private ones and consortia)"
        )
    }

    fn on_connection(&mut self, peer: libp2p::PeerId, id: ConnectionId, at: &ConnectedPoint) {
        let remote: &Multiaddr = at.get_remote_address();
        let address = transport::printed(remote);
        let (Some(peer), Some(opened)) =
            (transport::from_libp2p(&peer), self.swarm.behaviour_mut().take(id))
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
        let organisation = board.and_then(|board| board.organisation(peer, &place));
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
            switch: board.map(|board| board.switch(peer, &place)),
            organisation,
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
        let connection =
            Connection { peer, place, from, organisation, sought, stop, admitted: None };
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
        let full = self.door.room(connection.from?, connection.organisation).err()?;
        Some(format!("no room: {full}"))
    }

    /// What the chain holds against the peer of a connection that it let in.
    fn is_cut(&self, peer: PeerId, place: &Place) -> Option<String> {
        let board = self.shared.board.as_ref()?;
        board.switch(peer, place).reason().map(Into::into)
    }

    fn admit(&mut self, peer: PeerId, report: Report) {
        let Some(connection) = self.connections.get_mut(&report.link) else { return };
        connection.admitted = Some(report.hello.instance);
        self.admitted.insert(peer, report.link);
        connection.from.into_iter().for_each(|from| self.door.admit(from, connection.organisation));
        self.dialler.succeeded(peer);
        let place = connection.place.clone();
        let stranger = place.inbound && !self.door.is_favoured(peer);
        let outbox = Arc::new(Outbox::new(stranger.then(|| self.strangers_out.clone())));
        self.shared.admit(
            peer,
            Admitted {
                outbox: outbox.clone(),
                stop: connection.stop.clone(),
                place: place.clone(),
                software: report.hello.software.clone(),
                reach: reach(connection, report.hello.listen_port),
            },
        );
        // It may have been cut since it asked. Whoever cuts it now finds it among
        // the peers.
        if let Some(reason) = self.is_cut(peer, &place) {
            answer(report.verdict, Verdict::Refuse(reason));
            return;
        }
        tracing::info!(%peer, address = place.address, inbound = place.inbound, "connected");
        if let Some(finder) = self.finder.clone() {
            self.introduce(&finder, report.link, report.hello.listen_port);
            outbox.ask_for_peers();
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
