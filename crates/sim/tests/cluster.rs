//! Whole nodes together: what each of the four lives promises.
//!
//! The tests stand here and not in `node`: no crate knows the simulator.

#[path = "cluster/evidence.rs"]
mod evidence;
#[path = "cluster/forged.rs"]
mod forged;
#[path = "cluster/hostile.rs"]
mod hostile;
#[path = "cluster/mod.rs"]
mod support;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use alloy_eips::Encodable2718 as _;
use alloy_primitives::{B256, Bytes};
use trefoil_crypto::SecretKey;
use trefoil_ledger::Record;
use trefoil_node::{Call, Input, PeerCommand, Reply};
use trefoil_sim::cluster::Cluster;
use trefoil_types::{
    Kind, Message, Millis, Offence, PolkaCertificate, RoundCertificate, RoundVote, Signature,
    TxEnvelope, Vote, VoteKind,
    message::{Blocks, Tip},
};

use support::{
    SECOND, VILLAIN, add_to_journal, assert_agreed, cluster, connect_unjudged, height_of,
    journalled, peer, plan, plan_with_villain, say_connected, send, started, submit, transfer,
    transfer_with, validator_key, wallet,
};

#[test]
fn four_nodes_make_blocks_of_transfers_and_agree() {
    let mut cluster = cluster(4, 4);
    // The bodies reach all pools before the proposals: nobody asks for any.
    cluster.loss = Box::new(|_, _, message| {
        let asks = matches!(message, Message::GetBodies(_) | Message::GetBlocks(_));
        assert!(!asks && !matches!(message, Message::GetTxs(_)), "{message:?}");
        false
    });
    cluster.reach(1, SECOND); // Genesis is old, so the idle block is due.
    let mut hashes = Vec::new();
    for second in 0..10 {
        for n in 0..4 {
            hashes.extend(send(&mut cluster, n, n, second * 5..second * 5 + 5));
        }
        cluster.run_for(SECOND);
    }
    cluster.run_for(Millis(2_000));
    assert_agreed(&cluster);
    for hash in &hashes {
        assert!(height_of(&cluster, 0, hash).is_some());
    }
    let account = cluster.node(3).ledger().account(&wallet(2)).unwrap();
    assert_eq!(account.nonce, 50);
    assert_eq!(cluster.node(0).status().pool_pending, 0);
    // Pace: 12 seconds hold at most 24 blocks of half a second, and one of genesis.
    assert!((12..=25).contains(&cluster.height(0)), "{}", cluster.height(0));
    assert!(cluster.seen.blames.is_empty(), "{:?}", cluster.seen.blames);
    // The certificate is made by the first three; who comes later is added to it.
    for n in 0..4 {
        assert_eq!(cluster.node(n).status().signers, 4);
    }
}

#[test]
fn only_the_signer_of_a_late_precommit_is_added_to_the_certificate() {
    let mut cluster = cluster(4, 3);
    cluster.reach(1, SECOND);
    cluster.run_for(SECOND);
    let (tip, network) = {
        let ledger = cluster.node(0).ledger();
        (ledger.tip_certificate().unwrap().clone(), ledger.genesis_hash())
    };
    assert_eq!(tip.signatures.len(), 3);
    let sign =
        |n, kind, round, block| Vote::sign(&validator_key(n), &network, kind, 1, round, block);
    let late = sign(3, VoteKind::Precommit, tip.round, Some(tip.block));
    for other in [
        sign(3, VoteKind::Prevote, tip.round, Some(tip.block)),
        sign(3, VoteKind::Precommit, tip.round + 1, Some(tip.block)),
        sign(3, VoteKind::Precommit, tip.round, None),
        sign(9, VoteKind::Precommit, tip.round, Some(tip.block)),
        sign(0, VoteKind::Precommit, tip.round, Some(tip.block)),
    ] {
        cluster.inject(1, 0, Message::Vote(other));
    }
    cluster.run_for(SECOND);
    assert_eq!(cluster.node(0).status().signers, 3);
    assert!(cluster.seen.blames.is_empty(), "{:?}", cluster.seen.blames);
    let forged = Vote { signature: Signature([7; 64]), ..late.clone() };
    cluster.inject(1, 0, Message::Vote(forged));
    cluster.run_for(SECOND);
    let blame = PeerCommand::Blame { peer: peer(1), offence: Offence::BadSignature, relayed: true };
    assert_eq!((cluster.node(0).status().signers, &cluster.seen.blames), (3, &vec![blame]));
    cluster.inject(1, 0, Message::Vote(late));
    cluster.run_for(SECOND);
    let filled = cluster.node(0).ledger().tip_certificate().unwrap().clone();
    let set = cluster.node(0).ledger().snapshot().validators(1).unwrap().unwrap();
    assert_eq!((filled.signatures.len(), filled.verify(&set, &network)), (4, Ok(())));
    // The next block binds the fuller one, and all take it.
    cluster.reach(2, Millis(70_000));
    cluster.run_for(SECOND);
    assert_agreed(&cluster);
}

#[test]
fn an_idle_chain_makes_no_block_until_it_is_due_and_a_transaction_wakes_it() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    cluster.run_for(Millis(58_000));
    assert_eq!(cluster.height(0), 1);
    cluster.reach(2, Millis(3_000));
    cluster.run_for(Millis(20_000));
    assert_eq!(cluster.height(0), 2);
    let sent = cluster.now;
    let hash = send(&mut cluster, 1, 0, 0..1)[0];
    cluster.reach(3, SECOND);
    assert_eq!(height_of(&cluster, 1, &hash), Some(3));
    assert!(cluster.now.since(sent) < Millis(200), "{}", cluster.now.since(sent));
}

/// Once, ethers' `wait()` missed a block that was made between two of its
/// polls, and then waited for the next idle block: a minute on a quiet chain.
#[test]
fn a_block_with_transactions_is_followed_by_one_more_after_an_interval() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    cluster.run_for(SECOND);
    send(&mut cluster, 1, 0, 0..1);
    cluster.reach(2, SECOND);
    let closed = cluster.now;
    cluster.reach(3, SECOND);
    assert!(cluster.now.since(closed) >= Millis(400), "{}", cluster.now.since(closed));
    cluster.run_for(Millis(50_000));
    assert_eq!(cluster.height(0), 3);
}

#[test]
fn a_spec_may_ask_for_no_idle_blocks_at_all() {
    let mut plan = plan(4, 4);
    plan.chain.idle_block_s = 0;
    let mut cluster = started(plan);
    cluster.run_for(Millis(600_000));
    assert_eq!(cluster.height(0), 0);
    send(&mut cluster, 3, 0, 0..1);
    cluster.reach(1, SECOND);
}

#[test]
fn a_single_validator_needs_nobody() {
    let mut cluster = cluster(1, 1);
    let hash = send(&mut cluster, 0, 0, 0..3)[2];
    cluster.run_for(SECOND);
    assert!(height_of(&cluster, 0, &hash).is_some());
}

#[test]
fn a_node_that_was_away_catches_up() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    cluster.kill(3);
    for nonce in 0..40 {
        send(&mut cluster, nonce as usize % 3, 0, nonce..nonce + 1);
        cluster.run_for(Millis(600));
    }
    let ahead = cluster.height(0);
    assert!(ahead > 20, "{ahead}");
    cluster.restart(3);
    cluster.run_for(SECOND);
    assert!(cluster.height(3) >= ahead);
    // It votes again.
    send(&mut cluster, 3, 1, 0..1);
    cluster.run_for(Millis(3_000));
    assert_agreed(&cluster);
    assert_eq!(cluster.node(3).status().syncing_to, None);
    assert!(cluster.seen.blames.is_empty(), "{:?}", cluster.seen.blames);
}

/// The core went on after block sync had ended its height, and what it recorded was
/// journalled as of the next height: no start after that succeeded.
#[test]
fn records_of_a_height_that_is_over_do_not_stop_a_start() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    cluster.kill(3);
    let of_the_tip = journalled(&cluster, 3).into_iter().filter_map(|record| match record {
        Record::Consensus { height: 1, bytes } => Some(Record::Consensus { height: 2, bytes }),
        _ => None,
    });
    let late: Vec<_> = of_the_tip.collect();
    assert!(late.len() > 3, "{late:?}");
    add_to_journal(&cluster, 3, &late);
    cluster.restart(3);
    send(&mut cluster, 3, 0, 0..1);
    cluster.reach(2, SECOND);
    assert_agreed(&cluster);
}

/// It may be no member: this node cannot tell, whatever the peer sends.
#[test]
fn a_peer_that_is_not_judged_brings_blocks_and_has_no_other_part() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    (0..4).for_each(|n| cluster.cut(n, 4));
    send(&mut cluster, 0, 0, 0..1);
    cluster.run_for(SECOND);
    send(&mut cluster, 0, 0, 1..2);
    cluster.run_for(SECOND);
    let ahead = cluster.height(0);
    let behind = cluster.height(4);
    assert!(ahead > behind + 1, "{ahead}");

    let said = Rc::new(RefCell::new(vec![]));
    let log = said.clone();
    cluster.loss = Box::new(move |from, _, message| {
        log.borrow_mut().extend((from == 4).then(|| message.clone()));
        false
    });
    connect_unjudged(&mut cluster, 4, 0);
    cluster.run_for(SECOND);
    let came = cluster.height(4) - behind;
    assert!(behind + came >= ahead);
    assert_eq!(cluster.seen.brought, vec![peer(0); came as usize]);
    // Its messages do not count as a member's, and it is sent nothing but requests for blocks.
    let submitted = send(&mut cluster, 4, 1, 0..1);
    send(&mut cluster, 0, 2, 0..1);
    // Before the block with the other transaction, which takes it from every pool, and after.
    for span in [Millis(10), SECOND] {
        cluster.run_for(span);
        let Reply::PoolContent { pending, .. } = cluster.call(4, Call::PoolContent) else {
            panic!()
        };
        assert_eq!(pending.iter().map(|tx| *tx.tx_hash()).collect::<Vec<_>>(), submitted);
    }
    assert!(said.borrow().iter().all(|it| matches!(it, Message::GetBlocks(_))), "{said:?}");
    // No node has the tip that it claims.
    let far = Tip { height: 1 << 40, hash: B256::ZERO, round: 0 };
    cluster.inject(0, 4, Message::Tip(far));
    assert_eq!((cluster.node(4).status().peers, cluster.node(4).status().syncing_to), (0, None));
    // It is a peer from when it is connected as one.
    cluster.input(4, Input::Disconnected(peer(0)));
    say_connected(&mut cluster, 4, 0);
    cluster.run_for(SECOND);
    assert_eq!(cluster.node(4).status().peers, 1);
    assert!(said.borrow().iter().any(|it| matches!(it, Message::TxHashes(_) | Message::Txs(_))));
}

#[test]
fn a_node_that_missed_one_proposal_does_not_stay_behind() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    cluster.loss = Box::new(|_, to, message| {
        to == 2 && matches!(message, Message::Proposal(p) if p.proposal.height == 2)
    });
    send(&mut cluster, 0, 0, 0..1);
    cluster.run_for(Millis(2_000));
    assert_agreed(&cluster);
    assert!(cluster.height(2) >= 2);
}

#[test]
fn bodies_that_gossip_lost_are_fetched() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    cluster.loss = Box::new(|_, _, m| matches!(m, Message::Txs(_) | Message::TxHashes(_)));
    for n in 0..4 {
        send(&mut cluster, n, n, 0..20);
    }
    cluster.run_for(Millis(6_000));
    assert_agreed(&cluster);
    for n in 0..4 {
        assert_eq!(cluster.node(0).ledger().account(&wallet(n)).unwrap().nonce, 20);
    }
    let rounds: Vec<u32> = (0..4).map(|n| cluster.node(n).status().round).collect();
    assert_eq!(rounds, [0; 4]);
}

#[test]
fn bodies_come_from_another_peer_if_the_proposer_does_not_answer() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    // Node 2 hears no gossip, and whoever it asks first does not answer it.
    let mute = Cell::new(None);
    cluster.loss = Box::new(move |_, to, message| match message {
        Message::Txs(_) => to == 2,
        Message::GetBodies(_) => {
            mute.set(mute.get().or(Some(to)));
            mute.get() == Some(to)
        }
        Message::Blocks(_) => true,
        _ => false,
    });
    let hash = send(&mut cluster, 3, 0, 0..1)[0];
    cluster.run_for(Millis(3_000));
    assert!(height_of(&cluster, 2, &hash).is_some());
}

/// Bytes that a node sent as transactions, and those of 20 that it was given, of
/// 100 kB each; all of them are in blocks then. `lost`: what does not arrive.
fn given_large_ones(lost: impl Fn(usize, usize, &Message) -> bool + 'static) -> (usize, usize) {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    let sent = Rc::new(Cell::new(0));
    let counted = sent.clone();
    cluster.loss = Box::new(move |from, to, message| {
        let lost = lost(from, to, message);
        if from == 0 && !lost && matches!(message, Message::Txs(_) | Message::Bodies(_)) {
            counted.set(counted.get() + message.encode().len());
        }
        lost
    });
    let large: Vec<_> = (0..20).map(|nonce| transfer_with(5, nonce, 100_000)).collect();
    let bytes = large.iter().map(|tx| tx.encode_2718_len()).sum();
    large.into_iter().for_each(|tx| _ = submit(&mut cluster, 0, tx).unwrap());
    // Someone always has a reason for a block, until it is the first node's turn.
    for nonce in 0..12 {
        send(&mut cluster, 1, 1, nonce..nonce + 1);
        cluster.run_for(Millis(500));
    }
    assert_agreed(&cluster);
    for n in 0..4 {
        let sender = cluster.node(n).ledger().account(&wallet(5)).unwrap();
        assert_eq!(sender.nonce, 20, "on {n}");
        assert_eq!(cluster.node(n).status().round, 0);
    }
    assert_eq!(cluster.seen.blames, vec![]);
    (sent.get(), bytes)
}

fn is_large_gossip(message: &Message) -> bool {
    match message {
        Message::Txs(txs) => txs.iter().any(|raw| raw.len() > 1_000),
        Message::TxHashes(_) => true,
        _ => false,
    }
}

#[test]
fn large_transactions_leave_the_node_that_was_given_them_once() {
    let (sent, bytes) = given_large_ones(|_, _, _| false);
    assert!((bytes..bytes * 11 / 10).contains(&sent), "{sent} of {bytes}");
}

#[test]
fn a_large_proposal_leaves_its_proposer_once() {
    let (sent, bytes) = given_large_ones(|_, _, message| is_large_gossip(message));
    assert!((bytes..bytes * 11 / 10).contains(&sent), "{sent} of {bytes}");
}

#[test]
fn who_does_not_pass_its_share_on_costs_the_others_another_request() {
    let mute = |from, _: usize, message: &Message| {
        is_large_gossip(message) || from == 2 && matches!(message, Message::Bodies(_))
    };
    let (sent, bytes) = given_large_ones(mute);
    assert!((bytes..bytes * 2).contains(&sent), "{sent} of {bytes}");
}

#[test]
fn all_killed_at_any_moment_resume_with_nothing_lost() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    let (mut told, mut nonce) = (Vec::new(), 0);
    for crash in 0..60u64 {
        for _ in 0..3 {
            let hash = submit(&mut cluster, crash as usize % 4, transfer(0, nonce));
            nonce += 1;
            told.extend(hash);
        }
        // Some 20 moments of a height, at the wire's grain.
        cluster.run_for(Millis(500 + crash * 7 % 140));
        let is_final = |hash: &&B256| (0..4).any(|n| height_of(&cluster, n, hash).is_some());
        let receipts: Vec<B256> = told.iter().filter(is_final).copied().collect();
        let best = (0..4).map(|n| cluster.height(n)).max().unwrap();
        (0..4).for_each(|n| cluster.kill(n));
        cluster.run_for(Millis(100));
        (0..4).for_each(|n| cluster.restart(n));
        cluster.run_for(Millis(4_000));
        assert!((0..4).all(|n| cluster.height(n) >= best), "crash {crash}");
        for hash in receipts {
            assert!(height_of(&cluster, 0, &hash).is_some(), "crash {crash}: a lost receipt");
        }
        // Pools do not survive; wallets send again from where they stand.
        nonce = cluster.node(0).ledger().account(&wallet(0)).unwrap().nonce;
    }
    cluster.run_for(Millis(3_000));
    assert_agreed(&cluster);
}

#[test]
fn blocks_resume_when_a_lost_quorum_is_back() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    cluster.kill(2);
    cluster.kill(3);
    send(&mut cluster, 0, 0, 0..5);
    let height = cluster.height(0);
    cluster.run_for(Millis(60_000));
    assert_eq!(cluster.height(0), height);
    cluster.restart(2);
    cluster.reach(height + 1, Millis(10_000));
    cluster.restart(3);
    cluster.run_for(Millis(10_000));
    assert_agreed(&cluster);
}

#[test]
fn loss_slows_but_does_not_stop() {
    let mut cluster = cluster(4, 4);
    let mut state = 1u64;
    cluster.loss = Box::new(move |_, _, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % 100 < 8
    });
    for nonce in 0..60 {
        let _ = submit(&mut cluster, nonce as usize % 4, transfer(0, nonce));
        cluster.run_for(Millis(700));
    }
    cluster.loss = Box::new(|_, _, _| false);
    cluster.run_for(Millis(5_000));
    assert_agreed(&cluster);
    assert!(cluster.height(0) > 20, "{}", cluster.height(0));
}

#[test]
fn a_full_node_follows_and_its_transactions_get_in_through_one_friend() {
    let mut cluster = cluster(4, 6);
    // Node 5 knows only node 4, which knows only validator 0.
    for validator in 0..4 {
        cluster.cut(5, validator);
        if validator > 0 {
            cluster.cut(4, validator);
        }
    }
    cluster.reach(1, Millis(3_000));
    let hash = send(&mut cluster, 5, 0, 0..1)[0];
    cluster.run_for(Millis(2_000));
    assert!((0..6).all(|n| height_of(&cluster, n, &hash).is_some()));
    assert_eq!(cluster.node(5).status().validator, None);
    assert_agreed(&cluster);
}

#[test]
fn validators_without_a_full_mesh_hear_each_other_through_others() {
    let mut cluster = cluster(4, 4);
    // A ring: no node sees the one across.
    cluster.cut(0, 2);
    cluster.cut(1, 3);
    send(&mut cluster, 0, 0, 0..5);
    cluster.run_for(Millis(5_000));
    assert_agreed(&cluster);
    assert_eq!(cluster.node(2).ledger().account(&wallet(0)).unwrap().nonce, 5);
    assert!(cluster.height(0) >= 2);
}

/// The one that has all the others as peers cannot know that the last of them has
/// nobody else.
#[test]
fn a_validator_of_a_public_network_is_heard_through_its_only_peer() {
    let mut plan = plan(4, 4);
    plan.chain.kind = Kind::Public;
    let mut cluster = started(plan);
    cluster.cut(3, 1);
    cluster.cut(3, 2);
    for nonce in 0..8 {
        send(&mut cluster, 1, 5, nonce..nonce + 1);
        cluster.run_for(Millis(500));
    }
    assert_agreed(&cluster);
    let (height, snapshot) = (cluster.height(0), cluster.node(0).ledger().snapshot());
    assert!(height >= 8, "each in its turn: {height}");
    for height in 1..=height {
        let certificate = snapshot.certificate(height).unwrap().unwrap();
        assert_eq!(certificate.round, 0, "height {height}");
    }
}

#[test]
fn a_liar_about_its_tip_cannot_hold_a_chain_back() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    cluster.kill(3);
    (0..3).for_each(|n| say_connected(&mut cluster, n, 3));
    for second in 0..20 {
        for n in 0..3 {
            let tip = Tip { height: 1_000_000 + second, hash: B256::ZERO, round: 0 };
            cluster.inject(3, n, Message::Tip(tip));
        }
        send(&mut cluster, 0, 0, second..second + 1);
        cluster.run_for(SECOND);
    }
    assert!(cluster.height(0) > 10, "{}", cluster.height(0));
}

#[test]
fn a_false_block_in_catch_up_is_refused_and_its_sender_named() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    cluster.kill(4);
    send(&mut cluster, 0, 0, 0..1);
    cluster.reach(2, SECOND);
    let good = cluster.node(0).ledger().snapshot().certified_block(2).unwrap().unwrap();
    let mut short = good.clone();
    short.certificate.signatures.truncate(2);
    let mut other_body = good.clone();
    other_body.block.body.transactions.clear();
    for (bad, offence) in [(short, Offence::BadSignature), (other_body, Offence::Malformed)] {
        cluster.restart(4);
        let tip = Tip { height: 5, hash: B256::ZERO, round: 0 };
        cluster.seen.blames.clear();
        // Whomever it asks, this is the first answer.
        for n in 0..4 {
            cluster.inject(n, 4, Message::Tip(tip));
            cluster.inject(n, 4, Message::Blocks(Blocks { from: 2, blocks: vec![bad.clone()] }));
        }
        assert_eq!(cluster.height(4), 1);
        let named = |order: &PeerCommand| matches!(order, PeerCommand::Blame { offence: o, .. } if *o == offence);
        assert!(cluster.seen.blames.iter().any(named), "{:?}", cluster.seen.blames);
        cluster.kill(4);
    }
    cluster.restart(4);
    cluster.run_for(Millis(5_000));
    assert_agreed(&cluster);
}

/// The proposer's list of hashes is not signed: whoever hands a proposal on can
/// change it. That must neither make the block look invalid nor the proposer guilty.
#[test]
fn a_false_list_of_hashes_harms_only_who_sent_it() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    let heard: Rc<RefCell<Vec<(usize, Message)>>> = Rc::default();
    let ear = heard.clone();
    cluster.loss = Box::new(move |from, to, message| match message {
        Message::Proposal(_) if to == 2 => {
            ear.borrow_mut().push((from, message.clone()));
            true
        }
        Message::Blocks(_) => to == 2,
        _ => false,
    });
    // Node 2 is not to propose: it must hear one.
    let mut nonce = 0;
    while heard.borrow().is_empty() {
        send(&mut cluster, 0, 0, nonce..nonce + 2);
        nonce += 2;
        cluster.run_for(Millis(60));
    }
    let (proposer, Message::Proposal(good)) = heard.borrow()[0].clone() else { panic!() };
    let liar = (0..4).find(|n| *n != 2 && *n != proposer).unwrap();
    let height = good.proposal.height;
    let mut bad = good.clone();
    bad.tx_hashes.reverse();
    cluster.seen.blames.clear();
    cluster.inject(liar, 2, Message::Proposal(bad));
    cluster.inject(proposer, 2, Message::Proposal(good));
    cluster.run_for(Millis(400));
    let blame =
        PeerCommand::Blame { peer: peer(liar), offence: Offence::InvalidBlock, relayed: true };
    assert_eq!(cluster.seen.blames, [blame]);
    assert!(cluster.height(2) >= height);
}

#[test]
fn double_signing_is_told_once_and_kept() {
    let mut cluster = started(plan_with_villain(4));
    cluster.reach(1, SECOND);
    cluster.kill(3);
    let network = cluster.node(0).ledger().genesis_hash();
    let key = validator_key(3);
    for block in [Some(B256::repeat_byte(1)), Some(B256::repeat_byte(2)), None] {
        let vote = Vote::sign(&key, &network, VoteKind::Prevote, 2, 0, block);
        cluster.inject(1, 0, Message::Vote(vote));
    }
    cluster.run_for(SECOND);
    let told = |n| cluster.seen.equivocations.iter().filter(|at| **at == n).count();
    assert_eq!(told(0), 1);
    assert!(cluster.seen.blames.is_empty(), "who hands evidence on does no wrong");
}

#[test]
fn a_vote_that_nobody_signed_neither_wakes_nor_passes() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    let network = cluster.node(0).ledger().genesis_hash();
    let stranger = SecretKey::from_seed(&[99; 32]);
    let vote = Vote::sign(&stranger, &network, VoteKind::Prevote, 2, 0, None);
    let mut forged = Vote::sign(&validator_key(1), &network, VoteKind::Prevote, 2, 0, None);
    forged.round = 1;
    for vote in [vote, forged] {
        cluster.seen.blames.clear();
        cluster.inject(3, 0, Message::Vote(vote));
        let blame =
            PeerCommand::Blame { peer: peer(3), offence: Offence::BadSignature, relayed: true };
        assert_eq!(cluster.seen.blames, [blame]);
    }
    cluster.run_for(Millis(10_000));
    assert_eq!(cluster.height(0), 1);
}

/// The nodes that node 0 sends a vote with this signature to, from now on.
fn handed_on(cluster: &mut Cluster, signature: Signature) -> Rc<RefCell<Vec<usize>>> {
    let told = Rc::new(RefCell::new(vec![]));
    let log = told.clone();
    cluster.loss = Box::new(move |from, to, message| {
        if matches!(message, Message::Vote(vote) if vote.signature == signature) && from == 0 {
            log.borrow_mut().push(to);
        }
        false
    });
    told
}

/// The simulator's seed 169: a validator repeated a vote with a wrong signature. The core knew
/// the vote, so nobody checked the signature. An honest node relayed it, and was banned for it.
#[test]
fn what_nobody_verified_is_not_handed_on() {
    let mut cluster = cluster(4, 5); // No mesh: votes are handed on.
    cluster.reach(1, SECOND);
    let network = cluster.node(0).ledger().genesis_hash();
    let good = Vote::sign(&validator_key(1), &network, VoteKind::Prevote, 2, 0, None);
    let bad = Vote { signature: Signature([7; 64]), ..good.clone() };
    let told = handed_on(&mut cluster, good.signature);
    cluster.inject(1, 0, Message::Vote(good));
    assert_eq!(*told.borrow(), [2, 3, 4]);
    let told = handed_on(&mut cluster, bad.signature);
    cluster.inject(1, 0, Message::Vote(bad));
    assert!(told.borrow().is_empty());
}

/// A red team's ten bytes: an empty certificate, sent just before a block. A node that
/// had begun the height handed it on, one that had not banned it for that: no block for
/// ten minutes. Whether begun or not, it harms only who sent it.
#[test]
fn a_certificate_without_power_neither_wakes_nor_passes() {
    let skip = |votes| {
        let certificate = RoundCertificate { height: 2, round: 0, skip: true, votes };
        Message::RoundCertificate(certificate)
    };
    let ends = Message::RoundCertificate(RoundCertificate {
        height: 2,
        round: 0,
        skip: false,
        votes: vec![],
    });
    let polka = Message::PolkaCertificate(PolkaCertificate {
        height: 2,
        round: 0,
        block: B256::ZERO,
        signatures: vec![],
    });
    for has_begun in [false, true] {
        let mut cluster = cluster(4, 5); // No mesh: what is heard is handed on.
        cluster.reach(1, SECOND);
        let network = cluster.node(0).ledger().genesis_hash();
        let vote = |n| Vote::sign(&validator_key(n), &network, VoteKind::Prevote, 2, 0, None);
        if has_begun {
            cluster.inject(1, 0, Message::Vote(vote(1)));
        }
        let entry = |v: Vote| RoundVote {
            kind: v.kind,
            block: v.block,
            validator: v.validator,
            signature: v.signature,
        };
        let one = entry(vote(1));
        let bad = [
            skip(vec![]),
            ends.clone(),
            polka.clone(),
            skip(vec![one.clone()]),
            skip(vec![one.clone(), one]),
        ];
        let passed = Rc::new(Cell::new(0));
        let log = passed.clone();
        cluster.loss = Box::new(move |_, _, message| {
            let is_certificate =
                matches!(message, Message::RoundCertificate(_) | Message::PolkaCertificate(_));
            log.set(log.get() + u32::from(is_certificate));
            false
        });
        for message in bad {
            cluster.seen.blames.clear();
            cluster.inject(4, 0, message.clone());
            let blame =
                PeerCommand::Blame { peer: peer(4), offence: Offence::BadSignature, relayed: true };
            assert_eq!(cluster.seen.blames, [blame], "begun: {has_begun}, {message:?}");
        }
        assert_eq!(passed.get(), 0, "handed on, begun: {has_begun}");
        if !has_begun {
            cluster.run_for(Millis(10_000));
            assert_eq!(cluster.height(0), 1, "woken");
        }
    }
}

/// A tip is a claim: who claims a million blocks and gives none, over a new connection
/// each time, costs a validator nothing of its own work.
#[test]
fn a_false_tip_stops_nobody() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    cluster.kill(4);
    for nonce in 0..20 {
        send(&mut cluster, nonce as usize % 4, 0, nonce..nonce + 1);
        for n in 0..4 {
            say_connected(&mut cluster, n, 4);
            let tip = Tip { height: 1_000_000_000, hash: B256::ZERO, round: 0 };
            cluster.inject(4, n, Message::Tip(tip));
            assert_eq!(cluster.node(n).status().syncing_to, None, "a claim is not known");
        }
        let before = cluster.height(0);
        cluster.reach(before + 1, SECOND);
    }
    assert_agreed(&cluster);
}

/// One that gives a block in three seconds, and no more, is not the only one asked: the
/// node would never come to the tip.
#[test]
fn a_node_behind_does_not_hang_on_one_who_drips() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    cluster.kill(4);
    for nonce in 0..100 {
        send(&mut cluster, 0, 0, nonce..nonce + 1);
        cluster.run_for(Millis(600));
    }
    let ahead = cluster.height(3);
    let block = |cluster: &Cluster, height| {
        let snapshot = cluster.node(0).ledger().snapshot();
        snapshot.certified_block(height).unwrap().unwrap()
    };
    // The first asked drips, the others are honest and never asked by the old rule.
    let asked: Rc<RefCell<Vec<usize>>> = Rc::default();
    let log = asked.clone();
    cluster.loss = Box::new(move |from, to, message| {
        if from == 4 && matches!(message, Message::GetBlocks(_)) {
            let first = *log.borrow().first().unwrap_or(&to);
            log.borrow_mut().push(to);
            return to == first;
        }
        matches!(message, Message::Proposal(_)) && to == 4
    });
    cluster.restart(4);
    for _ in 0..8 {
        cluster.run_for(Millis(2_900));
        let next = cluster.height(4) + 1;
        if next <= cluster.height(0) {
            let first = asked.borrow()[0];
            let blocks = vec![block(&cluster, next)];
            cluster.inject(first, 4, Message::Blocks(Blocks { from: next, blocks }));
        }
    }
    assert!(ahead > 80 && cluster.height(4) >= ahead, "{} of {ahead}", cluster.height(4));
}

/// Many who claim much and give nothing: each costs one wait, and who gives is asked
/// from then on.
#[test]
fn a_node_behind_finds_who_gives_blocks_among_liars() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    cluster.kill(4);
    for nonce in 0..200 {
        send(&mut cluster, 0, 0, nonce..nonce + 1);
        cluster.run_for(Millis(600));
    }
    let ahead = cluster.height(3);
    // Of four, three give nothing.
    cluster.loss = Box::new(|from, to, m| {
        to == 4 && from != 3 && !matches!(m, Message::Tip(_))
            || to == 4 && matches!(m, Message::Proposal(_))
    });
    cluster.restart(4);
    cluster.run_for(Millis(12_000));
    assert!(ahead > 150 && cluster.height(4) >= ahead, "{} of {ahead}", cluster.height(4));
}

/// The simulator's scenario `no-direct-link`: two validators had no link, the
/// third was silent, and the fourth, who saw everybody, took it for a mesh and
/// handed nothing on: the chain stood.
#[test]
fn in_a_mesh_only_what_is_repeated_is_handed_on_and_once() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    let network = cluster.node(0).ledger().genesis_hash();
    let vote = Vote::sign(&validator_key(1), &network, VoteKind::Prevote, 2, 0, None);
    let told = handed_on(&mut cluster, vote.signature);
    cluster.inject(1, 0, Message::Vote(vote.clone()));
    assert!(told.borrow().is_empty());
    for _ in 0..3 {
        cluster.inject(1, 0, Message::Vote(vote.clone()));
        assert_eq!(*told.borrow(), [2, 3]);
    }
    let later = Vote::sign(&validator_key(1), &network, VoteKind::Prevote, 2, 1, None);
    let told = handed_on(&mut cluster, later.signature);
    cluster.inject(1, 0, Message::Vote(later));
    assert_eq!(*told.borrow(), [2, 3], "a second round is a sign of trouble");
}

#[test]
fn only_what_cannot_be_honest_is_blamed_on_who_sent_a_transaction() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    send(&mut cluster, 0, 0, 0..1);
    cluster.run_for(SECOND);
    cluster.seen.blames.clear();
    let raw = |tx: TxEnvelope| Bytes::from(tx.encoded_2718());
    // Long included, too far ahead: a peer may stand elsewhere.
    let honest = vec![raw(transfer(0, 0)), raw(transfer(1, 5_000))];
    cluster.inject(1, 0, Message::Txs(honest));
    assert!(cluster.seen.blames.is_empty(), "{:?}", cluster.seen.blames);
    cluster.inject(1, 0, Message::Txs(vec![Bytes::from_static(b"\x02junk of a peer")]));
    let blame =
        PeerCommand::Blame { peer: peer(1), offence: Offence::InvalidTransaction, relayed: true };
    assert_eq!(cluster.seen.blames, [blame]);
    assert_eq!(cluster.node(0).status().pool_pending, 0);
}

#[test]
fn announced_transactions_are_fetched_and_a_silent_announcer_is_passed_over() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    let tx = transfer(0, 0);
    let hash = *tx.tx_hash();
    // Node 1 has it, but no gossip of it got through but these announcements.
    cluster.loss = Box::new(|from, to, m| matches!(m, Message::Txs(_)) && (from, to) != (1, 0));
    submit(&mut cluster, 1, tx).unwrap();
    cluster.loss = Box::new(|from, _, m| match m {
        Message::Txs(_) => from != 1,
        Message::Proposal(_) => true,
        _ => false,
    });
    cluster.inject(2, 3, Message::TxHashes(vec![hash]));
    cluster.inject(1, 3, Message::TxHashes(vec![hash]));
    cluster.run_for(Millis(500));
    assert!(matches!(
        cluster.call(3, Call::PooledTransaction(hash)),
        Reply::PooledTransaction(None)
    ));
    cluster.run_for(Millis(300));
    let Reply::PooledTransaction(Some(_)) = cluster.call(3, Call::PooledTransaction(hash)) else {
        panic!("not fetched from the second announcer")
    };
}

#[test]
fn callers_are_answered_from_the_pool() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    // A new tip is announced at most each 100 ms.
    cluster.run_for(Millis(150));
    let hashes = send(&mut cluster, 0, 0, 0..2);
    send(&mut cluster, 0, 0, 5..6);
    let Reply::PendingNonce(2) = cluster.call(0, Call::PendingNonce(wallet(0))) else { panic!() };
    let Reply::PendingNonce(0) = cluster.call(0, Call::PendingNonce(wallet(1))) else { panic!() };
    let Reply::PooledTransaction(Some(tx)) = cluster.call(0, Call::PooledTransaction(hashes[1]))
    else {
        panic!()
    };
    assert_eq!(*tx.tx_hash(), hashes[1]);
    let Reply::PoolContent { pending, queued } = cluster.call(0, Call::PoolContent) else {
        panic!()
    };
    assert_eq!((pending.len(), queued.len()), (2, 1));
    let Reply::Peers(peers) = cluster.call(0, Call::Peers) else { panic!() };
    assert_eq!(peers.len(), 3);
    assert!(peers.iter().all(|p| p.height == 1 && p.connected_since == cluster.start));
    assert!(peers.iter().any(|p| p.peer == peer(3)));
}
