use trefoil_crypto::SecretKey;
use trefoil_mempool::MempoolLimits;

use super::*;

fn peer(n: u8) -> PeerId {
    PeerId(SecretKey::from_seed(&[n; 32]).public())
}

/// Hashes that no other peer and no other turn names.
fn hashes(peer: u8, turn: u8, count: usize) -> Vec<B256> {
    (0..count).map(|n| keccak256([&[peer, turn][..], &n.to_be_bytes()].concat())).collect()
}

/// How many hashes a node asks for.
fn asked(effects: &Effects) -> usize {
    let asks = effects.sends.iter().map(|(_, message)| match &**message {
        Message::GetTxs(hashes) => hashes.len(),
        _ => 0,
    });
    asks.sum()
}

/// A red team announced 60 × 4,096 hashes of nothing a second, and of ten honest
/// transactions none passed. Here they come of sixty peers.
#[test]
fn false_hashes_of_a_crowd_leave_room_for_an_honest_peers() {
    let (mut gossip, pool) = (TxGossip::default(), Mempool::new(MempoolLimits::default()));
    let mut effects = Effects::default();
    for turn in 0..3 {
        for n in 0..60 {
            let hashes = hashes(n, turn, limits::TX_HASHES_MAX);
            gossip.on_tx_hashes(Time(0), peer(n), 61, hashes, &pool, &mut effects);
        }
    }
    let budget = rules::TX_HASHES.held;
    assert!(asked(&effects) * WANTED_BYTES <= budget.all);
    assert!(gossip.wanted_bytes.all() <= budget.all && gossip.wanted_bytes.all() > budget.all / 2);
    let mut effects = Effects::default();
    gossip.on_tx_hashes(Time(0), peer(60), 61, hashes(60, 0, 10), &pool, &mut effects);
    assert_eq!(asked(&effects), 10);
    // What does not come is forgotten, and its bytes are free again.
    gossip.tick(Time(10_000), &[], &pool, &mut effects);
    assert_eq!((gossip.wanted_bytes.all(), gossip.wanted.len()), (0, 0));
}

#[test]
fn transactions_out_for_recovery_are_bounded_in_bytes() {
    let (mut gossip, pool) = (TxGossip::default(), Mempool::new(MempoolLimits::default()));
    let budget = rules::TXS.held;
    let mut jobs = Vec::new();
    for n in 0..40 {
        let raw = |at: usize| {
            let mut raw = vec![0; limits::TX_BYTES_MAX];
            raw[..2].copy_from_slice(&[n, at as u8]);
            Bytes::from(raw)
        };
        let batches = gossip.on_txs(peer(n), 40, (0..34).map(raw).collect(), &pool);
        let bytes: usize = batches.iter().flat_map(|(_, txs)| txs).map(|raw| raw.len()).sum();
        assert!(bytes > 0 && bytes <= budget.peer, "{n}: {bytes}");
        jobs.extend(batches.into_iter().map(|(hashes, _)| (peer(n), hashes)));
    }
    assert!(gossip.recovering_bytes.all() <= budget.all);
    jobs.iter().for_each(|(peer, hashes)| gossip.note_recovered(peer, hashes));
    assert_eq!((gossip.recovering_bytes.all(), gossip.recovering.len()), (0, 0));
}

/// A hash that is pushed out of the memory of late ones while it is out for recovery, and comes
/// again: its bytes used to be lost to the peer's budget for good.
#[test]
fn a_transaction_that_comes_twice_is_charged_once() {
    let (mut gossip, pool) = (TxGossip::default(), Mempool::new(MempoolLimits::default()));
    let raw = Bytes::from(vec![7; 1_000]);
    let first = gossip.on_txs(peer(1), 2, vec![raw.clone(), raw.clone()], &pool);
    assert_eq!(first.iter().map(|(hashes, _)| hashes.len()).sum::<usize>(), 1);
    hashes(9, 0, RECENT_MAX).into_iter().for_each(|hash| gossip.settled(hash));
    assert!(!gossip.recent.contains(&keccak256(&raw)));
    assert!(gossip.on_txs(peer(2), 2, vec![raw.clone()], &pool).is_empty());
    assert_eq!(gossip.recovering_bytes.all(), 1_000);
    first.iter().for_each(|(hashes, _)| gossip.note_recovered(&peer(1), hashes));
    assert_eq!((gossip.recovering_bytes.all(), gossip.recovering.len()), (0, 0));
}

/// Attack: a flood beyond a peer's room, all of which used to be hashed. What is dropped stays
/// wanted, so that another peer is asked for it.
#[test]
fn what_has_no_room_is_not_hashed() {
    let (mut gossip, pool) = (TxGossip::default(), Mempool::new(MempoolLimits::default()));
    let raw = |n: u8| Bytes::from(vec![n; 1 << 20]);
    let wanted = vec![keccak256(raw(9))];
    gossip.on_tx_hashes(Time(0), peer(1), 2, wanted.clone(), &pool, &mut Effects::default());
    let room = rules::TXS.held.peer >> 20;
    let jobs = gossip.on_txs(peer(1), 2, (10..10 + room as u8).map(raw).collect(), &pool);
    assert_eq!(jobs.iter().map(|(hashes, _)| hashes.len()).sum::<usize>(), room);
    assert!(gossip.on_txs(peer(1), 2, vec![raw(9)], &pool).is_empty());
    assert!(gossip.wanted.contains_key(&wanted[0]));
}

/// A liar sends a true transaction beside others that are none: it is not forgotten for that.
#[test]
fn what_was_refused_may_come_of_another_peer() {
    let (mut gossip, pool) = (TxGossip::default(), Mempool::new(MempoolLimits::default()));
    let raw = Bytes::from(vec![7; 100]);
    for n in [1, 2] {
        let jobs = gossip.on_txs(peer(n), 2, vec![raw.clone()], &pool);
        let [(hashes, _)] = &jobs[..] else { panic!("{jobs:?}") };
        gossip.note_refused(&peer(n), hashes);
        assert_eq!(gossip.recovering_bytes().all(), 0);
    }
    gossip.on_txs(peer(3), 2, vec![raw.clone()], &pool);
    assert!(gossip.on_txs(peer(1), 2, vec![raw], &pool).is_empty(), "it is out for recovery");
}
