//! The task that owns the scheduler: it hands events to it, and its decisions to the peers'
//! tasks.
//!
//! What always holds: it waits for no peer and moves no bulk bytes, so that one
//! slow peer delays nobody (of the disk it waits when it opens a store for its user, and for
//! the last group of an offer); the memory for a peer is bounded.

mod commands;
mod discovery;
mod effects;
mod http_origins;
mod messages;
mod opening;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt, io,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Mutex, mpsc},
    task,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use trefoil_content::{
    ContentId,
    message::SwarmMessage,
    scheduler::{Rates, Resource, SchedulerInput, Source, Swarm, SwarmConfig, UploadPolicy},
};
use trefoil_os::{clock::Clock, log_limit::LogLimit};
use trefoil_p2p::{ContentLink, NetHandle, PROVIDED_MAX, RateLimiter};
use trefoil_types::{Offence, PeerId, Standing};

pub use self::opening::OPEN_BYTES_MAX;
use crate::{
    error::FetchError,
    events::{Announced, ContentCommand, TaskEvent},
    fetch::Topic,
    origins::Origins,
    peer::PeerStreams,
    peer_backlog::AllBacklogs,
    store::{CHUNK, COMPLAINT_EVERY, ContentStore, OpenStore, Remove, is_full},
};

// A group counts after a crash only if it was synced (ADR 15), and a sync of each group
// alone would wait for the disk each time. A crash loses the last second, which is fetched
// again.
/// Stores are synced this often while something comes, and idle ones closed.
const SYNC_EVERY: Duration = Duration::from_secs(1);

// The peers' readers wait when it is full, so a fast peer is slowed down at its socket.
/// Events that wait.
pub const EVENTS_MAX: usize = 4_096;

// When a peer is choked, or a store closes, each request that it has open (1,024 of a resource)
// may be refused, and peers are choked once a second at most.
/// Messages of one peer that nothing here explains: a second, and at once.
const STRAY_RATE: u32 = 1_024;
const STRAY_BURST: u32 = 4_096;

struct ConnectedPeer {
    streams: PeerStreams,
    standing: Standing,
    /// Requests that it made, less those that it took back.
    asked: u64,
    /// For messages that nothing here explains.
    stray: RateLimiter,
    /// Held while a store is opened for it: one at a time.
    opens: Arc<Mutex<()>>,
    /// Resources that it seeks and this node did not have.
    wishes: BTreeSet<Resource>,
    announced: Option<Announced>,
}

pub struct SwarmService {
    swarm: Swarm,
    upload_policy: UploadPolicy,
    net: NetHandle,
    store: Arc<ContentStore>,
    clock: Clock,
    peers: BTreeMap<PeerId, ConnectedPeer>,
    topics: BTreeMap<Resource, Topic>,
    announced: Option<Announced>,
    origins: Origins,
    connections: u64,
    backlogs: AllBacklogs,
    /// Held while a store is opened for any peer; for a user of this node.
    opens: Arc<Mutex<()>>,
    own_opens: Arc<Mutex<()>>,
    /// How often stores were closed for good: what is opened meanwhile is of files that go.
    closings: u64,
    /// Bytes of memory for directories that are open.
    pub open_bytes_max: usize,
    event_to: mpsc::Sender<TaskEvent>,
    /// Bytes came since it was last looked for what the quota has no room for.
    grew: bool,
    /// Whether that is being done.
    collects: bool,
    /// Whether what came of a resource is being removed, since the disk is full.
    frees: bool,
    /// Whose offences the log showed.
    blamed: LogLimit<(PeerId, Offence)>,
    inputs: VecDeque<SchedulerInput>,
    // Carrying out an effect may cause an input (a peer cannot be sent to). The scheduler
    // must not be stepped while its effects are carried out, so such inputs wait.
    /// Whether [`SwarmService::input`] is at work.
    stepping: bool,
}

impl SwarmService {
    pub fn new(
        me: PeerId,
        upload_policy: UploadPolicy,
        rates: Rates,
        net: NetHandle,
        store: Arc<ContentStore>,
        origins: Origins,
        event_to: mpsc::Sender<TaskEvent>,
    ) -> Self {
        Self {
            swarm: Swarm::new(SwarmConfig { me, seed: rand::random(), rates }),
            upload_policy,
            net,
            store,
            clock: Clock::default(),
            peers: BTreeMap::new(),
            topics: BTreeMap::new(),
            announced: None,
            origins,
            connections: 0,
            backlogs: AllBacklogs::default(),
            opens: Arc::default(),
            own_opens: Arc::default(),
            closings: 0,
            open_bytes_max: OPEN_BYTES_MAX,
            event_to,
            grew: false,
            collects: false,
            frees: false,
            blamed: LogLimit::new(COMPLAINT_EVERY),
            inputs: VecDeque::new(),
            stepping: false,
        }
    }

    /// Runs until the network or all handles have ended.
    pub async fn run(
        mut self,
        mut links: mpsc::Receiver<ContentLink>,
        mut events: mpsc::Receiver<TaskEvent>,
        mut commands: mpsc::Receiver<ContentCommand>,
    ) {
        let mut sync = interval(SYNC_EVERY);
        // A late sync makes the ones that were missed durable too.
        sync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wait = self.swarm.deadline().map(|at| self.clock.until(at));
            let due = async {
                match wait {
                    // The swarm's time has no finer than this.
                    Some(wait) => sleep(wait.max(Duration::from_millis(1))).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                link = links.recv() => match link {
                    Some(link) => self.on_connected(link),
                    None => break,
                },
                Some(event) = events.recv() => self.on_event(event),
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                () = due => self.input(SchedulerInput::Tick),
                _ = sync.tick() => self.on_sync_tick(),
            }
        }
        // Bytes since the last sync would be fetched again after the restart.
        for opened in self.topics.values().filter_map(Topic::opened) {
            if let Err(error) = opened.store.sync() {
                tracing::warn!(%error, "what came last is not durable");
            }
        }
    }

    fn on_connected(&mut self, link: ContentLink) {
        let (peer, standing) = (link.peer, link.standing);
        // The peer connected anew: requests of its former connection are void.
        self.on_disconnected(peer);
        self.connections += 1;
        let (events, backlogs) = (self.event_to.clone(), self.backlogs.clone());
        let connected = ConnectedPeer {
            streams: PeerStreams::start(link, self.connections, events, backlogs),
            standing,
            asked: 0,
            stray: RateLimiter::new(STRAY_RATE, STRAY_BURST),
            opens: Arc::default(),
            wishes: BTreeSet::new(),
            announced: None,
        };
        self.peers.insert(peer, connected);
        if let Some(announced) = self.announced {
            self.send(peer, &announced.message());
        }
        let sought: Vec<Resource> =
            self.topics.iter().filter(|(_, t)| t.seeks()).map(|t| *t.0).collect();
        for resource in sought {
            self.send(peer, &SwarmMessage::Find { resource });
        }
    }

    /// The peer is gone for every resource.
    fn on_disconnected(&mut self, peer: PeerId) {
        if self.peers.remove(&peer).is_none() {
            return;
        }
        for topic in self.topics.values_mut() {
            topic.peers.remove(&peer);
            topic.named.forget(&peer);
        }
        self.input(SchedulerInput::Left { source: Source::Peer(peer) });
    }

    fn on_event(&mut self, event: TaskEvent) {
        match event {
            TaskEvent::Gone { peer, connection, offence } => {
                if let Some(offence) = offence {
                    self.blame(peer, offence);
                }
                if self.is_current(peer, connection) {
                    self.on_disconnected(peer);
                }
            }
            TaskEvent::Message { peer, connection, message, held } => {
                if self.is_current(peer, connection) {
                    self.on_message(peer, message, held);
                }
            }
            TaskEvent::Opened { peer, connection, resource, closings, result, held } => {
                self.on_opened(peer, connection, resource, closings, result, held);
            }
            TaskEvent::OpenedForUser { request, closings, result } => {
                self.on_opened_for_user(request, closings, result);
            }
            TaskEvent::Misdeed { peer, offence } => self.blame(peer, offence),
            TaskEvent::Arrived { resource, request, source, groups, bytes } => {
                self.on_arrived(resource, source, bytes);
                self.input(SchedulerInput::Arrived { resource, request, groups });
                // A reader that waits for these very bytes does not wait for the rest.
                self.finish_wants(resource);
            }
            TaskEvent::Failed { resource, request, failure } => {
                self.input(SchedulerInput::Failed { resource, request, failure });
            }
            TaskEvent::OriginLeft { web, resource, for_good } => {
                self.origins.on_left(resource, web, for_good);
                self.input(SchedulerInput::Left { source: Source::Web(web) });
            }
            TaskEvent::Hashed { resource } => self.start_origins(resource),
            TaskEvent::Broken { opened, error } => self.on_disk_error(&opened, &error),
            TaskEvent::Excess { ids } => self.on_excess(ids),
            TaskEvent::Freed { result } => {
                (self.frees, self.collects) = (false, false);
                self.net.provide(self.store.whole(PROVIDED_MAX));
                if let Err(error) = result {
                    tracing::error!(%error, "cannot remove a resource");
                }
            }
            TaskEvent::Damaged { opened, part } => {
                let damage = opened.damage(vec![part.clone()]);
                self.cannot_serve(opened.resource, &damage.words);
                opened.note(Some(damage.words));
                self.drop_damaged(&opened, &[part]);
            }
            TaskEvent::Unreadable { opened, why } => self.cannot_serve(opened.resource, &why),
            TaskEvent::Served { resource, peer, ticket } => {
                if let Some(topic) = self.topics.get_mut(&resource) {
                    topic.serve();
                }
                self.input(SchedulerInput::Served { resource, peer, ticket });
            }
            TaskEvent::Synced { opened, result } => {
                if let Some(topic) = self.topics.get_mut(&opened.resource) {
                    topic.syncing = false;
                }
                if let Err(error) = result {
                    self.on_disk_error(&opened, &error);
                }
            }
            TaskEvent::Look { resource, after } => self.on_look(resource, after),
        }
    }

    /// Bytes of a source came and verified.
    fn on_arrived(&mut self, resource: Resource, source: Source, bytes: u64) {
        if let Some(topic) = self.topics.get_mut(&resource) {
            topic.on_bytes(source, bytes);
            self.grew = true;
            self.store.arrived(topic.id, bytes);
        }
        match source {
            Source::Peer(peer) => self.on_verified(peer),
            Source::Web(web) => {
                if self.origins.on_verified(resource, web) {
                    self.send_origins(resource, None);
                }
            }
        }
    }

    // Events of a former connection of the same peer may still be on their way.
    /// Whether a connection is the peer's newest.
    fn is_current(&self, peer: PeerId, connection: u64) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.streams.connection == connection)
    }

    /// The store of a resource that is open.
    fn opened(&self, resource: Resource) -> Option<&Arc<OpenStore>> {
        self.topics.get(&resource)?.opened()
    }

    /// Whether a peer takes part in a resource.
    fn is_joined(&self, resource: Resource, peer: PeerId) -> bool {
        self.topics.get(&resource).is_some_and(|topic| topic.peers.contains_key(&peer))
    }

    /// Notes why peers do not get what was here.
    fn cannot_serve(&self, resource: Resource, why: &dyn fmt::Display) {
        if self.store.complaints.shows(resource, Instant::now().into_std()).is_some() {
            let id = self.store.id(resource);
            let id = id.map_or_else(|| "gone".into(), |id| id.to_string());
            tracing::warn!(id, %why, "cannot serve what was here");
        }
    }

    fn blame(&mut self, peer: PeerId, offence: Offence) {
        // A validator is not banned for all that it does.
        if self.blamed.shows((peer, offence), Instant::now().into_std()).is_some() {
            tracing::warn!(%peer, ?offence, "a peer misbehaved in the swarm");
        }
        self.net.blame(peer, offence);
    }

    /// Answers the callers whose pieces are here.
    fn finish_wants(&mut self, resource: Resource) {
        // By the pieces that the scheduler has counted. The store is ahead of it, and a
        // piece that is not wanted any more before it is counted is never announced to
        // peers.
        self.change_wants(resource, |topic, swarm| {
            if let Some(have) = swarm.have(resource) {
                topic.finish_wants(have);
            }
        });
    }

    /// Changes the wants of a resource, and tells the scheduler if the wanted pieces
    /// changed.
    fn change_wants(&mut self, resource: Resource, change: impl FnOnce(&mut Topic, &Swarm)) {
        let Some(topic) = self.topics.get_mut(&resource) else { return };
        let before = topic.wanted();
        change(topic, &self.swarm);
        let wanted = topic.wanted();
        if wanted != before {
            let (pieces, sequential) = wanted.unwrap_or((0..0, false));
            self.input(SchedulerInput::Want { resource, pieces, sequential });
        }
    }

    /// The node's own disk failed: all callers of the resource get the error.
    fn on_disk_error(&mut self, opened: &Arc<OpenStore>, error: &io::Error) {
        let (id, resource) = (opened.id, opened.resource);
        // It may have been closed meanwhile, and be open anew.
        if !self.opened(resource).is_some_and(|now| Arc::ptr_eq(now, opened)) {
            return;
        }
        tracing::error!(%id, %error, "cannot write content");
        let why = format!("{error}; {}", trefoil_os::disk::cure(error));
        if !is_full(error) {
            return self.close(resource, &FetchError::Disk(why));
        }
        let goes = self.least_whole(id);
        self.close_all(id, &FetchError::NoRoom(why.clone()));
        // Others write on this disk too, and may have made room.
        let full = self.store.space.look().is_ok_and(|room| room < CHUNK as u64);
        // One at a time: all transfers fail on a full disk, and one of them makes room for many.
        if let Some(goes) = goes.filter(|_| full && !self.frees) {
            self.close_all(goes, &FetchError::NoRoom(why));
            tracing::error!(id = %goes, "what came of it is removed: there is no room");
            self.frees = true;
            self.free(vec![goes], ContentStore::remove);
        }
    }

    fn free(&mut self, ids: Vec<ContentId>, remove: Remove) {
        let (store, events) = (self.store.clone(), self.event_to.clone());
        task::spawn_blocking(move || {
            // The operator may have removed some.
            let mut here = ids.into_iter().filter(|id| store.metadata(*id).is_some());
            let result = here.try_for_each(|id| remove(&store, id));
            // The service may have ended.
            let _ = events.blocking_send(TaskEvent::Freed { result });
        });
    }

    /// Looks for what the quota has no room for, if anything came since this was last done.
    fn look_for_excess(&mut self) {
        if self.store.quota.is_none() || self.collects || !std::mem::take(&mut self.grew) {
            return;
        }
        self.collects = true;
        // What is being fetched cannot go before that has ended.
        self.grew = self.topics.values().any(Topic::seeks);
        let (store, events) = (self.store.clone(), self.event_to.clone());
        task::spawn_blocking(move || {
            let ids = store.excess();
            // The service may have ended.
            let _ = events.blocking_send(TaskEvent::Excess { ids });
        });
    }

    fn on_excess(&mut self, mut ids: Vec<ContentId>) {
        // The user may want it since.
        ids.retain(|id| !self.store.is_awaited(*id));
        for id in &ids {
            self.close_all(*id, &FetchError::Removed);
        }
        match ids.is_empty() {
            true => self.collects = false,
            false => self.free(ids, ContentStore::remove_excess),
        }
    }

    // What would keep the disk full goes, and not what is nearly here.
    /// The resource of which most is still to come: the one that `failed`, or another that is
    /// being fetched.
    fn least_whole(&self, failed: ContentId) -> Option<ContentId> {
        let open = self.topics.values().filter(|topic| topic.id == failed || topic.seeks());
        let partial = open.filter(|topic| self.store.is_partial(topic.id));
        let opened = partial.filter_map(Topic::opened);
        opened
            .max_by_key(|opened| opened.layout.bytes().saturating_sub(opened.bytes_here()))
            .map(|opened| opened.id)
    }

    /// Closes all parts of a resource.
    fn close_all(&mut self, id: ContentId, why: &FetchError) {
        self.closings += 1;
        let topics = self.topics.iter().filter(|(_, topic)| topic.id == id);
        for resource in topics.map(|(resource, _)| *resource).collect::<Vec<_>>() {
            self.close(resource, why);
        }
    }

    fn close(&mut self, resource: Resource, why: &FetchError) {
        self.input(SchedulerInput::Close { resource });
        self.origins.close(resource);
        if let Some(topic) = self.topics.remove(&resource) {
            topic.fail(why);
        }
    }

    /// Syncs new bytes, ends fetches that nobody waits for, and closes idle stores.
    fn on_sync_tick(&mut self) {
        // Others write on this disk too.
        if let Err(error) = self.store.space.look() {
            tracing::warn!(%error, "cannot tell how much room content has");
        }
        let store = self.store.clone();
        task::spawn_blocking(move || store.write_uses());
        let resources: Vec<Resource> = self.topics.keys().copied().collect();
        for resource in resources {
            self.change_wants(resource, |topic, _| topic.forget_unwanted());
            self.start_origins(resource);
            self.dial_named(resource);
            let Some(topic) = self.topics.get_mut(&resource) else { continue };
            if topic.is_idle(Instant::now()) {
                self.close(resource, &FetchError::Removed);
            } else if let Some(opened) = topic.take_unsynced() {
                let events = self.event_to.clone();
                task::spawn_blocking(move || {
                    let result = opened.store.sync();
                    let _ = events.blocking_send(TaskEvent::Synced { opened, result });
                });
            }
        }
        self.look_for_excess();
    }
}
