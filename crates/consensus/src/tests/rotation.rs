//! A node with two keys, of which the validator set names one or the other.

use trefoil_types::{Height, Millis, Vote, VoteKind};

use super::cluster::{CoreCluster, NETWORK, key, set_of_keys};
use crate::ConsensusMessage;

/// The place of the next key of validator 0 among a test's keys.
const NEXT: usize = 9;

/// The first height that names the next key.
const CHANGE: Height = 4;

/// Node 0 holds both its keys, and the set changes from one to the other.
fn rotating(validators: usize, seed: u64) -> CoreCluster {
    let mut cluster = CoreCluster::new(validators, seed);
    cluster.give_keys(0, &[0, NEXT]);
    cluster.sets.insert(CHANGE, set_of_keys((1..validators).chain([NEXT])));
    cluster
}

/// All three are needed for a quorum: a turn or a vote that node 0 missed would cost a round.
#[test]
fn the_next_key_signs_from_its_height_on_and_no_height_waits() {
    let mut cluster = rotating(3, 50);
    cluster.decide(2 * CHANGE, Millis(2 * CHANGE * 150));
    for certificate in &cluster.nodes[1].chain {
        let signer = if certificate.height < CHANGE { 0 } else { NEXT };
        assert_eq!(certificate.round, 0, "height {}", certificate.height);
        assert!(certificate.vote_of(&key(signer).public()).is_some(), "{certificate:?}");
    }
    assert!(cluster.evidence.is_empty() && cluster.elsewhere.is_empty());
    assert_eq!(cluster.offences, 0);
}

/// The cluster's judge sees whether the node signs twice, or with two keys at one height.
#[test]
fn a_crash_after_any_record_of_a_rotation_loses_nothing() {
    let mut at = 1;
    loop {
        let mut cluster = rotating(4, 51);
        cluster.nodes[0].crash_after = Some(at);
        cluster.decide(CHANGE + 1, Millis(8_000));
        assert!(cluster.elsewhere.is_empty() && cluster.evidence.is_empty(), "record {at}");
        if cluster.nodes[0].records < at {
            break;
        }
        at += 1;
    }
    assert!(at > 5 * 8, "only {at} records in five heights");
}

/// The operator moves the next key's file over the old one's, at any time after the change and
/// between any two records.
#[test]
fn the_old_key_may_go_once_the_next_one_signs() {
    for after in 0..40 {
        let mut cluster = rotating(4, 52);
        cluster.decide(CHANGE - 1, Millis(8_000));
        cluster.run_for(Millis(5 * after));
        cluster.give_keys(0, &[NEXT]);
        cluster.decide(CHANGE + 2, Millis(8_000));
        assert!(cluster.elsewhere.is_empty() && cluster.evidence.is_empty(), "after {after}");
    }
}

#[test]
fn a_node_with_the_next_key_alone_signs_from_its_height_on() {
    let mut cluster = rotating(4, 53);
    cluster.give_keys(0, &[NEXT]);
    cluster.decide(2 * CHANGE, Millis(8_000));
    let signs = |height: &Height| {
        let certificate = &cluster.nodes[1].chain[*height as usize - 1];
        certificate.vote_of(&key(NEXT).public()).is_some()
    };
    let first = (1..=2 * CHANGE).find(signs);
    assert!(first.is_some_and(|height| height >= CHANGE), "{first:?}");
}

/// The third seat's machine signs with its key meanwhile: all three are needed.
#[test]
fn of_two_keys_with_seats_the_older_one_signs() {
    let mut cluster = CoreCluster::new(3, 54);
    cluster.give_keys(0, &[0, 2]);
    cluster.decide(6, Millis(6 * 150));
    assert!(cluster.nodes[1].chain.iter().all(|certificate| certificate.round == 0));
    assert!(cluster.elsewhere.is_empty(), "another machine's votes by the other key are no alarm");
}

/// The alarm is about the key of the height: the next one, seen in another machine's vote after
/// the change.
#[test]
fn the_next_key_is_seen_to_sign_elsewhere_only_when_it_signs_here() {
    let vote = |signer, height| {
        let secret = key(signer);
        ConsensusMessage::Vote(Vote::sign(&secret, &NETWORK, VoteKind::Prevote, height, 0, None))
    };
    let mut cluster = rotating(4, 55);
    cluster.input(0, vote(NEXT, 1));
    assert!(cluster.elsewhere.is_empty());
    assert_eq!(cluster.offences, 1, "a stranger's vote");
    cluster.suspect(NEXT);
    cluster.decide(CHANGE - 1, Millis(8_000));
    cluster.input(0, vote(0, CHANGE));
    assert!(cluster.elsewhere.is_empty());
    cluster.input(0, vote(NEXT, CHANGE));
    assert_eq!(cluster.elsewhere, [(0, 0)]);
    cluster.decide(CHANGE + 1, Millis(8_000));
}
