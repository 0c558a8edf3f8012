//! Proposers that leave a validator's signature out of their blocks, on a public network, whose
//! contract judges absence by those signatures (docs/economics.md).

use trefoil_types::{Kind, Millis};

use crate::{
    plan::{Expect, Moment, SimPlan},
    vice::Vice,
    wire::Id,
};

const VALIDATORS: usize = 10;
const VICTIM: Id = 9;

/// So many of ten do so; two windows of 40 blocks end meanwhile.
fn coalition(name: &str, seed: u64, members: usize) -> SimPlan {
    let mut plan = SimPlan::quiet(name, seed, VALIDATORS, Millis(120_000));
    plan.chain.kind = Kind::Public;
    plan.vices.extend((0..members).map(|id| (id, Vice::Omitter(VICTIM))));
    // None of its stake, whatever they do: that takes three quarters of the blocks.
    plan.expect(119_000, Expect::Burned(0))
        .expect(119_000, Expect::Grew { since: Millis(0), blocks: 90 })
}

/// With less than a third of the turns, though the victim is away for some of the others'.
pub fn of_three(name: &str, seed: u64) -> SimPlan {
    let mut plan = coalition(name, seed, 3);
    for at in (10_000..110_000).step_by(10_000) {
        plan = plan.outage(VICTIM, at, Moment::Kill, at + 1_000);
    }
    plan.expect(119_000, Expect::LeftOut { whom: VICTIM, since: Millis(0), percent: [35, 49] })
        .expect(119_000, Expect::Validators(VALIDATORS))
}

/// With more than half of the turns: so the bound is no more than it says.
pub fn of_six(name: &str, seed: u64) -> SimPlan {
    coalition(name, seed, 6)
        // Until its window ends: then it has no seat.
        .expect(38_000, Expect::LeftOut { whom: VICTIM, since: Millis(0), percent: [50, 70] })
        .expect(119_000, Expect::Validators(VALIDATORS - 1))
}
