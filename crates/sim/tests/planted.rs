//! Bugs put in on purpose are found: the judges see.

use trefoil_sim::{InjectedBug, run};

/// A bug must be found within so many seeds.
const SEEDS_MAX: u64 = 20;

/// Who found a planted bug, and in which seed.
fn found(plant: InjectedBug) -> Option<(u64, &'static str)> {
    (1..=SEEDS_MAX).find_map(|seed| Some((seed, run(plant.plan(seed), false).violation?.judge)))
}

#[test]
fn every_planted_bug_is_found() {
    let found: Vec<_> =
        InjectedBug::ALL.iter().map(|plant| (plant.name(), found(*plant))).collect();
    let count = found.iter().filter(|(_, found)| found.is_some()).count();
    println!("{count} of {} found: {found:?}", InjectedBug::ALL.len());
    assert_eq!(count, InjectedBug::ALL.len(), "{found:?}");
}

/// What finds the bugs is the bugs, not the plans they are looked for in.
#[test]
fn the_same_plans_pass_without_the_bug() {
    for plant in InjectedBug::ALL {
        let mut plan = plant.plan(1);
        plan.bug = None;
        let violation = run(plan, false).violation.map(|violation| violation.to_string());
        assert_eq!(violation, None, "the plan for {plant}");
    }
}
