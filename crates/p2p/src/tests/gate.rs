//! The gate, with time and addresses handed in.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use trefoil_types::{OrganisationId, PeerId, Standing, message::Lane};

use super::peer;
use crate::{
    connection::budget::{PeerBudget, SharedBudget},
    connection_table::{ConnectionTable, Stage, sockets_max},
    inbound_limits::{
        peer_rates::PeerRates,
        slots::{Full, SILENT, SlotLimits, SocketId},
        subnet::{NetGroup, SourceIp},
    },
};

/// The table as sockets see it: by their addresses, and with whom each step evicts.
struct Gate(ConnectionTable);

impl Gate {
    fn new(
        all: usize,
        source: usize,
        configured: impl IntoIterator<Item = (PeerId, SocketAddr)>,
    ) -> Self {
        let strangers = SlotLimits { source, subnet: 2 * source, all };
        Self(ConnectionTable::new(Some(strangers), configured, None))
    }

    fn leaving(&self) -> BTreeSet<SocketId> {
        let leaving = self.0.iter().filter(|(_, it)| it.stage == Stage::Leaving);
        leaving.map(|(id, _)| id).collect()
    }

    fn evicts<T>(&mut self, step: impl FnOnce(&mut ConnectionTable) -> T) -> (T, Vec<SocketId>) {
        let before = self.leaving();
        let result = step(&mut self.0);
        (result, self.leaving().difference(&before).copied().collect())
    }

    fn accept(
        &mut self,
        from: SocketAddr,
        now: Instant,
    ) -> Result<(SocketId, Option<SocketId>), Full> {
        let (id, evicted) = self.evicts(|table| table.accept(from, now));
        assert!(evicted.len() < 2 && (id.is_ok() || evicted.is_empty()));
        Ok((id?, evicted.first().copied()))
    }

    fn on_first_byte(&mut self, id: SocketId) {
        self.0.on_first_byte(id);
    }

    fn on_closed(&mut self, id: SocketId, now: Instant) {
        self.0.on_closed(id, now);
    }

    fn authenticated(
        &mut self,
        from: SocketAddr,
        peer: PeerId,
        now: Instant,
    ) -> Result<(Option<SocketId>, Vec<SocketId>), Full> {
        let Some(id) = self.0.from(from) else { return Ok((None, vec![])) };
        let (judged, evicted) = self.evicts(|table| table.authenticated(id, peer, now));
        judged.map(|()| (Some(id), evicted))
    }

    fn of(&mut self, from: SocketAddr, organisation: Option<OrganisationId>) -> Option<SocketId> {
        let id = self.0.from(from)?;
        if let Some((organisation, connection)) = organisation.zip(self.0.get_mut(id)) {
            connection.standing = Standing::Member(organisation);
        }
        Some(id)
    }

    fn room(&mut self, from: SocketAddr, organisation: Option<OrganisationId>) -> Result<(), Full> {
        self.of(from, organisation).map_or(Ok(()), |id| self.0.room(id))
    }

    fn admit(
        &mut self,
        from: SocketAddr,
        organisation: Option<OrganisationId>,
        now: Instant,
    ) -> Option<SocketId> {
        let id = self.of(from, organisation)?;
        let ((), evicted) = self.evicts(|table| table.admit(id, now));
        assert!(evicted.len() < 2);
        evicted.first().copied()
    }

    fn favour(&mut self, validators: impl IntoIterator<Item = PeerId>) {
        self.0.favour(validators);
    }

    fn useful(&mut self, peer: PeerId, now: Instant) {
        self.0.useful(peer, now);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Socket `port` of 10.a.b.c.
fn at(a: u8, b: u8, c: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, a, b, c], port))
}

/// Knocks, and tells the evicted that they are gone, as the sockets do.
fn accept(gate: &mut Gate, from: SocketAddr, now: Instant) -> Result<SocketId, Full> {
    let (id, evicted) = gate.accept(from, now)?;
    evicted.into_iter().for_each(|id| gate.on_closed(id, now));
    Ok(id)
}

#[test]
fn sources_are_what_cannot_be_had_for_nothing() {
    let source = |ip: &str| SourceIp::of(ip.parse().unwrap());
    let same = [("1.2.3.4", "::ffff:1.2.3.4"), ("2001:db8:1:2::5", "2001:db8:1:2:ffff::")];
    for (a, b) in same {
        assert_eq!(source(a), source(b));
    }
    let differ = [("1.2.3.4", "1.2.3.5"), ("2001:db8:1:2::5", "2001:db8:1:3::5")];
    for (a, b) in differ {
        assert_ne!(source(a), source(b));
        assert_eq!(source(a).subnet(), source(b).subnet());
    }
    assert_ne!(source("1.2.3.4").subnet(), source("1.2.4.4").subnet());
    let provider = |ip: &str| NetGroup::of(ip.parse().unwrap());
    assert_eq!(provider("127.1.2.3"), provider("127.1.9.9"));
    assert_ne!(provider("127.1.2.3"), provider("127.2.2.3"));
    assert_eq!(provider("2001:db8:1::"), provider("2001:db8:2::"));
}

#[test]
fn each_crowd_has_its_share_of_the_half_open() {
    let now = Instant::now();
    // From whom, and how many of them are let in.
    let one_source: Vec<_> = (0..1200).map(|n| at(0, 0, 1, n)).collect();
    let one_subnet: Vec<_> = (0..1200).map(|n| at(0, 0, (n % 150) as u8, n)).collect();
    for (slots, expected) in [(one_source, 8), (one_subnet, 32)] {
        let (mut gate, mut inside) = (Gate::new(8, 8, []), BTreeSet::new());
        for from in slots {
            if let Ok((id, evicted)) = gate.accept(from, now) {
                inside.insert(id);
                evicted.into_iter().for_each(|id| {
                    gate.on_closed(id, now);
                    inside.remove(&id);
                });
            }
        }
        assert_eq!(inside.len(), expected);
        // Whoever comes from elsewhere finds room.
        assert_eq!(gate.accept(at(1, 0, 0, 1), now).map(|(_, evicted)| evicted), Ok(None));
    }
}

/// The honest newcomer's socket, which has 100 ms for its handshake, while an
/// attacker opens a new socket each millisecond.
fn newcomer_survives(attacker: impl Fn(u16) -> SocketAddr) -> bool {
    let start = Instant::now();
    let mut gate = Gate::new(8, 8, []);
    for n in 0..2000 {
        let _ = accept(&mut gate, attacker(n), start + Duration::from_millis(n.into()));
    }
    let mine = at(250, 0, 1, 1);
    let now = start + Duration::from_millis(2000);
    let id = accept(&mut gate, mine, now).expect("there is room for a newcomer");
    gate.on_first_byte(id);
    for n in 0..100 {
        let _ = accept(&mut gate, attacker(2000 + n), now + Duration::from_millis(n.into()));
    }
    let (alive, _) = gate.authenticated(mine, peer(1), now).expect("there is room");
    alive.is_some()
}

#[test]
fn a_newcomer_outlives_floods_from_many_places() {
    // Loopback's own addresses would do, too: 64 addresses × 8, in 1, 8 and 64 subnets.
    assert!(newcomer_survives(|n| at(0, 0, (n % 64) as u8, n)));
    assert!(newcomer_survives(|n| at(0, (n % 8) as u8, (n % 64) as u8, n)));
    assert!(newcomer_survives(|n| at(0, (n % 64) as u8, 0, n)));
    // As many subnets as there are places: the oldest goes first.
    assert!(newcomer_survives(|n| at((n % 40) as u8, (n / 40) as u8, 0, n)));
}

#[test]
fn a_newcomer_takes_the_place_of_a_larger_crowd_or_of_the_silent() {
    let now = Instant::now();
    let mut gate = Gate::new(8, 8, []);
    for n in 0..8 {
        gate.accept(at(0, 0, 1, n), now).unwrap();
    }
    assert_eq!(gate.accept(at(0, 0, 1, 8), now), Err(Full::Source(8)));
    assert_eq!(gate.accept(at(0, 0, 1, 8), now + SILENT), Ok((8, Some(0))));
    // Who spoke is not silent.
    (1..9).for_each(|id| gate.on_first_byte(id));
    assert_eq!(gate.accept(at(0, 0, 1, 9), now + 9 * SILENT), Err(Full::Source(8)));
    // A subnet of 32, of which one source has 8 and three have 8 each.
    for source in 2..5 {
        for n in 0..8 {
            gate.accept(at(0, 0, source, n), now + SILENT).unwrap();
        }
    }
    // A new source takes from a larger one: the oldest that is silent.
    assert_eq!(gate.accept(at(0, 0, 9, 1), now + SILENT).map(|accept| accept.1), Ok(Some(9)));
    assert_eq!(gate.accept(at(0, 0, 3, 9), now + SILENT), Err(Full::Source(8)));
    // Of what is left of the first victim's source no place is taken.
    assert_eq!(gate.accept(at(0, 0, 9, 2), now + SILENT).map(|accept| accept.1), Ok(Some(17)));
}

#[test]
fn favoured_peers_find_room_wherever_they_are() {
    let now = Instant::now();
    let home = at(9, 9, 9, 30303);
    let mut gate = Gate::new(0, 0, [(peer(1), home)]);
    gate.favour([peer(2)]);
    // Every other place is taken by sources that spoke, at all stages.
    for n in 0..160u16 {
        let from = at(1, (n / 32) as u8, (n / 8 % 4) as u8, n);
        let (id, _) = gate.accept(from, now).unwrap();
        gate.on_first_byte(id);
    }
    // From where a configured peer lives places are kept, and more than enough
    // for its own source.
    let (_, evicted) = gate.accept(SocketAddr::new(home.ip(), 1), now).unwrap();
    assert_eq!(evicted, None);
    let one = SocketAddr::new(home.ip(), 1);
    gate.authenticated(one, peer(1), now).unwrap();
    // A validator comes from an address that nobody knew, and is known after.
    let two = at(7, 0, 0, 1);
    accept(&mut gate, two, now).unwrap();
    gate.authenticated(two, peer(2), now).unwrap();
    for from in [one, two] {
        assert_eq!(gate.room(from, None), Ok(()));
        gate.admit(from, None, now);
    }
    assert_eq!(gate.accept(at(7, 0, 0, 2), now).unwrap().1, None);
    // A stranger does not.
    let three = at(8, 0, 0, 1);
    accept(&mut gate, three, now).unwrap();
    gate.authenticated(three, peer(3), now).unwrap();
    assert!(gate.room(three, None).is_err());
    // No validator any more: like everyone else.
    gate.favour([]);
    let four = at(7, 1, 0, 4);
    accept(&mut gate, four, now).unwrap();
    gate.authenticated(four, peer(2), now).unwrap();
    assert!(gate.room(four, None).is_err());
}

#[test]
fn one_peer_greets_twice_at_most_and_keeps_its_link() {
    let now = Instant::now();
    let mut gate = Gate::new(8, 8, [(peer(1), at(1, 1, 1, 1))]);
    for who in [peer(1), peer(2)] {
        let arrive = |gate: &mut Gate, port| {
            let from = at(3, 3, 3, port);
            let id = gate.accept(from, now).unwrap().0;
            (from, id, gate.authenticated(from, who, now).unwrap().1)
        };
        let (link, ..) = arrive(&mut gate, 1);
        gate.admit(link, None, now);
        let (_, second, evicted) = arrive(&mut gate, 2);
        assert!(evicted.is_empty());
        assert!(arrive(&mut gate, 3).2.is_empty());
        assert_eq!(arrive(&mut gate, 4).2, vec![second]);
        (0..20).for_each(|id| gate.on_closed(id, now));
    }
}

#[test]
fn a_newcomer_displaces_the_young_of_a_crowd_never_those_of_long_standing() {
    let start = Instant::now();
    let mut gate = Gate::new(16, 8, []);
    let admit = |gate: &mut Gate, from: SocketAddr, seconds: u64| {
        let now = start + Duration::from_secs(seconds);
        accept(gate, from, now).unwrap();
        gate.authenticated(from, peer(1), now).unwrap();
        gate.room(from, None)?;
        let evicted = gate.admit(from, None, now);
        evicted.into_iter().for_each(|id| gate.on_closed(id, now));
        Ok::<_, Full>(evicted)
    };
    // Two honest peers, then an attacker who fills the rest from two subnets.
    for n in 0..16u16 {
        let from = if n < 2 { at(n as u8, 1, 1, n) } else { at(100, (n % 2) as u8, 0, n) };
        assert_eq!(admit(&mut gate, from, n.into()), Ok(None));
    }
    // Its own newcomers find none smaller than they are.
    assert_eq!(admit(&mut gate, at(100, 0, 1, 1), 20), Err(Full::All(16)));
    // The honest newcomers do, until those that are left are as few as they.
    let mut displaced = Vec::new();
    for n in 0..20 {
        displaced.extend(admit(&mut gate, at(200, n, 0, 1), 30 + u64::from(n)).unwrap_or(None));
    }
    assert!(displaced.len() >= 8, "{displaced:?}");
    // The first eight stay.
    assert!(displaced.iter().all(|id| *id >= 8), "{displaced:?}");
}

#[test]
fn a_full_stage_gives_a_newcomer_nothing_of_crowds_no_larger_than_its_own() {
    let now = Instant::now();
    let mut gate = Gate::new(8, 8, []);
    // Ten subnets of two sources with eight sockets each.
    for n in 0..160u16 {
        let from = at(1, (n / 16) as u8, (n / 8 % 2) as u8, n);
        let (id, _) = gate.accept(from, now).unwrap();
        gate.on_first_byte(id);
    }
    assert_eq!(gate.accept(at(1, 0, 9, 1), now), Err(Full::All(160)));
    assert_eq!(gate.accept(at(2, 0, 0, 1), now).map(|accept| accept.1), Ok(Some(0)));
    // The others are larger now than the first.
    assert_eq!(gate.accept(at(1, 0, 9, 2), now).map(|accept| accept.1), Ok(Some(16)));
}

#[test]
fn an_admitted_peer_yields_to_none_of_a_crowd_as_large_or_beyond_its_share() {
    let now = Instant::now();
    let admit = |gate: &mut Gate, from: SocketAddr| {
        accept(gate, from, now).unwrap();
        gate.authenticated(from, peer(1), now).unwrap();
        gate.room(from, None)?;
        assert_eq!(gate.admit(from, None, now), None);
        Ok::<_, Full>(())
    };
    // All places are taken, and no subnet has more than one.
    let mut gate = Gate::new(16, 8, []);
    for n in 0..16 {
        assert_eq!(admit(&mut gate, at(n, 0, 0, 1)), Ok(()));
    }
    assert_eq!(admit(&mut gate, at(0, 0, 9, 1)), Err(Full::All(16)));
    // A source has its share, and another crowd is larger.
    let mut gate = Gate::new(16, 2, []);
    for from in [at(1, 0, 0, 1), at(1, 0, 0, 2)] {
        assert_eq!(admit(&mut gate, from), Ok(()));
    }
    for n in 0..4 {
        assert_eq!(admit(&mut gate, at(2, 0, n / 2, n.into())), Ok(()));
    }
    assert_eq!(admit(&mut gate, at(1, 0, 0, 3)), Err(Full::Source(2)));
}

#[test]
fn the_near_and_the_useful_keep_their_places() {
    let start = Instant::now();
    // Nobody, the nearest, the one that told of something, both; of a crowd of 32,
    // in which the youngest yield first.
    let cases: [(&[u8], &[u8]); 4] = [(&[], &[]), (&[31, 30], &[]), (&[], &[29]), (&[31], &[30])];
    for (near, useful) in cases {
        let mut gate = Gate::new(32, 32, []);
        let mut admit = |from: SocketAddr, n: u8, took: u64| {
            let now = start + Duration::from_secs(n.into());
            accept(&mut gate, from, now).unwrap();
            let then = now + Duration::from_millis(took);
            gate.authenticated(from, peer(n), then).unwrap();
            gate.room(from, None).unwrap();
            if useful.contains(&n) {
                gate.useful(peer(n), then);
            }
            let evicted = gate.admit(from, None, then);
            evicted.into_iter().for_each(|id| gate.on_closed(id, then));
            evicted
        };
        for n in 0..32 {
            let took = if near.contains(&n) { 1 } else { 100 };
            assert_eq!(admit(at(100, 0, 0, n.into()), n, took), None);
        }
        let displaced: Vec<_> =
            (0..10).filter_map(|n| admit(at(200, n, 0, 1), 100 + n, 100)).collect();
        let kept = |n: &u8| near.contains(n) || useful.contains(n);
        let expected: Vec<_> =
            (0..32).rev().filter(|n| !kept(n)).map(SocketId::from).take(10).collect();
        assert_eq!(displaced, expected, "near {near:?}, useful {useful:?}");
    }
}

#[test]
fn a_node_asks_for_the_files_that_its_gate_can_fill() {
    // As docs/operations.md has it: 1,024, less 256 of its own, are enough for 64
    // favoured peers and 128 strangers; three more for each peer, one for a stranger.
    let few = sockets_max(128, 4);
    assert!(few + 256 <= 1024, "{few}");
    assert_eq!(few, sockets_max(128, 64));
    assert_eq!(sockets_max(128, 65) - few, 3);
    assert_eq!(sockets_max(129, 64) - few, 1);
    assert_eq!(sockets_max(usize::MAX, usize::MAX), usize::MAX);
}

#[test]
fn an_organisation_has_its_share() {
    let now = Instant::now();
    let mut gate = Gate::new(1000, 1000, []);
    let admit = |gate: &mut Gate, n: u8, organisation| {
        let from = at(n, 0, 0, 1);
        let id = accept(gate, from, now).unwrap();
        gate.authenticated(from, peer(n), now).unwrap();
        let room = gate.room(from, Some(organisation));
        gate.admit(from, Some(organisation), now);
        (id, room)
    };
    let first = admit(&mut gate, 0, 5).0;
    for n in 1..64 {
        assert_eq!(admit(&mut gate, n, 5).1, Ok(()));
    }
    assert_eq!(admit(&mut gate, 64, 5).1, Err(Full::Organisation(64)));
    assert_eq!(admit(&mut gate, 65, 6).1, Ok(()));
    gate.on_closed(first, now);
    gate.on_closed(64, now);
    assert_eq!(admit(&mut gate, 66, 5).1, Ok(()));
}

#[test]
fn a_source_whose_handshakes_fail_is_refused_for_a_while() {
    let start = Instant::now();
    let mut gate = Gate::new(8, 8, [(peer(1), at(5, 5, 5, 1))]);
    let mut fail = |from: SocketAddr, speaks: bool, at: Instant| {
        let (id, _) = gate.accept(from, at)?;
        if speaks {
            gate.on_first_byte(id);
        }
        gate.on_closed(id, at);
        Ok(())
    };
    // A port that is only looked at is no misdeed, nor is what fades in time.
    for n in 0..200 {
        assert_eq!(fail(at(1, 0, 0, 1), false, start), Ok(()));
        assert_eq!(fail(at(2, 0, 0, 1), true, start + Duration::from_secs(2 * n)), Ok(()));
        // A configured peer may live behind the same address as another.
        assert_eq!(fail(at(5, 5, 5, 9), true, start), Ok(()));
    }
    let quick: Vec<_> = (0..60).map(|_| fail(at(3, 0, 0, 1), true, start)).collect();
    assert_eq!(quick.iter().filter(|result| result.is_ok()).count(), 50);
    assert_eq!(quick[50], Err(Full::Banned(60)));
    assert_eq!(fail(at(3, 0, 0, 1), true, start + Duration::from_secs(60)), Ok(()));
    // A peer that proved an identity has not failed, however soon it leaves.
    for n in 0..60 {
        let (id, _) = gate.accept(at(4, 0, 0, 1), start).unwrap();
        gate.on_first_byte(id);
        gate.authenticated(at(4, 0, 0, 1), peer(n), start).unwrap();
        gate.on_closed(id, start);
    }
}

// Attack: a host behind a validator's address fails handshakes, so that the validator is refused.
#[test]
fn a_ban_of_a_source_stops_no_favoured_peer_that_lives_there() {
    let now = Instant::now();
    let mut gate = Gate::new(8, 8, []);
    gate.favour([peer(1)]);
    let home = |port| at(3, 0, 0, port);
    let mut early = vec![];
    for port in 0..4 {
        early.push(gate.accept(home(port), now).unwrap().0);
    }
    for _ in 0..48 {
        let (id, _) = gate.accept(home(9), now).unwrap();
        gate.on_first_byte(id);
        gate.on_closed(id, now);
    }
    gate.accept(home(10), now).unwrap();
    gate.authenticated(home(10), peer(1), now).unwrap();
    // These sockets came before the validator was known to live there.
    for id in early {
        gate.on_first_byte(id);
        gate.on_closed(id, now);
    }
    assert!(gate.0.failed.banned_for(SourceIp::of(home(0).ip()), now).is_some());
    assert!(gate.accept(home(11), now).is_ok());
}

/// An eviction frees a place, and no descriptor until the system has closed the socket.
#[test]
fn a_source_that_is_evicted_over_and_over_holds_a_bounded_number_of_sockets() {
    let start = Instant::now();
    let mut gate = Gate::new(8, 8, []);
    let mut evicted = 0;
    for n in 0..200 {
        match gate.accept(at(1, 0, 0, n), start + SILENT * u32::from(n)) {
            Ok((_, displaced)) => evicted += usize::from(displaced.is_some()),
            Err(full) => assert_eq!((full, evicted), (Full::Leaving(64), 64), "{n}"),
        }
    }
    assert_eq!(evicted, 64);
}

// Attack: a peer shows a certificate of a height that this node has not reached, and the key of a
// validator.
#[test]
fn a_peer_that_cannot_be_judged_has_no_validators_room() {
    let now = Instant::now();
    for (n, standing) in [(1, Standing::Unjudged), (2, Standing::Member(1))] {
        let mut gate = Gate::new(8, 8, []);
        let from = at(1, 0, 0, 1);
        let id = accept(&mut gate, from, now).unwrap();
        gate.authenticated(from, peer(n), now).unwrap();
        let budget =
            Arc::new(PeerBudget::new(SharedBudget::strangers(), Arc::default(), Arc::default()));
        gate.0.begin_session(id, budget.clone());
        gate.0.get_mut(id).unwrap().standing = standing;
        gate.favour([peer(n)]);
        assert_eq!(budget.is_favoured(), standing != Standing::Unjudged, "{standing:?}");
    }
}

/// Strangers whose messages pass, and what they may make the node hold.
fn admitted(gate: &mut Gate, count: u8, now: Instant) -> Vec<Arc<PeerBudget>> {
    let admit = |n| {
        let from = at(n, 0, 0, 1);
        let id = accept(gate, from, now).unwrap();
        gate.authenticated(from, peer(n), now).unwrap();
        let budget =
            Arc::new(PeerBudget::new(SharedBudget::strangers(), Arc::default(), Arc::default()));
        gate.0.begin_session(id, budget.clone());
        gate.admit(from, None, now);
        gate.0.set_admitted(id).unwrap();
        budget
    };
    (1..=count).map(admit).collect()
}

// Attack: transactions that pay, under many names, so that no validator's proposals find room.
#[test]
fn few_strangers_have_room_for_proposals_and_blocks_count_more_than_transactions() {
    const TERM: Duration = Duration::from_secs(30);
    let mut gate = Gate::new(64, 64, []);
    let now = Instant::now();
    let budgets = admitted(&mut gate, 20, now);
    let credited = || -> Vec<u8> {
        let all = (1..).zip(&budgets).filter(|(_, budget)| budget.is_credited());
        all.map(|(n, _)| n).collect()
    };
    (1..=9).for_each(|n| gate.useful(peer(n), now + Duration::from_secs(u64::from(n))));
    assert_eq!(credited(), [1, 2, 3, 4, 5, 6, 7, 8]);
    // A proposal that is being read has room until it is here: nobody yields before that.
    gate.0.brought_block(peer(9), now + TERM);
    assert_eq!(credited(), [1, 2, 3, 4, 5, 6, 7, 8]);
    let later = now + 2 * TERM;
    gate.useful(peer(1), later);
    (9..=13).for_each(|n| gate.0.brought_block(peer(n), later));
    assert_eq!(credited(), [1, 7, 8, 9, 10, 11, 12, 13]);
    // Those that brought blocks yield to no others.
    (14..=20).for_each(|n| gate.useful(peer(n), later + TERM));
    assert_eq!(credited(), [9, 10, 11, 12, 13, 14, 15, 16]);
    // A place of one that left is free.
    let left = gate.0.of_peer(peer(9)).unwrap();
    gate.0.release(left);
    gate.useful(peer(20), later + TERM);
    assert!(credited().contains(&20));
}

// Attack: a validator whose lane is paused connects again.
#[test]
fn a_favoured_peer_that_connects_again_owes_what_it_owed() {
    let mut gate = Gate::new(64, 64, []);
    let (now, lane) = (Instant::now(), Lane::Consensus);
    gate.favour([peer(1)]);
    for (n, owes) in [(1, 5), (2, 0)] {
        let first = gate.0.rates(peer(n));
        let pause = |rates: &PeerRates| rates.pause(lane, now).as_secs();
        gate.0.slow(peer(n), lane, 1_000_000, now);
        let second = gate.0.rates(peer(n));
        assert_eq!((pause(&first), pause(&second)), (5, 5), "both connections of {n}");
        drop((first, second));
        // The node reads the rest of it when it is gone.
        gate.0.slow(peer(n), lane, 1_000_000, now);
        let again = gate.0.rates(peer(n));
        assert_eq!(pause(&again), owes, "{n}");
        // The lane's own rate too.
        let burst = (0..20_000).take_while(|_| again.message(lane, now).is_ok()).count();
        drop(again);
        let left = gate.0.rates(peer(n)).message(lane, now).is_ok();
        assert_eq!((burst, left), (16_000, owes == 0), "{n}");
    }
    gate.favour([]);
    assert!(gate.0.rates(peer(1)).message(lane, now).is_ok());
}

#[test]
fn no_place_is_for_favoured_or_unjudged_peers() {
    let mut gate = Gate::new(64, 64, []);
    let now = Instant::now();
    let budgets = admitted(&mut gate, 2, now);
    gate.favour([peer(1)]);
    let id = gate.0.of_peer(peer(2)).unwrap();
    gate.0.get_mut(id).unwrap().standing = Standing::Unjudged;
    (1..=2).for_each(|n| gate.0.brought_block(peer(n), now));
    assert!(budgets.iter().all(|budget| !budget.is_credited()));
}

proptest! {
    /// Whatever happens, nobody has more than a share, and all that left is forgotten.
    #[test]
    fn shares_hold_and_nothing_leaks(
        steps in proptest::collection::vec((0u8..5, 0u8..40, 0u8..3, 0u16..50), 1..600),
    ) {
        let start = Instant::now();
        let mut gate = Gate::new(20, 4, [(peer(1), at(0, 0, 0, 1))]);
        let mut open: BTreeMap<SocketId, SocketAddr> = BTreeMap::new();
        for (n, (what, a, c, port)) in steps.into_iter().enumerate() {
            let now = start + Duration::from_millis(20 * n as u64);
            let from = at(a, 0, c, port);
            let held = open.values().any(|address| *address == from);
            match what {
                0 | 1 if !held => {
                    if let Ok((id, evicted)) = gate.accept(from, now) {
                        open.insert(id, from);
                        if let Some(evicted) = evicted {
                            gate.on_closed(evicted, now);
                            open.remove(&evicted);
                        }
                    }
                }
                2 => {
                    if let Ok((_, evicted)) = gate.authenticated(from, peer(a % 8), now) {
                        for id in evicted {
                            gate.on_closed(id, now);
                            open.remove(&id);
                        }
                    }
                }
                3 if gate.room(from, Some(a.into())).is_ok() => {
                    if let Some(evicted) = gate.admit(from, Some(a.into()), now) {
                        gate.on_closed(evicted, now);
                        open.remove(&evicted);
                    }
                }
                4 => if let Some((&id, _)) = open.iter().find(|(_, address)| **address == from) {
                    gate.on_closed(id, now);
                    open.remove(&id);
                },
                _ => {}
            }
            let mut of_source = BTreeMap::<_, usize>::new();
            for address in open.values() {
                *of_source.entry(SourceIp::of(address.ip())).or_default() += 1;
            }
            // Half-open, favoured or not, and greeting: 8 + 16 + 8; admitted: 4; and
            // what is peer 1's own.
            prop_assert!(of_source.values().all(|count| *count <= 50));
        }
        for id in open.keys() {
            gate.on_closed(*id, start);
        }
        prop_assert!(gate.is_empty());
    }
}

#[test]
fn only_a_session_that_waits_for_a_verdict_is_admitted() {
    let now = Instant::now();
    let mut gate = Gate::new(8, 8, []);
    let id = accept(&mut gate, at(1, 0, 0, 1), now).unwrap();
    gate.authenticated(at(1, 0, 0, 1), peer(1), now).unwrap();
    let table = &mut gate.0;
    let budget = PeerBudget::new(SharedBudget::strangers(), Arc::default(), Arc::default());
    table.begin_session(id, Arc::new(budget));
    assert_eq!(table.asks(id), None, "it has said no hello");
    table.get_mut(id).unwrap().verdict = Some(tokio::sync::oneshot::channel().0);
    assert_eq!(table.asks(id), Some(peer(1)));
    // It ended while its question waited; its socket is not closed yet.
    table.release(id);
    assert_eq!(table.asks(id), None);
}
