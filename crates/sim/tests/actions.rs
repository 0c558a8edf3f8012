//! Calls by chance of the system contracts, from every role, to whole nodes.

use std::collections::BTreeMap;

use trefoil_sim::{actions, run, run_twice};

// `trefoil-sim --actions --seeds 500` runs many.
const SEEDS: u64 = 6;

#[test]
fn what_contracts_accept_ends_no_node_and_stops_no_chain() {
    let mut seen = BTreeMap::<_, u64>::new();
    for seed in 3..3 + SEEDS {
        let result = run(actions::plan(seed), false);
        let violation = result.violation.map(|violation| violation.to_string());
        assert_eq!(violation, None, "see it: trefoil-sim {seed} --actions --trace");
        for (what, times) in result.coverage {
            *seen.entry(what).or_default() += times;
        }
    }
    // Otherwise the seeds would show nothing.
    for (what, least) in [
        ("calls accepted", 40 * SEEDS),
        ("calls refused", 20 * SEEDS),
        ("changes of validators", SEEDS),
        ("cut off", SEEDS / 2),
        ("starts", 8 * SEEDS),
    ] {
        assert!(seen.get(what) > Some(&least), "{what}: {seen:?}");
    }
}

#[test]
fn a_seed_of_calls_takes_the_same_course_twice() {
    assert_eq!(run_twice(actions::plan(2)).violation, None);
}
