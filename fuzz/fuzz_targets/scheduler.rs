//! Sequences of whatever peers, servers, the disk and time can give to the swarm's scheduler:
//! it asks only for pieces that there are, never twice by one number, serves only what is here,
//! and asks nobody who left.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::fuzz_target;
use trefoil_content::{
    Bits, Layout, News, Part,
    scheduler::{
        Effect, FetchFailure, Rates, RejectReason, RequestId, Resource, SchedulerInput, Source,
        SourceRole, Swarm, SwarmConfig, Ticket, UploadPolicy,
    },
};
use trefoil_fuzz::{network::peer, words::Words};
use trefoil_types::Time;

const STEPS_MAX: usize = 512;
const PEERS: u8 = 4;
/// Two resources: a large file, and a directory of small ones.
const RESOURCES: [Resource; 2] = [Resource([1; 32]), Resource([2; 32])];

fuzz_target!(|bytes: &[u8]| {
    let rates = Rates { up: Some(1 << 20), down: None };
    let config = SwarmConfig { me: peer(9), seed: 1, rates };
    let mut world = World {
        swarm: Swarm::new(config),
        now: Time(1),
        open: BTreeMap::new(),
        serving: BTreeSet::new(),
        here: BTreeSet::new(),
        numbers: BTreeSet::new(),
    };
    let mut words = Words(bytes);
    for _ in 0..STEPS_MAX {
        if words.0.is_empty() {
            break;
        }
        if let Some(input) = world.input(&mut words) {
            world.step(input);
        }
    }
});

fn layout(resource: Resource) -> Layout {
    let sizes: Vec<u64> = (0..20).map(|n| n * 9_000).collect();
    let layout =
        if resource == RESOURCES[0] { Layout::file(3 << 20) } else { Layout::files(&sizes) };
    layout.expect("of sane size")
}

fn source(words: &mut Words<'_>) -> Source {
    match words.byte() % (PEERS + 1) {
        0 => Source::Web(0),
        n => Source::Peer(peer(n)),
    }
}

struct Request {
    resource: Resource,
    source: Source,
    part: Part,
    /// Groups that have come.
    come: u64,
}

struct World {
    swarm: Swarm,
    now: Time,
    open: BTreeMap<RequestId, Request>,
    serving: BTreeSet<(Resource, u8, Ticket)>,
    /// Resources that are open.
    here: BTreeSet<Resource>,
    /// Every number that a request ever had.
    numbers: BTreeSet<RequestId>,
}

impl World {
    fn input(&mut self, words: &mut Words<'_>) -> Option<SchedulerInput> {
        let resource = words.one_of(&RESOURCES);
        let pieces = layout(resource).pieces();
        let piece = u32::from(words.byte()) % pieces;
        let n = 1 + words.byte() % PEERS;
        let from = peer(n);
        Some(match words.byte() % 16 {
            0 | 1 => {
                self.now = Time(self.now.0 + (1 << (words.byte() % 16)));
                SchedulerInput::Tick
            }
            2 if !self.here.contains(&resource) => {
                self.here.insert(resource);
                let mut have = Bits::none(pieces.into());
                have.insert_range(0..u64::from(words.byte()) % u64::from(pieces));
                let upload_policy = words.one_of(&[UploadPolicy::Fair, UploadPolicy::TitForTat]);
                let (layout, origin) = (layout(resource), words.byte().is_multiple_of(2));
                SchedulerInput::Open { resource, layout, have, upload_policy, origin }
            }
            2 | 3 => {
                let pieces = piece..pieces;
                SchedulerInput::Want {
                    resource,
                    pieces,
                    sequential: words.byte().is_multiple_of(2),
                }
            }
            4 | 5 => {
                let role = words.one_of(&[SourceRole::Peer, SourceRole::Origin]);
                SchedulerInput::Joined { resource, source: source(words), role }
            }
            6 => {
                let source = source(words);
                self.open.retain(|_, request| request.source != source);
                SchedulerInput::Left { source }
            }
            7 | 8 => SchedulerInput::Announced { resource, peer: from, news: news(words, pieces) },
            9 => {
                let choked = words.byte().is_multiple_of(2);
                SchedulerInput::Choked { resource, peer: from, choked }
            }
            10 | 11 => return self.arrived(words),
            12 => return self.failed(words),
            13 => {
                let ticket = Ticket(words.byte().into());
                // Nobody looked at these numbers before.
                let piece = words.one_of(&[piece, piece, pieces, u32::MAX]);
                let from_group = words.one_of(&[0, 0, 1, u64::MAX]);
                SchedulerInput::Asked { resource, peer: from, ticket, piece, from: from_group }
            }
            14 => {
                let ticket = Ticket(words.byte().into());
                SchedulerInput::Unasked { resource, peer: from, ticket }
            }
            _ => return self.rare(words, resource, piece),
        })
    }

    /// Some groups of an open request.
    fn arrived(&mut self, words: &mut Words<'_>) -> Option<SchedulerInput> {
        let number = *self.open.keys().nth(usize::from(words.byte()) % self.open.len().max(1))?;
        let request = self.open.get_mut(&number)?;
        let all = request.part.groups.end - request.part.groups.start;
        let groups = 1 + u64::from(words.byte()) % (all - request.come);
        request.come += groups;
        let resource = request.resource;
        if request.come == all {
            self.open.remove(&number);
        }
        Some(SchedulerInput::Arrived { resource, request: number, groups })
    }

    fn failed(&mut self, words: &mut Words<'_>) -> Option<SchedulerInput> {
        let number = *self.open.keys().nth(usize::from(words.byte()) % self.open.len().max(1))?;
        let request = self.open.remove(&number)?;
        let failure = match words.byte() % 5 {
            // A server refuses nothing.
            0..=2 if matches!(request.source, Source::Web(_)) => FetchFailure::Closed,
            0 => FetchFailure::Refused(RejectReason::Choked),
            1 => FetchFailure::Refused(RejectReason::Missing),
            2 => FetchFailure::Refused(RejectReason::Given),
            3 => FetchFailure::Corrupt { group: request.part.groups.start + request.come },
            _ => FetchFailure::Closed,
        };
        Some(SchedulerInput::Failed { resource: request.resource, request: number, failure })
    }

    fn rare(
        &mut self,
        words: &mut Words<'_>,
        resource: Resource,
        piece: u32,
    ) -> Option<SchedulerInput> {
        match words.byte() % 4 {
            0 => {
                self.here.remove(&resource);
                self.open.retain(|_, request| request.resource != resource);
                self.serving.retain(|(of, ..)| *of != resource);
                Some(SchedulerInput::Close { resource })
            }
            1 => Some(SchedulerInput::Lost { resource, pieces: BTreeSet::from([piece]) }),
            _ => {
                let (resource, n, ticket) = self.serving.pop_first()?;
                Some(SchedulerInput::Served { resource, peer: peer(n), ticket })
            }
        }
    }

    fn step(&mut self, input: SchedulerInput) {
        let mut effects = vec![];
        self.swarm.step(self.now, input, &mut effects);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Ask { request, resource, source, piece, part } => {
                assert!(self.here.contains(&resource), "of a resource that is not open");
                assert!(piece < layout(resource).pieces());
                let whole = layout(resource).part(piece);
                assert!(part.file == whole.file && part.groups.end <= whole.groups.end);
                assert!(part.groups.start >= whole.groups.start && !part.groups.is_empty());
                assert!(self.numbers.insert(request), "a number is used once");
                self.open.insert(request, Request { resource, source, part, come: 0 });
            }
            Effect::Cancel { request, .. } => _ = self.open.remove(&request),
            Effect::Serve { resource, peer: to, ticket, part } => {
                let have = self.swarm.have(resource).expect("it is open");
                let pieces = layout(resource).pieces_of_groups(&part);
                assert!(pieces.into_iter().all(|piece| have.has(piece.into())), "it is here");
                let n = (1..=PEERS).find(|n| peer(*n) == to).expect("it is one of ours");
                self.serving.insert((resource, n, ticket));
            }
            _ => {}
        }
    }
}

/// Pieces as a peer's encoded news can name them.
fn news(words: &mut Words<'_>, pieces: u32) -> News {
    let (from, length) = (u32::from(words.byte()) % pieces, u32::from(words.byte()));
    let run = from..from.saturating_add(length).min(pieces);
    let news = match words.byte() % 4 {
        0 => News { have: vec![0..pieces], ..News::default() },
        1 => News { claims: run.collect(), ..News::default() },
        2 => News { released: run.collect(), ..News::default() },
        _ => News { have: vec![run.start..run.end.max(run.start + 1)], ..News::default() },
    };
    News::decode(&news.encode(), pieces).expect("it was just encoded")
}
