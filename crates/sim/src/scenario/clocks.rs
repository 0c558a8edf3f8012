//! Clocks that are off by more than the network tolerates.

use trefoil_types::Millis;

use super::parts::{four, grew};
use crate::plan::{Expect, Moment, SimPlan};

pub fn fast_clock(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 40_000);
    plan.skew_ms.insert(2, 3_600_000);
    plan.expect(39_000, grew(0, 15))
        .expect(39_000, Expect::AllWithin(Millis(2_000)))
        .expect(39_000, Expect::TimeWithin(Millis(10_000)))
}

pub fn slow_clock(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 40_000);
    plan.skew_ms.insert(2, -3_600_000);
    plan.expect(39_000, grew(0, 15)).expect(39_000, Expect::AllWithin(Millis(4_000)))
}

/// A validator so slow gets each block by block sync, while its core waits.
pub fn slow_clock_restarts(name: &str, seed: u64) -> SimPlan {
    let mut plan = SimPlan::quiet(name, seed, 4, Millis(100_000));
    plan.chain.idle_block_s = 2;
    // One second beyond what a timestamp may be ahead of the clock.
    plan.skew_ms.insert(2, -6_000);
    for turn in 0..8 {
        let at = 5_300 + turn * 10_700;
        for id in 0..4 {
            let at = at + id as u64 * 1_300;
            plan = plan.outage(id, at, Moment::Stop, at + 700);
        }
    }
    plan.expect(99_000, grew(0, 25)).expect(99_000, Expect::AllWithin(Millis(5_000)))
}
