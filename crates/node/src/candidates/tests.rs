use trefoil_types::{Attached, Header};

use super::*;

fn hash(n: u8) -> B256 {
    B256::repeat_byte(n)
}

fn fetched(round: Round, fetched_bytes: usize) -> BlockCandidate {
    let body = CandidateBody::Invalid { reason: String::new() };
    BlockCandidate { fetched_bytes, ..BlockCandidate::new(round, body) }
}

fn journalled() -> BlockCandidate {
    let block = RecoveredBlock::new(Header::default(), vec![], Attached::default());
    BlockCandidate::new(0, CandidateBody::Journalled(Arc::new(block)))
}

/// Dishonest proposers of earlier rounds had the largest blocks fetched, and the honest one of
/// this round finds room all the same; but none at the cost of its own round, or a later one.
#[test]
fn what_was_fetched_for_earlier_rounds_makes_room() {
    let mut candidates = Candidates::default();
    for (n, round) in [(1, 0), (2, 0), (3, 1), (4, 2), (5, 3)] {
        candidates.insert(hash(n), fetched(round, 20));
    }
    assert!(candidates.make_room(&hash(4), 20, 120), "there is room");
    assert!(candidates.make_room(&hash(4), 40, 100));
    assert_eq!(candidates.fetched_bytes(), 60);
    assert!(candidates.get(&hash(3)).is_some(), "the oldest go");
    assert!(!candidates.make_room(&hash(3), 50, 100), "it is the oldest itself");
    assert!(!candidates.make_room(&hash(9), 1, 100), "it is no candidate");
    assert!(candidates.make_room(&hash(5), 60, 100));
    assert_eq!(candidates.fetched_bytes(), 40);
}

/// In which round the journal's blocks were proposed is forgotten: they closed round 0.
#[test]
fn the_blocks_of_the_journal_close_no_round() {
    let mut candidates = Candidates::default();
    (0..ROUND_CANDIDATES_MAX as u8).for_each(|n| candidates.insert(hash(n), journalled()));
    assert!(candidates.has_room(&hash(99), 0));
    for n in 10..10 + ROUND_CANDIDATES_MAX as u8 {
        assert!(candidates.has_room(&hash(n), 0));
        candidates.insert(hash(n), fetched(0, 0));
    }
    assert!(!candidates.has_room(&hash(99), 0));
    assert!(candidates.has_room(&hash(10), 0) && candidates.has_room(&hash(99), 1));
}

#[test]
fn only_who_was_asked_for_a_block_answers() {
    let peer = |n: u8| PeerId(trefoil_crypto::SecretKey::from_seed(&[n; 32]).public());
    let mut candidates = Candidates::default();
    candidates.note_asked(hash(1), vec![peer(1)]);
    assert!(candidates.has_asked(hash(1), peer(1)));
    assert!(!candidates.has_asked(hash(1), peer(2)) && !candidates.has_asked(hash(2), peer(1)));
}
