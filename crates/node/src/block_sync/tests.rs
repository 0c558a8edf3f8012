use std::cell::Cell;

use trefoil_crypto::SecretKey;
use trefoil_types::message_rule as rules;

use super::*;
use crate::{
    peer_bytes::{AnswerBudgets, AnswerClass},
    testing,
};

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
        assert_eq!(sync.tick(back, position(2)).is_none(), fails, "{left_at}");
    }
}

/// A node that has just asked its only peer, whose tip is at 100, for blocks from `next` on.
fn asking(next: Height) -> BlockSync {
    let mut sync = BlockSync::default();
    sync.connected(Time(0), peer(1), true);
    sync.on_tip(Time(0), &peer(1), 100, next - 1);
    assert!(sync.tick(Time(0), position(next)).is_some());
    sync
}

#[test]
fn only_the_answer_of_the_peer_that_was_asked_ends_a_request() {
    let (mut sync, ledger) = (asking(1), testing::ledger());
    for (from, height, is_open) in [(peer(2), 1, true), (peer(1), 2, true), (peer(1), 1, false)] {
        let answer = Blocks { from: height, blocks: vec![] };
        assert_eq!(sync.on_blocks(Time(100), from, answer, &ledger), Ok(()));
        assert_eq!(sync.request.is_some(), is_open, "{height}");
    }
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
            assert_eq!(sync.tick(Time(now), position(2)), None, "{now}");
        }
        assert!(sync.tick(Time(asked), position(2)).is_some(), "{asked}");
    }
}

/// Blocks of such sizes from height 1 on, which are read by their heights.
fn answer(
    ask: GetBlocks,
    sizes: &[BodySize],
    room: AnswerRoom,
    read: impl Fn(Height),
) -> Option<(usize, usize)> {
    let size_of = |height: Height| sizes.get(height as usize - 1).copied();
    let read = |height| {
        read(height);
        let FetchedBlock { certificate, attached, .. } = fetched(height, 0);
        let block = RecoveredBlock::new(Header::default(), vec![], Attached::default()).to_block();
        Some(CertifiedBlock { block, certificate, attached })
    };
    let answer = blocks_for(ask, sizes.len() as u64, room, size_of, read);
    answer.map(|(answer, cost)| (answer.blocks.len(), cost))
}

/// 20 strangers ask for an old block of 3 MiB, in 32 bytes each. It was read for each of them,
/// sent to two, and the others were charged for a hundredth of it.
#[test]
fn what_is_read_for_strangers_stays_within_their_half() {
    let sizes = [BodySize { bytes: 3 << 20, txs: 28 }];
    let rule = &rules::GET_BLOCKS;
    let (mut budgets, read, mut sent) = (AnswerBudgets::default(), Cell::new(0), 0);
    for n in 0..20 {
        let class = AnswerClass { favoured: false, peers: 20 };
        let all = budgets.room(Time(0), rule, class, &peer(n));
        let room = AnswerRoom { all, first: all.max(budgets.spare(rule, false)) };
        let ask = GetBlocks { from: 1, count: 1 };
        let answer = answer(ask, &sizes, room, |_| read.set(read.get() + sizes[0].bytes));
        let (blocks, cost) = answer.unwrap_or((0, BLOCK_COST_MIN));
        sent += blocks;
        budgets.charge(rule, false, peer(n), cost);
    }
    assert!((1..20).contains(&sent), "{sent}");
    assert_eq!(read.get(), sent * sizes[0].bytes, "what is read is sent");
    assert!(read.get() <= rule.answers.half().all, "{read:?}");
}

/// The block that ends an answer was read for nothing.
#[test]
fn a_block_that_does_not_fit_is_not_read() {
    let small = BodySize { bytes: 1 << 20, txs: 1_000 };
    let many = BodySize { bytes: 1 << 20, txs: limits::CATCH_UP_TXS_MAX };
    let room = AnswerRoom { all: 8 << 20, first: 8 << 20 };
    // One of 1 MiB counts 21 KB less: its senders are not sent.
    for (sizes, read_up_to) in [([small; 6], 4), ([small, small, many, small, small, small], 2)] {
        let (ask, read) = (GetBlocks { from: 1, count: 256 }, Cell::new(0));
        let answer = answer(ask, &sizes, room, |height| read.set(height));
        assert_eq!((answer.map(|it| it.0), read.get()), (Some(read_up_to as usize), read_up_to));
    }
    let none = AnswerRoom { all: 64 << 10, first: 64 << 10 };
    let ask = GetBlocks { from: 1, count: 256 };
    assert_eq!(answer(ask, &[small; 6], none, |height| panic!("{height} is read")), None);
    assert_eq!(answer(ask, &[], none, |_| {}), Some((0, BLOCK_COST_MIN)));
}

/// The longest legal block, whose evidence and certificates do not count for the chain's bound: else
/// no node that is not favoured could ever pass its height.
#[test]
fn the_longest_block_fits_a_strangers_share() {
    let mut answers = AnswerBudgets::default();
    let stranger = AnswerClass { favoured: false, peers: 1 };
    let room = answers.room(Time(0), &rules::GET_BLOCKS, stranger, &peer(1));
    assert!(room >= limits::MESSAGE_BYTES_MAX, "{room}");
    assert!(answers.spare(&rules::GET_BLOCKS, false) >= limits::MESSAGE_BYTES_MAX);
}
