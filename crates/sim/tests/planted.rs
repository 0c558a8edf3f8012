//! The judges find the bugs that are injected on purpose.

use clap::ValueEnum as _;
use trefoil_sim::{InjectedBug, run};

// As many as `trefoil-sim` runs by default.
/// A bug must be found within so many seeds.
const SEEDS_MAX: u64 = 20;

/// The judge that found an injected bug, and in which seed.
fn found(plant: InjectedBug) -> Option<(u64, &'static str)> {
    (1..=SEEDS_MAX).find_map(|seed| Some((seed, run(plant.plan(seed), false).violation?.judge)))
}

#[test]
fn every_planted_bug_is_found() {
    let plants = InjectedBug::value_variants();
    let found: Vec<_> = plants.iter().map(|plant| (plant.to_string(), found(*plant))).collect();
    let count = found.iter().filter(|(_, found)| found.is_some()).count();
    println!("{count} of {} found: {found:?}", plants.len());
    assert_eq!(count, plants.len(), "{found:?}");
}

/// The judges find the bugs themselves, not faults of the plans.
#[test]
fn the_same_plans_pass_without_the_bug() {
    for plant in InjectedBug::value_variants() {
        let mut plan = plant.plan(1);
        plan.bug = None;
        let violation = run(plan, false).violation.map(|violation| violation.to_string());
        assert_eq!(violation, None, "the plan for {plant}");
    }
}
