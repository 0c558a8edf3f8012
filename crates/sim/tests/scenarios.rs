//! Each named scenario keeps what it promises.

use trefoil_sim::{run_twice, scenario};

fn passes(name: &str) {
    let plan = scenario::find(name).expect("a scenario of that name").plan(1);
    let violation = run_twice(plan).violation.map(|violation| violation.to_string());
    assert_eq!(violation, None, "see it: trefoil-sim --scenario {name} --trace");
}

/// One test for each scenario, and none forgotten.
macro_rules! scenarios {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            passes($name);
        })*

        #[test]
        fn every_scenario_has_a_test() {
            let names: Vec<_> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

scenarios! {
    fair: "fair",
    alone: "alone",
    proposer_down: "proposer-down",
    lost_proposal: "lost-proposal",
    two_down_a_minute: "two-down-a-minute",
    all_killed: "all-killed",
    partition_heals: "partition-heals",
    full_disk: "full-disk",
    torn_tail: "torn-tail",
    slow_node: "slow-node",
    equivocator_convicted: "equivocator-convicted",
    equivocator_slashed: "equivocator-slashed",
    withholder: "withholder",
    garbage: "garbage",
    forger: "forger",
    no_direct_link: "no-direct-link",
    chain_of_links: "chain-of-links",
    fast_clock: "fast-clock",
    slow_clock: "slow-clock",
    slow_clock_restarts: "slow-clock-restarts",
    inflated_certificates: "inflated-certificates",
    false_tips: "false-tips",
    beggars: "beggars",
    hash_liars: "hash-liars",
    non_readers: "non-readers",
    twins: "twins",
    snapshot_liars: "snapshot-liars",
    eclipse: "eclipse",
    late_joiner: "late-joiner",
    idle_chain: "idle-chain",
    validator_added: "validator-added",
    validator_removed: "validator-removed",
    leaders_revoked: "leaders-revoked",
    restart_across_change: "restart-across-change",
    key_rotated: "key-rotated",
    keys_rotated_in_crashes: "keys-rotated-in-crashes",
    standby: "standby",
    standby_across_partition: "standby-across-partition",
    one_of_four_down: "one-of-four-down",
    idle_seats: "idle-seats",
    proposer_returns: "proposer-returns",
    flapping_proposer: "flapping-proposer",
    absent_to_some: "absent-to-some",
    absent_by_partition: "absent-by-partition",
    clock_a_minute_ahead: "clock-a-minute-ahead",
    member_in_vain: "member-in-vain",
    coalition: "coalition",
    coalition_of_most: "coalition-of-most",
}
