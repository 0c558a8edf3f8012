//! A seat whose machine goes away, and moves to its standby.

use trefoil_types::Millis;

use super::parts::grew;
use crate::{
    failover::{GAP_MAX, stood_by},
    plan::{Act, Expect, Moment, SimPlan},
};

/// The seat of machine 1, for which machine 4 stands by.
pub fn standby(name: &str, seed: u64) -> SimPlan {
    stood_by(name, seed, 4, 1, 140_000)
        .at(8_000, Act::Crash(1, Moment::PowerCut))
        .expect(100_000, Expect::Moved { seat: 1, to: 4 })
        // Three of four are a quorum only with the standby among them.
        .at(100_000, Act::Crash(0, Moment::Kill))
        .expect(115_000, grew(101_000, 8))
        // Both live.
        .at(115_000, Act::Start(1))
        .at(115_000, Act::Start(0))
        .expect(139_000, Expect::AllWithin(Millis(2_500)))
        .expect(139_000, Expect::Moved { seat: 1, to: 4 })
        .expect(139_000, Expect::SeatSigned { seat: 1, gap: GAP_MAX })
}

/// Its machine lives on, cut off from all others, and comes back to a chain that goes on without it.
pub fn standby_across_partition(name: &str, seed: u64) -> SimPlan {
    stood_by(name, seed, 4, 1, 140_000)
        .at(8_000, Act::Partition(vec![vec![0, 2, 3, 4], vec![1]]))
        .expect(100_000, Expect::Behind(1, 60))
        .at(100_000, Act::Mend)
        .expect(139_000, Expect::Moved { seat: 1, to: 4 })
        .expect(139_000, Expect::AllWithin(Millis(2_500)))
        .expect(139_000, grew(100_000, 20))
        .expect(139_000, Expect::SeatSigned { seat: 1, gap: GAP_MAX })
}
