mod evidence;
mod key_proof;
mod members;
mod message_rules;

use alloy_primitives::Bytes;
use proptest::prelude::*;
use trefoil_crypto::SecretKey;

use super::{message::*, *};

const NETWORK: B256 = B256::repeat_byte(7);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn set(powers: &[u64]) -> ValidatorSet {
    let validator =
        |(i, power): (usize, &u64)| Validator { key: key(i as u8 + 1).public(), power: *power };
    ValidatorSet::new(powers.iter().enumerate().map(validator).collect()).unwrap()
}

fn certificate(signers: &[u8]) -> Certificate {
    let block = B256::repeat_byte(9);
    let sign = |n: &u8| {
        let vote = Vote::sign(&key(*n), &NETWORK, VoteKind::Precommit, 5, 0, Some(block));
        ValidatorSignature { validator: vote.validator, signature: vote.signature }
    };
    let mut signatures: Vec<_> = signers.iter().map(sign).collect();
    signatures.sort_by_key(|s| s.validator);
    Certificate { height: 5, round: 0, block, signatures }
}

fn evidence() -> Evidence {
    let vote = |block| Vote::sign(&key(3), &NETWORK, VoteKind::Prevote, 4, 1, block);
    Evidence::of_votes(vote(Some(B256::ZERO)), vote(None)).unwrap()
}

#[test]
fn a_certificate_needs_more_than_two_thirds_each_signer_once() {
    let four = set(&[1, 1, 1, 1]);
    assert_eq!(certificate(&[1, 2, 3]).verify(&four, &NETWORK), Ok(()));
    assert!(matches!(
        certificate(&[1, 2]).verify(&four, &NETWORK),
        Err(CommitCertificateError::NoQuorum { power: 2, total: 4, .. })
    ));
    assert!(matches!(
        certificate(&[1, 2, 2]).verify(&four, &NETWORK),
        Err(CommitCertificateError::Twice { .. })
    ));
    assert!(matches!(
        certificate(&[1, 2, 9]).verify(&four, &NETWORK),
        Err(CommitCertificateError::Stranger { .. })
    ));
    assert!(matches!(
        certificate(&[1, 2, 3]).verify(&four, &B256::ZERO),
        Err(CommitCertificateError::Signature { .. })
    ));
    let mut turned = certificate(&[1, 2, 3]);
    turned.signatures.reverse();
    let judged = turned.verify(&four, &NETWORK);
    assert!(matches!(judged, Err(CommitCertificateError::Order { .. })), "{judged:?}");
    // Exactly two thirds is not enough.
    assert!(certificate(&[1, 2]).verify(&set(&[1, 1, 1]), &NETWORK).is_err());
    // Power counts, not heads.
    let uneven = set(&[7, 1, 1, 1, 1]);
    assert_eq!(certificate(&[1, 2]).verify(&uneven, &NETWORK), Ok(()));
    assert!(certificate(&[2, 3, 4, 5]).verify(&uneven, &NETWORK).is_err());
}

#[test]
fn a_validator_set_refuses_what_is_no_set() {
    let v = |n, power| Validator { key: key(n).public(), power };
    assert!(ValidatorSet::new(vec![]).is_err());
    assert!(ValidatorSet::new(vec![v(1, 1), v(1, 1)]).is_err());
    assert!(ValidatorSet::new(vec![v(1, 1), v(1, 2)]).is_err());
    assert!(ValidatorSet::new(vec![v(1, 0)]).is_err());
    assert!(ValidatorSet::new(vec![v(1, u64::MAX), v(2, 2)]).is_err());
}

/// One message of each type.
fn messages() -> [Message; 13] {
    let vote = Vote::sign(&key(1), &NETWORK, VoteKind::Prevote, 3, 2, None);
    let proposal = Proposal::sign(&key(1), &NETWORK, 3, 2, B256::ZERO, Some(0));
    let round_vote = RoundVote {
        kind: VoteKind::Precommit,
        block: Some(B256::ZERO),
        validator: vote.validator,
        signature: vote.signature,
    };
    [
        Message::Vote(vote),
        Message::Proposal(Box::new(ProposedBlock {
            proposal,
            header: Header::default(),
            tx_hashes: vec![B256::ZERO],
            attached: Attached { evidence: vec![evidence()], parent_certificate: None },
            bytes: 110,
        })),
        Message::PolkaCertificate(PolkaCertificate {
            height: 1,
            round: 2,
            block: B256::ZERO,
            signatures: certificate(&[1]).signatures,
        }),
        Message::RoundCertificate(RoundCertificate {
            height: 1,
            round: 2,
            skip: true,
            votes: vec![round_vote],
        }),
        Message::Tip(Tip { height: 1, hash: B256::ZERO, round: 0 }),
        Message::GetBlocks(GetBlocks { from: 1, count: 2 }),
        Message::Blocks(Blocks {
            from: 1,
            blocks: vec![CertifiedBlock {
                block: Block::default(),
                certificate: certificate(&[1]),
                attached: Attached {
                    evidence: vec![],
                    parent_certificate: Some(certificate(&[2])),
                },
            }],
        }),
        Message::GetBodies(GetBodies { block: B256::ZERO, tx_hashes: vec![B256::ZERO] }),
        Message::Bodies(Bodies {
            block: B256::ZERO,
            txs: vec![Bytes::from_static(b"transaction")],
        }),
        Message::TxHashes(vec![B256::ZERO]),
        Message::GetTxs(vec![]),
        Message::Txs(vec![Bytes::from_static(b"transaction")]),
        Message::Evidence(Box::new(evidence())),
    ]
}

#[test]
fn every_message_reads_back_what_it_writes() {
    for message in messages() {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes), Ok(message));
        for cut in 0..bytes.len() {
            assert!(Message::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Message::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
    }
}

#[test]
fn counts_are_bounded() {
    let message = Message::TxHashes(vec![B256::ZERO; limits::TX_HASHES_MAX + 1]);
    assert!(matches!(Message::decode(&message.encode()), Err(MessageError::TooMany { .. })));
}

proptest! {
    #[test]
    fn decoding_any_bytes_never_panics(kind in 0u8..40, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&[&[kind], body.as_slice()].concat());
        let _ = block::decode_tx(&body);
    }
}
