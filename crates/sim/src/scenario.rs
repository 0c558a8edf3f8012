//! Named scenarios: faults that an operator fears, and the behaviour that the node owes then.

mod clocks;
mod coalition;
mod failover;
mod hostile;
mod parts;
mod turns;
mod voting;

use trefoil_types::{Kind, Millis};

use crate::{
    plan::{Act, Expect, Moment, SimPlan},
    vice::Vice,
    wire::Weather,
};

use parts::{LOAD, four, grew};

/// A name, what it is about, and its plan for a seed.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub plan: fn(&str, u64) -> SimPlan,
}

pub const ALL: [Scenario; 48] = [
    Scenario { name: "fair", about: "four machines and nothing wrong", plan: fair },
    Scenario { name: "alone", about: "one validator is a chain", plan: alone },
    Scenario {
        name: "proposer-down",
        about: "one of four killed under load: blocks at most 3 s apart, back at the tip in 10 s",
        plan: proposer_down,
    },
    Scenario {
        name: "lost-proposal",
        about: "a validator hears nothing of one proposer, and keeps up",
        plan: lost_proposal,
    },
    Scenario {
        name: "two-down-a-minute",
        about: "two of four down for a minute: blocks within 10 s of the quorum's return",
        plan: two_down_a_minute,
    },
    Scenario {
        name: "all-killed",
        about: "all four killed at once, again and again, at bad moments",
        plan: all_killed,
    },
    Scenario {
        name: "partition-heals",
        about: "two halves: none decides; together again: blocks within 10 s",
        plan: partition_heals,
    },
    Scenario {
        name: "full-disk",
        about: "a disk fills: the node ends, and comes back when there is room",
        plan: full_disk,
    },
    Scenario {
        name: "torn-tail",
        about: "the power goes in the middle of the journal's write, over and over",
        plan: torn_tail,
    },
    Scenario { name: "slow-node", about: "one machine is slow", plan: slow_node },
    Scenario {
        name: "equivocator-convicted",
        about: "one of a consortium signs two things: out at the same height for all",
        plan: equivocator_convicted,
    },
    Scenario {
        name: "equivocator-slashed",
        about: "one of a public network does: a tenth of its stake burns, and it is out for ever",
        plan: equivocator_slashed,
    },
    Scenario {
        name: "withholder",
        about: "one proposes to few and answers no request",
        plan: withholder,
    },
    Scenario { name: "garbage", about: "one sends rubbish, and is cut off", plan: garbage },
    Scenario { name: "forger", about: "one proposes and serves what is false", plan: forger },
    Scenario {
        name: "no-direct-link",
        about: "two can never connect and a third is dishonest: the fourth hands on",
        plan: no_direct_link,
    },
    Scenario {
        name: "chain-of-links",
        about: "machines in a row: everything goes through others",
        plan: chain_of_links,
    },
    Scenario {
        name: "fast-clock",
        about: "one clock is an hour ahead: the chain's time is not",
        plan: clocks::fast_clock,
    },
    Scenario {
        name: "slow-clock",
        about: "one clock is an hour behind: the others go on, and it follows",
        plan: clocks::slow_clock,
    },
    Scenario {
        name: "slow-clock-restarts",
        about: "one clock is 6 s behind on an idle chain; each stops cleanly and starts again",
        plan: clocks::slow_clock_restarts,
    },
    Scenario {
        name: "inflated-certificates",
        about: "a stranger sends certificates without power: nobody bans but him",
        plan: hostile::inflated_certificates,
    },
    Scenario {
        name: "false-tips",
        about: "a stranger claims tips of no chain, reconnecting: blocks come as ever",
        plan: hostile::false_tips,
    },
    Scenario {
        name: "beggars",
        about: "strangers ask for 2 MB with 700 bytes, over lines of 512 Mbit/s: blocks come as ever",
        plan: hostile::beggars,
    },
    Scenario {
        name: "hash-liars",
        about: "strangers relay false lists of hashes and announce nothing: blocks come as ever",
        plan: hostile::hash_liars,
    },
    Scenario {
        name: "non-readers",
        about: "strangers ask for all and read nothing: blocks come as ever",
        plan: hostile::non_readers,
    },
    Scenario {
        name: "twins",
        about: "two of seven run twice, apart from each other: one chain, and both are out",
        plan: hostile::twins,
    },
    Scenario {
        name: "snapshot-liars",
        about: "a newcomer is told of false snapshots first: it comes by a true one",
        plan: hostile::snapshot_liars,
    },
    Scenario {
        name: "eclipse",
        about: "a validator restarts among liars for two days: it believes none, and comes back",
        plan: hostile::eclipse,
    },
    Scenario {
        name: "late-joiner",
        about: "a full node comes when the chain is long, and catches up",
        plan: late_joiner,
    },
    Scenario {
        name: "idle-chain",
        about: "nothing to do: a block a minute; the first transaction wakes it",
        plan: idle_chain,
    },
    Scenario {
        name: "validator-added",
        about: "a fifth is voted in: from the same height on for all, and its vote counts",
        plan: voting::validator_added,
    },
    Scenario {
        name: "validator-removed",
        about: "one is voted out: nobody waits for it any more, and it follows",
        plan: voting::validator_removed,
    },
    Scenario {
        name: "leaders-revoked",
        about: "two of seven nodes are revoked while their turns to propose come: cut off at once",
        plan: voting::leaders_revoked,
    },
    Scenario {
        name: "restart-across-change",
        about: "all are killed, over and over, while validators and gas limit change",
        plan: voting::restart_across_change,
    },
    Scenario {
        name: "key-rotated",
        about: "one of three, all of them needed, rotates its key: no height takes a second round",
        plan: voting::key_rotated,
    },
    Scenario {
        name: "keys-rotated-in-crashes",
        about: "two of four rotate their keys while one crashes over and over and one is away",
        plan: voting::keys_rotated_in_crashes,
    },
    Scenario {
        name: "standby",
        about: "a seat's machine dies and its standby takes over; it comes back and both live",
        plan: failover::standby,
    },
    Scenario {
        name: "standby-across-partition",
        about: "a seat's machine is cut off and lives; its standby takes over, and it sees that",
        plan: failover::standby_across_partition,
    },
    Scenario {
        name: "one-of-four-down",
        about: "one of four goes: blocks come as before",
        plan: turns::one_of_four_down,
    },
    Scenario { name: "idle-seats", about: "52 idle seats slow nothing", plan: turns::idle_seats },
    Scenario {
        name: "proposer-returns",
        about: "one that was absent comes back: it proposes its share, and blocks come as before",
        plan: turns::proposer_returns,
    },
    Scenario {
        name: "flapping-proposer",
        about: "one comes and goes every two seconds: it is waited for once each time",
        plan: turns::flapping_proposer,
    },
    Scenario {
        name: "absent-to-some",
        about: "two hear nothing of one for a while, and the others do: all propose again after it",
        plan: turns::absent_to_some,
    },
    Scenario {
        name: "absent-by-partition",
        about: "one is cut off, then each from two: everybody is waited for again",
        plan: turns::absent_by_partition,
    },
    Scenario {
        name: "clock-a-minute-ahead",
        about: "one votes and proposes in vain: its seat goes",
        plan: turns::clock_a_minute_ahead,
    },
    Scenario { name: "member-in-vain", about: "votes, and is mute", plan: turns::member_in_vain },
    Scenario {
        name: "coalition",
        about: "three of ten leave out the signature of one that is away a little: it keeps its seat",
        plan: coalition::of_three,
    },
    Scenario {
        name: "coalition-of-most",
        about: "six of ten do so: it goes to jail, and loses no stake",
        plan: coalition::of_six,
    },
];

/// The scenario of a name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    pub fn plan(&self, seed: u64) -> SimPlan {
        (self.plan)(self.name, seed)
    }
}

fn fair(name: &str, seed: u64) -> SimPlan {
    four(name, seed, 20_000)
        .expect(19_000, grew(0, 20))
        .expect(19_000, Expect::Included { since: Millis(0), txs: 40 })
        .expect(19_000, Expect::GapAtMost { since: Millis(3_000), gap: Millis(1_500) })
        .expect(19_000, Expect::AllWithin(Millis(1_000)))
}

fn alone(name: &str, seed: u64) -> SimPlan {
    SimPlan::quiet(name, seed, 1, Millis(20_000))
        .at(0, LOAD)
        .outage(0, 8_000, Moment::PowerCut, 9_000)
        .expect(19_000, grew(9_000, 8))
}

fn proposer_down(name: &str, seed: u64) -> SimPlan {
    four(name, seed, 40_000)
        .at(5_000, Act::Crash(1, Moment::Kill))
        .expect(20_000, Expect::GapAtMost { since: Millis(4_000), gap: Millis(3_000) })
        .at(20_000, Act::Start(1))
        .expect(30_000, Expect::CaughtUp(1, Millis(1_500)))
        .expect(39_000, grew(30_000, 8))
}

fn lost_proposal(name: &str, seed: u64) -> SimPlan {
    four(name, seed, 30_000)
        .at(3_000, Act::Deafen { from: 1, to: 2 })
        .expect(25_000, grew(3_000, 15))
        .expect(25_000, Expect::CaughtUp(2, Millis(4_000)))
        .at(25_000, Act::Mend)
        .expect(29_500, Expect::AllWithin(Millis(2_000)))
}

fn two_down_a_minute(name: &str, seed: u64) -> SimPlan {
    four(name, seed, 90_000)
        .at(5_000, Act::Crash(0, Moment::Kill))
        .at(5_000, Act::Crash(2, Moment::Kill))
        // Two of four are no quorum: a chain that grew now would have two futures.
        .expect(65_000, Expect::Stood { since: Millis(5_500), blocks: 0 })
        .at(65_000, Act::Start(0))
        .expect(75_500, Expect::ResumedWithin { since: Millis(65_000), within: Millis(10_000) })
        .at(75_500, Act::Start(2))
        .expect(89_000, Expect::AllWithin(Millis(2_000)))
        .expect(89_000, grew(75_500, 10))
}

fn all_killed(name: &str, seed: u64) -> SimPlan {
    let moments =
        [Moment::Kill, Moment::PowerCut, Moment::BeforeSync, Moment::AfterSync, Moment::MidSpeech];
    let mut plan = four(name, seed, 80_000);
    for (turn, moment) in moments.into_iter().enumerate() {
        let at = 4_000 + turn as u64 * 14_000;
        for id in 0..4 {
            plan = plan.outage(id, at, moment, at + 2_000 + id as u64 * 100);
        }
        let (since, within) = (Millis(at + 2_300), Millis(10_000));
        plan = plan.expect(at + 13_000, Expect::ResumedWithin { since, within });
    }
    plan.expect(79_000, Expect::AllWithin(Millis(2_000)))
}

fn partition_heals(name: &str, seed: u64) -> SimPlan {
    four(name, seed, 50_000)
        .at(5_000, Act::Partition(vec![vec![0, 1], vec![2, 3]]))
        .expect(30_000, Expect::Stood { since: Millis(5_500), blocks: 0 })
        .at(30_000, Act::Mend)
        .expect(41_000, Expect::ResumedWithin { since: Millis(30_000), within: Millis(10_000) })
        .expect(49_000, Expect::AllWithin(Millis(2_000)))
}

fn full_disk(name: &str, seed: u64) -> SimPlan {
    four(name, seed, 40_000)
        .at(5_000, Act::FillDisks(3, 3_000))
        .expect(15_000, Expect::Down(3))
        .expect(15_000, grew(5_000, 6))
        .at(15_000, Act::FreeDisks(3))
        .at(15_000, Act::Start(3))
        .expect(30_000, Expect::CaughtUp(3, Millis(1_500)))
}

fn torn_tail(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 50_000);
    for turn in 0..8 {
        let (at, id) = (3_000 + turn * 4_000, turn as usize % 4);
        plan = plan.outage(id, at, Moment::BeforeSync, at + 2_000);
    }
    plan.expect(49_000, Expect::AllWithin(Millis(2_000))).expect(49_000, grew(37_000, 10))
}

fn slow_node(name: &str, seed: u64) -> SimPlan {
    four(name, seed, 40_000)
        .at(2_000, Act::Slow(1, Millis(25)))
        .expect(30_000, grew(2_000, 15))
        .at(30_000, Act::Slow(1, Millis(0)))
        .expect(39_000, Expect::AllWithin(Millis(2_000)))
}

/// One of four equivocates. An honest one is killed and replays the conviction, and a full
/// node learns of it by block sync.
fn equivocating(name: &str, seed: u64, kind: Kind) -> SimPlan {
    let mut plan = four(name, seed, 40_000);
    plan.chain.kind = kind;
    plan.vices.insert(1, Vice::Equivocator);
    plan.full_nodes = 1;
    plan.late.insert(4);
    plan.outage(2, 12_000, Moment::PowerCut, 15_000)
        .at(18_000, Act::Start(4))
        .expect(39_000, grew(0, 15))
        .expect(39_000, Expect::Convicted(1))
        .expect(39_000, Expect::Validators(3))
        .expect(39_000, Expect::AllWithin(Millis(4_000)))
}

fn equivocator_convicted(name: &str, seed: u64) -> SimPlan {
    equivocating(name, seed, Kind::Consortium)
}

fn equivocator_slashed(name: &str, seed: u64) -> SimPlan {
    let tenth_of_its_stake = 2_000_000_000_000_000_000;
    equivocating(name, seed, Kind::Public).expect(39_000, Expect::Burned(tenth_of_its_stake))
}

fn withholder(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 40_000);
    plan.vices.insert(2, Vice::Withholder);
    plan.expect(39_000, grew(0, 12)).expect(39_000, Expect::AllWithin(Millis(4_000)))
}

fn garbage(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 40_000);
    plan.vices.insert(0, Vice::Garbler);
    plan.expect(39_000, Expect::Banned(0))
        .expect(39_000, grew(0, 12))
        .expect(39_000, Expect::AllWithin(Millis(4_000)))
}

fn forger(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 60_000);
    plan.vices.insert(3, Vice::Forger);
    // One follows only now and then, so that forged blocks are asked for.
    for turn in 0..4 {
        let at = 5_000 + turn * 8_000;
        plan = plan.outage(0, at, Moment::Kill, at + 4_000);
    }
    plan.expect(59_000, grew(0, 20)).expect(59_000, Expect::AllWithin(Millis(4_000)))
}

fn no_direct_link(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 60_000);
    // Two honest nodes without a link, and the third dishonest: only the fourth can relay.
    plan.strangers = vec![(0, 3)];
    plan.vices.insert(1, Vice::Silent);
    plan.expect(59_000, grew(0, 10)).expect(59_000, Expect::AllWithin(Millis(6_000)))
}

fn chain_of_links(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 40_000);
    plan.full_nodes = 1;
    plan.strangers = vec![(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)];
    plan.expect(39_000, grew(0, 20)).expect(39_000, Expect::AllWithin(Millis(2_000)))
}

fn late_joiner(name: &str, seed: u64) -> SimPlan {
    let mut plan = four(name, seed, 60_000);
    plan.full_nodes = 1;
    plan.late.insert(4);
    plan.at(40_000, Act::Start(4))
        .at(41_000, Act::Weather(Weather { loss_permille: 20, ..Weather::FAIR }))
        .at(50_000, Act::Weather(Weather::FAIR))
        .expect(59_000, Expect::CaughtUp(4, Millis(1_500)))
}

fn idle_chain(name: &str, seed: u64) -> SimPlan {
    let mut plan = SimPlan::quiet(name, seed, 4, Millis(200_000));
    plan.chain.idle_block_s = 60;
    plan.expect(180_000, Expect::Stood { since: Millis(10_000), blocks: 3 })
        .expect(180_000, grew(10_000, 2))
        .at(180_000, LOAD)
        .expect(183_000, Expect::ResumedWithin { since: Millis(180_000), within: Millis(2_500) })
        .expect(183_000, Expect::Included { since: Millis(180_000), txs: 1 })
}
