//! Consensus between nodes of one process, under virtual time.

mod absence;
mod away;
mod cluster;
mod crash;
mod faults;
mod records;
mod rotation;
mod rules;
mod signing;

use trefoil_types::Millis;

use cluster::CoreCluster;

#[test]
fn four_validators_and_a_follower_decide_without_waiting() {
    let mut cluster = CoreCluster::with_followers(4, 1, 1);
    cluster.decide(20, Millis(20 * 150));
    assert_eq!(cluster.offences, 0);
    assert!(cluster.evidence.is_empty());
    assert_eq!(cluster.nodes[4].records, 0, "a follower has nothing to remember");
    assert!(cluster.nodes[0].chain.iter().all(|certificate| certificate.round == 0));
}

#[test]
fn a_single_validator_decides_alone() {
    CoreCluster::new(1, 1).decide(10, Millis(10 * 15));
}

#[test]
fn a_block_may_be_executed_before_its_proposal_is_heard() {
    let mut cluster = CoreCluster::new(4, 2);
    cluster.candidate_first = true;
    cluster.decide(5, Millis(5 * 150));
}

#[test]
fn around_the_world_a_height_still_takes_one_round() {
    let mut cluster = CoreCluster::new(7, 3);
    cluster.wire = Box::new(|random, _, _, _, _| vec![80 + random.below(120)]);
    cluster.decide(10, Millis(10 * 800));
    assert!(cluster.nodes[0].chain.iter().all(|certificate| certificate.round == 0));
}

/// A proposer that is down costs one wait. From then on it is known to be down, and its turns
/// cost two ways of votes, until a message of it comes.
#[test]
fn a_proposer_that_is_down_costs_one_wait() {
    let mut cluster = CoreCluster::new(4, 4);
    cluster.decide(4, Millis(1_000));
    cluster.crash(0);
    let gaps: Vec<u64> = (5..=20).map(|h| cluster.decide(h, Millis(1_500)).0).collect();
    let slow = gaps.iter().filter(|gap| **gap > 600).count();
    assert_eq!(slow, 1, "{gaps:?}");
    let known = gaps.iter().filter(|gap| **gap <= 150).count();
    assert_eq!(known, gaps.len() - 1, "{gaps:?}");

    cluster.restart(0);
    cluster.decide(30, Millis(10 * 150));
    assert!(cluster.nodes[0].chain[24..].iter().all(|certificate| certificate.round == 0));
}

#[test]
fn a_block_that_execution_refuses_is_voted_down_at_once() {
    let mut cluster = CoreCluster::new(4, 5);
    cluster.refuse_round = Some(0);
    cluster.decide(3, Millis(3 * 250));
    assert!(cluster.nodes[0].chain.iter().all(|certificate| certificate.round == 1));
}

/// Every block refused: rounds must not race, and the chain resumes when
/// blocks are good again.
#[test]
fn rounds_do_not_race_when_every_block_is_refused() {
    let mut cluster = CoreCluster::new(4, 6);
    cluster.refuse_all = true;
    cluster.run_for(Millis(60_000));
    let (height, round) = cluster.nodes[0].consensus.as_ref().and_then(|c| c.position()).unwrap();
    assert_eq!(height, 1);
    assert!(round < 100, "round {round} after a minute");
    cluster.refuse_all = false;
    cluster.decide(2, Millis(10_000));
}
