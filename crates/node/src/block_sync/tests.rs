use trefoil_crypto::SecretKey;

use super::*;
use crate::testing;

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

/// No peer is favoured.
fn nobody(_: &PeerId) -> bool {
    false
}

/// Attack: silent peers whose ids come before all others, one of which leaves when it was asked
/// and comes again with the next id.
#[test]
fn whoever_comes_again_is_asked_last_and_a_favoured_peer_every_other_time() {
    let mut sync = BlockSync::default();
    let connect = |sync: &mut BlockSync, now, n| {
        sync.connected(now, peer(n), true);
        sync.on_tip(now, &peer(n), 100, 1);
    };
    (1..=5).for_each(|n| connect(&mut sync, Time(0), n));
    let (mut now, mut asked) = (Time(0), vec![]);
    for newcomer in 20..27 {
        let (from, _) = sync.tick(now, position(2), |it| *it == peer(4)).expect("one is due");
        asked.push(from);
        now = now + ANSWER_WAIT;
        if from != peer(4) {
            sync.disconnected(now, &from);
            connect(&mut sync, now, newcomer);
        }
    }
    // It is left alone for 2 s when it did not answer, then for 4.
    let peers = [4, 1, 4, 2, 3, 5, 4].map(peer);
    assert_eq!(asked, peers);
}

/// To be favoured costs a transaction that pays.
#[test]
fn who_gives_blocks_has_every_other_turn_among_favoured_peers_that_do_not() {
    let mut sync = BlockSync::default();
    for n in 1..=40 {
        sync.connected(Time(0), peer(n), true);
        sync.on_tip(Time(0), &peer(n), 100, 1);
    }
    sync.note_delivered(&peer(9));
    let mut turns = 0;
    for turn in 0..20 {
        let now = Time(turn * ANSWER_WAIT.0);
        let (from, _) = sync.tick(now, position(2), |_| true).expect("one is due");
        if from == peer(9) {
            turns += 1;
            sync.request = None;
        }
    }
    assert_eq!(turns, 10);
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

/// A peer that is restarted leaves a request open; one that is silent and then leaves has failed,
/// and is not asked at once when it is back.
#[test]
fn who_leaves_at_once_has_not_failed() {
    for (left_at, fails) in [(100, false), (1_000, true)] {
        let mut sync = asking(2);
        sync.disconnected(Time(left_at), &peer(1));
        assert_eq!(sync.left.contains_key(&peer(1)), fails, "{left_at}");
        let back = Time(left_at + 100);
        sync.connected(back, peer(1), true);
        sync.on_tip(back, &peer(1), 100, 1);
        assert_eq!(sync.tick(back, position(2), nobody).is_none(), fails, "{left_at}");
    }
}

/// A node that has just asked its only peer, whose tip is at 100, for blocks from `next` on.
fn asking(next: Height) -> BlockSync {
    let mut sync = BlockSync::default();
    sync.connected(Time(0), peer(1), true);
    sync.on_tip(Time(0), &peer(1), 100, next - 1);
    assert!(sync.tick(Time(0), position(next), nobody).is_some());
    sync
}

#[test]
fn only_the_answer_of_the_peer_that_was_asked_ends_a_request() {
    let (mut sync, ledger) = (asking(1), testing::ledger());
    for (from, height, is_awaited) in [(peer(2), 1, false), (peer(1), 2, false), (peer(1), 1, true)]
    {
        assert_eq!(sync.has_asked(&from, height), is_awaited, "{height}");
    }
    let answer = Blocks { from: 1, blocks: vec![] };
    assert_eq!(sync.on_blocks(Time(100), peer(1), answer, &ledger), Ok(()));
    assert!(!sync.has_asked(&peer(1), 1), "the second is not awaited");
}

/// A validator stays with its height while the block that came for it is a claim.
#[test]
fn blocks_that_are_a_claim_keep_nobody_from_a_height() {
    let mut sync = with_answer(&[(1, 1), (2, 1)]);
    assert_eq!((sync.is_busy(1), sync.is_busy(2)), (true, false));
    sync.note_proven(2);
    assert_eq!((sync.is_busy(1), sync.is_busy(2)), (false, true));
}

#[test]
fn a_peer_that_gives_nothing_is_left_alone_for_longer_each_time() {
    let mut sync = asking(2);
    // Each time it is asked it has three seconds; after that it is left alone for two, then four.
    for (gives_up, asked) in [(3_000, 5_000), (8_000, 12_000)] {
        for now in [gives_up, asked - 1] {
            assert_eq!(sync.tick(Time(now), position(2), nobody), None, "{now}");
        }
        assert!(sync.tick(Time(asked), position(2), nobody).is_some(), "{asked}");
    }
}
