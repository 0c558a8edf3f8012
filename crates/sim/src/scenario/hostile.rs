//! Scenarios with dishonest machines that hold no validator's key, or one that another holds too.

use trefoil_mempool::MempoolLimits;
use trefoil_types::Millis;

use super::parts::{LOAD, grew};
use crate::{
    plan::{Act, Expect, Moment, Motion, SimPlan},
    rng::Rng,
    uplink::UplinkRate,
    vice::Vice,
    wire::{Id, Weather},
};

/// Adds dishonest full nodes to four validators, whose blocks come as ever.
fn with_strangers(mut plan: SimPlan, count: usize, vice: Vice) -> SimPlan {
    plan.full_nodes = count;
    plan.vices.extend((4..4 + count).map(|id| (id, vice)));
    let ends = plan.ends.0 - 1_000;
    plan.expect(ends, Expect::GapAtMost { since: Millis(3_000), gap: Millis(3_000) })
        .expect(ends, Expect::AllWithin(Millis(2_000)))
}

/// Four validators under load, and strangers of one kind.
fn loaded(name: &str, seed: u64, count: usize, vice: Vice) -> SimPlan {
    let plan = SimPlan::quiet(name, seed, 4, Millis(60_000)).at(0, LOAD);
    with_strangers(plan, count, vice).expect(59_000, grew(0, 60))
}

pub fn inflated_certificates(name: &str, seed: u64) -> SimPlan {
    // Idle: some have begun a height by their timer, and some have not yet.
    let mut plan = with_strangers(SimPlan::quiet(name, seed, 4, Millis(60_000)), 4, Vice::Inflator);
    plan.weather = Weather { delay_min: Millis(1), delay_max: Millis(200), ..Weather::FAIR };
    plan
}

pub fn false_tips(name: &str, seed: u64) -> SimPlan {
    loaded(name, seed, 1, Vice::Boaster)
}

pub fn hash_liars(name: &str, seed: u64) -> SimPlan {
    loaded(name, seed, 2, Vice::HashLiar)
}

pub fn non_readers(name: &str, seed: u64) -> SimPlan {
    loaded(name, seed, 2, Vice::NonReader)
}

// 512 Mbit/s: the line for which the budget of all answers was chosen. `p2p` lets 12 MiB wait
// for one peer.
const LINE: UplinkRate = UplinkRate { bytes_per_ms: 64_000, queue_max: 12 << 20 };

/// Issue 15, row C3: transactions of 100 kB, and requests of 700 bytes for 2 MB of them. Only two
/// validators are asked, without whom there is no quorum.
pub fn beggars(name: &str, seed: u64) -> SimPlan {
    let mut plan = SimPlan::quiet(name, seed, 4, Millis(20_000));
    plan.uplink = Some(LINE);
    plan.tx_bytes = 100_000;
    plan.pool = MempoolLimits::default();
    plan.chain.gas_limit = 30_000_000;
    let beggars = 4..10;
    plan.strangers = beggars.clone().flat_map(|beggar| [(0, beggar), (1, beggar)]).collect();
    with_strangers(plan.at(0, Act::Load(Some(Millis(200)))), beggars.len(), Vice::Beggar)
        .expect(19_000, grew(0, 20))
        .expect(19_000, Expect::Included { since: Millis(0), txs: 40 })
}

/// Two of seven run twice, and each copy has another part of the others on its side.
pub fn twins(name: &str, seed: u64) -> SimPlan {
    let rng = &mut Rng::new(seed, "twins");
    let mut plan = SimPlan::quiet(name, seed, 7, Millis(80_000)).at(0, LOAD).twin_of(5).twin_of(6);
    for turn in 0..10 {
        let (mut left, mut right): (Vec<Id>, Vec<Id>) = (0..5).partition(|_| rng.permille(500));
        left.extend([5, 6]);
        right.extend([7, 8]);
        let at = turn * 3_000;
        plan = plan.at(at, Act::Mend).at(at, Act::Partition(vec![left, right]));
    }
    plan.at(30_000, Act::Mend)
        .expect(79_000, Expect::Convicted(5))
        .expect(79_000, Expect::Convicted(6))
        .expect(79_000, Expect::Validators(5))
        .expect(79_000, grew(40_000, 30))
        .expect(79_000, Expect::AllWithin(Millis(2_000)))
}

/// A newcomer is told of every false snapshot before it is told of a true one.
pub fn snapshot_liars(name: &str, seed: u64) -> SimPlan {
    let mut plan = SimPlan::quiet(name, seed, 5, Millis(50_000)).at(0, LOAD);
    plan.chain.gas_limit = 30_000_000;
    plan.chain.snapshot_every = 8;
    plan.full_nodes = 2;
    plan.late.insert(6);
    plan.vices.extend([4, 5].map(|id| (id, Vice::SnapshotLiar)));
    // So that the way to the snapshot has a change of validators.
    plan.at(4_000, Act::Vote(Motion::RemoveValidator(3)))
        .expect(20_000, Expect::Validators(4))
        .at(40_000, Act::Join(6))
        .expect(49_000, Expect::Joined(6))
        .expect(49_000, Expect::CaughtUp(6, Millis(1_500)))
}

const HOUR: u64 = 3_600_000;

/// A validator that restarts among liars alone, one of whom is a validator, too. After two days
/// one honest machine reaches it.
pub fn eclipse(name: &str, seed: u64) -> SimPlan {
    let found = 48 * HOUR;
    let mut plan = SimPlan::quiet(name, seed, 4, Millis(found + 100_000));
    plan.chain.idle_block_s = HOUR / 1_000;
    plan.full_nodes = 2;
    plan.vices = [(2, Vice::Usurper), (4, Vice::Usurper), (5, Vice::Boaster)].into();
    // The strangers reach the first and the victim: fewer tips to simulate for so long.
    plan.strangers = vec![(1, 4), (1, 5), (2, 4), (2, 5), (4, 5)];
    plan.at(0, LOAD)
        .at(10_000, Act::Load(None))
        .at(12_000, Act::Crash(3, Moment::PowerCut))
        .at(12_000, Act::Eclipse { victim: 3, spared: None })
        .at(15_000, Act::Start(3))
        .at(HOUR, LOAD)
        .at(HOUR + 60_000, Act::Load(None))
        .expect(found, Expect::Behind(3, 100))
        .at(found, Act::Eclipse { victim: 3, spared: Some(0) })
        .expect(found + 60_000, Expect::CaughtUp(3, Millis(1_500)))
        .at(found + 60_000, Act::Mend)
        .at(found + 60_000, LOAD)
        .expect(found + 90_000, grew(found + 60_000, 20))
        .expect(found + 90_000, Expect::AllWithin(Millis(2_000)))
}
