//! Conflicts are evidence, each in one encoding.

use alloy_rlp::{Decodable as _, Encodable as _};

use super::*;

const X: Option<B256> = Some(B256::repeat_byte(1));
const Y: Option<B256> = Some(B256::repeat_byte(2));

fn vote(kind: VoteKind, height: Height, round: Round, block: Option<B256>) -> Vote {
    Vote::sign(&key(1), &NETWORK, kind, height, round, block)
}

fn prevote(block: Option<B256>) -> Vote {
    vote(VoteKind::Prevote, 5, 0, block)
}

fn proposal(height: Height, round: Round, block: Option<B256>, pol: Option<Round>) -> Proposal {
    Proposal::sign(&key(1), &NETWORK, height, round, block.unwrap(), pol)
}

#[test]
fn two_votes_conflict_only_in_one_place_and_for_different_blocks() {
    for (a, b) in [(X, Y), (Y, X), (None, X), (X, None)] {
        let found = Evidence::of_votes(prevote(a), prevote(b)).expect("a conflict");
        assert_eq!((found.height(), found.validator()), (5, key(1).public()));
        let Evidence::Votes(first, second) = found else { panic!() };
        assert!(first.block < second.block);
    }
    for other in [
        prevote(X),
        vote(VoteKind::Precommit, 5, 0, Y),
        vote(VoteKind::Prevote, 6, 0, Y),
        vote(VoteKind::Prevote, 5, 1, Y),
        Vote::sign(&key(2), &NETWORK, VoteKind::Prevote, 5, 0, Y),
    ] {
        assert_eq!(Evidence::of_votes(prevote(X), other), None);
    }
}

#[test]
fn two_proposals_conflict_only_in_one_round_and_of_different_blocks() {
    let first = || proposal(5, 2, X, None);
    assert!(Evidence::of_proposals(first(), proposal(5, 2, Y, Some(0))).is_some());
    for other in [proposal(5, 2, X, Some(0)), proposal(5, 1, Y, None), proposal(6, 2, Y, None)] {
        assert_eq!(Evidence::of_proposals(first(), other), None);
    }
}

#[test]
fn one_conflict_has_one_encoding() {
    let (a, b) = (prevote(X), prevote(Y));
    let evidence = Evidence::of_votes(b.clone(), a.clone()).unwrap();
    assert_eq!(Evidence::of_votes(a.clone(), b.clone()), Some(evidence.clone()));
    let bytes = alloy_rlp::encode(&evidence);
    assert_eq!(bytes.len(), evidence.length());
    assert_eq!(Evidence::decode(&mut bytes.as_slice()), Ok(evidence));
    // Turned round, of one statement, of what does not conflict, of no kind.
    let apart = vote(VoteKind::Prevote, 5, 3, Y);
    for (first, second) in [(&b, &a), (&a, &a), (&a, &apart)] {
        let wrong = alloy_rlp::encode(Evidence::Votes(first.clone(), second.clone()));
        assert!(Evidence::decode(&mut wrong.as_slice()).is_err());
    }
    let mut unknown = bytes.clone();
    unknown[3] = 3;
    assert!(Evidence::decode(&mut unknown.as_slice()).is_err());
}

#[test]
fn evidence_convicts_a_validator_of_the_set_that_signed_both_for_this_network() {
    let evidence = Evidence::of_votes(prevote(X), prevote(None)).unwrap();
    let (height, validator) = (5, key(1).public());
    assert_eq!(evidence.verify(&set(&[1, 1]), &NETWORK), Ok(()));
    let forged = EvidenceError::Signature { height, validator };
    assert_eq!(evidence.verify(&set(&[1]), &B256::ZERO), Err(forged.clone()));
    for which in 0..2 {
        let mut pair = [prevote(X), prevote(Y)];
        pair[which].signature = prevote(None).signature;
        let [a, b] = pair;
        let evidence = Evidence::of_votes(a, b).unwrap();
        assert_eq!(evidence.verify(&set(&[1]), &NETWORK), Err(forged.clone()));
    }
    let stranger = Vote::sign(&key(9), &NETWORK, VoteKind::Prevote, 5, 0, X);
    let other = Vote::sign(&key(9), &NETWORK, VoteKind::Prevote, 5, 0, Y);
    let evidence = Evidence::of_votes(stranger, other).unwrap();
    let validator = key(9).public();
    let refused = Err(EvidenceError::Stranger { height, validator });
    assert_eq!(evidence.verify(&set(&[1]), &NETWORK), refused);
    // A vote's signature is none of a proposal.
    let mut swapped = proposal(5, 0, X, None);
    swapped.signature = prevote(X).signature;
    let evidence = Evidence::of_proposals(swapped, proposal(5, 0, Y, None)).unwrap();
    assert_eq!(evidence.verify(&set(&[1]), &NETWORK), Err(forged));
}

#[test]
fn a_header_binds_what_is_attached() {
    let attached = Attached { evidence: vec![evidence()], parent_certificate: None };
    let header = Header {
        extra_data: keccak256(alloy_rlp::encode(&attached.evidence)).into(),
        parent_beacon_block_root: Some(B256::ZERO),
        ..Header::default()
    };
    assert!(attached.is_bound_by(&header));
    assert!(!Attached::default().is_bound_by(&header));
    let quiet = Header { extra_data: Bytes::new(), ..header.clone() };
    assert!(Attached::default().is_bound_by(&quiet));
    assert!(!attached.is_bound_by(&quiet));
    let spoken = Header { extra_data: Bytes::from_static(b"trefoil"), ..header };
    assert!(!Attached::default().is_bound_by(&spoken), "nobody writes what he likes");
}

#[test]
fn a_proposal_holds_no_more_evidence_than_a_block_may() {
    let proposed = |count| {
        Message::Proposal(Box::new(ProposedBlock {
            proposal: proposal(3, 2, X, None),
            header: Header::default(),
            tx_hashes: vec![],
            attached: Attached { evidence: vec![evidence(); count], parent_certificate: None },
            bytes: 0,
        }))
    };
    let most = limits::BLOCK_EVIDENCE_MAX;
    assert!(Message::decode(&proposed(most).encode()).is_ok());
    let refused = Message::decode(&proposed(most + 1).encode());
    assert!(matches!(refused, Err(MessageError::TooMany { .. })), "{refused:?}");
}
