//! Evidence from its finding to the block that carries it.

use trefoil_ledger::Draft;
use trefoil_sim::{SimPlan, chain, vice::Vice};
use trefoil_types::{Attached, Evidence, Height, Proposal, Turns, message::ProposedBlock};

use super::*;

/// Four validators of whom one is gone, after block 1, and a full node.
fn three_and_a_watcher() -> Cluster {
    without_the_villain(plan_with_villain(5))
}

fn without_the_villain(plan: SimPlan) -> Cluster {
    let mut cluster = started(plan);
    cluster.reach(1, SECOND);
    cluster.kill(VILLAIN);
    cluster
}

fn vote(cluster: &Cluster, kind: VoteKind, height: Height, block: u8) -> Vote {
    let network = cluster.node(0).ledger().genesis_hash();
    let block = Some(B256::repeat_byte(block));
    Vote::sign(&validator_key(VILLAIN), &network, kind, height, 0, block)
}

fn evidence(cluster: &Cluster, height: Height) -> Evidence {
    let [a, b] = [1, 2].map(|block| vote(cluster, VoteKind::Prevote, height, block));
    Evidence::of_votes(a, b).unwrap()
}

/// On each running node three validate, and one block at most carried the evidence.
fn assert_convicted_once(cluster: &Cluster) {
    for n in cluster.running() {
        let set = cluster.node(n).ledger().next_validators();
        assert!(set.get(&validator_key(VILLAIN).public()).is_none(), "node {n}");
        let snapshot = cluster.node(n).ledger().snapshot();
        let blocks = (1..=cluster.height(n)).map(|h| snapshot.certified_block(h).unwrap().unwrap());
        let carried: usize = blocks.map(|block| block.attached.evidence.len()).sum();
        assert!(carried <= 1, "node {n}: {carried}");
    }
    assert_agreed(cluster);
}

#[test]
fn what_only_a_full_node_saw_is_carried_by_an_idle_chain() {
    let mut cluster = three_and_a_watcher();
    // It does not even relay the votes.
    cluster.loss = Box::new(|from, _, message| from == 4 && matches!(message, Message::Vote(_)));
    for block in [1, 2] {
        let vote = vote(&cluster, VoteKind::Prevote, 2, block);
        cluster.inject(0, 4, Message::Vote(vote));
    }
    cluster.run_for(Millis(10_000));
    assert_convicted_once(&cluster);
    assert_eq!(cluster.seen.equivocations.len(), 4, "each hears of it once");
    assert!(cluster.seen.blames.is_empty());
    // Nothing is left to send: the chain is idle again.
    let height = cluster.height(0);
    cluster.run_for(Millis(20_000));
    assert_eq!(cluster.height(0), height);
}

#[test]
fn a_conviction_survives_a_restart_and_reaches_who_was_away() {
    let mut cluster = three_and_a_watcher();
    cluster.kill(4);
    let proof = evidence(&cluster, 1);
    cluster.inject(1, 0, Message::Evidence(Box::new(proof)));
    cluster.run_for(Millis(10_000));
    cluster.kill(0);
    cluster.restart(0);
    cluster.restart(4);
    cluster.run_for(Millis(5_000));
    assert!(cluster.height(4) > 1);
    assert_convicted_once(&cluster);
}

#[test]
fn evidence_is_told_to_who_connects_later() {
    let mut cluster = three_and_a_watcher();
    // Two of four make no block.
    cluster.kill(2);
    let proof = evidence(&cluster, 1);
    cluster.inject(4, 0, Message::Evidence(Box::new(proof)));
    cluster.run_for(SECOND);
    cluster.restart(2);
    cluster.run_for(Millis(10));
    assert!(cluster.seen.equivocations.contains(&2), "told by a peer, not by a block");
    cluster.run_for(Millis(15_000));
    assert_convicted_once(&cluster);
}

#[test]
fn a_late_precommit_against_the_certificate_convicts() {
    let mut cluster = started(plan_with_villain(4));
    cluster.reach(1, SECOND);
    cluster.run_for(SECOND);
    let certificate = cluster.node(0).ledger().tip_certificate().unwrap();
    assert!(certificate.vote_of(&validator_key(VILLAIN).public()).is_some());
    let late = vote(&cluster, VoteKind::Precommit, 1, 1);
    cluster.kill(VILLAIN);
    cluster.inject(1, 0, Message::Vote(late));
    cluster.run_for(Millis(10_000));
    assert_convicted_once(&cluster);
    assert!(cluster.seen.blames.is_empty());
}

#[test]
fn what_convicts_nobody_is_blamed_and_not_kept() {
    let mut cluster = three_and_a_watcher();
    let blame =
        [PeerCommand::Blame { peer: peer(1), offence: Offence::BadSignature, relayed: true }];
    let [sound, mut forged] = [1, 2].map(|block| vote(&cluster, VoteKind::Prevote, 1, block));
    forged.signature = sound.signature;
    let forged = Evidence::of_votes(sound, forged).unwrap();
    let network = cluster.node(0).ledger().genesis_hash();
    let stranger = SecretKey::from_seed(&[99; 32]);
    let [a, b] = [1, 2].map(|block| {
        let block = Some(B256::repeat_byte(block));
        Vote::sign(&stranger, &network, VoteKind::Prevote, 1, 0, block)
    });
    for evidence in [forged, Evidence::of_votes(a, b).unwrap()] {
        cluster.seen.blames.clear();
        cluster.inject(1, 0, Message::Evidence(Box::new(evidence)));
        assert_eq!(cluster.seen.blames, blame);
    }
    // Of a height that is not there yet, from a peer that is ahead: no misdeed.
    cluster.seen.blames.clear();
    let ahead = evidence(&cluster, 9);
    cluster.inject(1, 0, Message::Evidence(Box::new(ahead)));
    assert!(cluster.seen.blames.is_empty());
    cluster.run_for(Millis(10_000));
    assert_eq!(cluster.height(0), 1, "nothing to make a block of");
    assert!(cluster.seen.equivocations.is_empty());
}

/// A proposal for block 2 that is sound but, it may be, for its evidence.
fn proposal(cluster: &Cluster, proposer: usize, evidence: Evidence) -> Message {
    let (node, key) = (cluster.node(0), validator_key(proposer));
    let draft = Draft {
        timestamp: cluster.now.as_secs(),
        fee_recipient: node.ledger().governed().fee_recipients[&key.public()],
        attached: Attached {
            evidence: vec![evidence],
            parent_certificate: node.ledger().tip_certificate().cloned(),
        },
    };
    let (outcome, _) = node.ledger().build(draft, &mut std::iter::empty());
    let (network, block) = (node.ledger().genesis_hash(), outcome.block());
    Message::Proposal(Box::new(ProposedBlock {
        proposal: Proposal::sign(&key, &network, 2, 0, block.hash, None),
        header: block.header.clone(),
        tx_hashes: vec![],
        attached: block.attached.clone(),
        bytes: 0,
    }))
}

#[test]
fn a_proposal_is_voted_for_if_its_evidence_is_good_and_blamed_if_not() {
    for forged in [false, true] {
        let mut plan = plan_with_villain(5);
        let turns = Turns::first(chain::spec(&plan).validator_set().unwrap());
        let proposer = turns.proposers().nth(1).unwrap().key;
        let proposer = (0..4).find(|n| validator_key(*n).public() == proposer).unwrap();
        // The test signs a proposal with its key, and so may the machine itself.
        plan.vices.insert(proposer, Vice::Puppet);
        // The proposer's machine hears its key sign elsewhere and does not vote: all others must.
        let mut cluster = started(plan);
        cluster.reach(1, SECOND);
        let [sound, mut other] = [1, 2].map(|block| vote(&cluster, VoteKind::Prevote, 1, block));
        if forged {
            other.signature = sound.signature;
        }
        let evidence = Evidence::of_votes(sound, other).unwrap();
        let message = proposal(&cluster, proposer, evidence);
        let hearers: Vec<_> = (0..4).filter(|n| *n != proposer).collect();
        for hearer in &hearers {
            cluster.inject(4, *hearer, message.clone());
        }
        let blame =
            PeerCommand::Blame { peer: peer(4), offence: Offence::InvalidBlock, relayed: true };
        let blamed = if forged { vec![blame; hearers.len()] } else { vec![] };
        assert_eq!(cluster.seen.blames, blamed);
        cluster.run_for(Millis(10_000));
        let villain = validator_key(VILLAIN).public();
        let stays = cluster.node(hearers[0]).ledger().next_validators().get(&villain).is_some();
        assert_eq!(stays, forged);
        let Message::Proposal(proposed) = message else { unreachable!() };
        if !forged {
            let snapshot = cluster.node(hearers[0]).ledger().snapshot();
            let (hash, _) = snapshot.header(2).unwrap().unwrap();
            assert_eq!(hash, proposed.proposal.block);
        }
    }
}
