//! The task that owns the swarm: carries what happens to it, and what it decides
//! to the peers' tasks.
//!
//! What always holds: it waits for no peer and moves no bulk bytes, so that one
//! slow peer delays nobody (of the disk it waits when it opens a store, and for the
//! last group of an offer); what it keeps for a peer is bounded.

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
    message::Message,
    scheduler::{Config, Input, Manner, Rates, Resource, Source, Swarm},
};
use trefoil_net::{ContentLink, NetHandle};
use trefoil_os::clock::Clock;
use trefoil_types::{Offence, PeerId, Standing};

use crate::{
    error::FetchError,
    events::{Announced, Command, Event},
    fetch::Topic,
    origins::Origins,
    peer::Peer,
    store::Library,
};

/// Stores are synced this often while something comes, and idle ones closed.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Events that wait.
pub const EVENTS_MAX: usize = 4_096;

struct Neighbour {
    streams: Peer,
    standing: Standing,
    /// What it seeks and we did not have.
    wishes: BTreeSet<Resource>,
    announced: Option<Announced>,
}

pub struct Driver {
    swarm: Swarm,
    manner: Manner,
    net: NetHandle,
    library: Arc<Library>,
    clock: Clock,
    neighbours: BTreeMap<PeerId, Neighbour>,
    topics: BTreeMap<Resource, Topic>,
    announced: Option<Announced>,
    origins: Origins,
    links: u64,
    event_to: mpsc::Sender<Event>,
    inputs: VecDeque<Input>,
    /// Whether [`Driver::input`] is at work.
    stepping: bool,
}

impl Driver {
    pub fn new(
        me: PeerId,
        manner: Manner,
        rates: Rates,
        net: NetHandle,
        library: Arc<Library>,
        origins: Origins,
        event_to: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            swarm: Swarm::new(Config { me, seed: rand::random(), rates }),
            manner,
            net,
            library,
            clock: Clock::default(),
            neighbours: BTreeMap::new(),
            topics: BTreeMap::new(),
            announced: None,
            origins,
            links: 0,
            event_to,
            inputs: VecDeque::new(),
            stepping: false,
        }
    }

    /// Until the network and all who give commands have ended.
    pub async fn run(
        mut self,
        mut links: mpsc::Receiver<ContentLink>,
        mut events: mpsc::Receiver<Event>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let mut sync = interval(SYNC_EVERY);
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
                    Some(link) => self.connected(link),
                    None => break,
                },
                Some(event) = events.recv() => self.event(event),
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                () = due => self.input(Input::Tick),
                _ = sync.tick() => self.tidy(),
            }
        }
        for held in self.topics.values().filter_map(Topic::held) {
            if let Err(error) = held.store.sync() {
                tracing::warn!(%error, "what came last is not durable");
            }
        }
    }

    fn connected(&mut self, link: ContentLink) {
        let (peer, standing) = (link.peer, link.standing);
        self.left(peer);
        self.links += 1;
        let streams = Peer::start(link, self.links, self.event_to.clone());
        let neighbour = Neighbour { streams, standing, wishes: BTreeSet::new(), announced: None };
        self.neighbours.insert(peer, neighbour);
        if let Some(announced) = self.announced {
            self.say(peer, announced.message());
        }
        let sought: Vec<Resource> =
            self.topics.iter().filter(|(_, t)| t.seeks()).map(|t| *t.0).collect();
        for resource in sought {
            self.say(peer, Message::Find { resource });
        }
    }

    /// The peer is gone for every resource.
    fn left(&mut self, peer: PeerId) {
        if self.neighbours.remove(&peer).is_none() {
            return;
        }
        for topic in self.topics.values_mut() {
            topic.peers.remove(&peer);
        }
        self.input(Input::Left { source: Source::Peer(peer) });
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Gone { peer, link, offence } => {
                if let Some(offence) = offence {
                    self.blame(peer, offence);
                }
                if self.neighbours.get(&peer).is_some_and(|n| n.streams.link == link) {
                    self.left(peer);
                }
            }
            Event::Heard { peer, link, message } => {
                if self.neighbours.get(&peer).is_some_and(|n| n.streams.link == link) {
                    self.heard(peer, message);
                }
            }
            Event::Arrived { resource, request, source, groups, bytes } => {
                if let Some(topic) = self.topics.get_mut(&resource) {
                    topic.came(source, bytes);
                }
                if let Source::Peer(peer) = source {
                    self.brought(peer);
                }
                if let Source::Web(web) = source
                    && self.origins.gave(resource, web)
                {
                    self.tell_origins(resource, None);
                }
                self.input(Input::Arrived { resource, request, groups });
                // Who reads along does not wait for the rest.
                self.settle(resource);
            }
            Event::Failed { resource, request, failure } => {
                self.input(Input::Failed { resource, request, failure });
            }
            Event::OriginLeft { web, resource, for_good } => {
                self.origins.left(resource, web, for_good);
                self.input(Input::Left { source: Source::Web(web) });
            }
            Event::Hashed { resource } => self.approach(resource),
            Event::Broken { resource, error } => self.broken(resource, &error),
            Event::Damaged { held, part } => {
                let damage = held.damage(vec![part.clone()]);
                tracing::warn!(id = %held.id, %damage, "cannot serve what was here");
                held.note(Some(damage.to_string()));
                self.lose(&held, &[part]);
            }
            Event::Served { resource, peer, ticket } => {
                if let Some(topic) = self.topics.get_mut(&resource) {
                    topic.touch();
                }
                self.input(Input::Served { resource, peer, ticket });
            }
            Event::Synced { resource, result } => {
                if let Some(topic) = self.topics.get_mut(&resource) {
                    topic.syncing = false;
                }
                if let Err(error) = result {
                    self.broken(resource, &error);
                }
            }
            Event::Look { resource, after } => self.look(resource, after),
        }
    }

    fn blame(&mut self, peer: PeerId, offence: Offence) {
        tracing::warn!(%peer, ?offence, "a peer misbehaved in the swarm");
        self.net.blame(peer, offence);
    }

    /// Tells those whose pieces are here.
    fn settle(&mut self, resource: Resource) {
        // What the swarm counts, not what the store has: that is ahead of it, and what is
        // not wanted any more before it is counted would never be told to peers.
        self.wish(resource, |topic, swarm| {
            if let Some(have) = swarm.have(resource) {
                topic.settle(have);
            }
        });
    }

    /// Lets the swarm know if a change of a topic's wishes is one of what is wanted.
    fn wish(&mut self, resource: Resource, change: impl FnOnce(&mut Topic, &Swarm)) {
        let Some(topic) = self.topics.get_mut(&resource) else { return };
        let before = topic.wanted();
        change(topic, &self.swarm);
        let wanted = topic.wanted();
        if wanted != before {
            let (pieces, sequential) = wanted.unwrap_or((0..0, false));
            self.input(Input::Want { resource, pieces, sequential });
        }
    }

    /// Our own disk failed: whoever waits is told.
    fn broken(&mut self, resource: Resource, error: &std::io::Error) {
        tracing::error!(%error, "cannot write content");
        let cure = trefoil_os::disk::cure(error);
        self.close(resource, &FetchError::Disk(format!("{error}; {cure}")));
    }

    fn close(&mut self, resource: Resource, why: &FetchError) {
        self.input(Input::Close { resource });
        self.origins.close(resource);
        if let Some(topic) = self.topics.remove(&resource) {
            topic.fail(why);
        }
    }

    /// Makes durable what came, ends what nobody waits for, and closes what
    /// nobody used for a while.
    fn tidy(&mut self) {
        let resources: Vec<Resource> = self.topics.keys().copied().collect();
        for resource in resources {
            self.wish(resource, |topic, _| topic.forget_unwanted());
            self.approach(resource);
            let Some(topic) = self.topics.get_mut(&resource) else { continue };
            if topic.is_idle(Instant::now()) {
                self.close(resource, &FetchError::Removed);
            } else if let Some(held) = topic.take_unsynced() {
                let events = self.event_to.clone();
                task::spawn_blocking(move || {
                    let result = held.store.sync();
                    let _ = events.blocking_send(Event::Synced { resource, result });
                });
            }
        }
    }
}
