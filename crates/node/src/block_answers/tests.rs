use std::cell::Cell;

use trefoil_crypto::SecretKey;
use trefoil_types::{
    Attached, B256, Certificate, Header, PeerId, RecoveredBlock, Time, message_rule as rules,
};

use super::*;
use crate::peer_bytes::{AnswerBudgets, AnswerClass};

fn peer(n: u8) -> PeerId {
    PeerId(SecretKey::from_seed(&[n; 32]).public())
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
        let block = RecoveredBlock::new(Header::default(), vec![], Attached::default()).to_block();
        let certificate = Certificate { height, round: 0, block: B256::ZERO, signatures: vec![] };
        Some(CertifiedBlock { block, certificate, attached: Attached::default() })
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
