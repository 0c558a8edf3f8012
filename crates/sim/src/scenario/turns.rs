//! Turns to propose: of validators that are absent, that return, that come and go, or that are
//! there in vain.

use trefoil_types::{Kind, Millis};

use super::parts::{four, grew};
use crate::{
    plan::{Act, Expect, Moment, SimPlan},
    vice::Vice,
};

/// Nothing is wrong in between.
const CALM: [Millis; 2] = [Millis(5_000), Millis(40_000)];

/// Blocks come as in the calm, from then on.
const fn paced(since: u64) -> Expect {
    Expect::Paced { calm: CALM, since: Millis(since) }
}

const fn gap(since: u64, gap: u64) -> Expect {
    Expect::GapAtMost { since: Millis(since), gap: Millis(gap) }
}

/// One of four proposes about its share.
const fn proposes(by: usize, since: u64) -> Expect {
    Expect::Proposes { by, since: Millis(since), percent: 22 }
}

pub fn one_of_four_down(name: &str, seed: u64) -> SimPlan {
    four(name, seed, 101_000)
        .at(40_000, Act::Crash(1, Moment::Kill))
        .expect(100_000, gap(40_000, 2_000))
        .expect(100_000, paced(40_000))
}

pub fn idle_seats(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 61_000);
    plan.chain.kind = Kind::Public;
    plan.chain.idle_seats = 52;
    // 600 ms each at most: 1.2 times the block interval.
    plan.expect(60_000, grew(0, 100)).expect(60_000, gap(3_000, 1_500))
}

pub fn proposer_returns(name: &str, seed: u64) -> SimPlan {
    four(name, seed, 101_000)
        .outage(1, 40_000, Moment::PowerCut, 60_000)
        .expect(100_000, paced(65_000))
        .expect(100_000, proposes(1, 65_000))
        .expect(100_000, Expect::AllWithin(Millis(2_000)))
}

/// Whenever it is heard it is waited for again: once each time that it goes.
pub fn flapping_proposer(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 121_000);
    for at in (40_000..80_000).step_by(4_000) {
        plan = plan.outage(1, at, Moment::Kill, at + 2_000);
    }
    plan.expect(80_000, gap(40_000, 3_000))
        .expect(80_000, grew(40_000, 55))
        .expect(120_000, paced(85_000))
        .expect(120_000, proposes(1, 85_000))
}

/// Two of the others hold it for absent, and one does not.
pub fn absent_to_some(name: &str, seed: u64) -> SimPlan {
    four(name, seed, 121_000)
        .at(40_000, Act::Deafen { from: 1, to: 2 })
        .at(40_000, Act::Deafen { from: 1, to: 3 })
        .expect(80_000, gap(40_000, 3_000))
        .expect(80_000, grew(40_000, 55))
        .at(80_000, Act::Mend)
        .expect(120_000, paced(85_000))
        .expect(120_000, proposes(1, 85_000))
        .expect(120_000, Expect::AllWithin(Millis(2_000)))
}

/// One alone, then two halves, in which everybody is absent to somebody.
pub fn absent_by_partition(name: &str, seed: u64) -> SimPlan {
    let plan = four(name, seed, 181_000)
        .at(40_000, Act::Partition(vec![vec![0, 2, 3], vec![1]]))
        .expect(60_000, paced(40_000))
        .at(60_000, Act::Mend)
        .expect(100_000, paced(65_000))
        .expect(100_000, proposes(1, 65_000))
        .at(100_000, Act::Partition(vec![vec![0, 1], vec![2, 3]]))
        .at(120_000, Act::Mend)
        .expect(131_000, Expect::ResumedWithin { since: Millis(120_000), within: Millis(10_000) })
        .expect(180_000, paced(135_000));
    (0..4).fold(plan, |plan, id| plan.expect(180_000, proposes(id, 135_000)))
}

/// Its votes count, so that it is present, and its blocks are refused: it fails its turns.
pub fn clock_a_minute_ahead(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 101_000);
    plan.chain.kind = Kind::Public;
    plan.skew_ms.insert(2, 60_000);
    plan.expect(100_000, gap(3_000, 3_000))
        .expect(100_000, grew(0, 120))
        .expect(100_000, Expect::Validators(3))
        .expect(100_000, Expect::TimeWithin(Millis(10_000)))
        .expect(100_000, Expect::AllWithin(Millis(2_000)))
}

/// Where members govern nobody takes its seat, and nobody waits for it at each of its turns.
pub fn member_in_vain(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 101_000);
    plan.vices.insert(2, Vice::Mute);
    plan.expect(100_000, gap(3_000, 3_000))
        .expect(100_000, grew(20_000, 150))
        .expect(100_000, Expect::Validators(4))
        .expect(100_000, Expect::AllWithin(Millis(2_000)))
}
