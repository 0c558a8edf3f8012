//! Schedules of twins: some validators run on two machines each, and in the first heights each
//! step has a partition of its own (Bano and others, "Twins: BFT systems made robust", 2020).
//!
//! A twin keeps to the rules, so that together the two do what a liar with that key could: they
//! propose two blocks, vote for both, and forget their lock. With fewer than a third of the keys
//! doubled nothing may come of it.

use std::collections::BTreeMap;

use trefoil_types::{Height, Millis, Round, VoteKind};

use crate::{plan::SimPlan, rng::Rng, step_partitions::StepPartitions, wire::Id};

// The first is over before all machines are connected. In four, each of four validators has the
// first turn once.
/// The heights that have partitions.
const HEIGHTS: std::ops::RangeInclusive<Height> = 2..=5;
/// So many rounds of each have them.
const ROUNDS: Round = 4;
// A conviction takes hold two blocks after the one that carries it.
/// So many blocks later each machine must be there.
const AFTER: Height = 5;
// Most end within 30 s; the longest that a height may take is all its rounds and waits.
/// When a schedule ends that does not come so far.
const ENDS: Millis = Millis(300_000);

/// The schedule of a seed.
pub fn plan(seed: u64) -> SimPlan {
    let rng = &mut Rng::new(seed, "twins");
    let validators = *rng.pick(&[4, 4, 4, 4, 4, 4, 4, 7]);
    let mut plan = SimPlan::quiet("twins", seed, validators, ENDS);
    while plan.twins.len() < SimPlan::faulty_max(validators) {
        let doubled = rng.index(validators);
        if plan.is_honest(doubled) {
            let twin = plan.machines();
            plan = plan.twin_of(doubled);
            // Else both would propose the same block: an empty one differs by its second.
            plan.skew_ms.insert(twin, *rng.pick(&[-1_000, 0, 1_000]));
        }
    }
    plan.partitions = partitions(rng, &plan);
    plan.until = Some(HEIGHTS.end() + AFTER);
    plan
}

fn partitions(rng: &mut Rng, plan: &SimPlan) -> StepPartitions {
    // Shorter than the time after which votes are repeated, a few rounds, and all rounds.
    let lasts = Millis(*rng.pick(&[500, 1_500, 5_000]));
    let mut steps = BTreeMap::new();
    for height in HEIGHTS {
        for round in 0..ROUNDS {
            for kind in [VoteKind::Prevote, VoteKind::Precommit] {
                steps.insert((height, round, kind), unheard(rng, plan));
            }
        }
    }
    StepPartitions::new(steps, lasts)
}

/// A partition into up to three parts, in which now and then one machine is not heard or does
/// not hear: for each sender, a bit for each machine that does not hear it.
fn unheard(rng: &mut Rng, plan: &SimPlan) -> Vec<u64> {
    let machines = plan.machines();
    let parts = *rng.pick(&[1, 2, 2, 3]);
    let mut part: Vec<usize> = (0..machines).map(|_| rng.index(parts)).collect();
    // Apart, mostly: a twin that hears the other one signs nothing more in the round.
    for (twin, other) in &plan.twins {
        if part[*twin] == part[*other] && rng.permille(700) {
            part[*twin] = (part[*other] + 1) % parts;
        }
    }
    let alone = rng.index(machines);
    let (is_mute, is_deaf) = (rng.permille(200), rng.permille(200));
    let is_lost = |from: Id, to: Id| {
        part[from] != part[to] || is_mute && from == alone || is_deaf && to == alone
    };
    let of = |from| (0..machines).map(|to| u64::from(is_lost(from, to)) << to).sum();
    (0..machines).map(of).collect()
}
