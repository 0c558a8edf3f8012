//! The task that owns the scheduler: it hands events to it, and its decisions to the peers'
//! tasks.
//!
//! What always holds: it waits for no peer and moves no bulk bytes, so that one
//! slow peer delays nobody (of the disk it waits when it opens a store, and for the
//! last group of an offer); the memory for a peer is bounded.

mod commands;
mod discovery;
mod effects;
mod http_origins;
mod messages;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use trefoil_content::{
    message::SwarmMessage,
    scheduler::{Rates, Resource, SchedulerInput, Source, Swarm, SwarmConfig, UploadPolicy},
};
use trefoil_os::clock::Clock;
use trefoil_p2p::{ContentLink, NetHandle};
use trefoil_types::{Offence, PeerId, Standing};

use crate::{
    error::FetchError,
    events::{Announced, ContentCommand, TaskEvent},
    fetch::Topic,
    origins::Origins,
    peer::PeerStreams,
    store::{ContentStore, OpenStore},
};

// A group counts after a crash only if it was synced (ADR 15), and a sync of each group
// alone would wait for the disk each time. A crash loses the last second, which is fetched
// again.
/// Stores are synced this often while something comes, and idle ones closed.
const SYNC_EVERY: Duration = Duration::from_secs(1);

// The peers' readers wait when it is full, so a fast peer is slowed down at its socket.
/// Events that wait.
pub const EVENTS_MAX: usize = 4_096;

struct ConnectedPeer {
    streams: PeerStreams,
    standing: Standing,
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
    event_to: mpsc::Sender<TaskEvent>,
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
            event_to,
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
        let streams = PeerStreams::start(link, self.connections, self.event_to.clone());
        let connected =
            ConnectedPeer { streams, standing, wishes: BTreeSet::new(), announced: None };
        self.peers.insert(peer, connected);
        if let Some(announced) = self.announced {
            self.send(peer, announced.message());
        }
        let sought: Vec<Resource> =
            self.topics.iter().filter(|(_, t)| t.seeks()).map(|t| *t.0).collect();
        for resource in sought {
            self.send(peer, SwarmMessage::Find { resource });
        }
    }

    /// The peer is gone for every resource.
    fn on_disconnected(&mut self, peer: PeerId) {
        if self.peers.remove(&peer).is_none() {
            return;
        }
        for topic in self.topics.values_mut() {
            topic.peers.remove(&peer);
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
            TaskEvent::Message { peer, connection, message } => {
                if self.is_current(peer, connection) {
                    self.on_message(peer, message);
                }
            }
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
            TaskEvent::Broken { resource, error } => self.on_disk_error(resource, &error),
            TaskEvent::Damaged { opened, part } => {
                let damage = opened.damage(vec![part.clone()]);
                tracing::warn!(id = %opened.id, damage = %damage.words, "cannot serve what was here");
                opened.note(Some(damage.words));
                self.drop_damaged(&opened, &[part]);
            }
            TaskEvent::Served { resource, peer, ticket } => {
                if let Some(topic) = self.topics.get_mut(&resource) {
                    topic.touch();
                }
                self.input(SchedulerInput::Served { resource, peer, ticket });
            }
            TaskEvent::Synced { resource, result } => {
                if let Some(topic) = self.topics.get_mut(&resource) {
                    topic.syncing = false;
                }
                if let Err(error) = result {
                    self.on_disk_error(resource, &error);
                }
            }
            TaskEvent::Look { resource, after } => self.on_look(resource, after),
        }
    }

    /// Bytes of a source came and verified.
    fn on_arrived(&mut self, resource: Resource, source: Source, bytes: u64) {
        if let Some(topic) = self.topics.get_mut(&resource) {
            topic.on_bytes(source, bytes);
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

    fn blame(&mut self, peer: PeerId, offence: Offence) {
        tracing::warn!(%peer, ?offence, "a peer misbehaved in the swarm");
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
    fn on_disk_error(&mut self, resource: Resource, error: &std::io::Error) {
        tracing::error!(%error, "cannot write content");
        let cure = trefoil_os::disk::cure(error);
        self.close(resource, &FetchError::Disk(format!("{error}; {cure}")));
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
        let resources: Vec<Resource> = self.topics.keys().copied().collect();
        for resource in resources {
            self.change_wants(resource, |topic, _| topic.forget_unwanted());
            self.start_origins(resource);
            let Some(topic) = self.topics.get_mut(&resource) else { continue };
            if topic.is_idle(Instant::now()) {
                self.close(resource, &FetchError::Removed);
            } else if let Some(opened) = topic.take_unsynced() {
                let events = self.event_to.clone();
                task::spawn_blocking(move || {
                    let result = opened.store.sync();
                    let _ = events.blocking_send(TaskEvent::Synced { resource, result });
                });
            }
        }
    }
}
