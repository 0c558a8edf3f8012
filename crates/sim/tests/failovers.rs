//! Failovers: seats whose machines go away, one after the other.

use trefoil_sim::{
    InjectedBug, SimPlan,
    failover::{self, Absence},
    plan::{Act, Expect, Motion},
    run,
};

fn violation(plan: SimPlan) -> Option<String> {
    run(plan, false).violation.map(|violation| violation.to_string())
}

// `trefoil-sim --failovers --seeds 3200` runs many.
#[test]
fn seats_move_and_are_never_empty_for_long() {
    let result = run(failover::plan(1), false);
    assert_eq!(result.violation, None, "see it: trefoil-sim 1 --failovers --trace");
    assert!(result.coverage["seats that moved"] > 1);
}

/// In each way to be away the seat is found empty.
#[test]
fn a_seat_whose_standby_nobody_names_is_found_empty() {
    for absence in Absence::ALL {
        let found = violation(unnamed(absence)).unwrap_or_default();
        assert!(found.contains("SeatSigned"), "{absence:?}: {found}");
    }
}

#[test]
fn a_seat_that_does_not_move_is_found_without_the_judge_of_gaps() {
    let mut plan = unnamed(Absence::Unheard);
    plan.script.retain(|(_, act)| !matches!(act, Act::Expect(Expect::SeatSigned { .. })));
    let found = violation(plan).unwrap_or_default();
    assert!(found.contains("Moved"), "{found}");
}

/// Failovers of one kind in which a seat must move and none can.
fn unnamed(absence: Absence) -> SimPlan {
    let must_move = |(_, act): &_| matches!(act, Act::Expect(Expect::Moved { .. }));
    let mut plans = (1..).map(|seed| failover::plan_of(seed, &[absence]));
    let mut plan = plans.find(|plan| plan.script.iter().any(must_move)).expect("one of all seeds");
    plan.script.retain(|(_, act)| !matches!(act, Act::Vote(Motion::NameStandby { .. })));
    plan
}

#[test]
fn a_key_that_signs_after_its_seat_moved_is_found() {
    let found = (1..=5).find_map(|seed| run(InjectedBug::MovedKey.plan(seed), false).violation);
    let found = found.expect("it is found in some seed");
    assert!(found.judge == "double-sign" && found.text.contains("for the seat of"), "{found}");
}
