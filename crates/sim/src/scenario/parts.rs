//! The machines, the load and the expectation that most scenarios share.

use trefoil_types::Millis;

use crate::plan::{Act, Expect, SimPlan};

// Five transactions a second: two or three in each block of half a second, so that no block is
// empty for long.
/// The usual load of a scenario.
pub const LOAD: Act = Act::Load(Some(Millis(200)));

/// So many blocks or more became final since then (milliseconds from the start).
pub fn grew(since: u64, blocks: u64) -> Expect {
    Expect::Grew { since: Millis(since), blocks }
}

/// Four machines under load for so long.
pub fn four(name: &str, seed: u64, ends: u64) -> SimPlan {
    SimPlan::quiet(name, seed, 4, Millis(ends)).at(0, LOAD)
}
