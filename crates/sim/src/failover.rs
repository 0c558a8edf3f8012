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

// One of 140 takes longer than that, mostly after a partition, when the rounds are long.
/// The latest after that, milliseconds.
const MOVES_LATE: u64 = 6_000;

/// How long after a partition in which it was to move a seat has moved, if its machine is away.
const MOVES_AFTER_SPLIT: u64 = 5_000;

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

/// How the machines of seats go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    Dead,
    /// A partition cuts them off from all others.
    Apart,
    /// They hear all and nobody hears them: they live and follow when their seats move.
    Unheard,
    /// First the validators are in halves, then they are apart.
    AfterHalves,
    /// They die; about when their seats move, the validators are in halves, and they are back, or
    /// not. They and their standbys are on either side.
    SplitAtMove,
}

impl Absence {
    pub const ALL: [Self; 5] =
        [Self::Dead, Self::Apart, Self::Unheard, Self::AfterHalves, Self::SplitAtMove];
}

/// The failovers of a seed: one seat after the other, or as many together as may be at fault. The
/// machine dies, or lives where nobody hears it; it comes back before, while or after its seat
/// moves, or never; then both machines live for a while.
pub fn plan(seed: u64) -> SimPlan {
    plan_of(seed, &Absence::ALL)
}

/// The same with only some ways to go away.
pub fn plan_of(seed: u64, absences: &[Absence]) -> SimPlan {
    let mut rng = Rng::new(seed, "failover");
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
    let turns = turns(&mut rng, validators);
    let mut course = Course { plan, rng, at: FIRST, stands: 0, moved: vec![] };
    for seats in turns {
        let absence = *course.rng.pick(absences);
        seats.iter().for_each(|seat| course.stand_by(*seat));
        course.fail_over(&seats, absence);
    }
    course.end()
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

/// A plan in the making, failover by failover.
struct Course {
    plan: SimPlan,
    rng: Rng,
    /// When the next machines go.
    at: u64,
    /// How long the validators are in halves, milliseconds: mostly no height is decided.
    stands: u64,
    /// The seats that must move, since their machines are away for long enough.
    moved: Vec<Id>,
}

impl Course {
    fn act(&mut self, at: u64, act: Act) {
        self.plan.script.push((Millis(at), act));
    }

    /// A machine stands by for a seat, and starts before that goes, or while it is away.
    fn stand_by(&mut self, seat: Id) {
        let (standby, goes) = (self.plan.validators + seat, self.at);
        self.plan.standbys.insert(standby, seat);
        self.plan.late.insert(standby);
        // All in the beginning, while everyone hears everyone.
        self.act(1_500, Act::Vote(Motion::NameStandby { seat, standby }));
        let (earliest, latest) =
            *self.rng.pick(&[(goes - 4_000, goes), (goes + 30_000, goes + 50_000)]);
        let starts = self.rng.range(earliest, latest);
        self.act(starts, Act::Start(standby));
        // It crashes itself, and is back long before it is needed.
        if self.rng.permille(300) {
            let at = goes + self.rng.range(0, 50_000);
            let moment = *self.rng.pick(&Moment::USUAL);
            self.act(at, Act::Crash(standby, moment));
            self.act(at + 3_000, Act::Start(standby));
        }
    }

    /// The machines of some seats go away, and mostly come back.
    fn fail_over(&mut self, seats: &[Id], absence: Absence) {
        let from = self.at;
        let mut moves = self.go(seats, absence);
        let mut back = self.rng.permille(800).then(|| comes_back(&mut self.rng, from, moves));
        if absence == Absence::SplitAtMove {
            let split = moves - 2_000 + self.rng.range(0, 3_000);
            let mended = split + self.rng.range(2_000, 6_000);
            // They start on their sides, or never.
            back = back.map(|_| split);
            self.come_back(seats, back);
            self.split(seats, split, mended);
            moves = mended + MOVES_AFTER_SPLIT;
        } else {
            self.come_back(seats, back);
        }
        let latest = moves + MOVES_LATE;
        if back.is_none_or(|back| back > latest) {
            self.moved.extend(seats);
        }
        let over = back.map_or(0, |back| back + PAUSE).max(latest + 3_000);
        // Of two machines for a seat one is of no more use; some stay for all that follows.
        for seat in seats {
            let spare = Act::StopSpare(*seat, *self.rng.pick(&[Moment::Stop, Moment::Kill]));
            if self.rng.permille(800) {
                self.act(over, spare);
            }
        }
        self.at = over + self.rng.range(0, 1_000);
    }

    /// The machines of the seats go away; when the seats move.
    fn go(&mut self, seats: &[Id], absence: Absence) -> u64 {
        let mut at = self.at;
        if absence == Absence::AfterHalves {
            self.split(seats, at, at + 4_000);
            at += 4_000;
        }
        for act in self.leave(seats, absence) {
            self.act(at, act);
        }
        // Each of several that are away costs some rounds more.
        at + MOVES + 6_000 * (seats.len() as u64 - 1)
    }

    fn leave(&mut self, seats: &[Id], absence: Absence) -> Vec<Act> {
        let everyone = 0..self.plan.machines();
        match absence {
            Absence::Dead | Absence::SplitAtMove => {
                let moment = |_| *self.rng.pick(&Moment::USUAL);
                let moments: Vec<_> = seats.iter().map(moment).collect();
                seats.iter().zip(moments).map(|(seat, moment)| Act::Crash(*seat, moment)).collect()
            }
            Absence::Apart | Absence::AfterHalves => {
                let (away, others) = everyone.partition(|id| seats.contains(id));
                vec![Act::Partition(vec![others, away])]
            }
            Absence::Unheard => {
                let pairs =
                    seats.iter().flat_map(|from| everyone.clone().map(move |to| (*from, to)));
                let pairs = pairs.filter(|(from, to)| from != to);
                pairs.map(|(from, to)| Act::Deafen { from, to }).collect()
            }
        }
    }

    /// The machines hear and are heard again, if that is planned, and start if they are down.
    fn come_back(&mut self, seats: &[Id], back: Option<u64>) {
        let Some(back) = back else { return };
        self.act(back, Act::Mend);
        seats.iter().for_each(|seat| self.act(back, Act::Start(*seat)));
        if self.rng.permille(300) {
            let weather = Weather { loss_permille: 20, ..Weather::FAIR };
            self.act(back, Act::Weather(weather));
            self.act(back + 5_000, Act::Weather(Weather::FAIR));
        }
    }

    // Half of the others are a quorum only with all of these seats: no height is decided without a
    // vote for each of them, so that no gap is longer for it.
    /// Halves of the others reach each other; the machines and their standbys are on either side.
    fn split(&mut self, seats: &[Id], from: u64, to: u64) {
        let validators = self.plan.validators;
        let mut others: Vec<Id> = (0..validators).filter(|id| !seats.contains(id)).collect();
        for _ in 0..others.len().div_ceil(2) {
            others.remove(self.rng.index(others.len()));
        }
        let is_left = |id: &Id| match seats.contains(&(id % validators)) {
            true => self.rng.permille(500),
            false => others.contains(&(id % validators)),
        };
        let (left, right) = (0..self.plan.machines()).partition(is_left);
        self.act(from, Act::Partition(vec![left, right]));
        self.act(to, Act::Mend);
        self.stands += to - from;
    }

    /// All hear each other, and what must have been is asked.
    fn end(mut self) -> SimPlan {
        let (at, since) = (self.at, Millis(FIRST));
        self.act(at, Act::Mend);
        self.plan.ends = Millis(at + 5_000);
        let gaps = (0..self.plan.validators).map(|seat| Expect::SeatSigned { seat, gap: GAP_MAX });
        let moved = |seat| Expect::Moved { seat, to: self.plan.validators + seat };
        let blocks = (at - FIRST - self.stands) / 1_000 * 8 / 10;
        let all: Vec<_> = gaps
            .chain(self.moved.iter().copied().map(moved))
            .chain([Expect::Grew { since, blocks }])
            .collect();
        all.into_iter().fold(self.plan, |plan, expect| plan.expect(at + 4_999, expect))
    }
}

/// When it is back: before its seat moves, while it does, or after it.
fn comes_back(rng: &mut Rng, from: u64, moves: u64) -> u64 {
    match rng.range(0, 19) {
        0 => rng.range(from + 15_000, moves - 10_000),
        1..=9 => rng.range(moves - 3_000, moves + 3_000),
        _ => rng.range(moves + MOVES_LATE + 1_000, moves + MOVES_LATE + 3_000),
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
