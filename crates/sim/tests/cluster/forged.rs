//! Blocks and proposals that were forged, or put together anew from true parts: refused by
//! whoever gets them, and blamed on nobody but their sender. What a revoked peer still says.

use trefoil_ledger::Draft;
use trefoil_sim::{
    SimPlan, chain,
    plan::{Act, Motion},
    vice::Vice,
};
use trefoil_types::{
    Attached, Certificate, CertifiedBlock, Evidence, Proposal, ProposedBlock, Round, Turns,
};

use super::*;

/// The certificate with a wrong signature among the right ones.
fn damaged(mut certificate: Certificate) -> Certificate {
    certificate.signatures[0].signature = Signature([7; 64]);
    certificate
}

/// Evidence that nobody signed.
fn evidence() -> Evidence {
    let [a, b] = [1, 2].map(|block| {
        let block = Some(B256::repeat_byte(block));
        Vote::sign(&validator_key(1), &B256::ZERO, VoteKind::Prevote, 1, 0, block)
    });
    Evidence::of_votes(a, b).unwrap()
}

#[test]
fn no_block_of_block_sync_is_believed_but_the_one_that_a_quorum_signed() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    cluster.kill(4);
    send(&mut cluster, 0, 0, 0..1);
    cluster.reach(3, Millis(3_000));
    let snapshot = cluster.node(0).ledger().snapshot();
    let block = |height| snapshot.certified_block(height).unwrap().unwrap();
    let other = |change: fn(&mut CertifiedBlock, CertifiedBlock)| {
        let mut changed = block(2);
        change(&mut changed, block(3));
        vec![changed]
    };
    let later = |change: fn(&mut CertifiedBlock)| {
        let mut changed = block(3);
        change(&mut changed);
        vec![block(2), changed]
    };
    use Offence::{BadSignature, Malformed};
    for (what, blocks, offence, height) in [
        ("few signatures", other(|it, _| it.certificate.signatures.truncate(2)), BadSignature, 1),
        (
            "a wrong signature",
            other(|it, _| it.certificate = damaged(it.certificate.clone())),
            BadSignature,
            1,
        ),
        ("another header", other(|it, _| it.block.header.gas_used += 1), Malformed, 1),
        ("another body", other(|it, _| it.block.body.transactions.clear()), Malformed, 1),
        (
            "another's certificate",
            other(|it, next| it.certificate = next.certificate),
            Malformed,
            1,
        ),
        ("other evidence", other(|it, _| it.attached.evidence = vec![evidence()]), Malformed, 1),
        (
            "no certificate of its parent",
            other(|it, _| it.attached.parent_certificate = None),
            Malformed,
            1,
        ),
        ("an ommer", other(|it, next| it.block.body.ommers.push(next.block.header)), Malformed, 1),
        ("no withdrawals", other(|it, _| it.block.body.withdrawals = None), Malformed, 1),
        ("not the next", other(|it, next| *it = next), Malformed, 1),
        ("one twice", vec![block(2), block(2)], Malformed, 1),
        ("the second forged", later(|it| it.block.header.gas_used += 1), Malformed, 1),
        // Without transactions, too.
        (
            "the second with an ommer",
            later(|it| it.block.body.ommers.push(it.block.header.clone())),
            Malformed,
            1,
        ),
        // What comes before it is true.
        (
            "the second not signed",
            later(|it| it.certificate = damaged(it.certificate.clone())),
            BadSignature,
            2,
        ),
    ] {
        // After a start it has asked nobody yet: the first that claims is asked.
        cluster.restart(4);
        cluster.seen.blames.clear();
        let tip = Tip { height: 9, hash: B256::ZERO, round: 0 };
        cluster.inject(0, 4, Message::Tip(tip));
        cluster.inject(0, 4, Message::Blocks(Blocks { from: 2, blocks }));
        assert_eq!(cluster.height(4), height, "{what}");
        let blame = PeerCommand::Blame { peer: peer(0), offence, relayed: false };
        assert_eq!(cluster.seen.blames, [blame], "{what}");
        cluster.kill(4);
    }
    cluster.restart(4);
    cluster.run_for(Millis(5_000));
    assert_agreed(&cluster);
}

/// Four validators after block 1; the proposer of block 2, whose key the test uses, so that its
/// machine hears its key sign elsewhere and does not vote; and the others, whose votes are needed.
fn scene() -> (Cluster, usize, Vec<usize>) {
    let mut plan = plan_with_villain(5);
    let turns = Turns::first(chain::spec(&plan).validator_set().unwrap());
    let proposer = turns.proposers().nth(1).unwrap().key;
    let proposer = (0..4).find(|n| validator_key(*n).public() == proposer).unwrap();
    plan.vices.insert(proposer, Vice::Puppet);
    let mut cluster = started(plan);
    cluster.reach(1, SECOND);
    (cluster, proposer, (0..4).filter(|n| *n != proposer).collect())
}

/// The machine whose validator proposes in a round of height 2.
fn proposer_in(plan: &SimPlan, round: Round) -> usize {
    let set = chain::spec(plan).validator_set().unwrap();
    let key = Turns::first(set.clone()).next(&set).proposer(round).key;
    (0..4).find(|n| validator_key(*n).public() == key).unwrap()
}

/// After block 1 one validator and the full node run. The others are puppets: those that propose
/// in rounds 0, 1 and 5 of height 2.
fn one_among_puppets() -> (Cluster, usize, [usize; 3]) {
    let mut plan = plan(4, 5);
    let puppets = [0, 1, 5].map(|round| proposer_in(&plan, round));
    plan.vices.extend(puppets.map(|n| (n, Vice::Puppet)));
    let mut cluster = started(plan);
    cluster.reach(1, SECOND);
    puppets.iter().for_each(|n| cluster.kill(*n));
    (cluster, (0..4).find(|n| !puppets.contains(n)).unwrap(), puppets)
}

/// A block 2 that is sound but for what is changed of its draft, signed by its proposer.
fn proposed(
    cluster: &Cluster,
    proposer: usize,
    change: impl FnOnce(&mut Draft),
) -> Box<ProposedBlock> {
    proposed_in(cluster, 0, proposer, change)
}

/// The same in a round of its own.
fn proposed_in(
    cluster: &Cluster,
    round: Round,
    proposer: usize,
    change: impl FnOnce(&mut Draft),
) -> Box<ProposedBlock> {
    // The full node is always there.
    let (ledger, key) = (cluster.node(4).ledger(), validator_key(proposer));
    let mut draft = Draft {
        timestamp: cluster.now.as_secs(),
        fee_recipient: ledger.governed().fee_recipients[&key.public()],
        attached: Attached {
            evidence: vec![],
            parent_certificate: ledger.tip_certificate().cloned(),
        },
    };
    change(&mut draft);
    let (outcome, _) = ledger.build(draft, &mut std::iter::empty());
    let block = outcome.block();
    Box::new(ProposedBlock {
        proposal: Proposal::sign(&key, &ledger.genesis_hash(), 2, round, block.hash, None),
        header: block.header.clone(),
        tx_hashes: vec![],
        attached: block.attached.clone(),
        bytes: 0,
    })
}

#[test]
fn a_signed_block_that_breaks_a_rule_of_time_or_finality_is_not_voted_for() {
    type Change = fn(&mut Draft);
    let table: [(&str, Change, bool, bool); 5] = [
        ("nothing wrong", |_| {}, true, false),
        // Clocks differ: nobody is to blame.
        ("of the future", |draft| draft.timestamp += 10, false, false),
        (
            "a certificate with a wrong signature",
            |draft| {
                let certificate = &mut draft.attached.parent_certificate;
                *certificate = certificate.take().map(damaged);
            },
            false,
            true,
        ),
        (
            "the certificate of another block",
            |draft| {
                let certificate = draft.attached.parent_certificate.as_mut().unwrap();
                certificate.block = B256::repeat_byte(1);
            },
            false,
            true,
        ),
        ("no certificate", |draft| draft.attached.parent_certificate = None, false, true),
    ];
    for (what, change, is_taken, is_blamed) in table {
        let (mut cluster, proposer, hearers) = scene();
        let proposed = proposed(&cluster, proposer, change);
        let block = proposed.proposal.block;
        for hearer in &hearers {
            cluster.inject(4, *hearer, Message::Proposal(proposed.clone()));
        }
        let blame =
            PeerCommand::Blame { peer: peer(4), offence: Offence::InvalidBlock, relayed: true };
        let blames = if is_blamed { vec![blame; hearers.len()] } else { vec![] };
        assert_eq!(cluster.seen.blames, blames, "{what}");
        cluster.run_for(Millis(10_000));
        let header = cluster.node(hearers[0]).ledger().snapshot().header(2).unwrap();
        assert_eq!(header.is_some_and(|(hash, _)| hash == block), is_taken, "{what}");
    }
}

/// Whoever passes a proposal on can change all of it but what is signed.
#[test]
fn what_is_changed_of_a_proposal_on_its_way_harms_only_who_changed_it() {
    let changes: [fn(&mut ProposedBlock); 4] = [
        |it| it.header.gas_used += 1,
        |it| it.header.number += 1,
        |it| it.attached.evidence = vec![evidence()],
        |it| it.attached.parent_certificate = None,
    ];
    for change in changes {
        let (mut cluster, proposer, hearers) = scene();
        let good = proposed(&cluster, proposer, |_| {});
        let mut bad = good.clone();
        change(&mut bad);
        for hearer in &hearers {
            cluster.inject(4, *hearer, Message::Proposal(bad.clone()));
        }
        let blame =
            PeerCommand::Blame { peer: peer(4), offence: Offence::Malformed, relayed: true };
        assert_eq!(cluster.seen.blames, vec![blame; hearers.len()], "{bad:?}");
        cluster.seen.blames.clear();
        let block = good.proposal.block;
        for hearer in &hearers {
            cluster.inject(proposer, *hearer, Message::Proposal(good.clone()));
        }
        cluster.run_for(Millis(10_000));
        assert_eq!(cluster.seen.blames, vec![]);
        let header = cluster.node(hearers[0]).ledger().snapshot().header(2).unwrap();
        assert_eq!(header.map(|(hash, _)| hash), Some(block));
    }
}

#[test]
fn a_proposal_that_nobody_signed_neither_wakes_nor_passes() {
    let (mut cluster, proposer, hearers) = scene();
    let good = proposed(&cluster, proposer, |_| {});
    let mut bad = good.clone();
    bad.proposal.signature = Signature([7; 64]);
    let hearer = hearers[0];
    cluster.inject(4, hearer, Message::Proposal(bad.clone()));
    let blame = PeerCommand::Blame { peer: peer(4), offence: Offence::BadSignature, relayed: true };
    assert_eq!(cluster.seen.blames, [blame]);
    cluster.run_for(Millis(10_000));
    assert_eq!(cluster.height(hearer), 1, "woken");
    // When the true one is known, nobody looks at the signature of another.
    let passed = Rc::new(Cell::new([0; 2]));
    let (log, signature) = (passed.clone(), bad.proposal.signature);
    cluster.loss = Box::new(move |from, _, message| {
        if let (true, Message::Proposal(proposed)) = (from == hearer, message) {
            let [mut good, mut bad] = log.get();
            let is_bad = proposed.proposal.signature == signature;
            (good, bad) = (good + u32::from(!is_bad), bad + u32::from(is_bad));
            log.set([good, bad]);
        }
        false
    });
    for proposed in [good, bad.clone(), bad] {
        cluster.inject(4, hearer, Message::Proposal(proposed));
    }
    let [good, bad] = passed.get();
    assert!(good > 0 && bad == 0, "{good} of the true one, {bad} of the others");
}

#[test]
fn who_is_revoked_is_not_heard_until_its_connection_ends_and_not_taken_in_again() {
    let mut cluster = cluster(5, 5);
    cluster.reach(1, SECOND);
    cluster.act(Act::Vote(Motion::RevokeNode(4)));
    let ends = cluster.now + Millis(30_000);
    while !cluster.node(0).ledger().governed().members.is_revoked(peer(4)) {
        assert!(cluster.now < ends, "no vote passed");
        cluster.run_for(Millis(1));
    }
    // Its connection may last a moment longer.
    assert_eq!(cluster.node(0).status().peers, 3);
    let raw = |from| Bytes::from(transfer(from, 0).encoded_2718());
    cluster.inject(4, 0, Message::Txs(vec![raw(0)]));
    cluster.inject(3, 0, Message::Txs(vec![raw(1)]));
    let Reply::PoolContent { pending, .. } = cluster.call(0, Call::PoolContent) else { panic!() };
    let hashes: Vec<_> = pending.iter().map(|tx| *tx.tx_hash()).collect();
    assert_eq!(hashes, [*transfer(1, 0).tx_hash()]);
    say_connected(&mut cluster, 0, 4);
    assert_eq!(cluster.node(0).status().peers, 3);
    cluster.input(0, Input::ConnectedUnjudged(peer(4)));
    let Reply::Peers(peers) = cluster.call(0, Call::Peers) else { panic!() };
    assert!(peers.iter().all(|it| it.peer != peer(4)), "{peers:?}");
}

/// A red team's block, six seconds ahead: one validator of the three that are honest gets it a
/// moment before it is timely, the others a moment after, and these lock on it. The first refused
/// it in each round, so there were never three votes again; also with a clock that is a minute
/// slow, and a block of an honest clock.
#[test]
fn a_block_that_is_timely_for_some_only_halts_nobody() {
    for (slow_ms, ahead_s) in [(0, 6), (60_000, 0)] {
        let mut plan = plan(4, 5);
        let proposer = proposer_in(&plan, 0);
        plan.vices.insert(proposer, Vice::Puppet);
        let hearers: Vec<usize> = (0..4).filter(|n| *n != proposer).collect();
        let first = hearers[0];
        plan.skew_ms.insert(first, -slow_ms);
        let mut cluster = started(plan);
        cluster.reach(1, Millis(5_000));
        cluster.kill(proposer);
        // A hundredth of a second before a second begins.
        let into_second = cluster.now.0 % 1_000;
        cluster.run_for(Millis((1_990 - into_second) % 1_000));
        assert_eq!(cluster.height(4), 1);
        let good = proposed(&cluster, proposer, |draft| draft.timestamp += ahead_s);
        let block = good.proposal.block;
        cluster.inject(4, first, Message::Proposal(good.clone()));
        cluster.run_for(Millis(20));
        for hearer in &hearers[1..] {
            cluster.inject(4, *hearer, Message::Proposal(good.clone()));
        }
        let network = cluster.node(4).ledger().genesis_hash();
        let key = validator_key(proposer);
        let prevote = Vote::sign(&key, &network, VoteKind::Prevote, 2, 0, Some(block));
        for hearer in &hearers {
            cluster.inject(4, *hearer, Message::Vote(prevote.clone()));
        }
        cluster.reach(2, Millis(20_000));
        let header = cluster.node(first).ledger().snapshot().header(2).unwrap();
        assert_eq!(header.map(|(hash, _)| hash), Some(block), "slow by {slow_ms} ms");
        assert_agreed(&cluster);
        assert_eq!(cluster.seen.blames, vec![]);
    }
}

/// Who proposes in rounds 1, 5 and 9 sent full blocks for all of them when the height began: each
/// was fetched, executed and journalled. And the proposer of the next round is often a moment
/// ahead of this node.
#[test]
fn a_proposal_of_a_later_round_costs_nothing_until_the_round_begins() {
    let (mut cluster, hearer, [silent, next, later]) = one_among_puppets();
    let said = Rc::new(RefCell::new(Vec::new()));
    let log = said.clone();
    cluster.loss = Box::new(move |from, _, message| {
        if from == hearer {
            log.borrow_mut().push(message.clone());
        }
        false
    });
    // One names a transaction that nobody has, the other none.
    let mut unknown = proposed_in(&cluster, 5, later, |draft| draft.timestamp += 2);
    unknown.tx_hashes.push(B256::repeat_byte(7));
    let whole = proposed_in(&cluster, 5, later, |draft| draft.timestamp += 1);
    for proposed in [unknown, whole] {
        cluster.inject(4, hearer, Message::Proposal(proposed));
    }
    let early = proposed_in(&cluster, 1, next, |_| {});
    let block = early.proposal.block;
    cluster.inject(4, hearer, Message::Proposal(early));
    cluster.run_for(Millis(500));
    let is_of_block = |message: &Message| match message {
        Message::GetBodies(_) | Message::Proposal(_) => true,
        Message::Vote(vote) => vote.block.is_some(),
        _ => false,
    };
    let of_block: Vec<_> = said.borrow().iter().filter(|it| is_of_block(it)).cloned().collect();
    assert_eq!(of_block, vec![]);
    // Two others are in round 1, so this node goes there, and votes at once.
    let network = cluster.node(4).ledger().genesis_hash();
    for voter in [silent, next] {
        let key = validator_key(voter);
        let vote = Vote::sign(&key, &network, VoteKind::Prevote, 2, 1, None);
        cluster.inject(4, hearer, Message::Vote(vote));
    }
    let votes_for_it = |message: &Message| match message {
        Message::Vote(vote) => {
            (vote.kind, vote.round, vote.block) == (VoteKind::Prevote, 1, Some(block))
        }
        _ => false,
    };
    assert!(said.borrow().iter().any(votes_for_it));
    cluster.kill(hearer);
    let is_block_2 = |record: &Record| matches!(record, Record::Block(it) if it.header.number == 2);
    let blocks: Vec<_> = journalled(&cluster, hearer).into_iter().filter(is_block_2).collect();
    let [Record::Block(journalled)] = &blocks[..] else { panic!("{} blocks", blocks.len()) };
    assert_eq!(journalled.hash, block);
}

/// A proposer signs its proposal of a round again and again, with another proof of lock each time.
#[test]
fn of_one_block_in_one_round_one_proposal_passes() {
    let (mut cluster, hearer, [silent, next, later]) = one_among_puppets();
    let passed = Rc::new(Cell::new(0));
    let log = passed.clone();
    cluster.loss = Box::new(move |from, to, message| {
        let is_one = (from, to) == (hearer, 4) && matches!(message, Message::Proposal(_));
        log.set(log.get() + u32::from(is_one));
        false
    });
    let good = proposed_in(&cluster, 5, later, |_| {});
    let network = cluster.node(4).ledger().genesis_hash();
    for pol_round in [None, Some(0), Some(1), Some(2)] {
        let (key, block) = (validator_key(later), good.proposal.block);
        let proposal = Proposal::sign(&key, &network, 2, 5, block, pol_round);
        let proposed = Box::new(ProposedBlock { proposal, ..(*good).clone() });
        cluster.inject(silent, hearer, Message::Proposal(proposed));
    }
    for voter in [silent, next] {
        let key = validator_key(voter);
        let vote = Vote::sign(&key, &network, VoteKind::Prevote, 2, 5, None);
        cluster.inject(4, hearer, Message::Vote(vote));
    }
    assert_eq!(passed.get(), 1);
}
