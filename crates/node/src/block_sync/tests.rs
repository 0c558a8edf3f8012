use trefoil_crypto::SecretKey;

use super::*;

fn peer(n: u8) -> PeerId {
    PeerId(SecretKey::from_seed(&[n; 32]).public())
}

fn fetched(number: Height, txs: usize) -> FetchedBlock {
    let certificate =
        Certificate { height: number, round: 0, block: B256::ZERO, signatures: vec![] };
    let header = Header { number, ..Header::default() };
    FetchedBlock {
        header,
        txs: vec![Bytes::new(); txs],
        certificate,
        attached: Attached::default(),
    }
}

fn numbers(batch: &FetchedBlocks) -> Vec<Height> {
    batch.blocks.iter().map(|block| block.header.number).collect()
}

fn with_answer(blocks: &[(Height, usize)]) -> BlockSync {
    let blocks = blocks.iter().map(|(number, txs)| fetched(*number, *txs)).collect();
    let fetched = Some(FetchedBlocks { peer: peer(1), blocks });
    BlockSync { fetched, proven: Some(1), ..BlockSync::default() }
}

/// One true block and 30,000 transactions after it, of which nobody signed any: they were all
/// recovered before the second certificate was looked at.
#[test]
fn of_blocks_that_are_a_claim_few_transactions_are_recovered() {
    let mut sync = with_answer(&[(1, 30_000), (2, 2_000), (3, 48), (4, 1), (5, 30_000)]);
    let (txs, batch) = sync.take_batch(1).unwrap();
    assert_eq!((txs.len(), numbers(&batch)), (32_048, vec![1, 2, 3]));
    assert!(sync.take_batch(1).is_none() && sync.due(position(1)).is_none(), "workers have it");
    sync.recovering = false;
    // The next is taken when its certificate is verified.
    assert!(sync.take_batch(4).is_none());
    assert_eq!(sync.block_at(4).map(|(from, _, _)| from), Some(peer(1)));
    sync.note_proven(4);
    assert_eq!(sync.take_batch(4).map(|(_, batch)| numbers(&batch)), Some(vec![4]));
    sync.recovering = false;
    sync.reject_blocks(Time(0), &peer(1));
    assert!(sync.block_at(5).is_none() && !sync.has_answer());
}

#[test]
fn small_blocks_are_recovered_together_and_what_consensus_decided_is_not() {
    let all: Vec<(Height, usize)> = (1..=256).map(|height| (height, 5)).collect();
    let mut sync = with_answer(&all);
    sync.note_proven(3);
    let (txs, batch) = sync.take_batch(3).unwrap();
    assert_eq!((txs.len(), batch.blocks.len()), (254 * 5, 254));
    // One that is none: nothing after it is of use.
    let none = (0..txs.len()).map(|_| Err(TxError::Signature)).collect();
    assert_eq!(sync.on_recovered(batch, none), Err(peer(1)));
    assert!(!sync.has_answer());
}

fn position(next_height: Height) -> SyncPosition {
    SyncPosition { next_height, lacks_decided: false }
}

/// Blocks of more than 2 MiB come one to an answer. That a node is behind is shown by two of
/// them, and it is over when it decides a block by itself. Who gave them stays preferred.
#[test]
fn a_node_is_behind_until_it_decides_a_block() {
    let mut sync = BlockSync::default();
    sync.connected(Time(0), peer(1), true);
    sync.on_tip(Time(0), &peer(1), 100, 1);
    sync.note_delivered(&peer(1));
    assert_eq!(sync.proven_height(), None, "it may have been a moment earlier");
    sync.note_delivered(&peer(1));
    assert_eq!(sync.proven_height(), Some(100));
    sync.decided_here();
    assert_eq!((sync.proven_height(), sync.sources[&peer(1)].delivers), (None, true));
    sync.note_delivered(&peer(1));
    assert_eq!(sync.proven_height(), None);
}

/// A peer that is restarted leaves a request open; one that is silent and then leaves has failed.
#[test]
fn who_leaves_at_once_has_not_failed() {
    for (left_at, fails) in [(100, false), (1_000, true)] {
        let mut sync = BlockSync::default();
        sync.connected(Time(0), peer(1), true);
        sync.on_tip(Time(0), &peer(1), 100, 1);
        assert!(sync.tick(Time(0), position(2)).is_some());
        sync.disconnected(Time(left_at), &peer(1));
        assert_eq!(sync.left.contains_key(&peer(1)), fails, "{left_at}");
    }
}
