//! Schedules of twins: validators on two machines each, and a partition in each step.

use std::collections::BTreeMap;

use trefoil_sim::{InjectedBug, SimPlan, run, run_twice, twins};

// `trefoil-sim --twins --seeds 10000` runs many.
const SCHEDULES: u64 = 100;

#[test]
fn a_hundred_schedules_do_no_harm() {
    let mut seen = BTreeMap::<_, u64>::new();
    for seed in 1..=SCHEDULES {
        let result = run(twins::plan(seed), false);
        let violation = result.violation.map(|violation| violation.to_string());
        assert_eq!(violation, None, "see it: trefoil-sim {seed} --twins --trace");
        for what in result.coverage.keys() {
            *seen.entry(*what).or_default() += 1;
        }
    }
    // The schedules have an effect: twins do what a liar could, and rounds fail.
    for what in ["equivocations", "keys seen elsewhere", "late rounds", "catch-ups"] {
        assert!(seen[what] > SCHEDULES / 2, "{what} in {} of {SCHEDULES}", seen[what]);
    }
}

#[test]
fn a_schedule_takes_the_same_course_twice() {
    for seed in 1..=5 {
        assert_eq!(run_twice(twins::plan(seed)).violation, None, "{seed}");
    }
}

/// Finds a bug of validators' votes within so many schedules, by one of these judges.
fn must_find(bug: InjectedBug, schedules: u64, judges: &[&str]) {
    let violation = |seed| run(SimPlan { bug: Some(bug), ..twins::plan(seed) }, false).violation;
    let found = (1..=schedules)
        .find(|seed| violation(*seed).is_some_and(|violation| judges.contains(&violation.judge)));
    assert!(found.is_some(), "{bug}: in none of {schedules}");
}

#[test]
fn a_lock_that_is_ignored_is_found() {
    must_find(InjectedBug::SkipLock, 100, &["lock", "agreement"]);
}

#[test]
fn a_precommit_without_a_polka_is_found() {
    must_find(InjectedBug::BlindPrecommit, 20, &["lock", "agreement"]);
}

#[test]
fn a_second_prevote_is_found() {
    must_find(InjectedBug::SecondPrevote, 20, &["double-sign"]);
}

#[test]
fn a_quorum_of_one_half_is_found() {
    must_find(InjectedBug::HalfQuorum, 100, &["agreement"]);
}
