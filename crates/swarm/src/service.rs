//! The task that owns the swarm: carries what happens to it, and what it decides
//! to the peers' tasks.
//!
//! What always holds: it waits for no peer and moves no bulk bytes, so that one
//! slow peer delays nobody (of the disk it waits when it opens a store, and for the
//! last group of an offer); what it keeps for a peer is bounded.

mod discovery;
mod http_origins;

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
    News, Part,
    message::Message,
    scheduler::{
        Config, Effect, Failure, Input, Manner, Rates, Refusal, RequestId, Resource, Source, Swarm,
        Ticket,
    },
};
use trefoil_net::{ContentLink, NetHandle};
use trefoil_os::clock::Clock;
use trefoil_types::{Offence, PeerId, Standing};

use super::{
    FetchError,
    fetch::{Topic, Want},
    origins::Origins,
    peer::{Incoming, Peer, Serving},
    store::{Held, Library, LibraryError},
};
pub use crate::events::{Announced, Command, Event};

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

    fn command(&mut self, command: Command) {
        match command {
            Command::Seek { resource, seeking } => self.seek(resource, seeking),
            Command::Fetch { held, want } => self.fetch(held, want),
            // Whoever asked may be gone.
            Command::Store { resource, begin, reply } => {
                let _ = reply.send(self.store(resource, begin).map_err(FetchError::from));
            }
            Command::Lose { held, lost, reply } => {
                self.lose(&held, &lost);
                let _ = reply.send(());
            }
            Command::NewOrigins { resource } => self.new_origins(resource),
            Command::Progress { resource, reply } => {
                let progress = self.topics.get(&resource).map(Topic::progress);
                let _ = reply.send(progress);
            }
            Command::Close { id, reply } => {
                let topics = self.topics.iter().filter(|(_, topic)| topic.id == id);
                for resource in topics.map(|(resource, _)| *resource).collect::<Vec<_>>() {
                    self.close(resource, &FetchError::Removed);
                }
                let _ = reply.send(());
            }
            Command::Open { reply } => {
                let _ = reply.send(self.topics.values().map(|topic| topic.id).collect());
            }
            Command::Announce(announced) => {
                self.announced = Some(announced);
                for peer in self.neighbours.keys().copied().collect::<Vec<_>>() {
                    self.say(peer, announced.message());
                }
            }
            Command::Announced { reply } => {
                let _ = reply.send(self.told_of());
            }
            Command::Blame { peer, offence } => self.blame(peer, offence),
        }
    }

    fn fetch(&mut self, held: Arc<Held>, want: Want) {
        let resource = held.resource;
        self.open(&held);
        self.wish(resource, |topic, _| topic.want(want));
        self.settle(resource);
        self.find(resource);
        self.approach(resource);
    }

    /// Lets the swarm have a store, and tells those who wished for it.
    fn open(&mut self, held: &Arc<Held>) {
        let resource = held.resource;
        let topic = self.topics.entry(resource).or_insert_with(|| Topic::new(held.id));
        if !topic.open(held.clone()) {
            return;
        }
        self.input(Input::Open {
            resource,
            layout: held.layout.clone(),
            have: held.store.pieces(&held.layout),
            manner: self.manner,
            rates: Rates::default(),
            origin: held.origin && held.store.is_whole(),
        });
        if held.is_bytes() {
            self.origins.own(resource, self.library.origins(held.id));
        }
        let wishing = self.neighbours.iter_mut();
        let wishing = wishing.filter_map(|(peer, n)| n.wishes.remove(&resource).then_some(*peer));
        for peer in wishing.collect::<Vec<_>>() {
            self.offer(peer, resource);
        }
    }

    /// The open store of a resource; opens it if it is on disk.
    fn store(
        &mut self,
        resource: Resource,
        begin: bool,
    ) -> Result<Option<Arc<Held>>, LibraryError> {
        if let Some(held) = self.topics.get(&resource).and_then(Topic::held) {
            return Ok(Some(held.clone()));
        }
        let held = self.library.open_store(resource, begin)?.map(Arc::new);
        held.iter().for_each(|held| self.open(held));
        Ok(held)
    }

    /// The same for others: what cannot be opened is not here.
    fn shared(&mut self, resource: Resource) -> Option<Arc<Held>> {
        self.store(resource, false).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot share what was here");
            None
        })
    }

    /// Groups have changed on disk: they are not here any more, and are fetched anew when
    /// they are wanted. A user's file is left alone: it may come to be right again.
    fn lose(&mut self, held: &Held, lost: &[Part]) {
        let resource = held.resource;
        let held = self.topics.get(&resource).and_then(Topic::held).map_or(held, |open| open);
        if !held.store.is_ours() {
            return;
        }
        let mut pieces = BTreeSet::new();
        for part in lost {
            held.store.lose(part);
            pieces.extend(held.layout.pieces_of_groups(part));
        }
        self.input(Input::Lost { resource, pieces });
    }

    fn heard(&mut self, peer: PeerId, message: Message) {
        if !self.is_judged(peer) && !gives(&message) {
            return;
        }
        match message {
            Message::Find { resource } => self.sought(peer, resource),
            Message::Offer { resource, size, origin, proof } => {
                self.offered(peer, resource, size, origin, &proof);
            }
            Message::Others { resource, others } => self.others(resource, others),
            Message::Origins { resource, origins } => {
                if self.topics.get(&resource).is_some_and(|t| t.peers.contains_key(&peer)) {
                    self.origins.told(resource, origins);
                    self.approach(resource);
                }
            }
            Message::Snapshot { resource, height } => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.announced = Some(Announced { height, index: resource.0 });
                }
            }
            Message::News { resource, news } => {
                let Some(held) = self.topics.get(&resource).and_then(Topic::held) else { return };
                match News::decode(&news, held.layout.pieces()) {
                    Ok(news) => self.input(Input::Told { resource, peer, news }),
                    Err(_) => self.blame(peer, Offence::Malformed),
                }
            }
            Message::Choke { resource, choked } => {
                self.input(Input::Choked { resource, peer, choked });
            }
            Message::Ask { resource, ticket, piece, from } => {
                if self.topics.get(&resource).is_some_and(|t| t.peers.contains_key(&peer)) {
                    self.input(Input::Asked { resource, peer, ticket, piece, from });
                } else {
                    self.say(peer, Message::Refuse { resource, ticket, why: Refusal::Missing });
                }
            }
            Message::Unask { resource, ticket } => {
                self.input(Input::Unasked { resource, peer, ticket });
                let streams = self.neighbours.get(&peer).map(|n| n.streams.stop(ticket));
                if streams == Some(false) {
                    self.left(peer);
                }
            }
            Message::Refuse { resource, ticket, why } => {
                let neighbour = self.neighbours.get(&peer);
                if neighbour.is_some_and(|n| n.streams.forget(ticket).is_some()) {
                    let (request, failure) = (RequestId(ticket.0), Failure::Refused(why));
                    self.input(Input::Failed { resource, request, failure });
                }
            }
        }
    }

    /// Hands an input to the swarm and carries out what follows. An input that
    /// comes of that waits until the rest is carried out.
    fn input(&mut self, input: Input) {
        self.inputs.push_back(input);
        if std::mem::replace(&mut self.stepping, true) {
            return;
        }
        let mut effects = Vec::new();
        while let Some(input) = self.inputs.pop_front() {
            self.swarm.step(self.clock.now(), input, &mut effects);
            effects.drain(..).for_each(|effect| self.carry_out(effect));
        }
        self.stepping = false;
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Ask { request, resource, source, piece, part } => match source {
                Source::Peer(peer) => self.ask(request, resource, peer, piece, part),
                Source::Web(web) => self.ask_origin(request, resource, web, part),
            },
            Effect::Cancel { request, source } => self.cancel(request, source),
            Effect::Tell { resource, to, news } => self.tell(resource, to, &news),
            Effect::Choke { resource, peer, choked } => {
                self.say(peer, Message::Choke { resource, choked });
            }
            Effect::Serve { resource, peer, ticket, part } => {
                let Some(held) = self.topics.get(&resource).and_then(Topic::held) else { return };
                let serving = Serving { ticket, held: held.clone(), part };
                let told = self.neighbours.get(&peer).map(|n| n.streams.serve(serving));
                self.unless_slow(peer, told);
            }
            Effect::Refuse { resource, peer, ticket, why } => {
                self.say(peer, Message::Refuse { resource, ticket, why });
            }
            Effect::Blame { peer, offence } => self.blame(peer, offence),
            Effect::Leave { resource, source, failure } => {
                tracing::info!(?source, ?failure, "a source of content is left");
                if let (Source::Peer(peer), Some(topic)) = (source, self.topics.get_mut(&resource))
                {
                    topic.peers.remove(&peer);
                }
            }
            Effect::Done { resource } => self.settle(resource),
        }
    }

    fn ask(
        &mut self,
        request: RequestId,
        resource: Resource,
        peer: PeerId,
        piece: u32,
        part: Part,
    ) {
        let ticket = Ticket(request.0);
        let Some(held) = self.topics.get(&resource).and_then(Topic::held).cloned() else { return };
        let Some(neighbour) = self.neighbours.get(&peer) else { return };
        let from = part.groups.start - held.layout.part(piece).groups.start;
        let verifier = held.store.verifier(&part).expect("a store's parts are of sane size");
        neighbour.streams.expect(ticket, Incoming { held, file: part.file, verifier });
        self.say(peer, Message::Ask { resource, ticket, piece, from });
    }

    fn cancel(&mut self, request: RequestId, source: Source) {
        let ticket = Ticket(request.0);
        let peer = match source {
            Source::Peer(peer) => peer,
            Source::Web(web) => return self.origins.cancel(web, request),
        };
        let incoming = self.neighbours.get(&peer).and_then(|n| n.streams.forget(ticket));
        if let Some(incoming) = incoming {
            self.say(peer, Message::Unask { resource: incoming.held.resource, ticket });
        }
    }

    fn tell(&mut self, resource: Resource, to: Option<PeerId>, news: &News) {
        self.say_to(to, resource, &Message::News { resource, news: news.encode() });
    }

    /// `None`: to all peers of the resource.
    fn say_to(&mut self, to: Option<PeerId>, resource: Resource, message: &Message) {
        let topic = self.topics.get(&resource).into_iter();
        let all = || topic.flat_map(|topic| topic.peers.keys().copied()).collect();
        for peer in to.map_or_else(all, |peer| vec![peer]) {
            self.say(peer, message.clone());
        }
    }

    fn say(&mut self, peer: PeerId, message: Message) {
        if !self.is_judged(peer) && !asks(&message) {
            return;
        }
        let told = self.neighbours.get(&peer).map(|n| n.streams.say(message));
        self.unless_slow(peer, told);
    }

    /// Who does not read is left, so that nothing piles up for it. Later, since
    /// the swarm may be in the middle of a step.
    fn unless_slow(&mut self, peer: PeerId, told: Option<bool>) {
        let Some(neighbour) = self.neighbours.get(&peer).filter(|_| told == Some(false)) else {
            return;
        };
        let gone = Event::Gone { peer, link: neighbour.streams.link, offence: None };
        let events = self.event_to.clone();
        task::spawn(async move { events.send(gone).await });
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

/// What may be heard of a peer that is not judged yet: what a newcomer needs to fetch
/// from it.
const fn gives(message: &Message) -> bool {
    match message {
        Message::Offer { .. }
        | Message::News { .. }
        | Message::Choke { .. }
        | Message::Refuse { .. }
        | Message::Snapshot { .. } => true,
        Message::Find { .. }
        | Message::Ask { .. }
        | Message::Unask { .. }
        | Message::Others { .. }
        | Message::Origins { .. } => false,
    }
}

/// What may be said to one: what it is asked for, and not what is here.
const fn asks(message: &Message) -> bool {
    matches!(message, Message::Find { .. } | Message::Ask { .. } | Message::Unask { .. })
}
