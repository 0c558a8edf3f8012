use std::sync::Arc;

use alloy_consensus::{SignableTransaction as _, TxEip1559, transaction::Recovered};
use alloy_primitives::U256;
use trefoil_crypto::SecretKey;
use trefoil_types::{Address, Attached, Header, Proposal, TxEnvelope};

use super::*;

fn peer(n: u8) -> PeerId {
    PeerId(SecretKey::from_seed(&[n; 32]).public())
}

fn list(tx_hashes: Vec<B256>) -> ProposedBlock {
    let key = SecretKey::from_seed(&[1; 32]);
    ProposedBlock {
        proposal: Proposal::sign(&key, &B256::ZERO, 2, 0, B256::ZERO, None),
        header: Header::default(),
        tx_hashes,
        attached: Attached::default(),
        bytes: 0,
    }
}

/// A list that names a transaction that does not exist, another for each peer.
fn false_list(n: u8) -> ProposedBlock {
    list(vec![B256::repeat_byte(n)])
}

fn following(from: PeerId, list: ProposedBlock) -> MissingTransactions {
    MissingTransactions::new(list, from, true, Time(0), |_| None)
}

/// The list had its turn in vain, and the next is followed.
fn next_turn(mut missing: MissingTransactions) -> MissingTransactions {
    missing.set_aside();
    let (from, proposed) = missing.take_alternate().unwrap();
    let found = missing.take_found();
    let known = |hash: &B256| found.get(hash).cloned();
    let mut next = MissingTransactions::new(proposed, from, true, Time(0), known);
    next.follow_after(missing, found);
    next
}

fn reserve(missing: &MissingTransactions) -> Vec<PeerId> {
    missing.alternate_bytes().map(|(peer, _)| peer).collect()
}

fn peers(of: &[u8]) -> Vec<PeerId> {
    of.iter().map(|n| peer(*n)).collect()
}

fn tx(nonce: u64) -> Transaction {
    let large = U256::from(1) << 255;
    let signature = alloy_primitives::Signature::new(large, large, false);
    let tx = TxEip1559 { chain_id: 1, nonce, to: Address::ZERO.into(), ..TxEip1559::default() };
    Arc::new(Recovered::new_unchecked(TxEnvelope::from(tx.into_signed(signature)), Address::ZERO))
}

/// Five liars that are nearer than the proposer: their four places in reserve were never free,
/// and the block could not be had at second hand.
#[test]
fn a_list_that_had_its_turn_in_vain_makes_room_for_a_new_one() {
    let mut missing = following(peer(1), false_list(1));
    for n in 2..=5 {
        missing.keep_alternate(peer(n), false, false_list(n));
    }
    missing.keep_alternate(peer(9), false, false_list(9));
    assert_eq!(reserve(&missing), peers(&[2, 3, 4, 5]), "none of them had its turn");
    let mut missing = next_turn(missing);
    missing.keep_alternate(peer(9), false, false_list(9));
    assert_eq!((missing.sender(), reserve(&missing)), (peer(2), peers(&[3, 4, 5, 9])));
    // Each has its turn before one has a second.
    for n in [3, 4, 5, 9] {
        missing = next_turn(missing);
        assert_eq!(missing.sender(), peer(n));
    }
}

#[test]
fn the_list_of_a_favoured_peer_displaces_a_strangers() {
    let mut missing = following(peer(1), false_list(1));
    missing.keep_alternate(peer(2), true, false_list(2));
    for n in 3..=5 {
        missing.keep_alternate(peer(n), false, false_list(n));
    }
    missing.keep_alternate(peer(9), true, false_list(9));
    assert_eq!(reserve(&missing), peers(&[2, 4, 5, 9]));
    // One liar has one place, and equal lists are one.
    missing.keep_alternate(peer(9), true, false_list(10));
    missing.keep_alternate(peer(10), true, false_list(9));
    assert_eq!(reserve(&missing), peers(&[2, 4, 5, 9]));
}

/// On slow links a list has its turn several times, and what came must not come again.
#[test]
fn what_came_for_one_list_is_kept_for_the_next() {
    let txs = [tx(0), tx(1), tx(2)];
    let hash = |at: usize| *txs[at].tx_hash();
    let mut requests = PendingRequests::default();
    let mut missing = following(peer(1), list(vec![hash(0), hash(1), B256::repeat_byte(1)]));
    missing.keep_alternate(peer(2), false, list(vec![B256::repeat_byte(2)]));
    missing.keep_alternate(peer(3), false, list(vec![hash(2), hash(1), hash(0)]));
    missing.on_transactions(&txs[..2], &mut requests);
    // The list between them names nothing of it.
    let mut missing = next_turn(next_turn(missing));
    assert_eq!(missing.sender(), peer(3));
    assert_eq!(missing.wanted.keys().copied().collect::<Vec<_>>(), [hash(2)]);
    assert!(missing.on_transactions(&txs[2..], &mut requests));
    let block = missing.assemble();
    assert_eq!(block.transactions, [txs[2].clone(), txs[1].clone(), txs[0].clone()]);
}

/// A liar's list of what it made itself, of which it gives one transaction at a time.
#[test]
fn who_gives_little_by_little_does_not_keep_its_list_followed() {
    let (mut requests, mut effects) = (PendingRequests::default(), Effects::default());
    let raw = |at: u64| Bytes::from(at.to_be_bytes().to_vec());
    let drip = list((0..100).map(|at| keccak256(raw(at))).collect());
    for (others, worth_asking) in [(false, true), (true, false)] {
        let mut missing = following(peer(1), drip.clone());
        if others {
            missing.keep_alternate(peer(2), false, false_list(2));
        }
        for at in 0..12 {
            let now = Time(at * 250);
            let wanted = missing.on_answer(now, peer(1), vec![raw(at)], &mut requests);
            assert_eq!(wanted.len(), 1);
            let me = peer(7);
            let givers = Givers { me, members: peers(&[1, 2]), sharers: vec![] };
            assert!(at > 0 || missing.ask(now, &givers, |_| false, &mut effects) == [peer(1)]);
        }
        assert!(!others || missing.retry_due() <= Time(3_000));
        assert_eq!(missing.give_up_late(Time(3_000)), worth_asking);
    }
}

#[test]
fn who_is_gone_waits_for_nothing() {
    let (block, tx) = (B256::repeat_byte(1), B256::repeat_byte(2));
    let mut requests = PendingRequests::default();
    for n in 1..=2 {
        requests.insert(block, tx, peer(n), 2);
        requests.insert(block, tx, peer(n), 2);
    }
    requests.insert(block, B256::repeat_byte(3), peer(1), 2);
    assert_eq!(requests.held().all(), 3 * PENDING_BYTES);
    requests.forget(&peer(1));
    assert_eq!(requests.held().all(), PENDING_BYTES);
    assert_eq!(requests.by_block[&block].len(), 1);
    requests.came(&block, &tx, Bytes::new);
    assert_eq!(requests.take_due().into_keys().collect::<Vec<_>>(), [(peer(2), block)]);
    assert_eq!(requests.held().all(), 0);
}
