//! The plan of a seed: faults first, then calm, in which the chain must live.

use std::{fmt, str::FromStr};

use trefoil_types::Millis;

use crate::{
    byzantine::Vice,
    plan::{Act, Chain, Expect, Moment, Plan},
    rng::Rng,
    wire::{Id, Weather},
};

/// A class of things that go wrong, by which a run can be narrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
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

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::Wire,
        Self::Partition,
        Self::Reset,
        Self::Crash,
        Self::Full,
        Self::Skew,
        Self::Slow,
        Self::Byzantine,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Partition => "partition",
            Self::Reset => "reset",
            Self::Crash => "crash",
            Self::Full => "full",
            Self::Skew => "skew",
            Self::Slow => "slow",
            Self::Byzantine => "byzantine",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|fault| fault.name() == text);
        found.ok_or_else(|| {
            format!("no fault is called {text:?}; use {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// How long the chain may take from calm until it must have grown. A proposer
/// that is dead or dishonest costs rounds, whose waits had grown.
const CALM_MS: u64 = 20_000;

/// The plan of `seed`, with faults of these classes only.
pub fn plan(seed: u64, faults: &[Fault]) -> Plan {
    let rng = &mut Rng::new(seed, "plan");
    let has = |fault| faults.contains(&fault);
    let validators = *rng.pick(&[4, 4, 4, 4, 4, 4, 1, 2, 3, 5, 6, 7]);
    let storm_ms = rng.range(8_000, 16_000);
    let ends = storm_ms + CALM_MS + 2_000;
    let mut plan = Plan::quiet("random", seed, validators, Millis(ends));
    plan.full_nodes = *rng.pick(&[0, 0, 0, 1]);
    plan.chain = Chain {
        block_interval_ms: *rng.pick(&[250, 500, 1000]),
        idle_block_s: *rng.pick(&[1, 2]),
        base_fee: *rng.pick(&[0, 1_000_000_000]),
        ..Chain::default()
    };
    if has(Fault::Byzantine) {
        let dishonest = rng.range(0, Plan::faulty_max(validators) as u64) as usize;
        while plan.vices.len() < dishonest {
            plan.vices.insert(rng.index(validators), *rng.pick(&Vice::ALL));
        }
    }
    if has(Fault::Skew) {
        plan.skew_ms =
            (0..plan.machines()).map(|id| (id, rng.range(0, 500) as i64 - 250)).collect();
    }
    if has(Fault::Wire) && rng.permille(700) {
        plan.weather = weather(rng);
    }
    plan = plan.at(0, Act::Load(Some(Millis(rng.range(50, 400)))));
    for _ in 0..rng.range(2, 9) {
        let Some(fault) = pick_act(rng, faults) else { break };
        let from = rng.range(500, storm_ms - 500);
        plan = disturb(plan, rng, fault, from, storm_ms);
    }
    calm(plan, storm_ms)
}

/// Ends the faults at `at` and says what must be so afterwards.
pub fn calm(plan: Plan, at: u64) -> Plan {
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

fn pick_act(rng: &mut Rng, faults: &[Fault]) -> Option<Fault> {
    let acts =
        [Fault::Partition, Fault::Reset, Fault::Crash, Fault::Crash, Fault::Full, Fault::Slow];
    let acts: Vec<_> = acts.into_iter().filter(|fault| faults.contains(fault)).collect();
    (!acts.is_empty()).then(|| *rng.pick(&acts))
}

/// Something that goes wrong at `from` and, mostly, is put right before `until`.
fn disturb(plan: Plan, rng: &mut Rng, fault: Fault, from: u64, until: u64) -> Plan {
    let machines = plan.machines();
    let who = rng.index(machines);
    let then = rng.range(from, until);
    match fault {
        Fault::Partition if rng.permille(300) => {
            let act = Act::Deafen { from: who, to: rng.index(machines) };
            plan.at(from, act).at(then, Act::Mend)
        }
        Fault::Partition => {
            let (left, right) = (0..machines).partition(|_| rng.permille(500));
            plan.at(from, Act::Partition(vec![left, right])).at(then, Act::Mend)
        }
        Fault::Reset => plan.at(from, Act::Reset(who, rng.index(machines))),
        Fault::Full => {
            let start = rng.range(then, until);
            plan.at(from, Act::FillDisks(who, rng.range(0, 20_000)))
                .at(then, Act::FreeDisks(who))
                .at(start, Act::Start(who))
        }
        Fault::Slow => {
            let cost = Millis(rng.range(1, 20));
            plan.at(from, Act::Slow(who, cost)).at(then, Act::Slow(who, Millis(0)))
        }
        _ => crash(plan, rng, who, from, until),
    }
}

fn crash(mut plan: Plan, rng: &mut Rng, who: Id, from: u64, until: u64) -> Plan {
    // All at once, now and then: the power of a whole site.
    let all = rng.permille(200);
    let down = if all { (0..plan.machines()).collect() } else { vec![who] };
    let moment = moment(rng);
    for id in down {
        plan = plan.at(from, Act::Crash(id, moment));
        plan = plan.at(rng.range(from, until), Act::Start(id));
    }
    plan
}

fn moment(rng: &mut Rng) -> Moment {
    let writes = Moment::LedgerWrites(rng.range(0, 60));
    *rng.pick(&[
        Moment::Stop,
        Moment::Kill,
        Moment::PowerCut,
        Moment::BeforeSync,
        Moment::AfterSync,
        Moment::MidSpeech,
        writes,
    ])
}
