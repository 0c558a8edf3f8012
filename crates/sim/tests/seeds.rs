//! Seeds: faults first, then calm in which the chain must live.

use clap::ValueEnum as _;
use trefoil_sim::{FaultClass, RunResult, random, run_twice};

fn must_pass(seed: u64, verdict: &RunResult) {
    let violation = verdict.violation.as_ref().map(ToString::to_string);
    assert_eq!(violation, None, "see it: trefoil-sim {seed} --trace");
    assert!(verdict.height > 5, "seed {seed} made {} blocks only", verdict.height);
}

#[test]
fn twenty_seeds_pass_and_take_the_same_course_twice() {
    for seed in 1..=20 {
        must_pass(seed, &run_twice(random::plan(seed, FaultClass::value_variants())));
    }
}

#[test]
fn seeds_that_once_failed_pass() {
    let lines = include_str!("../seeds.txt").lines();
    let seeds = lines.filter_map(|line| line.split('#').next()?.trim().parse().ok());
    for seed in seeds {
        must_pass(seed, &run_twice(random::plan(seed, FaultClass::value_variants())));
    }
}

#[test]
fn without_faults_a_chain_grows_and_includes() {
    let verdict = run_twice(random::plan(7, &[]));
    must_pass(7, &verdict);
    assert!(verdict.txs > 20, "{} transactions only", verdict.txs);
}

#[test]
fn another_seed_is_another_course() {
    let (a, b) = (
        random::plan(1, FaultClass::value_variants()),
        random::plan(2, FaultClass::value_variants()),
    );
    assert_ne!(run_twice(a).steps, run_twice(b).steps);
}
