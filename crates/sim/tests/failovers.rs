//! Failovers: seats whose machines go away, one after the other.

use trefoil_sim::{
    SimPlan, Violation, failover,
    plan::{Act, Motion},
    run,
};

fn violation(plan: SimPlan) -> Option<Violation> {
    run(plan, false).violation
}

// `trefoil-sim --failovers --seeds 2800` runs many.
#[test]
fn seats_move_and_are_never_empty_for_long() {
    let result = run(failover::plan(1), false);
    assert_eq!(result.violation, None, "see it: trefoil-sim 1 --failovers --trace");
    assert!(result.coverage["seats that moved"] > 1);
}

/// The judge of gaps finds them.
#[test]
fn a_seat_whose_standby_nobody_names_is_found_empty() {
    let mut plan = failover::plan(1);
    plan.script.retain(|(_, act)| !matches!(act, Act::Vote(Motion::NameStandby { .. })));
    assert!(violation(plan).is_some_and(|it| it.text.contains("SeatSigned")));
}
