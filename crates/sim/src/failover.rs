//! The plan of failovers: seats' machines go away in some way, and their standbys take over.

use trefoil_types::{Kind, Millis};

use crate::{
    cluster::Cluster,
    machine::secret,
    plan::{Act, Expect, Moment, Motion, SimPlan},
    rng::Rng,
    wire::{Id, Weather},
};

// 64 blocks in a row without the key's signature; from the next block on the other counts; a block is on its way
// to the standby, and may be decided before its vote is there.
/// The most blocks in a row that nobody signs for the seat: window, delay, and two.
pub const GAP_MAX: u64 = 64 + 1 + 2;

/// When the first machine goes at the earliest, milliseconds: the standbys are named.
const FIRST: u64 = 6_000;

// 64 blocks of an idle chain, a second each, and some rounds whose proposer is away; measured.
/// How long after a machine went its seat moves, within a second.
const MOVES: u64 = 70_000;

/// From the end of one failover to the next: all votes are there again.
const PAUSE: u64 = 2_000;

/// Idle machines, of which the first full node stands by for a validator's seat from about 3 s on.
pub fn stood_by(name: &str, seed: u64, validators: usize, seat: Id, ends: u64) -> SimPlan {
    let mut plan = SimPlan::quiet(name, seed, validators, Millis(ends));
    plan.full_nodes = 1;
    plan.standbys.insert(validators, seat);
    // A vote costs up to five million gas.
    plan.chain.gas_limit = 30_000_000;
    plan.at(1_500, Act::Vote(Motion::NameStandby { seat, standby: validators }))
}

/// The failovers of a seed: one seat after the other, or as many together as may be at fault. The
/// machine dies, or lives where nobody hears it; it comes back before, while or after its seat
/// moves, or never; then both machines live for a while.
pub fn plan(seed: u64) -> SimPlan {
    let rng = &mut Rng::new(seed, "failover");
    // Mostly four: a move costs least, and one more fault breaks the quorum.
    let validators = *rng.pick(&[4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 7]);
    let mut plan = SimPlan::quiet("failover", seed, validators, Millis(0));
    // A vote costs up to five million gas.
    plan.chain.gas_limit = 30_000_000;
    if rng.permille(300) {
        plan.chain.kind = Kind::Public;
        // Longer than the row: else the seat would be in jail before it moves.
        plan.chain.window_blocks = 400;
    }
    // As in production.
    plan.checkpoint_blocks = 64;
    plan.full_nodes = validators;
    let mut at = FIRST;
    for seats in turns(rng, validators) {
        plan = seats.iter().fold(plan, |plan, seat| stand_by(plan, rng, *seat, at));
        (plan, at) = fail_over(plan, rng, &seats, at);
    }
    plan.ends = Millis(at + 5_000);
    let since = Millis(FIRST);
    plan = (0..validators).fold(plan, |plan, seat| {
        plan.expect(at + 4_999, Expect::SeatSigned { seat, gap: GAP_MAX })
    });
    plan.expect(at + 4_999, Expect::Grew { since, blocks: (at - FIRST) / 1_000 * 8 / 10 })
}

/// The validators in some order, as many together as may be at fault, or fewer.
fn turns(rng: &mut Rng, validators: usize) -> Vec<Vec<Id>> {
    let mut seats: Vec<Id> = (0..validators).collect();
    let mut turns = vec![];
    while !seats.is_empty() {
        let together = rng.range(1, SimPlan::faulty_max(validators) as u64) as usize;
        let of_turn = (0..together.min(seats.len())).map(|_| seats.remove(rng.index(seats.len())));
        turns.push(of_turn.collect());
    }
    turns
}

/// A machine stands by for a seat, and starts before that goes, or while it is away.
fn stand_by(mut plan: SimPlan, rng: &mut Rng, seat: Id, goes: u64) -> SimPlan {
    let standby = plan.validators + seat;
    plan.standbys.insert(standby, seat);
    plan.late.insert(standby);
    let (earliest, latest) = *rng.pick(&[(goes - 4_000, goes), (goes + 30_000, goes + 50_000)]);
    plan = plan
        // All in the beginning, while everyone hears everyone.
        .at(1_500, Act::Vote(Motion::NameStandby { seat, standby }))
        .at(rng.range(earliest, latest), Act::Start(standby));
    // It crashes itself, and is back long before it is needed.
    if rng.permille(300) {
        let at = goes + rng.range(0, 50_000);
        plan = plan.outage(standby, at, *rng.pick(&Moment::USUAL), at + 3_000);
    }
    plan
}

/// The machines of some seats go away, and mostly come back; when that is over.
fn fail_over(plan: SimPlan, rng: &mut Rng, seats: &[Id], from: u64) -> (SimPlan, u64) {
    let (mut plan, moves) = go(plan, rng, seats, from);
    let mut over = moves + 3_000;
    if rng.permille(800) {
        let back = comes_back(rng, from, moves);
        over = over.max(back + PAUSE);
        plan = seats.iter().fold(plan.at(back, Act::Mend), |p, seat| p.at(back, Act::Start(*seat)));
        if rng.permille(300) {
            let weather = Weather { loss_permille: 20, ..Weather::FAIR };
            plan = plan.at(back, Act::Weather(weather));
            plan = plan.at(back + 5_000, Act::Weather(Weather::FAIR));
        }
    }
    // Of two machines for a seat one is of no more use; some stay for all that follows.
    for seat in seats {
        let spare = Act::StopSpare(*seat, *rng.pick(&[Moment::Stop, Moment::Kill]));
        plan = if rng.permille(800) { plan.at(over, spare) } else { plan };
    }
    (plan, over + rng.range(0, 1_000))
}

/// The machines of the seats go away; when the seats move.
fn go(plan: SimPlan, rng: &mut Rng, seats: &[Id], at: u64) -> (SimPlan, u64) {
    let everyone = 0..plan.machines();
    let apart = || {
        let (away, others) = everyone.clone().partition(|id| seats.contains(id));
        Act::Partition(vec![others, away])
    };
    let plan = match rng.range(0, 3) {
        0 => seats
            .iter()
            .fold(plan, |plan, seat| plan.at(at, Act::Crash(*seat, *rng.pick(&Moment::USUAL)))),
        1 => plan.at(at, apart()),
        // They hear all and nobody hears them: they live and follow when their seats move.
        2 => {
            let pairs = seats.iter().flat_map(|from| everyone.clone().map(move |to| (*from, to)));
            pairs
                .filter(|(from, to)| from != to)
                .fold(plan, |plan, (from, to)| plan.at(at, Act::Deafen { from, to }))
        }
        // First no quorum is together, then they stay away alone.
        _ => {
            let half = plan.validators / 2;
            let (left, right) = everyone.clone().partition(|id| id % plan.validators < half);
            let (halves, apart) = (Act::Partition(vec![left, right]), apart());
            let mended = at + 4_000;
            let plan = plan.at(at, halves).at(mended, Act::Mend).at(mended, apart);
            return (plan, mended + MOVES);
        }
    };
    (plan, at + MOVES)
}

/// When it is back: before its seat moves, while it does, or after it.
fn comes_back(rng: &mut Rng, from: u64, moves: u64) -> u64 {
    match rng.range(0, 19) {
        0 => rng.range(from + 15_000, moves - 10_000),
        1..=9 => rng.range(moves - 3_000, moves + 3_000),
        _ => rng.range(moves + 3_000, moves + 6_000),
    }
}

impl Cluster {
    /// Of a validator's machine and its standby, the one without the seat ends.
    pub(crate) fn stop_spare(&mut self, seat: Id, moment: Moment) {
        let standby = self.plan.standbys.iter().find(|(_, of)| **of == seat);
        let pair = standby.into_iter().flat_map(|(standby, seat)| [*standby, *seat]);
        let ledgers = self.machines.iter().filter_map(|it| it.node()).map(|node| node.ledger());
        let Some(newest) = ledgers.max_by_key(|ledger| ledger.tip().number) else { return };
        let has_seat = |id| newest.next_validators().get(&secret("validator", id).public());
        let spare: Vec<Id> = pair.filter(|id| has_seat(*id).is_none()).collect();
        spare.into_iter().for_each(|id| self.act(Act::Crash(id, moment)));
    }
}
