//! The plan of a failover: a seat's machine goes away in some way, and its standby takes over.

use trefoil_types::{Kind, Millis};

use crate::{
    plan::{Act, Expect, Moment, Motion, SimPlan},
    rng::Rng,
    wire::{Id, Weather},
};

// 64 blocks in a row without the key's signature; from the next block on the other counts; a block is on its way
// to the standby, and may be decided before its vote is there.
/// The most blocks in a row that nobody signs for the seat: window, delay, and two.
pub const GAP_MAX: u64 = 64 + 1 + 2;

/// When the machine goes at the earliest, milliseconds: its standby is named.
const GOES: u64 = 4_000;

// 64 blocks of an idle chain, a second each, after that.
/// When its seat moves, within some seconds.
const MOVES: u64 = GOES + 70_000;

/// How long both live then.
const AFTER: u64 = 10_000;

/// Idle machines, of which the first full node stands by for a validator's seat from about 3 s on.
pub fn stood_by(name: &str, seed: u64, validators: usize, seat: Id, ends: u64) -> SimPlan {
    let mut plan = SimPlan::quiet(name, seed, validators, Millis(ends));
    plan.full_nodes = 1;
    plan.standbys.insert(validators, seat);
    // A vote costs up to five million gas.
    plan.chain.gas_limit = 30_000_000;
    plan.at(1_500, Act::Vote(Motion::NameStandby { seat, standby: validators }))
}

/// The failover of a seed: the machine dies, or lives where nobody hears it; it comes back before, while or after
/// its seat moves, or never; then both machines live.
pub fn plan(seed: u64) -> SimPlan {
    let rng = &mut Rng::new(seed, "failover");
    let validators = *rng.pick(&[4, 4, 4, 4, 5, 7]);
    let seat = rng.index(validators);
    let back = rng.permille(800).then(|| comes_back(rng));
    let ends = back.unwrap_or(MOVES).max(MOVES) + AFTER;
    let mut plan = stood_by("failover", seed, validators, seat, ends);
    if rng.permille(300) {
        plan.chain.kind = Kind::Public;
        // Longer than the row: else the seat would be in jail before it moves.
        plan.chain.window_blocks = 400;
    }
    plan = go(plan, rng, seat);
    if let Some(at) = back {
        plan = come_back(plan, rng, seat, at);
    }
    // The standby itself crashes, and is back long before it is needed.
    if rng.permille(300) {
        let at = GOES + rng.range(0, 30_000);
        plan = plan.outage(validators, at, *rng.pick(&Moment::USUAL), at + 3_000);
    }
    plan.expect(ends - 1, Expect::SeatSigned { seat, gap: GAP_MAX })
        .expect(ends - 1, Expect::Grew { since: Millis(0), blocks: 70 })
}

/// The machine of the seat goes away.
fn go(plan: SimPlan, rng: &mut Rng, seat: Id) -> SimPlan {
    let at = GOES + rng.range(0, 3_000);
    let others = |away: &[Id]| (0..plan.machines()).filter(|id| !away.contains(id)).collect();
    match rng.range(0, 3) {
        0 => plan.at(at, Act::Crash(seat, *rng.pick(&Moment::USUAL))),
        1 => {
            // Where three of seven are still no quorum, another is cut off with it.
            let other = (seat + 1) % plan.validators;
            let alone = plan.validators < 7 || rng.permille(500);
            let away = if alone { vec![seat] } else { vec![seat, other] };
            let groups = vec![others(&away), away];
            plan.at(at, Act::Partition(groups))
        }
        // It hears all and nobody hears it: it lives and follows when its seat moves.
        2 => (0..plan.machines())
            .filter(|id| *id != seat)
            .fold(plan, |plan, to| plan.at(at, Act::Deafen { from: seat, to })),
        // First no quorum is together, then it stays away alone.
        _ => {
            let half = plan.validators / 2;
            let (left, right) = (0..plan.machines()).partition(|id| id % plan.validators < half);
            let groups = vec![others(&[seat]), vec![seat]];
            plan.at(at, Act::Partition(vec![left, right]))
                .at(at + 4_000, Act::Mend)
                .at(at + 4_000, Act::Partition(groups))
        }
    }
}

/// When it is back: before its seat moves, while it does, or after it.
fn comes_back(rng: &mut Rng) -> u64 {
    match rng.range(0, 9) {
        0 => rng.range(20_000, MOVES - 10_000),
        1..=6 => rng.range(MOVES - 5_000, MOVES + 5_000),
        _ => rng.range(MOVES + 5_000, MOVES + 10_000),
    }
}

fn come_back(plan: SimPlan, rng: &mut Rng, seat: Id, at: u64) -> SimPlan {
    let plan = plan.at(at, Act::Mend).at(at, Act::Start(seat));
    if !rng.permille(300) {
        return plan;
    }
    let weather = Weather { loss_permille: 20, ..Weather::FAIR };
    plan.at(at, Act::Weather(weather)).at(at + 5_000, Act::Weather(Weather::FAIR))
}
