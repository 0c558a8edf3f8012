//! Scenarios in which the organisations change who validates, and other settings.

use trefoil_types::Millis;

use super::parts::{LOAD, grew};
use crate::plan::{Act, Expect, Moment, Motion, SimPlan};

/// Machines under load whose organisations vote.
fn voting(name: &str, seed: u64, validators: usize, ends: u64) -> SimPlan {
    let mut plan = SimPlan::quiet(name, seed, validators, Millis(ends)).at(0, LOAD);
    // A vote costs up to five million gas: the usual limit of a plan has no room for it.
    plan.chain.gas_limit = 30_000_000;
    plan
}

/// With a full node that a vote may make a validator.
fn with_reserve(mut plan: SimPlan) -> SimPlan {
    plan.full_nodes = 1;
    plan.reserves.insert(plan.validators);
    plan
}

pub fn validator_added(name: &str, seed: u64) -> SimPlan {
    with_reserve(voting(name, seed, 4, 50_000))
        .at(4_000, Act::Vote(Motion::AddValidator(4)))
        .expect(20_000, Expect::Validators(5))
        // Four of five are a quorum only with the new one among them.
        .at(20_000, Act::Crash(0, Moment::Kill))
        .expect(35_000, grew(20_000, 5))
        .at(35_000, Act::Start(0))
        .expect(49_000, Expect::AllWithin(Millis(2_000)))
}

pub fn validator_removed(name: &str, seed: u64) -> SimPlan {
    voting(name, seed, 4, 50_000)
        .at(4_000, Act::Vote(Motion::RemoveValidator(3)))
        .expect(20_000, Expect::Validators(3))
        .at(20_000, Act::Crash(3, Moment::Kill))
        .expect(35_000, Expect::GapAtMost { since: Millis(20_000), gap: Millis(1_500) })
        .at(35_000, Act::Start(3))
        .expect(49_000, Expect::AllWithin(Millis(2_000)))
}

pub fn leaders_revoked(name: &str, seed: u64) -> SimPlan {
    let mut plan = voting(name, seed, 7, 50_000);
    for (at, id) in [(4_000, 2), (14_000, 5)] {
        plan = plan
            .at(at, Act::Vote(Motion::RevokeNode(id)))
            .expect(at + 9_000, Expect::CutOff(id))
            .expect(at + 9_000, Expect::GapAtMost { since: Millis(at), gap: Millis(3_000) });
    }
    for id in [0, 1, 3, 4, 6] {
        plan = plan.expect(49_000, Expect::CaughtUp(id, Millis(1_500)));
    }
    plan.expect(49_000, Expect::Validators(5)).expect(49_000, grew(25_000, 20))
}

pub fn restart_across_change(name: &str, seed: u64) -> SimPlan {
    let moments = [Moment::Kill, Moment::PowerCut, Moment::AfterSync];
    let mut plan = with_reserve(voting(name, seed, 4, 70_000))
        .at(4_000, Act::Vote(Motion::AddValidator(4)))
        .at(4_300, Act::Vote(Motion::SetGasLimit(25_000_000)));
    for (turn, moment) in moments.into_iter().enumerate() {
        // The approvals are final at about 8 s; what they change holds a little later.
        let at = 8_300 + turn as u64 * 12_000;
        for id in 0..5 {
            plan = plan.outage(id, at, moment, at + 1_500 + id as u64 * 100);
        }
    }
    plan.expect(60_000, Expect::Validators(5))
        .expect(60_000, Expect::GasLimit(25_000_000))
        .expect(69_000, grew(50_000, 10))
        .expect(69_000, Expect::AllWithin(Millis(2_000)))
}

pub fn key_rotated(name: &str, seed: u64) -> SimPlan {
    // Without the votes of the one that rotates there is no quorum.
    let mut plan = voting(name, seed, 3, 30_000);
    plan.rotating.insert(1);
    plan.at(6_000, Act::Vote(Motion::RotateKey(1)))
        .expect(15_000, Expect::Rotated(1))
        .expect(29_000, Expect::FirstRounds { since: Millis(3_000) })
        .expect(29_000, grew(3_000, 30))
}

pub fn keys_rotated_in_crashes(name: &str, seed: u64) -> SimPlan {
    let moments =
        [Moment::AfterSync, Moment::MidSpeech, Moment::BeforeSync, Moment::Kill, Moment::PowerCut];
    let mut plan = voting(name, seed, 4, 60_000);
    plan.rotating.extend([1, 2]);
    plan = plan
        .at(3_000, Act::Vote(Motion::RotateKey(1)))
        // A key that never signed counts for no quorum: the second waits for the first.
        .at(10_000, Act::Vote(Motion::RotateKey(2)))
        // It learns of the change by block sync.
        .outage(2, 11_000, Moment::PowerCut, 19_000);
    // The first change holds from about 4.5 s on.
    for (turn, moment) in moments.into_iter().enumerate() {
        let at = 4_000 + turn as u64 * 900;
        plan = plan.outage(1, at, moment, at + 300);
    }
    plan.expect(25_000, Expect::Rotated(1))
        .expect(25_000, Expect::Rotated(2))
        .expect(25_000, Expect::AllWithin(Millis(2_000)))
        // Three of four are a quorum only with the next keys of both.
        .at(25_000, Act::Crash(0, Moment::Kill))
        .expect(45_000, grew(25_000, 8))
        .at(45_000, Act::Start(0))
        .expect(59_000, Expect::AllWithin(Millis(2_000)))
}
