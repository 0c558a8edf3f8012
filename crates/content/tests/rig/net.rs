//! The network: who is there, what is under way, and what happens next.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use trefoil_content::{
    Bits, Layout, News, Part,
    scheduler::{
        Effect, FetchFailure, Rates, RejectReason, RequestId, Resource, SchedulerInput, Source,
        SourceRole, Swarm, SwarmConfig, Ticket, UploadPolicy,
    },
};
use trefoil_types::{PeerId, PublicKey, Time};

/// Wire bytes for each 1,000 of content: TCP/IP and Ethernet 46 (1,448 of 1,514),
/// hashes 12, frames and tags 3.
const OVERHEAD: u64 = 1_061;

pub const RESOURCE: Resource = Resource([7; 32]);

/// Microseconds since the run began.
pub type Micros = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    Honest,
    /// Takes and never gives.
    FreeRider,
    /// Gives bad bytes.
    Poisoner,
}

#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Bytes a second.
    pub up: u64,
    pub down: u64,
}

/// A node, or a web server (then `swarm` stays empty).
pub struct Machine {
    pub swarm: Option<Swarm>,
    pub conduct: Conduct,
    pub rate: Rate,
    pub neighbours: BTreeSet<usize>,
    /// A life of it; what was under way to an earlier one is lost.
    pub life: u32,
    pub here: Bits,
    pub done_at: Option<Micros>,
    /// Bytes of content that it sent, and that came and were not wanted.
    pub sent: u64,
    pub wasted: u64,
    pub poisoned: u64,
    pub web: bool,
    up_free: Micros,
    down_free: Micros,
    tick_at: Option<Micros>,
    open: BTreeMap<RequestId, Part>,
    /// A web server's connections: what each waits for.
    queues: BTreeMap<usize, Vec<(RequestId, Part)>>,
    queue_turn: usize,
}

enum Event {
    Tick {
        at: usize,
    },
    /// Something for a swarm.
    Input {
        to: usize,
        life: u32,
        input: SchedulerInput,
    },
    /// A part has wholly come.
    Delivered {
        to: usize,
        life: u32,
        request: RequestId,
        part: Part,
        bad: bool,
    },
    /// A web server's uplink is free.
    WebFree {
        at: usize,
    },
    WebAsk {
        at: usize,
        from: usize,
        request: RequestId,
        part: Part,
    },
    WebUnask {
        at: usize,
        from: usize,
        request: RequestId,
    },
    /// The scenario's own business.
    Plan(usize),
}

pub struct Net {
    pub now: Micros,
    pub machines: Vec<Machine>,
    pub layout: Layout,
    pub delay: Micros,
    pub upload_policy: UploadPolicy,
    pub rates: Rates,
    pub banned: BTreeSet<(usize, usize)>,
    /// How many honest nodes have all.
    pub honest_done: usize,
    seed: u64,
    events: BinaryHeap<Reverse<(Micros, u64)>>,
    bodies: BTreeMap<u64, Event>,
    next: u64,
}

pub fn peer(at: usize) -> PeerId {
    let mut key = [0; 32];
    // Names are even, as keys are.
    key[..8].copy_from_slice(&(at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[24..].copy_from_slice(&(at as u64).to_be_bytes());
    PeerId(PublicKey(key.into()))
}

fn index(peer: &PeerId) -> usize {
    let bytes: [u8; 8] = peer.0.0[24..].try_into().expect("8 bytes");
    u64::from_be_bytes(bytes) as usize
}

fn left(at: usize, web: bool) -> SchedulerInput {
    SchedulerInput::Left { source: if web { Source::Web(0) } else { Source::Peer(peer(at)) } }
}

impl Net {
    pub fn new(layout: Layout, delay: Micros, upload_policy: UploadPolicy, seed: u64) -> Self {
        Self {
            now: 0,
            machines: Vec::new(),
            layout,
            delay,
            upload_policy,
            rates: Rates::default(),
            banned: BTreeSet::new(),
            honest_done: 0,
            seed,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            next: 0,
        }
    }

    pub fn add(&mut self, conduct: Conduct, rate: Rate, web: bool) -> usize {
        let pieces = u64::from(self.layout.pieces());
        self.machines.push(Machine {
            swarm: None,
            conduct,
            rate,
            neighbours: BTreeSet::new(),
            life: 0,
            here: Bits::none(pieces),
            done_at: None,
            sent: 0,
            wasted: 0,
            poisoned: 0,
            web,
            up_free: 0,
            down_free: 0,
            tick_at: None,
            open: BTreeMap::new(),
            queues: BTreeMap::new(),
            queue_turn: 0,
        });
        self.machines.len() - 1
    }

    /// Starts a node with what is here of an earlier life.
    pub fn start(&mut self, at: usize, origin: bool) {
        let config = SwarmConfig { me: peer(at), seed: self.seed + at as u64, rates: self.rates };
        let machine = &mut self.machines[at];
        machine.life += 1;
        machine.swarm = Some(Swarm::new(config));
        let open = SchedulerInput::Open {
            resource: RESOURCE,
            layout: self.layout.clone(),
            have: machine.here.clone(),
            upload_policy: self.upload_policy,
            origin,
        };
        self.input(at, open);
        let pieces = 0..self.layout.pieces();
        self.input(at, SchedulerInput::Want { resource: RESOURCE, pieces, sequential: false });
    }

    /// Ends a process: what it had not finished is lost, and all see it go, after
    /// what it sent: that stands before the end of its connection in their downlink.
    pub fn kill(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        machine.swarm = None;
        machine.life += 1;
        machine.open.clear();
        machine.queues.clear();
        machine.tick_at = None;
        let web = machine.web;
        for other in std::mem::take(&mut machine.neighbours) {
            let receiver = &mut self.machines[other];
            receiver.neighbours.remove(&at);
            let (seen, life) = (receiver.down_free.max(self.now + self.delay), receiver.life);
            self.push(seen, Event::Input { to: other, life, input: left(at, web) });
        }
    }

    pub fn connect(&mut self, a: usize, b: usize, origin: Option<usize>) {
        let new = self.machines[a].neighbours.insert(b);
        if a == b || !new || self.banned.contains(&(a.min(b), a.max(b))) {
            return;
        }
        self.machines[b].neighbours.insert(a);
        for (at, other) in [(a, b), (b, a)] {
            let web = self.machines[other].web;
            let source = if web { Source::Web(0) } else { Source::Peer(peer(other)) };
            let role = if origin == Some(other) { SourceRole::Origin } else { SourceRole::Peer };
            self.post(at, SchedulerInput::Joined { resource: RESOURCE, source, role });
        }
    }

    pub fn plan(&mut self, at: Micros, what: usize) {
        self.push(at, Event::Plan(what));
    }

    /// Runs to the next point of the scenario's plan; `None`: nothing is left.
    /// `watch` is asked after every event whether to stop.
    pub fn run(&mut self, mut watch: impl FnMut(&mut Net) -> bool) -> Option<usize> {
        while let Some(Reverse((at, id))) = self.events.pop() {
            self.now = at;
            let event = self.bodies.remove(&id).expect("each event has a body");
            if let Some(plan) = self.happen(event) {
                return Some(plan);
            }
            if watch(self) {
                return None;
            }
        }
        None
    }

    fn happen(&mut self, event: Event) -> Option<usize> {
        match event {
            Event::Plan(what) => return Some(what),
            Event::Tick { at } => {
                if self.machines[at].tick_at == Some(self.now) {
                    self.machines[at].tick_at = None;
                    self.input(at, SchedulerInput::Tick);
                }
            }
            Event::Input { to, life, input } => {
                if self.machines[to].life == life {
                    self.input(to, input);
                }
            }
            Event::Delivered { to, life, request, part, bad } => {
                if self.machines[to].life == life {
                    self.delivered(to, request, part, bad);
                }
            }
            Event::WebAsk { at, from, request, part } => {
                self.machines[at].queues.entry(from).or_default().push((request, part));
                self.web_serve(at);
            }
            Event::WebUnask { at, from, request } => {
                if let Some(queue) = self.machines[at].queues.get_mut(&from) {
                    queue.retain(|(other, _)| *other != request);
                }
            }
            Event::WebFree { at } => self.web_serve(at),
        }
        None
    }

    fn delivered(&mut self, to: usize, request: RequestId, part: Part, bad: bool) {
        let bytes = self.layout.part_bytes(&part);
        let machine = &mut self.machines[to];
        if machine.open.remove(&request).is_none() {
            machine.wasted += bytes;
            return;
        }
        let input = if bad && machine.conduct != Conduct::Poisoner {
            machine.poisoned += 1;
            let failure = FetchFailure::Corrupt { group: part.groups.start };
            SchedulerInput::Failed { resource: RESOURCE, request, failure }
        } else {
            let groups = part.groups.end - part.groups.start;
            SchedulerInput::Arrived { resource: RESOURCE, request, groups }
        };
        self.input(to, input);
    }

    /// Hands an input to a swarm and carries out what follows.
    fn input(&mut self, at: usize, input: SchedulerInput) {
        let mut effects = Vec::new();
        let now = Time(self.now / 1_000);
        let Some(swarm) = &mut self.machines[at].swarm else { return };
        swarm.step(now, input, &mut effects);
        let deadline = swarm.deadline();
        for effect in effects {
            self.carry_out(at, effect);
        }
        // Never sooner than the next millisecond: the swarm's time has no finer.
        let due = deadline.map(|due| (due.0 * 1_000).max((self.now / 1_000 + 1) * 1_000));
        let machine = &mut self.machines[at];
        if let Some(due) = due.filter(|due| machine.tick_at.is_none_or(|at| at > *due)) {
            machine.tick_at = Some(due);
            self.push(due, Event::Tick { at });
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Ask { request, source, piece, part, .. } => {
                self.machines[at].open.insert(request, part.clone());
                match source {
                    Source::Peer(to) => {
                        let from = part.groups.start - self.layout.part(piece).groups.start;
                        let ticket = Ticket(request.0);
                        let peer = peer(at);
                        let asked =
                            SchedulerInput::Asked { resource: RESOURCE, peer, ticket, piece, from };
                        self.post(index(&to), asked);
                    }
                    Source::Web(_) => {
                        if let Some(web) = self.web_of(at) {
                            let ask = Event::WebAsk { at: web, from: at, request, part };
                            self.push(self.now + self.delay, ask);
                        }
                    }
                }
            }
            Effect::Forget { request, .. } => _ = self.machines[at].open.remove(&request),
            Effect::Cancel { request, source } => {
                self.machines[at].open.remove(&request);
                match source {
                    Source::Peer(to) => {
                        let (peer, ticket) = (peer(at), Ticket(request.0));
                        let unasked = SchedulerInput::Unasked { resource: RESOURCE, peer, ticket };
                        self.post(index(&to), unasked);
                    }
                    Source::Web(_) => {
                        if let Some(web) = self.web_of(at) {
                            let unask = Event::WebUnask { at: web, from: at, request };
                            self.push(self.now + self.delay, unask);
                        }
                    }
                }
            }
            Effect::Announce { to, news, .. } => self.tell(at, to, &news),
            Effect::Choke { peer: to, choked, .. } => {
                // A free rider chokes all peers.
                let choked = choked || self.machines[at].conduct == Conduct::FreeRider;
                let input = SchedulerInput::Choked { resource: RESOURCE, peer: peer(at), choked };
                self.post(index(&to), input);
            }
            Effect::Serve { peer: to, ticket, part, .. } => self.send(at, index(&to), ticket, part),
            Effect::Refuse { peer: to, ticket, why, .. } => self.refuse(index(&to), ticket, why),
            Effect::Blame { peer: other, offence } => {
                let other = index(&other);
                assert_ne!(self.machines[other].conduct, Conduct::Honest, "{offence:?}");
                self.banned.insert((at.min(other), at.max(other)));
                self.machines[at].neighbours.remove(&other);
                self.machines[other].neighbours.remove(&at);
                self.post(at, left(other, false));
                self.post(other, left(at, false));
            }
            Effect::Leave { .. } => {}
            Effect::Done { .. } => {
                let machine = &mut self.machines[at];
                let first = machine.done_at.is_none() && at != 0;
                machine.done_at.get_or_insert(self.now);
                if first && machine.conduct == Conduct::Honest {
                    self.honest_done += 1;
                }
            }
        }
    }

    fn tell(&mut self, at: usize, to: Option<PeerId>, news: &News) {
        let machine = &mut self.machines[at];
        for piece in news.have.iter().cloned().flatten() {
            machine.here.insert(piece.into());
        }
        let others: Vec<usize> = match to {
            Some(to) => vec![index(&to)],
            None => machine.neighbours.iter().copied().collect(),
        };
        for other in others {
            let told = SchedulerInput::Announced {
                resource: RESOURCE,
                peer: peer(at),
                news: news.clone(),
            };
            self.post(other, told);
        }
    }

    fn refuse(&mut self, to: usize, ticket: Ticket, why: RejectReason) {
        let request = RequestId(ticket.0);
        self.machines[to].open.remove(&request);
        let failure = FetchFailure::Refused(why);
        self.post(to, SchedulerInput::Failed { resource: RESOURCE, request, failure });
    }

    /// A node sends a part: its uplink, the way, the receiver's downlink.
    fn send(&mut self, at: usize, to: usize, ticket: Ticket, part: Part) {
        let machine = &self.machines[at];
        if machine.conduct == Conduct::FreeRider {
            self.refuse(to, ticket, RejectReason::Choked);
            let served = SchedulerInput::Served { resource: RESOURCE, peer: peer(to), ticket };
            return self.post(at, served);
        }
        let bad = machine.conduct == Conduct::Poisoner;
        let sent = self.transmit(at, to, RequestId(ticket.0), part, bad);
        let served = SchedulerInput::Served { resource: RESOURCE, peer: peer(to), ticket };
        let life = self.machines[at].life;
        self.push(sent, Event::Input { to: at, life, input: served });
    }

    fn transmit(
        &mut self,
        at: usize,
        to: usize,
        request: RequestId,
        part: Part,
        bad: bool,
    ) -> Micros {
        let bytes = self.layout.part_bytes(&part);
        let wire = bytes * OVERHEAD / 1_000;
        let sender = &mut self.machines[at];
        let start = sender.up_free.max(self.now);
        let sent = start + wire * 1_000_000 / sender.rate.up.max(1);
        sender.up_free = sent;
        sender.sent += bytes;
        let receiver = &mut self.machines[to];
        let begin = receiver.down_free.max(start + self.delay);
        receiver.down_free = begin + wire * 1_000_000 / receiver.rate.down.max(1);
        let there = receiver.down_free.max(sent + self.delay);
        let life = receiver.life;
        self.push(there, Event::Delivered { to, life, request, part, bad });
        sent
    }

    /// A web server answers its connections in turn.
    fn web_serve(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if machine.up_free > self.now {
            return;
        }
        let waiting = machine.queues.iter().filter(|(_, queue)| !queue.is_empty());
        let waiting: Vec<usize> = waiting.map(|(client, _)| *client).collect();
        let next = waiting.iter().find(|client| **client > machine.queue_turn);
        let Some(client) = next.or(waiting.first()).copied() else { return };
        machine.queue_turn = client;
        let queue = machine.queues.get_mut(&client).expect("it was just found");
        let (request, part) = queue.remove(0);
        let sent = self.transmit(at, client, request, part, false);
        self.push(sent, Event::WebFree { at });
    }

    fn web_of(&self, at: usize) -> Option<usize> {
        self.machines[at].neighbours.iter().copied().find(|other| self.machines[*other].web)
    }

    fn post(&mut self, to: usize, input: SchedulerInput) {
        let life = self.machines[to].life;
        self.push(self.now + self.delay, Event::Input { to, life, input });
    }

    fn push(&mut self, at: Micros, event: Event) {
        self.next += 1;
        self.events.push(Reverse((at, self.next)));
        self.bodies.insert(self.next, event);
    }
}
