use trefoil_crypto::SecretKey;
use trefoil_types::keccak256;

use super::*;

fn peer(n: u8) -> PeerId {
    PeerId(SecretKey::from_seed(&[n; 32]).public())
}

fn hash(n: usize) -> B256 {
    keccak256(n.to_be_bytes())
}

/// How many transactions are waited for, by whatever peer.
fn notes(requests: &PendingRequests) -> usize {
    requests.by_block.values().map(BTreeSet::len).sum()
}

/// Attack: 127 peers wait for the same 4 MiB.
#[test]
fn what_many_wait_for_is_held_once() {
    let (block, tx) = (hash(1), hash(2));
    let mut requests = PendingRequests::default();
    (1..=3).for_each(|n| requests.insert(block, &[tx], peer(n), 3));
    requests.came(&block, &tx, || Bytes::from(vec![7; 100]));
    let due: Vec<Bytes> = requests.take_due().into_values().flatten().collect();
    assert!(due.len() == 3 && due.iter().all(|raw| raw.as_ptr() == due[0].as_ptr()));
}

#[test]
fn who_is_gone_waits_for_nothing() {
    let (block, tx) = (hash(1), hash(2));
    let mut requests = PendingRequests::default();
    for n in 1..=2 {
        requests.insert(block, &[tx], peer(n), 2);
        requests.insert(block, &[tx], peer(n), 2);
    }
    requests.insert(block, &[hash(3)], peer(1), 2);
    requests.insert(hash(4), &[tx], peer(1), 2);
    assert_eq!(requests.held().all(), 4 * NOTE_BYTES + 3 * NOTED_BLOCK_BYTES);
    requests.forget(&peer(1));
    assert_eq!(requests.held().all(), NOTE_BYTES + NOTED_BLOCK_BYTES);
    assert_eq!((notes(&requests), requests.by_peer.len()), (1, 1));
    requests.came(&block, &hash(3), Bytes::new);
    requests.came(&block, &tx, Bytes::new);
    assert_eq!(requests.take_due().into_keys().collect::<Vec<_>>(), [(peer(2), block)]);
    assert_eq!((requests.held().all(), requests.by_peer.len()), (0, 0));
    assert!(requests.by_block.is_empty());
}

#[test]
fn all_that_wait_for_a_transaction_get_it_and_nobody_else_does() {
    let block = hash(1);
    let mut requests = PendingRequests::default();
    for n in 1..=3 {
        requests.insert(block, &[hash(10)], peer(n), 3);
        requests.insert(block, &[hash(10 + usize::from(n))], peer(n), 3);
    }
    requests.came(&hash(9), &hash(10), || panic!("of another block"));
    requests.came(&block, &hash(10), || Bytes::from_static(b"ten"));
    requests.came(&block, &hash(12), || Bytes::from_static(b"twelve"));
    let due = requests.take_due();
    let of = |n: u8| due[&(peer(n), block)].len();
    assert_eq!([of(1), of(2), of(3)], [1, 2, 1]);
    assert_eq!(notes(&requests), 2);
    // Nothing is left for it to take room.
    assert_eq!(requests.held().taken(&peer(2)), 0);
}

/// A red team's requests, each for one transaction of another block that does not exist: some
/// 850 bytes for each, at a price of 64.
#[test]
fn of_a_peer_few_blocks_are_noted_and_at_their_price() {
    let mut requests = PendingRequests::default();
    for n in 0..1_000 {
        requests.insert(hash(n), &[hash(0)], peer(1), 128);
    }
    assert_eq!(notes(&requests), NOTED_BLOCKS_MAX);
    let bytes = NOTED_BLOCKS_MAX * (NOTE_BYTES + NOTED_BLOCK_BYTES);
    assert_eq!(requests.held().all(), bytes);
    // A block that it waits for already takes more.
    requests.insert(hash(0), &[hash(1)], peer(1), 128);
    assert_eq!(requests.held().all(), bytes + NOTE_BYTES);
    // The bound in bytes.
    let txs: Vec<B256> = (0..30_000).map(hash).collect();
    txs.chunks(7).for_each(|txs| requests.insert(hash(0), txs, peer(1), 128));
    let held = requests.held().all();
    let most = rules::GET_BODIES.held.peer;
    assert!((most - NOTE_BYTES..=most).contains(&held), "{held}");
}
