//! The journal: whatever the moment of the crash, nothing is signed twice (the
//! cluster's judge looks on) and the chain goes on.

use trefoil_types::{Millis, Time, Vote};

use super::cluster::{CoreCluster, NETWORK, key, timeouts, turns};
use crate::{Config, Consensus, ConsensusMessage, Output, ReplayError};

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
        ConsensusMessage::Vote(v) if v.kind == trefoil_types::VoteKind::Precommit => vec![],
        _ => vec![5 + random.below(5)],
    });
    cluster.run_for(Millis(400));
    let records = cluster.nodes[0].journal.clone();
    let own = key(0).public();
    let votes: Vec<Vote> = records
        .iter()
        .filter_map(|bytes| match crate::wal_entry::decode(bytes).unwrap().1 {
            arc_malachitebft_core_consensus::Input::Vote(v) => Some(crate::context::vote_out(&v)),
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
    Consensus::new(Config { key: Some(key(0)), network: NETWORK, timeouts: timeouts() })
}
