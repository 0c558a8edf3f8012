//! One hostile peer beside honest nodes: what it is given, who is blamed, and what is
//! believed of what it says.

use trefoil_types::{
    ProposedBlock, keccak256, limits,
    message::{Blocks, Bodies, GetBlocks, GetBodies},
    message_rule as rules,
};

use super::*;

fn blame(n: usize, offence: Offence, relayed: bool) -> PeerCommand {
    PeerCommand::Blame { peer: peer(n), offence, relayed }
}

/// A red team's 700 bytes: they ask for 2 MB, 300 times a second, and no block came in 20 s.
#[test]
fn who_begs_for_bodies_gets_its_budget_and_is_named() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    let large = (0..20).map(|nonce| transfer_with(5, nonce, 100_000));
    let tx_hashes: Vec<B256> = large.map(|tx| submit(&mut cluster, 0, tx).unwrap()).collect();
    let given = Rc::new(Cell::new(0));
    let log = given.clone();
    cluster.loss = Box::new(move |from, to, message| {
        let is_answer = (from, to) == (0, 4) && matches!(message, Message::Bodies(_));
        log.set(log.get() + if is_answer { message.encoded_len() } else { 0 });
        is_answer
    });
    for _ in 0..300 {
        let ask = GetBodies { block: B256::ZERO, tx_hashes: tx_hashes.clone() };
        cluster.inject(4, 0, Message::GetBodies(ask));
    }
    // It does not validate.
    let budget = rules::GET_BODIES.answers.half().peer;
    let most = budget + limits::TX_BYTES_MAX;
    assert!((budget * 3 / 4..=most).contains(&given.get()), "{}", given.get());
    // Some five were answered; of the rest each 64 are one flood.
    assert_eq!(cluster.seen.blames, vec![blame(4, Offence::Flood, false); 4]);
    let before = cluster.height(0);
    cluster.loss = Box::new(|_, _, _| false);
    cluster.run_for(Millis(3_000));
    assert_agreed(&cluster);
    assert!(cluster.height(0) > before);
    assert_holds_nothing(&cluster, 0);
}

/// Attack: strangers ask for bodies before they are here. These were sent when they came, 8 MiB to
/// each that had asked, whatever it had got already.
#[test]
fn bodies_that_come_later_count_in_the_budget_of_their_receivers() {
    let strangers = 4..16;
    let mut plan = plan(4, strangers.end);
    plan.chain.gas_limit = 200_000_000;
    let mut cluster = started(plan);
    cluster.reach(1, SECOND);
    let heard = Rc::new(RefCell::new(None));
    let ear = heard.clone();
    cluster.loss = Box::new(move |from, to, message| {
        if let (Message::Proposal(proposed), 2) = (message, to)
            && proposed.tx_hashes.len() > 50
        {
            ear.borrow_mut().get_or_insert((from, proposed.clone()));
        }
        to == 2 && !matches!(message, Message::Tip(_))
    });
    let large: Vec<TxEnvelope> =
        (0..60).map(|n| transfer_with(n % 4, n as u64 / 4, 120_000)).collect();
    // Whoever proposes has all of them.
    for n in [0, 1, 3] {
        large.iter().for_each(|tx| _ = submit(&mut cluster, n, tx.clone()).unwrap());
    }
    let mut waited = 0;
    while heard.borrow().is_none() {
        cluster.run_for(Millis(50));
        waited += 1;
        assert!(waited < 100, "no proposal of a large block");
    }
    let (proposer, proposed) = heard.borrow_mut().take().unwrap();
    let given = Rc::new(Cell::new(0));
    let log = given.clone();
    cluster.loss = Box::new(move |from, to, message| {
        let is_answer = from == 2 && to >= 4 && matches!(message, Message::Bodies(_));
        log.set(log.get() + if is_answer { message.encoded_len() } else { 0 });
        from == 2 || to == 2
    });
    let (block, tx_hashes) = (proposed.proposal.block, proposed.tx_hashes.clone());
    for stranger in strangers {
        let ask = GetBodies { block, tx_hashes: tx_hashes.clone() };
        cluster.inject(stranger, 2, Message::GetBodies(ask));
    }
    cluster.inject(proposer, 2, Message::Proposal(proposed));
    cluster.run_for(Millis(50));
    let named = large.iter().filter(|tx| tx_hashes.contains(tx.tx_hash()));
    let txs = named.map(|tx| Bytes::from(tx.encoded_2718())).collect();
    cluster.inject(proposer, 2, Message::Bodies(Bodies { block, txs }));
    let budget = rules::GET_BODIES.answers.half().all;
    assert!((budget / 2..=budget + limits::MESSAGE_BYTES_MAX).contains(&given.get()), "{given:?}");
}

// Attack: a funded account that never uses one nonce bought unlimited recoveries by what waits behind it, and was
// favoured for that.
#[test]
fn a_peer_has_credit_for_what_a_block_includes_and_for_nothing_before() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    let bring = |cluster: &mut Cluster, nonce| {
        let tx = transfer(5, nonce);
        cluster.inject(4, 0, Message::Txs(vec![tx.encoded_2718().into()]));
        cluster.run_for(Millis(3_000));
        height_of(cluster, 0, tx.tx_hash())
    };
    let credits = |cluster: &Cluster| {
        let of = |it: &&PeerCommand| matches!(it, PeerCommand::Credit { peer: it, .. } if *it == peer(4));
        cluster.seen.credits.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    assert_eq!(bring(&mut cluster, 1), None, "behind a gap");
    assert_eq!(bring(&mut cluster, 1), None, "once more");
    assert_eq!(credits(&cluster), []);
    assert!(bring(&mut cluster, 0).is_some());
    assert_eq!(credits(&cluster), [PeerCommand::Credit { peer: peer(4), txs: 2 }]);
}

/// At rest a node holds nothing for its peers.
fn assert_holds_nothing(cluster: &Cluster, n: usize) {
    for held in cluster.node(n).held_bytes() {
        assert_eq!(held.all, 0, "{held:?}");
    }
}

/// A request that names no transaction had no cost, and each made a node look at a whole block.
#[test]
fn who_asks_for_nothing_is_named_too() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    let block = cluster.node(0).ledger().tip_hash();
    for _ in 0..1_000 {
        let ask = GetBodies { block, tx_hashes: vec![] };
        cluster.inject(4, 0, Message::GetBodies(ask));
    }
    // 16 KiB of 8 MiB each: 512 are taken, and of the rest each 64 are one flood.
    assert_eq!(cluster.seen.blames, vec![blame(4, Offence::Flood, false); 7]);
    assert_holds_nothing(&cluster, 0);
}

/// An honest node of an earlier version tells of each block that it syncs, some hundred in a
/// second, and each of its tips is behind ours. Every peer banned it after 8.5 s.
#[test]
fn many_tips_are_no_flood() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    let answers = Rc::new(Cell::new(0));
    let log = answers.clone();
    cluster.loss = Box::new(move |from, to, message| {
        let is_answer = (from, to) == (0, 4) && matches!(message, Message::Tip(_));
        log.set(log.get() + usize::from(is_answer));
        false
    });
    for _ in 0..1_500 {
        cluster.inject(4, 0, Message::Tip(Tip { height: 0, hash: B256::ZERO, round: 0 }));
    }
    assert_eq!(cluster.seen.blames, vec![]);
    assert!((1..100).contains(&answers.get()), "{}", answers.get());
}

/// A node that syncs a long chain tells its peers of it ten times a second, and nobody blames it.
#[test]
fn a_long_chain_is_synced_without_a_flood_of_tips() {
    const BLOCKS: u64 = 1_100;
    let mut plan = plan(1, 2);
    plan.late.insert(1);
    plan.chain.block_interval_ms = 10;
    let mut cluster = started(plan);
    cluster.reach(1, SECOND);
    let mut nonce = 0;
    while cluster.height(0) < BLOCKS {
        send(&mut cluster, 0, 0, nonce..nonce + 1);
        nonce += 1;
        cluster.run_for(Millis(40));
    }
    let height = cluster.height(0);
    let tips = Rc::new(Cell::new(0));
    let log = tips.clone();
    cluster.loss = Box::new(move |from, _, message| {
        log.set(log.get() + u64::from(from == 1 && matches!(message, Message::Tip(_))));
        false
    });
    cluster.restart(1);
    let began = cluster.now;
    while cluster.height(1) < height && cluster.now.since(began) < Millis(60_000) {
        cluster.run_for(Millis(50));
    }
    assert_agreed(&cluster);
    let took = cluster.now.since(began);
    assert!(tips.get() <= 3 + took.0 / 100, "{} in {took:?}", tips.get());
    assert_eq!(cluster.seen.blames, vec![]);
}

/// What a peer left for the next height is dropped at its first offence: 64 identities once
/// had 100,000 bad signatures verified in one commit.
#[test]
fn who_leaves_bad_votes_is_blamed_once() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    let network = cluster.node(0).ledger().genesis_hash();
    let height = cluster.height(0) + 2;
    for round in 0..300 {
        let vote = Vote::sign(&validator_key(1), &network, VoteKind::Prevote, height, round, None);
        let bad = Vote { signature: Signature([7; 64]), ..vote };
        cluster.inject(4, 0, Message::Vote(bad));
    }
    assert_eq!(cluster.seen.blames, vec![], "nobody can tell yet");
    send(&mut cluster, 1, 0, 0..1);
    cluster.run_for(Millis(3_000));
    assert!(cluster.height(0) + 1 >= height);
    let of_liar =
        cluster.seen.blames.iter().filter(|it| **it == blame(4, Offence::BadSignature, true));
    assert_eq!(of_liar.count(), 1);
    assert_holds_nothing(&cluster, 0);
}

/// Of what is farther ahead than the next height, and of who is gone, nothing is kept.
#[test]
fn what_is_too_early_or_of_nobody_is_not_kept() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    let network = cluster.node(0).ledger().genesis_hash();
    let vote = |height| {
        let vote = Vote::sign(&validator_key(1), &network, VoteKind::Prevote, height, 0, None);
        Message::Vote(vote)
    };
    let next = cluster.height(0) + 1;
    for height in [next + 2, next + 3, u64::MAX] {
        cluster.inject(4, 0, vote(height));
    }
    assert_holds_nothing(&cluster, 0);
    cluster.cut(0, 4);
    cluster.inject(4, 0, vote(next + 1));
    assert_holds_nothing(&cluster, 0);
    cluster.inject(1, 0, vote(next + 1));
    assert!(cluster.node(0).held_bytes().iter().any(|held| held.all > 0));
}

/// 9 MiB that nobody asked for were hashed.
#[test]
fn transactions_that_nobody_asked_for_are_not_looked_at() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    let (proposer, good) = unheard_with_txs(&mut cluster);
    let stranger = (0..4).find(|n| *n != 2 && *n != proposer).unwrap();
    let block = good.proposal.block;
    let bodies =
        || Message::Bodies(Bodies { block, txs: vec![Bytes::from_static(b"\x02junk of a peer")] });
    cluster.inject(stranger, 2, bodies());
    assert_eq!(cluster.seen.blames, vec![], "it may be late: of this block nothing is known");
    assert_eq!(cluster.seen.unasked, [peer(stranger)], "and it is slowed for it");
    cluster.inject(stranger, 2, Message::Blocks(Blocks { from: 1, blocks: vec![] }));
    assert_eq!(cluster.seen.unasked, [peer(stranger); 2]);
    cluster.inject(proposer, 2, Message::Proposal(good));
    cluster.inject(stranger, 2, bodies());
    assert_eq!(cluster.seen.blames, vec![blame(stranger, Offence::Unsolicited, false)]);
}

/// A proposal that node 2 did not hear, and its proposer. From then on node 2 hears no
/// proposal and gets no blocks, nor what else is `lost` to it.
fn unheard(
    cluster: &mut Cluster,
    lost: impl Fn(&Message) -> bool + 'static,
) -> (usize, Box<ProposedBlock>) {
    let heard = Rc::new(RefCell::new(Vec::new()));
    let ear = heard.clone();
    cluster.loss = Box::new(move |from, to, message| {
        if let (Message::Proposal(proposed), 2) = (message, to) {
            ear.borrow_mut().push((from, proposed.clone()));
        }
        to == 2 && (matches!(message, Message::Proposal(_) | Message::Blocks(_)) || lost(message))
    });
    // Node 2 is not to propose: it must hear one.
    let mut nonce = 0;
    while heard.borrow().is_empty() {
        send(cluster, 0, 0, nonce..nonce + 2);
        nonce += 2;
        cluster.run_for(Millis(60));
    }
    cluster.seen.blames.clear();
    heard.borrow()[0].clone()
}

/// The same, and no transaction comes to node 2.
fn unheard_with_txs(cluster: &mut Cluster) -> (usize, Box<ProposedBlock>) {
    unheard(cluster, |message| {
        matches!(message, Message::Txs(_) | Message::TxHashes(_) | Message::Bodies(_))
    })
}

/// Two answers that are no transactions, of a false list: when the second is recovered, the
/// true list is followed. Whoever sent that one used to be blamed for the answer.
#[test]
fn who_sends_the_true_list_is_not_blamed_for_the_false_one() {
    [true, false].into_iter().for_each(a_false_list_before_a_true_one);
}

fn a_false_list_before_a_true_one(together: bool) {
    let mut plan = plan(4, 4);
    plan.workers_max = Millis(30);
    let mut cluster = started(plan);
    cluster.reach(1, SECOND);
    let (proposer, good) = unheard_with_txs(&mut cluster);
    let liar = (0..4).find(|n| *n != 2 && *n != proposer).unwrap();
    let junk = [1u8, 2].map(|byte| Bytes::from(vec![byte; 50]));
    let mut bad = good.clone();
    bad.tx_hashes = junk.iter().map(keccak256).collect();
    let block = good.proposal.block;
    cluster.inject(liar, 2, Message::Proposal(bad));
    cluster.inject(proposer, 2, Message::Proposal(good));
    // By then it is asked for them.
    cluster.run_for(Millis(35));
    for raw in junk {
        cluster.inject(liar, 2, Message::Bodies(Bodies { block, txs: vec![raw] }));
        // The second comes when the first is recovered, and the true list is followed.
        cluster.run_for(Millis(if together { 0 } else { 40 }));
    }
    cluster.run_for(Millis(400));
    assert_eq!(cluster.seen.blames, [blame(liar, Offence::InvalidBlock, true)]);
}

/// Every transaction of the list is one, and its sender has them: a node would fetch them, and
/// recover their senders, for as long as it is given any.
#[test]
fn a_list_of_more_than_a_block_is_given_up_and_its_sender_blamed() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    let (proposer, good) = unheard_with_txs(&mut cluster);
    let liar = (0..4).find(|n| *n != 2 && *n != proposer).unwrap();
    let large: Vec<TxEnvelope> = (0..72).map(|nonce| transfer_with(5, nonce, 120_000)).collect();
    let mut bad = good.clone();
    bad.tx_hashes = large.iter().map(|tx| *tx.tx_hash()).collect();
    bad.tx_hashes.push(B256::repeat_byte(0x77));
    bad.bytes = 0;
    let block = good.proposal.block;
    cluster.inject(liar, 2, Message::Proposal(bad));
    // By then it is asked for them.
    cluster.run_for(Millis(35));
    assert_eq!(cluster.seen.blames, vec![]);
    for half in large.chunks(36) {
        let txs = half.iter().map(|tx| Bytes::from(tx.encoded_2718())).collect();
        cluster.inject(liar, 2, Message::Bodies(Bodies { block, txs }));
    }
    assert_eq!(cluster.seen.blames, [blame(liar, Offence::InvalidBlock, true)]);
}

/// Attack: blocks of authorisations, which take ten times their bytes when they are decoded.
#[test]
fn what_is_fetched_for_a_block_counts_as_it_is_decoded() {
    let mut plan = plan(4, 4);
    plan.workers_max = Millis(30);
    let mut cluster = started(plan);
    cluster.reach(1, SECOND);
    let (_, good) = unheard_with_txs(&mut cluster);
    let mut body = vec![0x80; 8];
    body.extend([0xc0, 0xfa, 1, 0, 0]);
    body.resize(body.len() + (1 << 16), 1);
    let [.., high, middle, low] = body.len().to_be_bytes();
    let raw = Bytes::from([&[4, 0xfa, high, middle, low][..], &body[..]].concat());
    let mut bad = good.clone();
    bad.tx_hashes = vec![keccak256(&raw)];
    let block = good.proposal.block;
    cluster.inject(0, 2, Message::Proposal(bad));
    cluster.run_for(Millis(35));
    cluster.inject(0, 2, Message::Bodies(Bodies { block, txs: vec![raw] }));
    let held = cluster.node(2).held_bytes();
    let bodies = held.iter().find(|held| held.rule.name == "Bodies").unwrap();
    assert!(bodies.all > 10 << 16, "{} bytes", bodies.all);
}

/// A long list in another order: it is shown to be false when all is here, though many of the
/// senders are not recovered. What came proves the true one.
#[test]
fn a_long_list_is_followed_when_its_bytes_prove_it() {
    let mut plan = plan(4, 4);
    plan.workers_max = Millis(30);
    let mut cluster = started(plan);
    cluster.reach(1, SECOND);
    let heard = Rc::new(RefCell::new(None));
    let ear = heard.clone();
    cluster.loss = Box::new(move |from, to, message| {
        if let (Message::Proposal(proposed), 2) = (message, to) {
            ear.borrow_mut().get_or_insert((from, proposed.clone()));
        }
        let gossip = matches!(message, Message::Txs(_) | Message::TxHashes(_));
        to == 2 && (gossip || matches!(message, Message::Proposal(_) | Message::Blocks(_)))
    });
    (0..4).for_each(|wallet| drop(send(&mut cluster, 0, wallet, 0..320)));
    while heard.borrow().is_none() {
        cluster.run_for(Millis(1));
    }
    let (proposer, good) = heard.borrow_mut().take().unwrap();
    assert!(good.tx_hashes.len() > 1_024, "{}", good.tx_hashes.len());
    let liar = (0..4).find(|n| *n != 2 && *n != proposer).unwrap();
    let mut bad = good.clone();
    bad.tx_hashes.reverse();
    let (block, height) = (good.proposal.block, good.proposal.height);
    cluster.inject(liar, 2, Message::Proposal(bad));
    cluster.inject(proposer, 2, Message::Proposal(good));
    // By then it is asked for them.
    cluster.run_for(Millis(31));
    let txs: Vec<_> = (0..4).flat_map(|from| (0..320).map(move |n| transfer(from, n))).collect();
    for part in txs.chunks(400) {
        let txs = part.iter().map(|tx| Bytes::from(tx.encoded_2718())).collect();
        cluster.inject(liar, 2, Message::Bodies(Bodies { block, txs }));
    }
    cluster.run_for(Millis(1_200));
    assert_eq!(cluster.seen.blames, [blame(liar, Offence::InvalidBlock, true)]);
    assert!(cluster.height(2) >= height, "{} of {height}", cluster.height(2));
}

/// Its messages may still wait when a peer is gone, or was never taken in.
#[test]
fn a_peer_that_is_not_connected_gets_no_blocks() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    let given = Rc::new(Cell::new(0));
    let log = given.clone();
    cluster.loss = Box::new(move |from, to, message| {
        let is_answer = (from, to) == (0, 4) && matches!(message, Message::Blocks(_));
        log.set(log.get() + u32::from(is_answer));
        false
    });
    let ask = || Message::GetBlocks(GetBlocks { from: 1, count: 1 });
    cluster.input(0, Input::Disconnected(peer(4)));
    cluster.inject(4, 0, ask());
    cluster.run_for(SECOND);
    assert_eq!(given.get(), 0);
    say_connected(&mut cluster, 0, 4);
    cluster.inject(4, 0, ask());
    cluster.run_for(SECOND);
    assert_eq!(given.get(), 1);
}

/// A peer that is nearer than the proposer names one hash too many, which nobody can be
/// shown to have made up. The true list has its turn within the round.
#[test]
fn a_list_that_nobody_can_complete_gives_way_to_another() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    let (proposer, good) = unheard(&mut cluster, |_| false);
    let liar = (0..4).find(|n| *n != 2 && *n != proposer).unwrap();
    let height = good.proposal.height;
    let lists = [0x77, 0x78, 0x79].map(|byte| {
        let mut bad = good.clone();
        bad.tx_hashes.push(B256::repeat_byte(byte));
        bad
    });
    // A liar has one list in reserve and no more, so that the true one finds room.
    for bad in lists {
        cluster.inject(liar, 2, Message::Proposal(bad));
    }
    cluster.inject(proposer, 2, Message::Proposal(good));
    cluster.run_for(Millis(1_200));
    assert_eq!(cluster.seen.blames, vec![]);
    assert!(cluster.height(2) >= height, "{} of {height}", cluster.height(2));
}

/// A list with one hash that nobody has, when the reserve is full: it was never kept, so it was
/// looked up each time that it came.
#[test]
fn what_a_peers_list_names_is_looked_up_once_kept_or_not() {
    let mut cluster = cluster(4, 10);
    cluster.reach(1, SECOND);
    let (proposer, good) = unheard(&mut cluster, |_| false);
    let height = good.proposal.height;
    for liar in 4..10 {
        let mut bad = good.clone();
        bad.tx_hashes.push(B256::repeat_byte(liar as u8));
        cluster.inject(liar, 2, Message::Proposal(bad));
    }
    // If this were looked up, all of it would be found, and it is false.
    let mut short = good.clone();
    short.tx_hashes.pop();
    cluster.inject(9, 2, Message::Proposal(short));
    assert_eq!((cluster.seen.blames.clone(), cluster.height(2)), (vec![], height - 1));
    cluster.inject(proposer, 2, Message::Proposal(good));
    assert_eq!(cluster.height(2), height);
}

/// The same, where all transactions are here and the false list is dripped: the true one waited for
/// three seconds, and the vote for the next round.
#[test]
fn a_true_list_whose_transactions_are_all_here_is_followed_at_once() {
    let mut cluster = cluster(4, 4);
    cluster.reach(1, SECOND);
    let (proposer, good) = unheard(&mut cluster, |_| false);
    let [liar, other] = {
        let mut others = (0..4).filter(|n| *n != 2 && *n != proposer);
        [others.next().unwrap(), others.next().unwrap()]
    };
    let height = good.proposal.height;
    assert!(!good.tx_hashes.is_empty() && cluster.height(2) < height);
    let mut bad = good.clone();
    bad.tx_hashes.push(B256::repeat_byte(0x77));
    cluster.inject(liar, 2, Message::Proposal(bad));
    // All that it names is here, and it is not what the proposer signed.
    let mut short = good.clone();
    short.tx_hashes.pop();
    cluster.inject(other, 2, Message::Proposal(short));
    assert_eq!(cluster.seen.blames, [blame(other, Offence::InvalidBlock, true)]);
    assert!(cluster.height(2) < height);
    cluster.inject(proposer, 2, Message::Proposal(good));
    assert_eq!(cluster.height(2), height);
    assert_eq!(cluster.seen.blames.len(), 1);
}

/// Each connection took up to 0.5 MB of hashes of the pool, and nobody was charged for them.
#[test]
fn who_connects_again_and_again_is_told_of_the_pool_within_a_budget() {
    const POOLED: usize = 200;
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    (0..5).for_each(|from| _ = send(&mut cluster, 0, from, 0..POOLED as u64 / 5));
    let told = Rc::new(Cell::new(0));
    let log = told.clone();
    cluster.loss = Box::new(move |from, to, message| {
        if let (Message::TxHashes(hashes), 0, 4) = (message, from, to) {
            log.set(log.get() + hashes.len());
        }
        false
    });
    say_connected(&mut cluster, 0, 4);
    assert_eq!(told.get(), POOLED, "all of it, the first time");
    for _ in 0..200 {
        say_connected(&mut cluster, 0, 4);
    }
    // 64 bytes for each, of a stranger's 1 MiB a second.
    assert!((POOLED..=16_384).contains(&told.get()), "{told:?}");
}

/// The votes of one certificate make many: each subset with enough power, in each order.
#[test]
fn the_certificates_of_one_place_pass_once() {
    let mut cluster = cluster(4, 5); // No mesh: what is heard is handed on.
    cluster.reach(1, SECOND);
    let network = cluster.node(0).ledger().genesis_hash();
    let entry = |n: &usize| {
        let vote = Vote::sign(&validator_key(*n), &network, VoteKind::Prevote, 2, 0, None);
        let Vote { kind, block, validator, signature, .. } = vote;
        RoundVote { kind, block, validator, signature }
    };
    let passed = Rc::new(Cell::new(0));
    let log = passed.clone();
    cluster.loss = Box::new(move |from, _, message| {
        let is_one = from == 0 && matches!(message, Message::RoundCertificate(_));
        log.set(log.get() + u32::from(is_one));
        false
    });
    let voters: [&[usize]; 8] =
        [&[1, 2], &[2, 1], &[1, 3], &[3, 2], &[1, 2, 3], &[3, 2, 1], &[1], &[]];
    for voters in voters {
        let votes = voters.iter().map(entry).collect();
        let certificate = RoundCertificate { height: 2, round: 0, skip: true, votes };
        cluster.inject(4, 0, Message::RoundCertificate(certificate));
    }
    assert_eq!(passed.get(), 3, "once to each of the three others");
}

/// Each is right, and tells nobody anything: 16,384 of them were all that a node relays in a
/// height.
#[test]
fn the_votes_of_who_signs_without_end_pass_as_often_as_they_convict() {
    let mut cluster = started(plan_with_villain(5));
    cluster.reach(1, SECOND);
    let network = cluster.node(0).ledger().genesis_hash();
    let sign =
        |n: usize, block| Vote::sign(&validator_key(n), &network, VoteKind::Prevote, 2, 0, block);
    let villain = validator_key(VILLAIN).public();
    let passed = Rc::new(Cell::new(0));
    let log = passed.clone();
    cluster.loss = Box::new(move |from, to, message| {
        let is_one = matches!(message, Message::Vote(vote) if vote.validator == villain);
        log.set(log.get() + u32::from(is_one && (from, to) == (0, 1)));
        false
    });
    for n in 1..=100 {
        let vote = sign(VILLAIN, Some(B256::repeat_byte(n)));
        let votes = [sign(1, None), vote.clone()].map(|vote| {
            let Vote { kind, block, validator, signature, .. } = vote;
            RoundVote { kind, block, validator, signature }
        });
        let certificate = RoundCertificate { height: 2, round: 0, skip: true, votes: votes.into() };
        cluster.inject(4, 0, Message::RoundCertificate(certificate));
        cluster.inject(4, 0, Message::Vote(vote));
    }
    assert_eq!(passed.get(), 4, "one that counts, and three that convict");
    assert_eq!(cluster.seen.blames, vec![]);
}

/// A peer that has the next block a moment before us, and claims a million more, would make
/// a node unready. That a node is behind is shown by two blocks.
#[test]
fn the_next_block_alone_does_not_prove_a_claim() {
    let mut cluster = cluster(4, 5);
    cluster.reach(1, SECOND);
    cluster.loss = Box::new(|_, to, message| {
        to == 4 && matches!(message, Message::Proposal(_) | Message::Blocks(_))
    });
    for nonce in 0..6 {
        send(&mut cluster, 0, 0, nonce..nonce + 1);
        cluster.run_for(Millis(600));
    }
    assert!(cluster.height(0) >= 4 && cluster.height(4) == 1, "{}", cluster.height(0));
    let snapshot = cluster.node(0).ledger().snapshot();
    let block = |height| snapshot.certified_block(height).unwrap().unwrap();
    let far = Tip { height: 1_000_000, hash: B256::ZERO, round: 0 };
    for (count, believed) in [(1, None), (2, Some(1_000_000))] {
        // After a start it has asked nobody yet: the first that claims is asked.
        cluster.kill(4);
        cluster.restart(4);
        let from = cluster.height(4) + 1;
        for n in 0..4 {
            cluster.inject(n, 4, Message::Tip(far));
            let blocks = (from..from + count).map(block).collect();
            cluster.inject(n, 4, Message::Blocks(Blocks { from, blocks }));
        }
        assert_eq!(cluster.height(4), from + count - 1);
        assert_eq!(cluster.node(4).status().syncing_to, believed);
    }
}
