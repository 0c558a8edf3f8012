//! The journal: whatever the moment of the crash, nothing is signed twice (the
//! cluster's judge looks on) and the chain goes on.

use arc_malachitebft_core_consensus::Input;
use trefoil_types::{B256, Millis, RoundCertificate, RoundVote, Time, Vote, VoteKind};

use super::cluster::{CoreCluster, NETWORK, key, timeouts, turns};
use crate::{Config, Consensus, ConsensusMessage, Output, ReplayError, wal_entry::WalEntry};

#[test]
fn a_crash_after_any_record_loses_nothing() {
    let mut at = 1;
    loop {
        let mut cluster = CoreCluster::new(4, 20);
        cluster.nodes[0].crash_after = Some(at);
        cluster.decide(5, Millis(8_000));
        if cluster.nodes[0].records < at {
            break;
        }
        at += 1;
    }
    assert!(at > 5 * 8, "only {at} records in five heights");
}

#[test]
fn all_crash_at_once_and_go_on() {
    for at in 1..=40 {
        let mut cluster = CoreCluster::new(4, 21);
        cluster.nodes.iter_mut().for_each(|node| node.crash_after = Some(at));
        cluster.decide(5, Millis(15_000));
    }
}

#[test]
fn a_single_validator_survives_a_crash_after_any_record() {
    for at in 1..=30 {
        let mut cluster = CoreCluster::new(1, 22);
        cluster.nodes[0].crash_after = Some(at);
        cluster.decide(8, Millis(5_000));
    }
}

/// A node that is back with its journal sends its votes again, the same bytes, and records
/// nothing that the journal holds.
#[test]
fn votes_are_said_again_word_for_word() {
    let mut cluster = CoreCluster::new(4, 23);
    // No precommit arrives, so that the height lasts.
    cluster.wire = Box::new(|random, _, _, _, speech| match speech {
        ConsensusMessage::Vote(v) if v.kind == VoteKind::Precommit => vec![],
        _ => vec![5 + random.below(5)],
    });
    cluster.run_for(Millis(400));
    let records = cluster.nodes[0].journal.clone();
    let own = key(0).public();
    let votes: Vec<Vote> = records
        .iter()
        .filter_map(|bytes| match crate::wal_entry::decode(bytes).unwrap().1 {
            WalEntry::Input(Input::Vote(v)) => Some(crate::context::vote_out(&v)),
            _ => None,
        })
        .filter(|vote| vote.validator == own)
        .collect();
    assert_eq!(votes.len(), 2, "a prevote and a precommit");

    let mut out = Vec::new();
    consensus().start(cluster.now, 1, turns(4, 1), &records, &mut out).unwrap();
    assert!(!out.iter().any(|o| matches!(o, Output::Record { .. })), "{out:?}");
    let said = out.iter().filter_map(|o| match o {
        Output::Send(ConsensusMessage::Vote(vote)) => Some(vote.clone()),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), votes);
}

#[test]
fn a_damaged_record_names_itself() {
    let mut cluster = CoreCluster::new(4, 24);
    cluster.run_for(Millis(30));
    let records = cluster.nodes[0].journal.clone();
    assert!(records.len() > 1);
    let start = |height, records: &[Vec<u8>]| {
        consensus().start(Time(0), height, turns(4, height), records, &mut Vec::new())
    };

    let mut cut = records.clone();
    cut[1].pop();
    let error = start(1, &cut).unwrap_err();
    assert!(matches!(error, ReplayError::Record { height: 1, index: 1, .. }), "{error}");

    let error = start(2, &records).unwrap_err();
    assert_eq!(error, ReplayError::Height { height: 2, index: 0, got: 1 });

    let mut forged = records.clone();
    *forged.iter_mut().find(|r| r[0] <= 2).unwrap().last_mut().unwrap() ^= 1;
    let error = start(1, &forged).unwrap_err();
    assert!(matches!(error, ReplayError::Signature { height: 1, .. }), "{error}");
}

fn consensus() -> Consensus {
    Consensus::new(Config { keys: vec![key(0)], network: NETWORK, timeouts: timeouts() })
}

/// One key on two machines, or a disk that is an old copy: whatever arrives of the key's other
/// votes, and whenever the node ends, it starts again, and signs no second vote beside one that
/// it saw.
#[test]
fn a_key_that_signs_elsewhere_is_seen_and_the_node_starts_again() {
    for (kind, block) in [
        (VoteKind::Prevote, None),
        (VoteKind::Prevote, Some(B256::repeat_byte(9))),
        (VoteKind::Precommit, None),
        (VoteKind::Precommit, Some(B256::repeat_byte(9))),
    ] {
        let mut cluster = CoreCluster::new(4, 25);
        let other = Vote::sign(&key(0), &NETWORK, kind, 1, 0, block);
        cluster.input(0, ConsensusMessage::Vote(other.clone()));
        // What the network brings back of its own statements is no news.
        cluster.input(0, ConsensusMessage::Vote(other));
        assert_eq!(cluster.elsewhere, [(0, 0)]);
        // The cluster's judge knows of no vote of node 0 in the round: it may make none.
        let silent = std::rc::Rc::new(std::cell::Cell::new(0));
        let later = std::rc::Rc::new(std::cell::Cell::new(0));
        let (signed, voted) = (silent.clone(), later.clone());
        cluster.wire = Box::new(move |random, _, from, _, said| {
            if let ConsensusMessage::Vote(vote) = said
                && (from, vote.validator) == (0, key(0).public())
            {
                let count = if (vote.height, vote.round) == (1, 0) { &signed } else { &voted };
                count.set(count.get() + 1);
            }
            vec![5 + random.below(16)]
        });
        cluster.run_for(Millis(10));
        cluster.crash(0);
        cluster.restart(0);
        assert_eq!(cluster.elsewhere, [(0, 0)], "told once");
        cluster.decide(3, Millis(8_000));
        assert_eq!(silent.get(), 0, "{kind:?} {block:?}: a second vote");
        assert!(later.get() > 0, "{kind:?} {block:?}: votes again");
    }
}

/// The fault of simulator seed 1947532431: the other machine's vote, recorded before this
/// node's own, was taken for its own at the next start.
#[test]
fn two_machines_with_one_key_start_again_after_any_record() {
    for at in 1..=40 {
        let mut cluster = CoreCluster::with_followers(4, 1, 26);
        cluster.twin(4, 0);
        cluster.nodes[0].crash_after = Some(at);
        cluster.nodes[4].crash_after = Some(at);
        cluster.run_for(Millis(3_000));
        assert!(cluster.nodes[0].consensus.is_some() && cluster.nodes[4].consensus.is_some());
        assert!(cluster.height(1) >= 3);
    }
}

/// A lagging twin: a certificate far ahead shows the other machine's votes, the node jumps to its
/// round, and must not sign there, nor take those votes for its own at the next start.
#[test]
fn a_far_certificate_shows_a_key_that_signs_elsewhere() {
    let mut cluster = CoreCluster::new(4, 27);
    let votes = [0, 1, 2].map(|i| {
        let vote = Vote::sign(&key(i), &NETWORK, VoteKind::Precommit, 1, 12, None);
        RoundVote {
            validator: vote.validator,
            kind: vote.kind,
            block: None,
            signature: vote.signature,
        }
    });
    let certificate = RoundCertificate { height: 1, round: 12, skip: true, votes: votes.to_vec() };
    cluster.input(0, ConsensusMessage::RoundCertificate(certificate));
    assert_eq!((cluster.offences, cluster.elsewhere.as_slice()), (0, &[(0, 12)][..]));
    cluster.run_for(Millis(10));
    cluster.crash(0);
    cluster.restart(0);
    cluster.decide(3, Millis(60_000));
}

/// Also for rounds that the node does not read; what is wrongly signed is somebody's misdeed.
#[test]
fn far_votes_by_the_nodes_own_key_are_seen_and_false_ones_blamed() {
    let mut node = consensus();
    node.start(Time(0), 1, turns(4, 1), &[], &mut Vec::new()).unwrap();
    let mut say = |vote: &Vote| {
        let mut out = Vec::new();
        let result = node.input(Time(0), ConsensusMessage::Vote(vote.clone()), &mut out);
        (result.is_ok(), out.len(), node.has_verified(&ConsensusMessage::Vote(vote.clone())))
    };
    let far = Vote::sign(&key(0), &NETWORK, VoteKind::Prevote, 1, 1 << 20, None);
    for round in [3, 1 << 21] {
        assert_eq!(say(&Vote { round, ..far.clone() }), (false, 0, false));
    }
    // Nobody else would read it, so it is not handed on.
    assert_eq!(say(&far), (true, 2, false), "a record and the alarm");
    assert_eq!(say(&far), (true, 0, false), "once");
}
