use trefoil_crypto::SecretKey;
use trefoil_types::{
    Attached, B256, Header, Proposal, ProposedBlock, RoundCertificate, RoundVote, Signature, Vote,
    VoteKind, limits,
};

use super::*;

fn peer(n: u8) -> PeerId {
    PeerId(SecretKey::from_seed(&[n; 32]).public())
}

fn proposal(tx_hashes: usize) -> Message {
    let key = SecretKey::from_seed(&[1; 32]);
    Message::Proposal(Box::new(ProposedBlock {
        proposal: Proposal::sign(&key, &B256::ZERO, 2, 0, B256::ZERO, None),
        header: Header::default(),
        tx_hashes: vec![B256::ZERO; tx_hashes],
        attached: Attached::default(),
        bytes: 0,
    }))
}

fn vote(round: u32) -> Message {
    let validator = SecretKey::from_seed(&[1; 32]).public();
    let (kind, signature) = (VoteKind::Prevote, Signature([0; 64]));
    Message::Vote(Vote { kind, height: 2, round, block: None, validator, signature })
}

fn all(mut early: EarlyMessages) -> Vec<(PeerId, Message)> {
    let all: Vec<_> = std::iter::from_fn(|| early.take_next()).collect();
    assert_eq!((early.votes.all(), early.proposals.all(), early.is_empty()), (0, 0, true));
    all
}

fn held(early: EarlyMessages) -> BTreeMap<PeerId, usize> {
    let mut held = BTreeMap::new();
    let all = all(early).into_iter();
    all.for_each(|(peer, m)| *held.entry(peer).or_default() += m.encoded_len());
    held
}

#[test]
fn the_early_messages_of_strangers_stay_within_their_bytes() {
    let mut early = EarlyMessages::default();
    let (large, small) = (proposal(limits::BLOCK_TXS_MAX), proposal(100));
    let votes: Vec<Message> = (0..3_000).map(vote).collect();
    // The last of 129 is honest, and comes after the crowd.
    for n in 0..128 {
        let peer = peer(n);
        (0..8).for_each(|_| early.keep(129, peer, large.clone()));
        votes.iter().for_each(|vote| early.keep(129, peer, vote.clone()));
    }
    let honest = peer(200);
    early.keep(129, honest, small.clone());
    votes[..256].iter().for_each(|vote| early.keep(129, honest, vote.clone()));
    let held = held(early);
    let said: usize = votes[..256].iter().map(Message::encoded_len).sum();
    assert_eq!(held[&honest], small.encoded_len() + said);
    let most = rules::PROPOSAL.held.half().peer + rules::VOTE.held.peer;
    assert!(held.values().all(|bytes| *bytes <= most));
    let all: usize = held.values().sum();
    assert!(all <= rules::PROPOSAL.held.half().all + rules::VOTE.held.all, "{all}");
}

#[test]
fn two_of_the_largest_proposals_of_a_peer_are_kept() {
    let mut early = EarlyMessages::default();
    (0..3).for_each(|_| early.keep(4, peer(1), proposal(limits::BLOCK_TXS_MAX)));
    early.keep(4, peer(1), vote(0));
    assert_eq!(all(early).len(), 3);
}

/// 256 KiB are 1,600 votes, and 64 identities once held 100,000: three seconds of
/// signatures.
#[test]
fn votes_are_counted_too_and_peers_take_turns() {
    let mut early = EarlyMessages::default();
    for n in 1..=2 {
        (0..3_000).for_each(|round| early.keep(4, peer(n), vote(round)));
    }
    early.keep(4, peer(3), vote(0));
    let all = all(early);
    assert_eq!(all.len(), 2 * EARLY_MAX + 1);
    assert!(all[..3].iter().any(|(from, _)| *from == peer(3)));
    let rounds =
        all.iter().filter(|(from, _)| *from == peer(1)).map(|(_, message)| match message {
            Message::Vote(vote) => vote.round,
            _ => u32::MAX,
        });
    assert!(rounds.eq(0..EARLY_MAX as u32), "each peer's in their order");
}

/// 512 of the largest certificates are 20 MB: their bytes bind long before their number.
#[test]
fn certificates_are_bounded_in_bytes() {
    let validator = SecretKey::from_seed(&[1; 32]).public();
    let (kind, block) = (VoteKind::Precommit, Some(B256::ZERO));
    let vote = RoundVote { kind, block, validator, signature: Signature([0; 64]) };
    let votes = vec![vote; 2 * limits::VALIDATORS_MAX];
    let certificate = RoundCertificate { height: 2, round: 0, skip: true, votes };
    let mut early = EarlyMessages::default();
    (0..100).for_each(|_| early.keep(4, peer(1), Message::RoundCertificate(certificate.clone())));
    let (held, most) = (early.vote_bytes().all(), rules::ROUND.held.peer);
    assert!((most / 2..=most).contains(&held), "{held}");
}

#[test]
fn a_peer_that_is_gone_leaves_nothing() {
    let mut early = EarlyMessages::default();
    early.keep(4, peer(1), proposal(100));
    early.keep(4, peer(1), vote(0));
    assert!(early.proposals.all() > 0 && early.votes.all() > 0);
    early.forget(&peer(1));
    assert_eq!((early.proposals.all(), early.votes.all(), early.is_empty()), (0, 0, true));
}
