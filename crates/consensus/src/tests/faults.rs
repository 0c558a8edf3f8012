//! Loss, partition, byzantine validators.

use std::collections::BTreeSet;

use proptest::prelude::*;
use trefoil_types::{B256, Evidence, Millis, Proposal, Vote, VoteKind};

use super::cluster::{CoreCluster, NETWORK, Random, good_wire, key, proposer};
use crate::ConsensusMessage;

/// Three of four are up, so that each vote counts: one that was lost has to be sent again.
#[test]
fn a_vote_that_nobody_heard_is_said_again() {
    for kind in [VoteKind::Prevote, VoteKind::Precommit] {
        let mut cluster = CoreCluster::new(4, 10);
        let down = proposer(4, 2, 0);
        cluster.crash(down);
        let mute = key((down + 1) % 4).public();
        let mut lost = BTreeSet::new();
        cluster.wire = Box::new(move |random, _, _, to, speech| match speech {
            ConsensusMessage::Vote(v) if v.validator == mute && v.kind == kind && v.height == 1 => {
                match lost.insert(to) {
                    true => vec![],
                    false => vec![5 + random.below(16)],
                }
            }
            _ => vec![5 + random.below(16)],
        });
        cluster.decide(1, Millis(1_500));
        assert_eq!(cluster.nodes[(down + 1) % 4].chain[0].round, 0);
    }
}

/// No quorum for an hour must not leave waits that grew with the rounds.
#[test]
fn two_halves_resume_soon_after_an_hour_apart() {
    let mut cluster = CoreCluster::new(4, 11);
    cluster.decide(3, Millis(1_000));
    cluster.wire = Box::new(|random, _, from, to, _| match from % 2 == to % 2 {
        true => vec![5 + random.below(16)],
        false => vec![],
    });
    cluster.run_for(Millis(3_600_000));
    let height = (0..4).map(|i| cluster.height(i)).max().unwrap();
    assert!(height <= 4, "a half decided by itself");
    cluster.wire = good_wire();
    let took = cluster.decide(height + 1, Millis(10_000));
    assert!(took <= Millis(4_000), "{took}");
}

/// Flapping: a quorum is there for a moment now and then, so that rounds do
/// grow; still each wait stays bounded.
#[test]
fn rounds_that_grew_for_an_hour_do_not_slow_the_end() {
    let mut cluster = CoreCluster::new(4, 12);
    // Proposals are lost, votes are not: every round fails, one after another.
    cluster.wire = Box::new(|random, _, _, _, speech| match speech {
        ConsensusMessage::Proposal(_) => vec![],
        _ => vec![5 + random.below(16)],
    });
    cluster.run_for(Millis(3_600_000));
    assert!((0..4).all(|i| cluster.height(i) == 0));
    cluster.wire = good_wire();
    cluster.decide(1, Millis(10_000));
}

#[test]
fn two_of_four_down_for_a_minute_then_back() {
    let mut cluster = CoreCluster::new(4, 13);
    cluster.decide(3, Millis(1_000));
    cluster.crash(1);
    cluster.crash(2);
    cluster.run_for(Millis(60_000));
    let height = cluster.height(0).max(cluster.height(3));
    cluster.restart(1);
    cluster.run_for(Millis(2_000));
    cluster.restart(2);
    let took = cluster.decide(height + 2, Millis(10_000));
    assert!(took <= Millis(5_000), "{took}");
}

#[test]
fn two_votes_of_one_validator_are_evidence_once() {
    let mut cluster = CoreCluster::new(4, 14);
    let liar = proposer(4, 2, 0);
    cluster.suspect(liar);
    cluster.crash(liar);
    let vote = |block| Vote::sign(&key(liar), &NETWORK, VoteKind::Prevote, 1, 0, block);
    let (a, b) = (vote(Some(B256::repeat_byte(1))), vote(Some(B256::repeat_byte(2))));
    for speech in [&a, &b, &a, &b].map(|vote| ConsensusMessage::Vote(vote.clone())) {
        cluster.say(liar, &speech);
    }
    cluster.decide(4, Millis(5_000));
    assert_eq!(cluster.evidence.len(), 3, "each of the three others tells it once");
    for evidence in &cluster.evidence {
        let Evidence::Votes(x, y) = evidence else { panic!("{evidence:?}") };
        let found: BTreeSet<_> = [x.clone(), y.clone()].into();
        assert_eq!(found, BTreeSet::from([a.clone(), b.clone()]));
    }
}

#[test]
fn two_proposals_of_one_round_are_evidence_and_harmless() {
    let mut cluster = CoreCluster::new(4, 15);
    let liar = proposer(4, 3, 0);
    cluster.suspect(liar);
    cluster.decide(2, Millis(1_000));
    cluster.crash(liar);
    for fill in [1, 2] {
        let block = B256::repeat_byte(fill);
        let proposal = Proposal::sign(&key(liar), &NETWORK, 3, 0, block, None);
        cluster.say(liar, &ConsensusMessage::Proposal(proposal));
    }
    cluster.decide(5, Millis(5_000));
    assert!(cluster.evidence.iter().all(|e| matches!(e, Evidence::Proposals(..))));
    assert_eq!(cluster.evidence.len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Agreement under any loss, reordering and duplication (the cluster's
    /// judges look on), and a decision soon after it ends.
    #[test]
    fn a_bad_wire_never_splits_the_chain(
        seed: u64,
        n in 1usize..=7,
        loss in 0u64..60,
        double in 0u64..40,
        slow in 20u64..1_500,
    ) {
        let mut cluster = CoreCluster::new(n, seed);
        cluster.wire = Box::new(move |random, _, _, _, _| {
            let copies = match random.below(100) {
                roll if roll < loss => 0,
                roll if roll >= 100 - double => 2,
                _ => 1,
            };
            (0..copies).map(|_| 1 + random.below(slow)).collect()
        });
        let quiet = (n > 3).then_some(seed as usize % n);
        for part in 0..4 {
            cluster.run_for(Millis(5_000));
            if let Some(node) = quiet {
                match part % 2 {
                    0 => cluster.crash(node),
                    _ => cluster.restart(node),
                }
            }
        }
        cluster.wire = good_wire();
        let height = (0..n).map(|i| cluster.height(i)).max().unwrap();
        cluster.decide(height + 2, Millis(10_000));
        prop_assert!(cluster.evidence.is_empty());
        prop_assert_eq!(cluster.offences, 0);
    }

    /// One of four signs whatever, to whomever, for blocks it saw and none.
    #[test]
    fn a_liar_never_splits_the_chain(seed: u64, loss in 0u64..20) {
        let mut cluster = CoreCluster::new(4, seed);
        let liar = seed as usize % 4;
        cluster.suspect(liar);
        cluster.crash(liar);
        cluster.wire = Box::new(move |random, _, _, _, _| match random.below(100) < loss {
            true => vec![],
            false => vec![1 + random.below(60)],
        });
        let mut random = Random(seed);
        for _ in 0..300 {
            cluster.run_for(Millis(20));
            let to = (liar + 1 + random.below(3) as usize) % 4;
            let lie = lie(&cluster, &mut random, liar, to);
            cluster.send(liar, to, &lie);
        }
        cluster.wire = good_wire();
        let height = (0..4).map(|i| cluster.height(i)).max().unwrap();
        cluster.decide(height + 2, Millis(10_000));
        let name = key(liar).public();
        for evidence in &cluster.evidence {
            let (a, b) = match evidence {
                Evidence::Votes(a, b) => (a.validator, b.validator),
                Evidence::Proposals(a, b) => (a.proposer, b.proposer),
            };
            prop_assert_eq!((a, b), (name, name));
        }
    }
}

/// A statement about where `to` is now.
fn lie(cluster: &CoreCluster, random: &mut Random, liar: usize, to: usize) -> ConsensusMessage {
    let consensus = cluster.nodes[to].consensus.as_ref();
    let (height, at) = consensus.and_then(|c| c.position()).unwrap();
    let round = at + random.below(2) as u32;
    let seen: Vec<B256> = cluster.built.iter().rev().take(3).copied().collect();
    let block = seen.get(random.below(4) as usize).copied();
    if proposer(4, height, round) == liar && random.below(2) == 0 {
        let block = block.unwrap_or(B256::repeat_byte(random.below(3) as u8));
        let proposal = Proposal::sign(&key(liar), &NETWORK, height, round, block, None);
        return ConsensusMessage::Proposal(proposal);
    }
    let kind = match random.below(2) {
        0 => VoteKind::Prevote,
        _ => VoteKind::Precommit,
    };
    ConsensusMessage::Vote(Vote::sign(&key(liar), &NETWORK, kind, height, round, block))
}
