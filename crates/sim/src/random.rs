//! The plan of a seed: faults first, then calm, in which the chain must live.

use clap::ValueEnum;
use trefoil_types::Millis;

use crate::{
    plan::{Act, ChainOptions, Expect, Moment, SimPlan},
    rng::Rng,
    vice::Vice,
    wire::{Id, Weather},
};

/// A class of things that go wrong, by which a run can be narrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum FaultClass {
    /// Loss, duplication, reordering, long delays.
    Wire,
    Partition,
    /// Connections reset.
    Reset,
    /// Processes killed and restarted; the power cut at bad moments.
    Crash,
    /// Disks that are full for a while.
    Full,
    /// Clocks that are off.
    Skew,
    /// Machines that are slow for a while.
    Slow,
    /// Dishonest validators.
    Byzantine,
}

// A dead or dishonest proposer costs rounds, whose waits have grown: to 4 s at most with
// blocks of a second, so that this is five of them.
/// How long the chain may take from calm until it must have grown.
pub const CALM_MS: u64 = 20_000;

/// How long the machines that were down may take to come back.
pub const SETTLE_MS: u64 = 10_000;

// An idle block is due after 2 s at most, and a proposer that just came back may cost two rounds.
/// The longest between two blocks after that, whatever strangers do.
const GAP: Millis = Millis(5_000);

/// The plan of `seed`, with faults of these classes only.
pub fn plan(seed: u64, faults: &[FaultClass]) -> SimPlan {
    let rng = &mut Rng::new(seed, "plan");
    let has = |fault| faults.contains(&fault);
    // Mostly four: the smallest set that bears a fault, so that one more breaks it.
    let validators = *rng.pick(&[4, 4, 4, 4, 4, 4, 1, 2, 3, 5, 6, 7]);
    let storm_ms = rng.range(8_000, 16_000);
    let ends = storm_ms + CALM_MS + 2_000;
    let mut plan = SimPlan::quiet("random", seed, validators, Millis(ends));
    plan.full_nodes = *rng.pick(&[0, 0, 0, 1]);
    plan.chain = ChainOptions {
        block_interval_ms: *rng.pick(&[250, 500, 1000]),
        idle_block_s: *rng.pick(&[1, 2]),
        base_fee: *rng.pick(&[0, 1_000_000_000]),
        ..ChainOptions::default()
    };
    if has(FaultClass::Byzantine) {
        let dishonest = rng.range(0, SimPlan::faulty_max(validators) as u64) as usize;
        while plan.vices.len() < dishonest {
            plan.vices.insert(rng.index(validators), *rng.pick(Vice::value_variants()));
        }
    }
    if has(FaultClass::Skew) {
        plan.skew_ms =
            // Within a quarter of a second, as NTP keeps clocks: nothing may fail for that.
            (0..plan.machines()).map(|id| (id, rng.range(0, 500) as i64 - 250)).collect();
    }
    if has(FaultClass::Wire) && rng.permille(700) {
        plan.weather = weather(rng);
    }
    if has(FaultClass::Byzantine) {
        // A stream of its own, so that a change here leaves the draws of the other classes as they
        // are. It does not keep the courses of old seeds: each change of the node alters those.
        let rng = &mut Rng::new(seed, "stranger");
        if rng.permille(300) {
            plan.full_nodes = 1;
            plan.vices.insert(validators, *rng.pick(&Vice::OF_STRANGERS));
        }
    }
    if has(FaultClass::Byzantine) {
        plan = run_twice(plan, &mut Rng::new(seed, "twins"));
    }
    plan = plan.at(0, Act::Load(Some(Millis(rng.range(50, 400)))));
    for _ in 0..rng.range(2, 9) {
        let Some(fault) = pick_act(rng, faults) else { break };
        let from = rng.range(500, storm_ms - 500);
        plan = disturb(plan, rng, fault, from, storm_ms);
    }
    if has(FaultClass::Skew) {
        plan = lose_time(plan, &mut Rng::new(seed, "clocks"), storm_ms);
    }
    live_beside_strangers(calm(plan, storm_ms), storm_ms)
}

/// Where no validator is at fault, hostile strangers do not delay blocks once the faults are over.
fn live_beside_strangers(plan: SimPlan, calm: u64) -> SimPlan {
    let sound = |id: &Id| plan.is_honest(*id) && !plan.skew_ms.get(id).is_some_and(is_lost);
    if plan.vices.is_empty() || !(0..plan.validators).all(|id| sound(&id)) {
        return plan;
    }
    plan.expect(calm + CALM_MS, Expect::GapAtMost { since: Millis(calm + SETTLE_MS), gap: GAP })
}

/// Whether a clock is beyond what a proposal may be off.
fn is_lost(skew_ms: &i64) -> bool {
    skew_ms.abs() > 1_000
}

/// Now and then a validator runs on two machines, which is as dishonest as any other fault of
/// its key.
fn run_twice(plan: SimPlan, rng: &mut Rng) -> SimPlan {
    let faulty = plan.vices.keys().filter(|id| **id < plan.validators).count();
    let who = rng.index(plan.validators);
    let has_room = faulty < SimPlan::faulty_max(plan.validators);
    if has_room && plan.is_honest(who) && rng.permille(200) { plan.twin_of(who) } else { plan }
}

/// Now and then a clock is beyond every tolerance, as one that no time server sets. The
/// others refuse the proposals of its validator, or it refuses theirs. So it counts among
/// the dishonest: fewer than a third of the validators may be of no use. And now and then the
/// chain idles while machines stop cleanly and start again, so that block sync meets the timers
/// of consensus.
fn lose_time(mut plan: SimPlan, rng: &mut Rng, until: u64) -> SimPlan {
    let faulty = plan.vices.keys().filter(|id| **id < plan.validators).count();
    let who = rng.index(plan.validators);
    let has_room = faulty < SimPlan::faulty_max(plan.validators);
    if has_room && plan.is_honest(who) && rng.permille(300) {
        let off = *rng.pick(&[6_000, 6_000, 20_000, 3_600_000]);
        plan.skew_ms.insert(who, if rng.permille(700) { -off } else { off });
    }
    if !rng.permille(300) {
        return plan;
    }
    let idles = rng.range(1_000, until - 4_000);
    plan = plan.at(idles, Act::Load(None));
    let stops = if rng.permille(500) { vec![who] } else { (0..plan.machines()).collect() };
    for id in stops {
        let at = idles + rng.range(500, 2_500);
        plan = plan.outage(id, at, Moment::Stop, at + rng.range(100, 1_000));
    }
    let resumes = rng.range(idles + 2_500, until);
    plan.at(resumes, Act::Load(Some(Millis(rng.range(50, 400)))))
}

/// Ends the faults at `at` and adds the expectations of the time after.
pub fn calm(plan: SimPlan, at: u64) -> SimPlan {
    // The expectations are weak on purpose: a seed must not fail for bad luck, and a chain
    // that is stuck fails even the weakest.
    let (done, lag) = (at + CALM_MS, Millis(5_000));
    plan.at(at, Act::Calm)
        .at(at, Act::Load(Some(Millis(500))))
        .expect(done, Expect::Grew { since: Millis(at), blocks: 5 })
        .expect(done, Expect::Included { since: Millis(at), txs: 3 })
        .expect(done, Expect::AllWithin(lag))
}

fn weather(rng: &mut Rng) -> Weather {
    Weather {
        delay_min: Millis(rng.range(0, 20)),
        delay_max: Millis(*rng.pick(&[20, 50, 150, 400])),
        loss_permille: *rng.pick(&[0, 0, 10, 50]),
        twice_permille: *rng.pick(&[0, 0, 10, 30]),
        reorder_permille: *rng.pick(&[0, 0, 20, 100]),
    }
}

fn pick_act(rng: &mut Rng, faults: &[FaultClass]) -> Option<FaultClass> {
    let acts = [
        FaultClass::Partition,
        FaultClass::Reset,
        FaultClass::Crash,
        FaultClass::Crash,
        FaultClass::Full,
        FaultClass::Slow,
    ];
    let acts: Vec<_> = acts.into_iter().filter(|fault| faults.contains(fault)).collect();
    (!acts.is_empty()).then(|| *rng.pick(&acts))
}

/// Something that goes wrong at `from` and, mostly, is put right before `until`.
fn disturb(plan: SimPlan, rng: &mut Rng, fault: FaultClass, from: u64, until: u64) -> SimPlan {
    let machines = plan.machines();
    let who = rng.index(machines);
    let then = rng.range(from, until);
    match fault {
        FaultClass::Partition if rng.permille(300) => {
            let act = Act::Deafen { from: who, to: rng.index(machines) };
            plan.at(from, act).at(then, Act::Mend)
        }
        FaultClass::Partition => {
            let (left, right) = (0..machines).partition(|_| rng.permille(500));
            plan.at(from, Act::Partition(vec![left, right])).at(then, Act::Mend)
        }
        FaultClass::Reset => plan.at(from, Act::Reset(who, rng.index(machines))),
        FaultClass::Full => {
            let start = rng.range(then, until);
            plan.at(from, Act::FillDisks(who, rng.range(0, 20_000)))
                .at(then, Act::FreeDisks(who))
                .at(start, Act::Start(who))
        }
        FaultClass::Slow => {
            let cost = Millis(rng.range(1, 20));
            plan.at(from, Act::Slow(who, cost)).at(then, Act::Slow(who, Millis(0)))
        }
        _ => crash(plan, rng, who, from, until),
    }
}

fn crash(mut plan: SimPlan, rng: &mut Rng, who: Id, from: u64, until: u64) -> SimPlan {
    // All at once, now and then: the power of a whole site.
    let all = rng.permille(200);
    let down = if all { (0..plan.machines()).collect() } else { vec![who] };
    let moment = moment(rng);
    for id in down {
        plan = plan.outage(id, from, moment, rng.range(from, until));
    }
    plan
}

fn moment(rng: &mut Rng) -> Moment {
    let writes = Moment::LedgerWrites(rng.range(0, 60));
    *rng.pick(&[&Moment::USUAL[..], &[writes]].concat())
}
