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

/// A round waits three seconds for its proposal: a list has its turn for one.
const PROPOSE_WAIT: Millis = Millis(3_000);

fn following(from: PeerId, list: ProposedBlock) -> MissingTransactions {
    let mut missing = MissingTransactions::new(list, from, Time(0), PROPOSE_WAIT);
    missing.wake(Time(0), |_| None);
    missing
}

/// The list had its turn in vain, and the next is followed.
fn next_turn(mut missing: MissingTransactions) -> MissingTransactions {
    missing.set_aside();
    let (from, proposed) = missing.take_alternate(|_| None).unwrap();
    let found = missing.take_found();
    let mut next = MissingTransactions::new(proposed, from, Time(0), PROPOSE_WAIT);
    next.wake(Time(0), |hash| found.get(hash).cloned());
    next.follow_after(missing, found);
    next
}

/// Keeps a copy if it is new.
fn keep(missing: &mut MissingTransactions, from: PeerId, favoured: bool, list: ProposedBlock) {
    if missing.is_new(from, &list.tx_hashes) {
        missing.keep_alternate(from, favoured, list);
    }
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
        keep(&mut missing, peer(n), false, false_list(n));
    }
    keep(&mut missing, peer(9), false, false_list(9));
    assert_eq!(reserve(&missing), peers(&[2, 3, 4, 5]), "none of them had its turn");
    let mut missing = next_turn(missing);
    keep(&mut missing, peer(9), false, false_list(9));
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
    keep(&mut missing, peer(2), true, false_list(2));
    for n in 3..=5 {
        keep(&mut missing, peer(n), false, false_list(n));
    }
    keep(&mut missing, peer(9), true, false_list(9));
    assert_eq!(reserve(&missing), peers(&[2, 4, 5, 9]));
    // One liar has one place, and equal lists are one.
    keep(&mut missing, peer(9), true, false_list(10));
    keep(&mut missing, peer(10), true, false_list(9));
    assert_eq!(reserve(&missing), peers(&[2, 4, 5, 9]));
}

/// On slow links a list has its turn several times, and what came must not come again.
#[test]
fn what_came_for_one_list_is_kept_for_the_next() {
    let txs = [tx(0), tx(1), tx(2)];
    let hash = |at: usize| *txs[at].tx_hash();
    let mut requests = PendingRequests::default();
    let mut missing = following(peer(1), list(vec![hash(0), hash(1), B256::repeat_byte(1)]));
    keep(&mut missing, peer(2), false, list(vec![B256::repeat_byte(2)]));
    keep(&mut missing, peer(3), false, list(vec![hash(2), hash(1), hash(0)]));
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
            keep(&mut missing, peer(2), false, false_list(2));
        }
        for at in 0..4 {
            let now = Time(at * 250);
            let wanted = missing.on_answer(now, peer(1), vec![raw(at)], &mut requests);
            assert_eq!(wanted.len(), 1);
            let me = peer(7);
            let givers = Givers { me, members: peers(&[1, 2]), sharers: vec![] };
            assert!(at > 0 || missing.ask(now, &givers, |_| false, &mut effects) == [peer(1)]);
        }
        // A third of the propose wait.
        assert!(!others || missing.retry_due() <= Some(Time(1_000)));
        assert_eq!(missing.give_up_late(Time(1_000)), worth_asking);
    }
}

/// A turn is over while an answer is on its way: on a slow link the true list would get nowhere
/// in its turns.
#[test]
fn what_was_asked_for_one_list_and_comes_in_the_turn_of_another_is_kept() {
    let (mut requests, mut effects) = (PendingRequests::default(), Effects::default());
    let txs = [tx(0), tx(1)];
    let raw = |at: usize| Bytes::from(txs[at].encoded_2718());
    let mut missing = following(peer(1), list(txs.iter().map(|tx| *tx.tx_hash()).collect()));
    keep(&mut missing, peer(2), false, false_list(2));
    let givers = Givers { me: peer(7), members: peers(&[1, 2]), sharers: vec![] };
    assert_eq!(missing.ask(Time(30), &givers, |_| false, &mut effects), [peer(1)]);
    let mut missing = next_turn(missing);
    assert_eq!(missing.sender(), peer(2));
    let stray = Bytes::from_static(b"nobody asked for it");
    let came = missing.on_answer(Time(1_010), peer(1), vec![raw(0), stray], &mut requests);
    assert_eq!((came, missing.list_bytes()), (vec![raw(0)], 0), "of no account to this list");
    assert!(!missing.on_transactions(&txs[..1], &mut requests));
    let mut missing = next_turn(missing);
    assert_eq!(missing.sender(), peer(1));
    assert!(missing.on_transactions(&txs[1..], &mut requests), "the first is here");
}

/// A list of a round that has not begun costs no look-up, and nothing is fetched for it.
#[test]
fn a_list_that_is_kept_for_later_is_asleep_until_it_is_taken_up() {
    let txs = [tx(0), tx(1)];
    let hashes = txs.iter().map(|tx| *tx.tx_hash()).collect();
    let mut missing = MissingTransactions::new(list(hashes), peer(1), Time(0), PROPOSE_WAIT);
    assert!(missing.is_asleep() && !missing.is_whole());
    assert_eq!(missing.retry_due(), None);
    assert!(!missing.on_transactions(&txs, &mut PendingRequests::default()));
    missing.wake(Time(500), |hash| (hash == txs[0].tx_hash()).then(|| txs[0].clone()));
    assert!(!missing.is_asleep() && !missing.is_whole());
    assert!(missing.retry_due().is_some_and(|due| due <= Time(500)), "it waited long enough");
    assert!(missing.on_transactions(&txs[1..], &mut PendingRequests::default()));
}

#[test]
fn a_list_whose_transactions_are_all_here_is_found() {
    let (mut requests, txs) = (PendingRequests::default(), [tx(0), tx(1), tx(2)]);
    let hash = |at: usize| *txs[at].tx_hash();
    let known = |wanted: &B256| (*wanted == hash(2)).then(|| txs[2].clone());
    let mut missing = following(peer(1), list(vec![hash(0), hash(1), B256::repeat_byte(1)]));
    missing.on_transactions(&txs[..2], &mut requests);
    let found = missing.find_all(&[hash(2), hash(0)], known);
    assert_eq!(found, Some(vec![txs[2].clone(), txs[0].clone()]));
    assert_eq!(missing.find_all(&[hash(2), B256::repeat_byte(1)], known), None);
    // It is followed before one that came earlier.
    keep(&mut missing, peer(2), false, false_list(2));
    keep(&mut missing, peer(3), false, list(vec![hash(2), hash(1)]));
    assert_eq!(missing.take_alternate(known).map(|it| it.0), Some(peer(3)));
    missing.follow_whole(
        peer(3),
        list(vec![hash(2), hash(1)]),
        vec![txs[2].clone(), txs[1].clone()],
    );
    assert!(missing.is_whole() && missing.sender() == peer(3));
    assert_eq!(missing.assemble().transactions, [txs[2].clone(), txs[1].clone()]);
}
