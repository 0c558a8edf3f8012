use trefoil_crypto::SecretKey;
use trefoil_ledger::Draft;
use trefoil_types::{Address, Attached, Header, Millis};

use super::*;
use crate::testing;

fn hash(n: u8) -> B256 {
    B256::repeat_byte(n)
}

fn fetched(round: Round, fetched_bytes: usize) -> BlockCandidate {
    let body = CandidateBody::Invalid { reason: String::new() };
    BlockCandidate { fetched_bytes, ..BlockCandidate::new(round, body) }
}

fn peer(n: u8) -> PeerId {
    PeerId(SecretKey::from_seed(&[n; 32]).public())
}

fn proposal(round: Round, block: B256) -> Proposal {
    Proposal::sign(&SecretKey::from_seed(&[1; 32]), &B256::ZERO, 2, round, block, None)
}

fn offer(round: Round) -> Offer {
    let key = B256::repeat_byte(round as u8);
    Offer { proposal: proposal(round, B256::ZERO), from: peer(1), key }
}

/// A candidate that is proposed for this round and kept until it begins.
fn asleep(round: Round) -> BlockCandidate {
    let proposed = ProposedBlock {
        proposal: proposal(round, B256::ZERO),
        header: Header::default(),
        tx_hashes: vec![],
        attached: Attached::default(),
        bytes: 0,
    };
    let missing = MissingTransactions::new(proposed, peer(1), Time(0), Millis(1_000));
    BlockCandidate::new(round, CandidateBody::Missing(Box::new(missing)))
}

/// A block that was executed, and its hash.
fn executed(round: Round, timestamp: u64) -> (B256, BlockCandidate) {
    let fee_recipient = Address::repeat_byte(9);
    let draft = Draft { timestamp, fee_recipient, attached: Attached::default() };
    let (outcome, _) = testing::ledger().build(draft, &mut std::iter::empty());
    let hash = outcome.block().hash;
    (hash, BlockCandidate::new(round, CandidateBody::Executed(Box::new(outcome))))
}

fn journalled(n: u8) -> Arc<RecoveredBlock> {
    let header = Header { number: u64::from(n), ..Header::default() };
    Arc::new(RecoveredBlock::new(header, vec![], Attached::default()))
}

/// Dishonest proposers of earlier rounds had the largest blocks fetched, and the honest one of
/// this round finds room all the same; but none at the cost of its own round, or a later one.
#[test]
fn what_was_fetched_for_earlier_rounds_makes_room() {
    let mut candidates = Candidates::default();
    for (n, round) in [(1, 0), (2, 0), (3, 1), (4, 2), (5, 3)] {
        candidates.insert(hash(n), fetched(round, 20));
    }
    assert!(candidates.make_room(9, &hash(4), 20, 120), "there is room");
    assert!(candidates.make_room(9, &hash(4), 40, 100));
    assert_eq!(candidates.fetched_bytes(), 60);
    assert!(candidates.get(&hash(3)).is_some(), "the oldest go");
    assert!(!candidates.make_room(9, &hash(3), 50, 100), "it is the oldest itself");
    assert!(!candidates.make_room(9, &hash(9), 1, 100), "it is no candidate");
    assert!(!candidates.make_room(1, &hash(5), 60, 100), "round 3 has not begun");
    assert!(candidates.make_room(9, &hash(5), 60, 100));
    assert_eq!(candidates.fetched_bytes(), 40);
    candidates.note_polka(hash(4));
    assert!(!candidates.make_room(9, &hash(5), 90, 100), "a quorum wants the other");
}

/// In which round the journal's blocks were proposed is forgotten: they closed round 0.
#[test]
fn the_blocks_of_the_journal_close_no_round() {
    let mut candidates = Candidates::default();
    (0..ROUND_CANDIDATES_MAX as u8).for_each(|n| candidates.restore(journalled(n)));
    assert!(candidates.has_room(&hash(99), 0));
    for n in 10..10 + ROUND_CANDIDATES_MAX as u8 {
        assert!(candidates.has_room(&hash(n), 0));
        candidates.insert(hash(n), fetched(0, 0));
    }
    assert!(!candidates.has_room(&hash(99), 0));
    assert!(candidates.has_room(&hash(10), 0) && candidates.has_room(&hash(99), 1));
    // What a quorum wants finds room.
    candidates.note_polka(hash(99));
    assert!(candidates.has_room(&hash(99), 0));
}

#[test]
fn only_who_was_asked_for_a_block_answers() {
    let mut candidates = Candidates::default();
    candidates.note_asked(hash(1), vec![peer(1)]);
    assert!(candidates.has_asked(hash(1), peer(1)));
    assert!(!candidates.has_asked(hash(1), peer(2)) && !candidates.has_asked(hash(2), peer(1)));
}

/// Four proposals of each of four rounds to come, sent when the height begins: the block that was
/// being decided had to go.
#[test]
fn what_was_executed_outlives_any_number_of_proposals_of_later_rounds() {
    let mut candidates = Candidates::default();
    let (decided, candidate) = executed(0, 2);
    candidates.insert(decided, candidate);
    for n in 0..17 {
        candidates.insert(hash(n), fetched(1 + Round::from(n), 0));
        candidates.insert(hash(100 + n), asleep(1 + Round::from(n)));
    }
    assert!(candidates.get(&decided).is_some());
    assert_eq!(candidates.by_hash.len(), CANDIDATES_MAX);
    // Those of the journal, too.
    let mut candidates = Candidates::default();
    (0..40).for_each(|n| candidates.restore(journalled(n)));
    assert_eq!(candidates.by_hash.len(), 40);
    (0..17).for_each(|n| candidates.insert(hash(n), asleep(Round::from(n))));
    assert_eq!(candidates.by_hash.len(), 40);
    assert!((0..40).all(|n| candidates.get(&journalled(n).hash).is_some()));
}

#[test]
fn the_proposal_of_the_farthest_round_goes_first_and_is_new_when_it_comes_again() {
    let mut candidates = Candidates::default();
    for n in 0..CANDIDATES_MAX as u8 {
        let mut candidate = asleep(1 + Round::from(n));
        candidate.offer(offer(1 + Round::from(n)));
        candidates.insert(hash(n), candidate);
    }
    // Farther than all that are there.
    candidates.insert(hash(99), asleep(50));
    assert!(candidates.get(&hash(99)).is_none());
    assert!(candidates.take_dropped().is_empty());
    candidates.insert(hash(98), asleep(1));
    assert!(candidates.get(&hash(98)).is_some());
    assert_eq!(candidates.take_dropped(), [B256::repeat_byte(CANDIDATES_MAX as u8)]);
    assert!(candidates.take_dropped().is_empty());
}

/// A height that lasts for hours has more blocks than there is room for.
#[test]
fn of_blocks_that_were_executed_the_oldest_goes_and_none_that_a_quorum_wants() {
    let mut candidates = Candidates::default();
    let blocks: Vec<_> =
        (0..=CANDIDATES_MAX as u32).map(|n| executed(n, 2 + u64::from(n))).collect();
    let hashes: Vec<B256> = blocks.iter().map(|(hash, _)| *hash).collect();
    candidates.note_polka(hashes[0]);
    blocks.into_iter().for_each(|(hash, candidate)| candidates.insert(hash, candidate));
    let gone: Vec<_> = hashes.iter().filter(|hash| candidates.get(hash).is_none()).collect();
    assert_eq!(gone, [&hashes[1]]);
}

#[test]
fn a_proposal_is_due_when_its_round_begins() {
    let mut candidates = Candidates::default();
    for (n, rounds) in [(1, vec![3]), (2, vec![5, 2]), (3, vec![6])] {
        let mut candidate = asleep(rounds[0]);
        rounds.into_iter().for_each(|round| candidate.offer(offer(round)));
        candidates.insert(hash(n), candidate);
    }
    let (block, mut candidate) = executed(0, 2);
    candidate.offer(offer(0));
    candidates.insert(block, candidate);
    for (round, due) in [(1, vec![]), (2, vec![hash(2)]), (4, vec![hash(1), hash(2)])] {
        assert_eq!(candidates.due_in(round), due, "{round}");
    }
}

/// Its time is judged with each proposal, and again when it has come: what was judged once, and
/// kept, let one dishonest proposer of four halt a chain.
#[test]
fn a_block_whose_time_is_ahead_is_answered_again_when_it_is_not() {
    let mut candidates = Candidates::default();
    let (hash, mut candidate) = executed(0, 100);
    candidate.offer(offer(0));
    candidates.insert(hash, candidate);
    let rounds = |offers: Vec<Offer>| -> Vec<Round> {
        offers.iter().map(|offer| offer.proposal.round).collect()
    };
    let early = Time(94_999);
    assert!(!candidates.is_timely(early, &hash) && candidates.timely_due().is_none());
    let refused = candidates.get_mut(&hash).unwrap().take_offers(false);
    assert_eq!(rounds(refused), [0]);
    assert_eq!(candidates.timely_due(), Some(Time(95_000)));
    assert!(candidates.timely_now(early).is_empty());
    assert_eq!(candidates.timely_now(Time(95_000)), [hash]);
    let candidate = candidates.get_mut(&hash).unwrap();
    candidate.offer(offer(1));
    assert_eq!(rounds(candidate.take_offers(true)), [0, 1]);
    assert_eq!(candidates.timely_due(), None);
    // A quorum that prevoted for it found it timely.
    assert!(!candidates.is_timely(early, &hash));
    candidates.note_polka(hash);
    assert!(candidates.is_timely(early, &hash));
}
