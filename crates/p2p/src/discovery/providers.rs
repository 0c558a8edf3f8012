//! Finds providers of a resource that no connected peer has, in a public network: provider
//! records in a Kademlia table, by libp2p's own implementation.
//!
//! Owns the routing table, the records, and the announcements of this node.
//!
//! What always holds:
//! - Kademlia exchanges messages with admitted peers only.
//! - It opens no connection itself, but asks the service to.
//! - Its table has only peers that were admitted, so many of a subnet. Their address is the
//!   one that was dialled, or the one that they came from. A peer leaves the table when a dial
//!   to it fails, or when it is banned.
//! - A provider's address is that of the connection on which it announced itself. The
//!   addresses in its message are ignored.
//! - Value records are refused.

mod handler;
mod records;
mod search;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    net::SocketAddr,
    num::NonZeroUsize,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    kad::{
        self, BucketInserts, Event as KadEvent, GetProvidersOk, InboundRequest, Mode,
        ProviderRecord, QueryId, QueryResult, RecordKey, StoreInserts,
    },
    swarm::{
        ConnectionDenied, ConnectionId, DialError, DialFailure, FromSwarm, NetworkBehaviour,
        NotifyHandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dial_opts::DialOpts,
    },
};
use trefoil_types::{B256, Offence};

pub use self::records::PROVIDED_MAX;
pub(crate) use self::records::Root;
use self::{
    handler::{HandlerCommand, Kad, ProvidersHandler},
    records::{Records, root},
    search::Search,
};
use crate::{
    discovery::reachability::is_reachable,
    inbound_limits::{rate_limit::RateLimiter, subnet::SourceIp},
    transport::libp2p_types::{to_multiaddr, to_socket},
};

/// Nodes that are asked to keep a record, the nearest to its key.
// 20 in Kademlia's paper, 8 in BitTorrent: each costs a connection here.
const REPLICAS: NonZeroUsize = NonZeroUsize::new(8).expect("eight");

/// A record that is not announced again is forgotten.
// Three of the longest intervals between announcements (`REPEAT_MAX`).
const RECORD_TTL: Duration = Duration::from_secs(3 * 3600);

/// A record is announced again after this, doubled up to the longest.
// At first soon, since a node that just joined knows few others. Then every hour, so that a
// record survives two announcements that fail.
const REPEAT_MIN: Duration = Duration::from_secs(60);
const REPEAT_MAX: Duration = Duration::from_secs(3600);

/// The table's buckets are filled by searches this often. While it has fewer than 20
/// peers, each newcomer starts them as well.
// Kademlia's paper does so after an hour without a search in a bucket. libp2p-kad's default of 5
// minutes would cost six times the searches, one for each bucket, and searches dial.
const REFRESH: Duration = Duration::from_secs(30 * 60);

/// The longest search; and the longest wait for one answer in it.
// An honest peer answers from memory. A peer that cannot be met costs 2 s (`MEETING_MAX`), and one
// that does not answer 2 s more. libp2p-kad asks three at a time: so a search gets past six such
// peers and has time left.
const SEARCH_MAX: Duration = Duration::from_secs(10);
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Searches and announcements at a time.
// libp2p-kad by itself starts up to a hundred searches at once (ADR 19). Two announcements at a
// time, of at most 10 s to find the nodes and 10 s to write to them, are 360 an hour at worst:
// each of the 256 (`PROVIDED_MAX`) has its turn within `REPEAT_MAX`.
const SEARCHES_MAX: usize = 8;
const ANNOUNCING_MAX: usize = 2;

/// Peers of one subnet in the table, as many as the gate lets in.
// Attack: one machine with many identities, which are free, fills the buckets near a key and
// hides its providers.
const TABLE_OF_SUBNET_MAX: usize = 32;

/// Searches that this node begins a second, and at once; more are dropped.
// Seen: a newcomer that fetched a thousand small files searched for each, and its only peer
// counted a flood. Connected peers are asked for a resource in any case (`Find`).
const SEARCHES_RATE: u32 = 10;
const SEARCHES_BURST: u32 = 50;

/// Requests and answers that a peer may send a second, and at once.
// Two nodes that both search as fast as they may: 10 requests and 10 answers each way, and
// 12 for announcements, of which a tick begins two with two messages and an answer each.
const MESSAGES_RATE: u32 = 40;
const MESSAGES_BURST: u32 = 200;

/// A task for the service.
#[derive(Debug)]
pub(crate) enum ProvidersEvent {
    /// Connect for a while, or call [`Providers::unreachable`].
    Dial(PeerId, SocketAddr),
    /// It has what was sought: connect, if it is not here.
    Found(PeerId, Option<SocketAddr>),
    Misdeed(PeerId, Offence),
}

impl From<Infallible> for ProvidersEvent {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A peer that was admitted.
struct Speaker {
    connection: ConnectionId,
    /// Where others can dial it.
    reach: Option<SocketAddr>,
    rate_limiter: RateLimiter,
}

/// When to announce a resource, and how long after that again.
struct Announcement {
    due: Instant,
    then: Duration,
}

/// Each network has its own.
pub(crate) fn protocol(genesis: &B256) -> StreamProtocol {
    let name = format!("/trefoil/providers/1/{}", alloy_primitives::hex::encode(genesis));
    StreamProtocol::try_from_owned(name).expect("it begins with a slash")
}

pub(crate) struct Providers {
    kad: Kad,
    speakers: BTreeMap<PeerId, Speaker>,
    provided: BTreeMap<Root, Announcement>,
    announcing: usize,
    searches: Vec<Search>,
    search_limiter: RateLimiter,
    waiting: VecDeque<ToSwarm<ProvidersEvent, HandlerCommand>>,
}

impl Providers {
    pub fn new(me: PeerId, genesis: &B256) -> Self {
        let mut config = kad::Config::new(protocol(genesis));
        config
            .set_replication_factor(REPLICAS)
            .set_query_timeout(SEARCH_MAX)
            .set_substreams_timeout(ANSWER_MAX)
            .set_kbucket_inserts(BucketInserts::Manual)
            .set_record_filtering(StoreInserts::FilterBoth)
            .set_provider_record_ttl(Some(RECORD_TTL))
            .set_provider_publication_interval(None)
            .set_publication_interval(None)
            .set_replication_interval(None)
            .set_periodic_bootstrap_interval(Some(REFRESH));
        let mut kad = Kad::with_config(me, Records::new(me), config);
        kad.set_mode(Some(Mode::Server));
        Self {
            kad,
            speakers: BTreeMap::new(),
            provided: BTreeMap::new(),
            announcing: 0,
            searches: Vec::new(),
            search_limiter: RateLimiter::new(SEARCHES_RATE, SEARCHES_BURST),
            waiting: VecDeque::new(),
        }
    }

    /// The peer sent a valid hello on a connection. Others can dial it at `reach`.
    pub fn admit(&mut self, peer: PeerId, connection: ConnectionId, reach: Option<SocketAddr>) {
        let rate_limiter = RateLimiter::new(MESSAGES_RATE, MESSAGES_BURST);
        self.speakers.insert(peer, Speaker { connection, reach, rate_limiter });
        self.waiting.push_back(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: HandlerCommand::Admitted,
        });
        if let Some(reach) = reach.filter(|reach| self.has_room_for(peer, *reach)) {
            self.kad.add_address(&peer, to_multiaddr(reach));
        }
    }

    /// Whether the table takes a peer from there.
    fn has_room_for(&mut self, peer: PeerId, reach: SocketAddr) -> bool {
        let subnet = |at: SocketAddr| SourceIp::of(at.ip()).subnet();
        let mut of_subnet = 0;
        for bucket in self.kad.kbuckets() {
            for entry in bucket.iter() {
                let at = to_socket(entry.node.value.first());
                let other = *entry.node.key.preimage() != peer;
                of_subnet += usize::from(other && at.map(subnet) == Some(subnet(reach)));
            }
        }
        of_subnet < TABLE_OF_SUBNET_MAX
    }

    /// The connection that the peer was admitted on has ended.
    pub fn dismiss(&mut self, peer: PeerId, banned: bool) {
        self.speakers.remove(&peer);
        if banned {
            self.kad.remove_peer(&peer);
            self.kad.store_mut().forget(peer);
        }
    }

    /// A peer was not met at its address, or not soon: searches go on without it.
    pub fn unreachable(&mut self, peer: PeerId) {
        let (error, connection_id) = (DialError::Aborted, ConnectionId::new_unchecked(0));
        let failure = DialFailure { peer_id: Some(peer), error: &error, connection_id };
        self.kad.on_swarm_event(FromSwarm::DialFailure(failure));
    }

    /// Sets the resources that this node announces from now on.
    pub fn provide(&mut self, roots: &BTreeSet<Root>, now: Instant) {
        for gone in self.provided.extract_if(.., |root, _| !roots.contains(root)) {
            self.kad.stop_providing(&RecordKey::new(&gone.0));
        }
        for root in roots.iter().take(PROVIDED_MAX) {
            let announcement = || Announcement { due: now, then: REPEAT_MIN };
            self.provided.entry(*root).or_insert_with(announcement);
        }
    }

    /// Looks for providers; one search of a resource at a time.
    pub fn search(&mut self, root: Root) {
        let under_way = self.searches.iter().any(|search| search.root == root);
        let has_place = !under_way && self.searches.len() < SEARCHES_MAX;
        if has_place && self.search_limiter.take(1, Instant::now()).is_ok() {
            let id = self.kad.get_providers(RecordKey::new(&root));
            self.searches.push(Search::new(id, root));
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        self.kad.store_mut().expire(now);
        // While the table is empty there is no peer to announce to.
        if self.kad.kbuckets().next().is_none() {
            return;
        }
        let due = self.provided.iter_mut().filter(|(_, announcement)| announcement.due <= now);
        for (root, announcement) in due.take(ANNOUNCING_MAX.saturating_sub(self.announcing)) {
            announcement.due = now + announcement.then;
            announcement.then = (announcement.then * 2).min(REPEAT_MAX);
            if self.kad.start_providing(RecordKey::new(root)).is_ok() {
                self.announcing += 1;
            }
        }
    }

    fn on_kad(&mut self, event: KadEvent) {
        match event {
            KadEvent::InboundRequest {
                request: InboundRequest::AddProvider { record: Some(record) },
            } => self.on_provider_record(&record),
            KadEvent::InboundRequest { request: InboundRequest::PutRecord { source, .. } } => {
                self.emit(ProvidersEvent::Misdeed(source, Offence::Malformed));
            }
            KadEvent::OutboundQueryProgressed { id, result, step, .. } => match result {
                QueryResult::GetProviders(result) => {
                    if let Ok(GetProvidersOk::FoundProviders { providers, .. }) = result {
                        self.found(id, providers);
                    }
                    if step.last {
                        self.searches.retain(|search| search.id != id);
                    }
                }
                QueryResult::StartProviding(_) => self.announcing -= 1,
                _ => {}
            },
            _ => {}
        }
    }

    /// A peer announces that it has a resource.
    fn on_provider_record(&mut self, record: &ProviderRecord) {
        let peer = record.provider;
        let Some(root) = root(&record.key) else {
            return self.emit(ProvidersEvent::Misdeed(peer, Offence::Malformed));
        };
        let reach = self.speakers.get(&peer).and_then(|speaker| speaker.reach);
        if let (Some(reach), Some(expires)) = (reach, record.expires) {
            self.kad.store_mut().keep(root, peer, reach, expires);
        }
    }

    fn found(&mut self, id: QueryId, providers: impl IntoIterator<Item = PeerId>) {
        let Some(at) = self.searches.iter().position(|search| search.id == id) else { return };
        for peer in providers {
            let address = self.address(peer);
            if self.searches[at].takes(peer, address) {
                self.emit(ProvidersEvent::Found(peer, address));
            }
        }
        if self.searches[at].is_full()
            && let Some(mut query) = self.kad.query_mut(&id)
        {
            query.finish();
        }
    }

    /// Where a peer may be: the address in the table, or in answers to running searches.
    fn address(&mut self, peer: PeerId) -> Option<SocketAddr> {
        let id = ConnectionId::new_unchecked(0);
        let known =
            self.kad.handle_pending_outbound_connection(id, Some(peer), &[], Endpoint::Dialer);
        known.ok()?.iter().filter_map(to_socket).find(|address| is_reachable(*address))
    }

    fn dial(&mut self, opts: &DialOpts) {
        let Some(peer) = opts.get_peer_id() else { return };
        match self.address(peer) {
            Some(address) => self.emit(ProvidersEvent::Dial(peer, address)),
            None => self.unreachable(peer),
        }
    }

    fn emit(&mut self, event: ProvidersEvent) {
        self.waiting.push_back(ToSwarm::GenerateEvent(event));
    }

    /// Sends Kademlia's message to the connection on which the peer is admitted.
    fn to_handler(
        &self,
        peer_id: PeerId,
        handler: NotifyHandler,
        event: THandlerInEvent<Kad>,
    ) -> ToSwarm<ProvidersEvent, HandlerCommand> {
        let handler = match self.speakers.get(&peer_id) {
            Some(speaker) => NotifyHandler::One(speaker.connection),
            None => handler,
        };
        ToSwarm::NotifyHandler { peer_id, handler, event: HandlerCommand::Kad(event) }
    }
}

impl NetworkBehaviour for Providers {
    type ConnectionHandler = ProvidersHandler;
    type ToSwarm = ProvidersEvent;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<ProvidersHandler, ConnectionDenied> {
        self.kad
            .handle_established_inbound_connection(id, peer, local, remote)
            .map(ProvidersHandler::new)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<ProvidersHandler, ConnectionDenied> {
        let kad = &mut self.kad;
        kad.handle_established_outbound_connection(id, peer, address, role, port)
            .map(ProvidersHandler::new)
    }

    /// Our own addresses are not passed on: other nodes take that of the connection.
    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::DialFailure(DialFailure { peer_id: Some(peer), .. }) = &event
            && !self.speakers.contains_key(peer)
        {
            self.kad.remove_peer(peer);
        }
        if let FromSwarm::ConnectionEstablished(_)
        | FromSwarm::ConnectionClosed(_)
        | FromSwarm::DialFailure(_) = &event
        {
            self.kad.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let Some(speaker) = self.speakers.get_mut(&peer) else { return };
        match speaker.rate_limiter.take(1, Instant::now()) {
            Ok(()) => self.kad.on_connection_handler_event(peer, connection, event),
            Err(_) => self.emit(ProvidersEvent::Misdeed(peer, Offence::Flood)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<ProvidersEvent, HandlerCommand>> {
        loop {
            if let Some(first) = self.waiting.pop_front() {
                return Poll::Ready(first);
            }
            match self.kad.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ToSwarm::GenerateEvent(event)) => self.on_kad(event),
                Poll::Ready(ToSwarm::Dial { opts }) => self.dial(&opts),
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event }) => {
                    return Poll::Ready(self.to_handler(peer_id, handler, event));
                }
                // Kademlia listens nowhere, and closes nothing.
                Poll::Ready(_) => {}
            }
        }
    }
}
