//! Single choices of the swarm, seen from outside: inputs in, effects out.

use std::collections::BTreeSet;

use trefoil_content::{
    Bits, Layout, News,
    scheduler::{
        Effect, FetchFailure, Rates, RejectReason, RequestId, Resource, SchedulerInput, Source,
        SourceRole, Swarm, SwarmConfig, Ticket, UploadPolicy,
    },
};
use trefoil_types::{Offence, PeerId, PublicKey, Time};

const RESOURCE: Resource = Resource([1; 32]);
const PIECES: u32 = 32;

fn peer(name: u8) -> PeerId {
    PeerId(PublicKey([name; 32].into()))
}

struct Bench {
    swarm: Swarm,
    now: u64,
}

impl Bench {
    /// A swarm that has these pieces of 32 and wants all.
    fn new(have: Bits) -> Self {
        let layout = Layout::file(u64::from(PIECES) * 65_536).expect("of sane size");
        assert_eq!(layout.pieces(), PIECES);
        Self::of(layout, have)
    }

    fn of(layout: Layout, have: Bits) -> Self {
        let config = SwarmConfig { me: peer(0), seed: 1, rates: Rates::default() };
        let mut bench = Self { swarm: Swarm::new(config), now: 1_000 };
        let (upload_policy, resource) = (UploadPolicy::Fair, RESOURCE);
        let pieces = 0..layout.pieces();
        bench.step(SchedulerInput::Open { resource, layout, have, upload_policy, origin: false });
        bench.step(SchedulerInput::Want { resource, pieces, sequential: false });
        bench
    }

    fn empty() -> Self {
        Self::new(Bits::none(PIECES.into()))
    }

    fn step(&mut self, input: SchedulerInput) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.swarm.step(Time(self.now), input, &mut effects);
        effects
    }

    fn join(&mut self, source: Source, role: SourceRole) -> Vec<Effect> {
        self.step(SchedulerInput::Joined { resource: RESOURCE, source, role })
    }

    /// A peer that has these pieces.
    fn holder(&mut self, name: u8, have: std::ops::Range<u32>) -> Vec<Effect> {
        self.join(Source::Peer(peer(name)), SourceRole::Peer);
        self.told(name, News { have: vec![have], ..News::default() })
    }

    fn asks(&mut self, name: u8, ticket: u64) -> Vec<Effect> {
        let (resource, peer, piece) = (RESOURCE, peer(name), ticket as u32 % PIECES);
        let ticket = Ticket(ticket);
        self.step(SchedulerInput::Asked { resource, peer, ticket, piece, from: 0 })
    }

    /// What a peer was sent has gone, or is `cancelled`.
    fn ends(&mut self, name: u8, ticket: Ticket, cancelled: bool) -> Vec<Effect> {
        let (resource, peer) = (RESOURCE, peer(name));
        let unasked = SchedulerInput::Unasked { resource, peer, ticket };
        let mut effects = if cancelled { self.step(unasked) } else { Vec::new() };
        effects.extend(self.step(SchedulerInput::Served { resource, peer, ticket }));
        effects
    }

    fn told(&mut self, name: u8, news: News) -> Vec<Effect> {
        self.step(SchedulerInput::Announced { resource: RESOURCE, peer: peer(name), news })
    }
}

fn asks(effects: &[Effect]) -> Vec<(RequestId, Source, u32)> {
    let ask = |effect: &Effect| match effect {
        Effect::Ask { request, source, piece, .. } => Some((*request, *source, *piece)),
        _ => None,
    };
    effects.iter().filter_map(ask).collect()
}

#[test]
fn the_origin_is_asked_for_nothing_that_a_peer_has_or_fetches() {
    let mut bench = Bench::empty();
    bench.holder(1, 0..20);
    bench.told(1, News { claims: (20..28).collect(), ..News::default() });
    let asked = asks(&bench.join(Source::Web(0), SourceRole::Origin));
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|(_, source, piece)| *source == Source::Web(0) && *piece >= 28));
}

/// Attack: chokes without end. What was asked before each stayed with the streams.
#[test]
fn a_choke_ends_what_was_asked_for_all() {
    let mut bench = Bench::empty();
    let mut open: BTreeSet<RequestId> =
        asks(&bench.holder(1, 0..PIECES)).into_iter().map(|(id, _, _)| id).collect();
    for turn in 0..100 {
        let (resource, from) = (RESOURCE, peer(1));
        bench.now += 5;
        for choked in [true, false] {
            for effect in bench.step(SchedulerInput::Choked { resource, peer: from, choked }) {
                match effect {
                    Effect::Ask { request, .. } => assert!(open.insert(request)),
                    Effect::Forget { request, peer } => {
                        assert!(open.remove(&request) && peer == from);
                    }
                    Effect::Cancel { .. } => panic!("the peer knows"),
                    _ => {}
                }
            }
            assert_eq!(open.is_empty(), choked, "{turn}");
        }
    }
}

#[test]
fn rare_pieces_come_first() {
    let mut bench = Bench::empty();
    bench.join(Source::Peer(peer(3)), SourceRole::Peer);
    // Something is here, so that the first piece is not the one by chance.
    let have = |run| News { have: vec![run], ..News::default() };
    let (first, _, _) = asks(&bench.told(3, have(0..1)))[0];
    bench.step(SchedulerInput::Arrived { resource: RESOURCE, request: first, groups: 4 });
    for name in 1..=2 {
        bench.join(Source::Peer(peer(name)), SourceRole::Peer);
        bench.step(SchedulerInput::Choked { resource: RESOURCE, peer: peer(name), choked: true });
        bench.told(name, have(1..30));
    }
    let asked = asks(&bench.told(3, have(1..32)));
    let mut pieces: Vec<u32> = asked.iter().map(|(_, _, piece)| *piece).take(2).collect();
    pieces.sort_unstable();
    assert_eq!(pieces, [30, 31]);
}

#[test]
fn who_sends_bad_bytes_is_blamed_and_left_and_the_piece_asked_of_another() {
    let mut bench = Bench::empty();
    let (request, source, piece) = asks(&bench.holder(1, 0..1))[0];
    bench.holder(2, 0..1);
    let failure = FetchFailure::Corrupt { group: 2 };
    let effects = bench.step(SchedulerInput::Failed { resource: RESOURCE, request, failure });
    let blame = Effect::Blame { peer: peer(1), offence: Offence::BadContent };
    assert!(effects.contains(&blame));
    assert!(effects.contains(&Effect::Leave { resource: RESOURCE, source, failure }));
    let again = asks(&effects);
    assert_eq!((again[0].1, again[0].2), (Source::Peer(peer(2)), piece));
}

#[test]
fn what_a_lost_peer_sent_in_part_is_not_asked_again() {
    let mut bench = Bench::empty();
    let (request, source, _) = asks(&bench.holder(1, 0..1))[0];
    bench.step(SchedulerInput::Arrived { resource: RESOURCE, request, groups: 3 });
    bench.step(SchedulerInput::Left { source });
    let effects = bench.holder(2, 0..1);
    let part = effects.iter().find_map(|effect| match effect {
        Effect::Ask { part, .. } => Some(part.groups.clone()),
        _ => None,
    });
    assert_eq!(part, Some(3..4));
}

#[test]
fn a_stalled_source_loses_its_request() {
    let mut bench = Bench::empty();
    let (request, source, _) = asks(&bench.holder(1, 0..1))[0];
    bench.holder(2, 0..1);
    let mut cancelled = false;
    for _ in 0..200 {
        bench.now += 100;
        let effects = bench.step(SchedulerInput::Tick);
        if effects.contains(&Effect::Cancel { request, source }) {
            assert_eq!(asks(&effects)[0].1, Source::Peer(peer(2)));
            cancelled = true;
        }
    }
    assert!(cancelled);
}

#[test]
fn a_reader_in_order_gets_the_next_pieces_first_and_only_what_it_wants() {
    let mut bench = Bench::empty();
    bench.step(SchedulerInput::Want { resource: RESOURCE, pieces: 5..7, sequential: true });
    let asked = asks(&bench.holder(1, 0..32));
    assert_eq!(asked.iter().map(|(_, _, piece)| *piece).collect::<Vec<_>>(), [5, 6]);
    bench.step(SchedulerInput::Arrived { resource: RESOURCE, request: asked[0].0, groups: 4 });
    let effects =
        bench.step(SchedulerInput::Arrived { resource: RESOURCE, request: asked[1].0, groups: 4 });
    assert!(effects.contains(&Effect::Done { resource: RESOURCE }));
}

#[test]
fn nothing_is_asked_for_what_is_here_and_closing_takes_all_back() {
    let mut bench = Bench::new(Bits::all(PIECES.into()));
    assert!(asks(&bench.holder(1, 0..32)).is_empty());
    let mut bench = Bench::empty();
    let asked = asks(&bench.holder(1, 0..32));
    let effects = bench.step(SchedulerInput::Close { resource: RESOURCE });
    let cancels = effects.iter().filter(|effect| matches!(effect, Effect::Cancel { .. })).count();
    assert_eq!(cancels, asked.len());
    assert_eq!(bench.swarm.deadline(), None);
}

#[test]
fn strange_requests_and_news_get_an_answer_and_no_panic() {
    let mut bench = Bench::new(Bits::none(PIECES.into()));
    bench.join(Source::Peer(peer(1)), SourceRole::Peer);
    let malformed = Effect::Blame { peer: peer(1), offence: Offence::Malformed };
    let ask = |piece, from| SchedulerInput::Asked {
        resource: RESOURCE,
        peer: peer(1),
        ticket: Ticket(7),
        piece,
        from,
    };
    assert!(bench.step(ask(PIECES, 0)).contains(&malformed));
    let (resource, ticket, why) = (RESOURCE, Ticket(7), RejectReason::Missing);
    let refuse = Effect::Refuse { resource, peer: peer(1), ticket, why };
    assert!(bench.step(ask(3, 0)).contains(&refuse));
    assert!(bench.step(ask(3, u64::MAX)).contains(&refuse));
    let beyond = News { claims: vec![PIECES], ..News::default() };
    assert!(bench.told(1, beyond).contains(&malformed));
    let nobody = SchedulerInput::Served { resource, peer: peer(9), ticket };
    assert!(bench.step(nobody).is_empty());
}

/// A peer that claims all pieces keeps nobody from the origin.
#[test]
fn a_peer_that_claims_everything_is_believed_in_part_and_for_a_while() {
    let layout = Layout::file(100 * 65_536).expect("of sane size");
    let mut bench = Bench::of(layout, Bits::none(100));
    bench.join(Source::Peer(peer(1)), SourceRole::Peer);
    bench.told(1, News { claims: (0..100).collect(), ..News::default() });
    let asked = asks(&bench.join(Source::Web(0), SourceRole::Origin));
    assert!(!asked.is_empty() && asked.iter().all(|(_, _, piece)| *piece >= 64));
}

/// Small files are served as many at once as make up a piece, and whoever asked
/// meanwhile comes next.
#[test]
fn a_turn_is_a_piece_or_as_many_small_ones() {
    let layout = Layout::files(&[16_384; 64]).expect("of sane size");
    let mut bench = Bench::of(layout, Bits::all(64));
    let served = |effects: &[Effect]| -> Vec<(PeerId, Ticket)> {
        let serve = |effect: &Effect| match effect {
            Effect::Serve { peer, ticket, .. } => Some((*peer, *ticket)),
            _ => None,
        };
        effects.iter().filter_map(serve).collect()
    };
    let resource = RESOURCE;
    let mut all = Vec::new();
    for name in 1..=5 {
        bench.join(Source::Peer(peer(name)), SourceRole::Peer);
        for piece in 0..8 {
            let (peer, ticket) = (peer(name), Ticket(piece.into()));
            all.extend(served(&bench.step(SchedulerInput::Asked {
                resource,
                peer,
                ticket,
                piece,
                from: 0,
            })));
        }
    }
    // Each is alone when its first request comes; the fifth finds four being served.
    assert_eq!(all, [1, 2, 3, 4].map(|name| (peer(name), Ticket(0))));
    let next =
        served(&bench.step(SchedulerInput::Served { resource, peer: peer(1), ticket: Ticket(0) }));
    assert_eq!(next, [0, 1, 2, 3].map(|ticket| (peer(5), Ticket(ticket))));
    for ticket in [0, 1, 2] {
        let ticket = Ticket(ticket);
        assert!(
            served(&bench.step(SchedulerInput::Served { resource, peer: peer(5), ticket }))
                .is_empty()
        );
    }
    let next =
        served(&bench.step(SchedulerInput::Served { resource, peer: peer(5), ticket: Ticket(3) }));
    assert_eq!(next, [1, 2, 3, 4].map(|ticket| (peer(1), Ticket(ticket))));
}

/// Small files fill no window: what a peer would refuse is not asked.
#[test]
fn no_more_is_asked_of_a_peer_than_it_takes() {
    let files = vec![10; 5_000];
    let layout = Layout::files(&files).expect("of sane size");
    let mut bench = Bench::of(layout, Bits::none(5_000));
    let asked = asks(&bench.holder(1, 0..5_000));
    assert_eq!(asked.len(), 1_024);
    let request = asked[0].0;
    let more =
        asks(&bench.step(SchedulerInput::Arrived { resource: RESOURCE, request, groups: 1 }));
    assert_eq!(more.len(), 1);
}

#[test]
fn what_changed_on_disk_is_refused_and_asked_for_anew() {
    let mut bench = Bench::new(Bits::all(PIECES.into()));
    assert_eq!(asks(&bench.holder(1, 0..PIECES)), []);
    let (resource, pieces) = (RESOURCE, [3, 7].into());
    let asked = asks(&bench.step(SchedulerInput::Lost { resource, pieces }));
    let mut pieces: Vec<u32> = asked.iter().map(|(_, _, piece)| *piece).collect();
    pieces.sort_unstable();
    assert_eq!(pieces, [3, 7]);
    let (ticket, peer) = (Ticket(1), peer(1));
    let refused = bench.step(SchedulerInput::Asked { resource, peer, ticket, piece: 3, from: 0 });
    let why = RejectReason::Missing;
    assert!(refused.contains(&Effect::Refuse { resource, peer, ticket, why }), "{refused:?}");
    let mut done = Vec::new();
    for (request, ..) in asked {
        assert!(!done.contains(&Effect::Done { resource }));
        done = bench.step(SchedulerInput::Arrived { resource, request, groups: 4 });
    }
    assert!(done.contains(&Effect::Done { resource }), "{done:?}");
}

/// A peer that asks everywhere takes little more memory than one that asks for a few files.
#[test]
fn requests_of_a_peer_are_bounded_over_all_resources() {
    const RESOURCES: u8 = 100;
    const EACH: u64 = 1_024;
    let mut bench = Bench::new(Bits::all(PIECES.into()));
    let layout = Layout::file(u64::from(PIECES) * 65_536).expect("of sane size");
    let mut waiting = 0_u64;
    for n in 2..2 + RESOURCES {
        let resource = Resource([n; 32]);
        let (have, upload_policy) = (Bits::all(PIECES.into()), UploadPolicy::Fair);
        let layout = layout.clone();
        bench.step(SchedulerInput::Open { resource, layout, have, upload_policy, origin: false });
        let (source, role) = (Source::Peer(peer(1)), SourceRole::Peer);
        bench.step(SchedulerInput::Joined { resource, source, role });
        for ask in 0..EACH {
            let (ticket, piece) = (Ticket(u64::from(n) * EACH + ask), ask as u32 % PIECES);
            let asked = SchedulerInput::Asked { resource, peer: peer(1), ticket, piece, from: 0 };
            let effects = bench.step(asked);
            let refused = effects.iter().any(|effect| matches!(effect, Effect::Refuse { .. }));
            waiting += u64::from(!refused);
        }
    }
    // Eight resources' worth, sixteen more at each, and the one of each that is served.
    let most = 8 * EACH + u64::from(RESOURCES) * (16 + 1);
    assert!((8 * EACH..=most).contains(&waiting), "{waiting} wait");
    // Another peer is not held to account for it.
    let (resource, source) = (Resource([2; 32]), Source::Peer(peer(2)));
    bench.step(SchedulerInput::Joined { resource, source, role: SourceRole::Peer });
    for ask in 0..32 {
        let (ticket, piece) = (Ticket(ask), ask as u32);
        let asked = SchedulerInput::Asked { resource, peer: peer(2), ticket, piece, from: 0 };
        let effects = bench.step(asked);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Refuse { .. })));
    }
}

// Attack: four identities held all slots of a resource, and read 2 KiB a second, cancelled what
// they were sent and asked anew, or took as long for each piece as they may; also when they
// had the turns of half a minute to make up for.
#[test]
fn slow_readers_keep_nobody_from_being_served() {
    let quick = Reader { since: 0, takes: [10; 2], cancels: false };
    let calm = turns(61_000, &[quick])[0];
    let slow = [([32_000; 2], false), ([400; 2], true), ([500; 2], false), ([32_000, 490], false)];
    for (takes, cancels) in slow {
        let slow = Reader { since: 0, takes, cancels };
        let beside = turns(61_000, &[quick, slow, slow, slow, slow])[0];
        assert!(beside * 10 >= calm * 8, "{beside} turns beside {slow:?}, {calm} without");
    }
}

// Attack: ever new identities, that had no turn yet.
#[test]
fn whoever_comes_later_has_no_more_turns_than_the_others() {
    let [long, new] = [0, 30_000].map(|since| Reader { since, takes: [100; 2], cancels: false });
    let before = turns(31_000, &[long; 4]);
    let after = turns(35_000, &[long, long, long, long, new, new, new, new]);
    let had = (0..8).map(|at| after[at] - before.get(at).unwrap_or(&0));
    assert!(had.clone().all(|had| (18..=22).contains(&had)), "{:?}", had.collect::<Vec<_>>());
}

/// A peer that always asks for two pieces.
#[derive(Clone, Copy, Debug)]
struct Reader {
    /// After the beginning.
    since: u64,
    /// How long it takes for its first, and for each other, or until it cancels it.
    takes: [u64; 2],
    cancels: bool,
}

/// How many turns each of these has until then.
fn turns(until: u64, readers: &[Reader]) -> Vec<usize> {
    let mut bench = Bench::new(Bits::all(PIECES.into()));
    let (mut tickets, mut sent) = (0, Vec::<(u64, usize, Ticket)>::new());
    let (mut turns, mut asking) = (vec![0; readers.len()], Vec::new());
    while bench.now < until {
        let mut effects = Vec::new();
        if bench.swarm.deadline().is_some_and(|at| at.0 <= bench.now) {
            effects = bench.step(SchedulerInput::Tick);
        }
        for (at, reader) in readers.iter().enumerate() {
            if reader.since != bench.now - 1_000 {
                continue;
            }
            bench.join(Source::Peer(peer(at as u8 + 1)), SourceRole::Peer);
            asking.extend([at, at]);
        }
        for at in std::mem::take(&mut asking) {
            tickets += 1;
            effects.extend(bench.asks(at as u8 + 1, tickets));
        }
        let over: Vec<_> = sent.extract_if(.., |(due, ..)| *due <= bench.now).collect();
        for (_, at, ticket) in over {
            effects.extend(bench.ends(at as u8 + 1, ticket, readers[at].cancels));
            turns[at] += 1;
            asking.push(at);
        }
        for effect in effects {
            let Effect::Serve { peer: to, ticket, .. } = effect else { continue };
            let at = (0..readers.len()).find(|at| peer(*at as u8 + 1) == to).expect("one of them");
            sent.push((bench.now + readers[at].takes[turns[at].min(1)], at, ticket));
        }
        bench.now += 10;
    }
    turns
}

// Attack: who asks the origin again and again for all that nobody has yet kept it for itself.
#[test]
fn nobody_keeps_the_origins_pieces_from_the_others() {
    let (resource, [hostile, honest]) = (RESOURCE, [1, 2]);
    let mut bench = Bench::empty();
    let layout = Layout::file(u64::from(PIECES) * 65_536).expect("of sane size");
    let (have, upload_policy) = (Bits::all(PIECES.into()), UploadPolicy::Fair);
    bench.step(SchedulerInput::Open { resource, layout, have, upload_policy, origin: true });
    for name in [hostile, honest] {
        bench.join(Source::Peer(peer(name)), SourceRole::Peer);
    }
    let pieces = u64::from(PIECES);
    let mut got = std::collections::BTreeSet::new();
    for round in 1..=10 {
        bench.now += 1_000;
        for ticket in round * pieces..(round + 1) * pieces {
            let (peer, before) = (peer(hostile), Ticket(ticket - pieces));
            bench.step(SchedulerInput::Unasked { resource, peer, ticket: before });
            bench.asks(hostile, ticket);
        }
        for ticket in (0..pieces).filter(|piece| !got.contains(piece)).collect::<Vec<_>>() {
            let effects = bench.asks(honest, ticket);
            let refused = |effect: &Effect| matches!(effect, Effect::Refuse { .. });
            if !effects.iter().any(refused) {
                got.insert(ticket);
            }
        }
    }
    assert_eq!(got.len() as u64, pieces);
}
