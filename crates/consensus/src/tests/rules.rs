//! The messages that one node takes from others, and the peers that it blames.

use trefoil_types::{
    B256, Millis, Offence, PolkaCertificate, Proposal, RoundCertificate, RoundVote, Signature,
    Time, ValidatorSignature, Vote, VoteKind,
};

use super::cluster::{NETWORK, key, proposer, set_of, timeouts, turns};
use crate::{Candidate, Config, Consensus, ConsensusMessage, Output, Timeouts};

const BLOCK: B256 = B256::repeat_byte(0xbb);

/// Node 0 of four at height 5.
fn node() -> (Consensus, Vec<Output>) {
    let config = Config { keys: vec![key(0)], network: NETWORK, timeouts: timeouts() };
    let (mut consensus, mut out) = (Consensus::new(config), Vec::new());
    consensus.start(Time(1_000), 5, turns(4, 5), &[], &mut out).unwrap();
    (consensus, out)
}

fn vote(i: usize, kind: VoteKind, height: u64, round: u32, block: Option<B256>) -> Vote {
    Vote::sign(&key(i), &NETWORK, kind, height, round, block)
}

fn take(consensus: &mut Consensus, said: ConsensusMessage) -> (Result<(), Offence>, Vec<Output>) {
    let mut out = Vec::new();
    (consensus.input(Time(1_010), said, &mut out), out)
}

#[test]
fn wrong_signatures_and_strangers_are_blamed() {
    let (mut node, _) = node();
    let good = vote(1, VoteKind::Prevote, 5, 0, None);
    let wrong = Vote { signature: Signature([1; 64]), ..good.clone() };
    let other_network = Vote::sign(&key(1), &BLOCK, VoteKind::Prevote, 5, 0, None);
    let stranger = vote(9, VoteKind::Prevote, 5, 0, None);
    // Said again, it is as wrong.
    for bad in [&wrong, &other_network, &stranger, &wrong, &other_network] {
        let (result, out) = take(&mut node, ConsensusMessage::Vote(bad.clone()));
        assert_eq!(result, Err(Offence::BadSignature), "{bad:?}");
        assert!(out.is_empty());
    }
    let (result, out) = take(&mut node, ConsensusMessage::Vote(good.clone()));
    assert_eq!(result, Ok(()));
    assert!(matches!(out[..], [Output::Record { .. }]));
    assert!(node.has_verified(&ConsensusMessage::Vote(good.clone())));
    // Seen, old, and far ahead: no news, no blame, no work; even unsigned.
    let unsigned = Signature([0; 64]);
    for stale in [
        good.clone(),
        Vote { signature: unsigned, ..good.clone() },
        Vote { height: 4, signature: unsigned, ..good.clone() },
        Vote { height: 6, signature: unsigned, ..good.clone() },
        Vote { round: 11, signature: unsigned, ..good.clone() },
    ] {
        let (result, out) = take(&mut node, ConsensusMessage::Vote(stale.clone()));
        assert_eq!(result, Ok(()));
        assert!(out.is_empty());
        // The signature was not checked, so the vote may not be relayed. (Seed 169: the honest
        // node that did was banned for it.)
        assert_eq!(node.has_verified(&ConsensusMessage::Vote(stale.clone())), stale == good);
    }
}

#[test]
fn a_proposal_is_the_proposers_alone() {
    let (mut node, _) = node();
    // Of another validator: a statement by the node's own key is another matter.
    let at = (1..).find(|round| proposer(4, 5, *round) != 0).unwrap();
    let turn = proposer(4, 5, at);
    let sign = |i: usize, round, pol| Proposal::sign(&key(i), &NETWORK, 5, round, BLOCK, pol);
    let bad = [
        (sign((turn + 1) % 4, at, None), Offence::BadSignature),
        (sign(9, at, None), Offence::BadSignature),
        (Proposal { signature: Signature([1; 64]), ..sign(turn, at, None) }, Offence::BadSignature),
        (sign(turn, at, Some(at)), Offence::Malformed),
    ];
    for (proposal, offence) in bad {
        assert_eq!(take(&mut node, ConsensusMessage::Proposal(proposal)).0, Err(offence));
    }
    let (result, out) = take(&mut node, ConsensusMessage::Proposal(sign(turn, at, None)));
    assert_eq!(result, Ok(()));
    assert!(matches!(out[..], [Output::Record { .. }]));
    let (result, out) = take(&mut node, ConsensusMessage::Proposal(sign(turn, at, None)));
    assert_eq!((result, out.len()), (Ok(()), 0), "the second time it is no news");
}

/// Others decided while this node still waited for the block. It sends its precommit all the
/// same, unless it has precommitted otherwise in that round.
#[test]
fn who_comes_late_to_a_decision_precommits_it() {
    let turn = proposer(4, 5, 0);
    let me = if turn == 0 { 1 } else { 0 };
    let others: Vec<usize> = (0..4).filter(|i| *i != me).collect();
    for said_nil in [false, true] {
        let config = Config { keys: vec![key(me)], network: NETWORK, timeouts: timeouts() };
        let (mut node, mut out) = (Consensus::new(config), Vec::new());
        node.start(Time(1_000), 5, turns(4, 5), &[], &mut out).unwrap();
        let proposal = Proposal::sign(&key(turn), &NETWORK, 5, 0, BLOCK, None);
        take(&mut node, ConsensusMessage::Proposal(proposal)).0.unwrap();
        if said_nil {
            // No block came in time, and then no polka: a prevote and a precommit for none.
            others.iter().take(2).for_each(|i| {
                take(&mut node, ConsensusMessage::Vote(vote(*i, VoteKind::Prevote, 5, 0, None)))
                    .0
                    .unwrap();
            });
            node.tick(Time(2_100), &mut out);
            node.tick(Time(2_600), &mut out);
        }
        for kind in [VoteKind::Prevote, VoteKind::Precommit] {
            for i in others.iter().filter(|_| !said_nil || kind == VoteKind::Precommit) {
                let vote = vote(*i, kind, 5, 0, Some(BLOCK));
                assert!(take(&mut node, ConsensusMessage::Vote(vote)).0.is_ok());
            }
        }
        let proposer = key(turn).public();
        let candidate = Candidate { height: 5, round: 0, proposer, block: BLOCK, valid: true };
        node.executed(Time(1_010), candidate, &mut out);
        let own = |output: &Output| match output {
            Output::Send(ConsensusMessage::Vote(vote)) if vote.kind == VoteKind::Precommit => {
                Some((vote.round, vote.block))
            }
            _ => None,
        };
        let own: Vec<_> = out.iter().filter_map(own).collect();
        let expected = if said_nil { None } else { Some(BLOCK) };
        assert_eq!(own, [(0, expected)], "{out:?}");
        assert!(matches!(out.last(), Some(Output::Decided(c)) if c.block == BLOCK));
    }
}

#[test]
fn certificates_need_a_quorum_of_right_signatures() {
    let (mut node, _) = node();
    let entry = |i| {
        let v = vote(i, VoteKind::Prevote, 5, 0, Some(BLOCK));
        ValidatorSignature { validator: v.validator, signature: v.signature }
    };
    let polka = |signatures| {
        ConsensusMessage::PolkaCertificate(PolkaCertificate {
            height: 5,
            round: 0,
            block: BLOCK,
            signatures,
        })
    };
    let wrong = ValidatorSignature { signature: Signature([1; 64]), ..entry(3) };
    for bad in [
        vec![],
        vec![entry(1), entry(2)],
        vec![entry(1), entry(2), entry(2)],
        vec![entry(1), entry(2), entry(9)],
        vec![entry(1), entry(2), wrong],
    ] {
        assert_eq!(take(&mut node, polka(bad)).0, Err(Offence::BadSignature));
    }
    let crowd = (0..5).map(entry).collect();
    assert_eq!(take(&mut node, polka(crowd)).0, Err(Offence::Malformed));
    assert_eq!(take(&mut node, polka(vec![entry(1), entry(2), entry(3)])).0, Ok(()));
}

/// More than a third are in a later round: follow them there.
#[test]
fn a_round_certificate_moves_the_node_on() {
    let (mut node, _) = node();
    let certificate = |validators: &[usize], kind| {
        let votes = validators.iter().map(|i| {
            let v = vote(*i, kind, 5, 30, None);
            RoundVote { kind, block: None, validator: v.validator, signature: v.signature }
        });
        RoundCertificate { height: 5, round: 30, skip: true, votes: votes.collect() }
    };
    let one = certificate(&[1], VoteKind::Prevote);
    let result = take(&mut node, ConsensusMessage::RoundCertificate(one)).0;
    assert_eq!(result, Err(Offence::BadSignature));
    let two = certificate(&[1, 2], VoteKind::Prevote);
    assert_eq!(take(&mut node, ConsensusMessage::RoundCertificate(two.clone())).0, Ok(()));
    assert_eq!(node.position(), Some((5, 30)));
    let (result, out) = take(&mut node, ConsensusMessage::RoundCertificate(two));
    assert_eq!((result, out.len()), (Ok(()), 0));
    let prevotes = RoundCertificate { skip: false, ..certificate(&[1, 2, 3], VoteKind::Prevote) };
    assert_eq!(
        take(&mut node, ConsensusMessage::RoundCertificate(prevotes)).0,
        Err(Offence::BadSignature),
        "prevotes do not end a round"
    );
}

/// The core passes over a certificate that is no news unread: the power is asked for
/// before, whatever round the core is in.
#[test]
fn no_certificate_has_less_power_than_it_claims() {
    let (mut node, _) = node();
    let entry = |i: usize, kind| {
        let v = vote(i, kind, 5, 0, None);
        RoundVote { kind, block: None, validator: v.validator, signature: v.signature }
    };
    let (prevote, precommit) = (VoteKind::Prevote, VoteKind::Precommit);
    let certificate = |skip, votes: &[(usize, VoteKind)]| {
        let votes = votes.iter().map(|(i, kind)| entry(*i, *kind)).collect();
        ConsensusMessage::RoundCertificate(RoundCertificate { height: 5, round: 0, skip, votes })
    };
    let polka = |signatures| {
        ConsensusMessage::PolkaCertificate(PolkaCertificate {
            height: 5,
            round: 0,
            block: BLOCK,
            signatures,
        })
    };
    let forged = {
        let mut votes: Vec<_> = (1..3).map(|i| entry(i, prevote)).collect();
        votes[1].signature = Signature([1; 64]);
        RoundCertificate { height: 5, round: 0, skip: true, votes }
    };
    let bad = [
        certificate(true, &[]),
        certificate(false, &[]),
        certificate(true, &[(1, prevote)]),
        certificate(true, &[(1, prevote), (1, prevote)]),
        certificate(true, &[(1, prevote), (1, precommit)]),
        certificate(true, &[(1, prevote), (9, prevote)]),
        certificate(false, &[(1, precommit), (2, precommit)]),
        certificate(false, &[(1, precommit), (2, precommit), (3, prevote)]),
        ConsensusMessage::RoundCertificate(forged),
        polka(vec![]),
    ];
    for input in bad {
        let verified = node.verify_certificate(&input, &set_of(4));
        assert_eq!(verified, Err(Offence::BadSignature), "{input:?}");
    }
    for nothing in [certificate(true, &[]), certificate(false, &[]), polka(vec![])] {
        assert!(!node.has_verified(&nothing), "nothing is vouched for: {nothing:?}");
    }
    let good = [
        certificate(true, &[(1, prevote), (2, precommit)]),
        certificate(false, &[(1, precommit), (2, precommit), (3, precommit)]),
    ];
    for input in good {
        assert_eq!(node.verify_certificate(&input, &set_of(4)), Ok(()), "{input:?}");
        // It changes nothing, so the core does not read it; it is verified all the same.
        assert_eq!(take(&mut node, input.clone()).0, Ok(()));
        assert!(node.has_verified(&input));
    }
}

/// A validator that signs without end, in certificate after certificate: a verification each, and
/// the memory of what was verified and relayed was full of them.
#[test]
fn what_a_certificate_repeats_is_not_verified_and_what_the_core_does_not_keep_is_not_vouched_for() {
    let (mut node, _) = node();
    let votes_of = |votes: &[Vote]| {
        let votes = votes.iter().cloned();
        let votes = votes.map(|Vote { kind, block, validator, signature, .. }| RoundVote {
            kind,
            block,
            validator,
            signature,
        });
        votes.collect::<Vec<_>>()
    };
    let round = |round, skip, votes: &[Vote]| {
        let votes = votes_of(votes);
        ConsensusMessage::RoundCertificate(RoundCertificate { height: 5, round, skip, votes })
    };
    let other = |n: u8| vote(3, VoteKind::Precommit, 5, 2, Some(B256::repeat_byte(n)));
    let honest = |i| vote(i, VoteKind::Precommit, 5, 2, None);
    // It brings the node to round 2.
    let skip = round(2, true, &[honest(1), other(1)]);
    assert!(node.lacks(&skip));
    take(&mut node, skip.clone()).0.unwrap();
    assert!(!node.lacks(&skip) && !node.lacks(&round(1, true, &[honest(1), honest(2)])));
    // The vote of a validator that was not heard yet.
    let all = |n| round(2, false, &[honest(1), honest(2), other(n)]);
    assert!(node.lacks(&all(1)));
    take(&mut node, all(1)).0.unwrap();
    let kept: Vec<u8> = (1..100)
        .filter(|n| {
            take(&mut node, all(*n)).0.unwrap();
            take(&mut node, ConsensusMessage::Vote(other(*n))).0.unwrap();
            node.has_verified(&ConsensusMessage::Vote(other(*n)))
        })
        .collect();
    assert_eq!(kept, [1, 2, 3, 4], "one that counts, and three that convict");
    for skip in [true, false] {
        // Nothing in it is looked at any more.
        let forged = Vote { signature: Signature([1; 64]), ..other(100) };
        let forged = round(2, skip, &[honest(1), honest(2), forged]);
        assert!(!node.lacks(&forged));
        let (result, out) = take(&mut node, forged.clone());
        assert_eq!((result, out.len()), (Ok(()), 0));
        assert!(!node.has_verified(&forged));
    }
}

/// The same of a polka, where one of those that prevoted for the block signs it again and again.
#[test]
fn one_polka_of_a_block_is_enough() {
    let (mut node, _) = node();
    let polka = |signers: &[usize]| {
        let votes = signers.iter().map(|i| vote(*i, VoteKind::Prevote, 5, 0, Some(BLOCK)));
        let signed =
            |v: Vote| ValidatorSignature { validator: v.validator, signature: v.signature };
        let signatures = votes.map(signed).collect();
        let (height, round, block) = (5, 0, BLOCK);
        PolkaCertificate { height, round, block, signatures }
    };
    let said = ConsensusMessage::PolkaCertificate;
    assert!(node.lacks(&said(polka(&[1, 2, 3]))));
    take(&mut node, said(polka(&[1, 2, 3]))).0.unwrap();
    let mut again = polka(&[1, 2, 3]);
    again.signatures[0].signature = Signature([1; 64]);
    assert!(!node.lacks(&said(again.clone())));
    assert_eq!(take(&mut node, said(again)).0, Ok(()));
    assert!(node.lacks(&said(PolkaCertificate { round: 1, ..polka(&[1, 2, 3]) })));
}

/// This node's key prevotes on another machine, and all that shows it is a certificate of the round
/// in which both are.
#[test]
fn a_certificate_that_is_no_news_shows_that_the_key_signs_elsewhere() {
    let (mut node, _) = node();
    let entry = |i: usize, signature: Option<Signature>| {
        let Vote { kind, block, validator, signature: good, .. } =
            vote(i, VoteKind::Prevote, 5, 0, Some(BLOCK));
        RoundVote { kind, block, validator, signature: signature.unwrap_or(good) }
    };
    let said = |own| {
        let votes = vec![entry(1, None), entry(0, own)];
        ConsensusMessage::RoundCertificate(RoundCertificate {
            height: 5,
            round: 0,
            skip: true,
            votes,
        })
    };
    assert!(!node.lacks(&said(None)), "the node is in this round");
    let (result, out) = take(&mut node, said(Some(Signature([1; 64]))));
    assert_eq!((result, out.len()), (Err(Offence::BadSignature), 0));
    let (result, out) = take(&mut node, said(None));
    assert_eq!(result, Ok(()));
    assert!(out.iter().any(|it| matches!(it, Output::Elsewhere { round: 0, .. })), "{out:?}");
}

/// Every sequence of up to four of five signers, of whom one is a stranger: each subset,
/// order and repetition. Only distinct validators count.
#[test]
fn of_a_certificate_only_distinct_validators_count() {
    let (mut node, _) = node();
    let precommit = |i: &usize| vote([0, 1, 2, 3, 9][*i], VoteKind::Precommit, 5, 0, Some(BLOCK));
    let votes: Vec<Vote> = (0..5).map(|i| precommit(&i)).collect();
    let mut sequences = vec![vec![]];
    for at in 0.. {
        let Some(sequence): Option<Vec<usize>> = sequences.get(at).cloned() else { break };
        if sequence.len() < 4 {
            sequences.extend((0..5).map(|next| [&sequence[..], &[next]].concat()));
        }
        let distinct: std::collections::BTreeSet<_> = sequence.iter().collect();
        let sound = distinct.len() == sequence.len() && !sequence.contains(&4);
        for (skip, least) in [(true, 2), (false, 3)] {
            let entry = |i: &usize| {
                let Vote { kind, block, validator, signature, .. } = votes[*i].clone();
                RoundVote { kind, block, validator, signature }
            };
            let votes = sequence.iter().map(entry).collect();
            let certificate = RoundCertificate { height: 5, round: 0, skip, votes };
            let said = ConsensusMessage::RoundCertificate(certificate);
            let verified = node.verify_certificate(&said, &set_of(4)).is_ok();
            assert_eq!(verified, sound && sequence.len() >= least, "{skip} {sequence:?}");
        }
    }
    assert_eq!(sequences.len(), 1 + 5 + 25 + 125 + 625);
}

/// A block came by block sync while the core waited for it: the core sends, records
/// and waits for nothing more. (It voted on, and its records were labelled with the
/// next height: no start after that succeeded.)
#[test]
fn a_height_that_is_over_says_nothing() {
    let (mut node, _) = node();
    take(&mut node, ConsensusMessage::Vote(vote(1, VoteKind::Prevote, 5, 0, None))).0.unwrap();
    node.stop();
    assert_eq!(node.deadline(), None);
    let mut out = Vec::new();
    node.tick(Time(1_000_000), &mut out);
    for i in 1..4 {
        let vote = vote(i, VoteKind::Precommit, 5, 0, None);
        out.extend(take(&mut node, ConsensusMessage::Vote(vote)).1);
    }
    assert!(out.is_empty(), "{out:?}");
    node.start(Time(1_000_000), 6, turns(4, 6), &[], &mut out).unwrap();
    assert!(node.deadline().is_some());
}

#[test]
fn a_record_names_its_own_height() {
    let (mut node, _) = node();
    let (_, out) = take(&mut node, ConsensusMessage::Vote(vote(1, VoteKind::Prevote, 5, 0, None)));
    let [Output::Record { height: 5, bytes }] = &out[..] else { panic!("{out:?}") };
    assert_eq!(crate::record_height(bytes), Ok(5));
    assert!(crate::record_height(b"junk").is_err());
}

/// A second block for the same round would be a second proposal.
#[test]
fn only_the_block_that_was_asked_for_is_proposed() {
    let height = (1..).find(|h| proposer(4, *h, 0) == 0).unwrap();
    let config = Config { keys: vec![key(0)], network: NETWORK, timeouts: timeouts() };
    let (mut node, mut out) = (Consensus::new(config), Vec::new());
    node.start(Time(0), height, turns(4, height), &[], &mut out).unwrap();
    assert!(matches!(out[..], [Output::Build { until: Time(750), round: 0, .. }]), "{out:?}");
    let mut said_after = |round, fill| {
        let mut out = Vec::new();
        node.built(Time(1_010), height, round, B256::repeat_byte(fill), &mut out);
        out.iter().filter(|o| matches!(o, Output::Send(ConsensusMessage::Proposal(_)))).count()
    };
    assert_eq!(said_after(1, 1), 0);
    assert_eq!(said_after(0, 1), 1);
    assert_eq!(said_after(0, 2), 0);
}

#[test]
fn timers_fire_when_due_and_not_before() {
    let (mut node, _) = node();
    let due = Time(1_000) + Millis(1_000);
    let mut out = Vec::new();
    node.tick(Time(due.0 - 1), &mut out);
    assert!(out.is_empty(), "nothing said yet, so nothing to say again: {out:?}");
    assert_eq!(node.deadline(), Some(due));
    node.tick(due, &mut out);
    assert!(
        out.iter()
            .any(|o| matches!(o, Output::Send(ConsensusMessage::Vote(v)) if v.block.is_none()))
    );
    assert!(node.deadline().unwrap() > due);
}

#[test]
fn the_example_of_a_chain_gives_the_documented_waits() {
    let spec = |ms: u64| {
        let toml = format!(
            "name = \"t\"\nkind = \"public\"\nchain_id = 1\ngenesis_time = 0\ngas_limit = 30000000\n\
             base_fee = 0\nblock_interval_ms = {ms}\n[forks]\ncancun = 0\n[[validators]]\nkey = \"{}\"\n\
             power = 17\nfee_recipient = \"0x0000000000000000000000000000000000000001\"\n\
             owner = \"0x0000000000000000000000000000000000000001\"\n",
            key(0).public()
        );
        // Tables come last in TOML; `forks` is one, `validators` a list of them.
        Timeouts::for_chain(&trefoil_types::ChainSpec::from_toml(&toml).unwrap())
    };
    assert_eq!(spec(500).propose, Millis(1_000));
    assert_eq!(spec(500).max, Millis(3_000));
    assert_eq!(spec(1_500).propose, Millis(3_000));
    assert_eq!(spec(60_000).propose, Millis(62_000));
}
