//! Every type of message × {empty, huge, repeated, reordered, of another height, round or
//! network, signed by nobody who validates}, and bytes that are nearly messages.

use std::{io, sync::Arc, time::Duration};

use alloy_primitives::Bytes;
use rand::Rng as _;
use trefoil_crypto::B256;
use trefoil_types::{
    Attached, Evidence, Header, Height, Message, PolkaCertificate, Proposal, ProposedBlock,
    RoundCertificate, RoundVote, ValidatorSignature, Vote, VoteKind, limits,
    message::{Blocks, Bodies, GetBlocks, GetBodies, Tip},
    message_rule::{self, MessageRule},
};

use crate::{
    arena::Arena,
    manners,
    peer::{CATCH_UP, CONSENSUS, GOSSIP, Peer},
};

const PAUSE: Duration = Duration::from_millis(10);

/// How a message departs from what an honest node would send now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Empty,
    OtherHeight,
    OtherRound,
    OtherNetwork,
    Stranger,
    Full,
}

manners! {
    "messages-empty" "-" "every type of message with nothing in its lists" {}
        |arena, n| vary(arena, n, Variant::Empty);
    "messages-full" "-" "every type of message with the longest lists that it may have" {}
        |arena, n| vary(arena, n, Variant::Full);
    "messages-huge" "-" "every type of message at its limit of bytes and beyond, lists of one byte" {}
        huge;
    "messages-repeated" "-" "what went by, a hundred times each" {} repeated;
    "messages-reordered" "-" "what went by, late and in the reverse order" {} reordered;
    "messages-of-other-heights" "-" "heights 0, ± 1, 2, 100 and 2^64 - 1" {}
        |arena, n| vary(arena, n, Variant::OtherHeight);
    "messages-of-other-rounds" "-" "rounds 1, 7, 1,000 and 2^32 - 1" {}
        |arena, n| vary(arena, n, Variant::OtherRound);
    "messages-of-another-network" "-" "signed for another genesis" {}
        |arena, n| vary(arena, n, Variant::OtherNetwork);
    "messages-of-strangers" "-" "well signed, by keys that do not validate" {}
        |arena, n| vary(arena, n, Variant::Stranger);
    "messages-cut" "-" "what went by, without its end" {}
        |arena, n| damaged(arena, n, |body| body.truncate(body.len() / 2));
    "messages-flipped" "-" "what went by, with one bit changed" {}
        |arena, n| damaged(arena, n, |body| flip(body));
    "messages-longer" "-" "what went by, with bytes after its end" {}
        |arena, n| damaged(arena, n, |body| body.extend([0; 9]));
    "messages-of-unknown-types" "-" "all 256 types, with a body of nothing or an empty list" {}
        unknown;
    "messages-on-wrong-lanes" "-" "what went by, on the other lanes" {} wrong_lanes;
    "messages-nested" "-" "lists within lists, as deep as a frame has room" {} nested;
    "answers-unasked" "-" "Blocks, Bodies and Txs that nobody requested" {} unasked;
}

async fn vary(arena: Arc<Arena>, n: usize, variant: Variant) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    let heights = |now: Height| [0, 1, now - 1, now + 1, now + 2, now + 100, u64::MAX];
    for turn in 0.. {
        let (now, round) = peer.position();
        let (height, round) = match variant {
            Variant::OtherHeight => (heights(now)[turn % 7], round),
            Variant::OtherRound => (now, [1, 7, 1_000, u32::MAX][turn % 4]),
            _ => (now, round),
        };
        for kind in 0..message_rule::RULES.len() {
            let message = made(&arena, &peer, kind, variant, height, round);
            peer.tell(&message).await?;
        }
        peer.pause(PAUSE).await?;
    }
    Ok(())
}

/// A message of the type that has this place in the table of rules.
fn made(
    arena: &Arena,
    peer: &Peer,
    kind: usize,
    variant: Variant,
    height: Height,
    round: u32,
) -> Message {
    let count = |max: usize| match variant {
        Variant::Empty => 0,
        Variant::Full => max,
        _ => 3,
    };
    let network = match variant {
        Variant::OtherNetwork => B256::repeat_byte(7),
        _ => arena.target.genesis,
    };
    let block = B256::repeat_byte(rand::random());
    let vote = |kind, block| Vote::sign(&peer.key, &network, kind, height, round, block);
    let prevote = vote(VoteKind::Prevote, Some(block));
    let (validator, signature) = (prevote.validator, prevote.signature);
    let hashes = |max| vec![block; count(max)];
    let txs = |max| vec![Bytes::from_static(&[2, 0xc0]); count(max)];
    let signed = vec![ValidatorSignature { validator, signature }; count(110)];
    match kind {
        0 => Message::Vote(prevote),
        1 => Message::Proposal(Box::new(ProposedBlock {
            proposal: Proposal::sign(&peer.key, &network, height, round, block, None),
            header: Header { number: height, ..Header::default() },
            tx_hashes: crate::requests::distinct(count(limits::BLOCK_TXS_MAX)),
            attached: Attached::default(),
            bytes: u64::MAX,
        })),
        2 => {
            Message::PolkaCertificate(PolkaCertificate { height, round, block, signatures: signed })
        }
        3 => {
            let kind = VoteKind::Precommit;
            let vote = RoundVote { kind, block: Some(block), validator, signature };
            let votes = vec![vote; count(250)];
            let skip = rand::random();
            Message::RoundCertificate(RoundCertificate { height, round, skip, votes })
        }
        4 => Message::Tip(Tip { height, hash: block, round }),
        5 => Message::GetBlocks(GetBlocks { from: height, count: count(1 << 40) as u64 }),
        6 => Message::Blocks(Blocks { from: height, blocks: vec![] }),
        7 => Message::GetBodies(GetBodies { block, tx_hashes: hashes(limits::BLOCK_TXS_MAX) }),
        8 => Message::Bodies(Bodies { block, txs: txs(limits::BLOCK_TXS_MAX) }),
        9 => Message::TxHashes(hashes(limits::TX_HASHES_MAX)),
        10 => Message::GetTxs(hashes(limits::TX_HASHES_MAX)),
        11 => Message::Txs(txs(limits::TX_HASHES_MAX)),
        _ => {
            let other = vote(VoteKind::Prevote, None);
            let proof = Evidence::of_votes(prevote, other).expect("they conflict");
            Message::Evidence(Box::new(proof))
        }
    }
}

/// Items of one byte: 9 MiB of them took 500 MB before they were counted.
async fn huge(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    for turn in n.. {
        let rule = &message_rule::RULES[turn % message_rule::RULES.len()];
        let over = usize::from(turn % 26 > 12);
        let mut body = list_of_nothing(rule, rule.bytes_max + over);
        if matches!(rule.name, "Blocks" | "Bodies" | "GetBodies") {
            // Of two parts: a block or height, and the list.
            body = in_second_place(rule, rule.bytes_max + over);
        }
        peer.frame(lane_of(rule), &body).await?;
        peer.pause(PAUSE).await?;
    }
    Ok(())
}

fn lane_of(rule: &MessageRule) -> usize {
    match rule.name {
        "GetBlocks" | "Blocks" => CATCH_UP,
        "TxHashes" | "GetTxs" | "Txs" | "Evidence" => GOSSIP,
        _ => CONSENSUS,
    }
}

/// A list's header of RLP with a length of four bytes.
fn list_header(bytes: usize) -> [u8; 5] {
    let [a, b, c, d] = (bytes as u32).to_be_bytes();
    [0xfb, a, b, c, d]
}

fn list_of_nothing(rule: &MessageRule, bytes: usize) -> Vec<u8> {
    let items = bytes.saturating_sub(6);
    let mut body = vec![rule.kind];
    body.extend(list_header(items));
    body.resize(6 + items, 0x80);
    body
}

fn in_second_place(rule: &MessageRule, bytes: usize) -> Vec<u8> {
    let first = match rule.name {
        "Blocks" => vec![1],
        _ => [&[0xa0], B256::repeat_byte(1).as_slice()].concat(),
    };
    let items = bytes.saturating_sub(11 + first.len());
    let mut body = vec![rule.kind];
    body.extend(list_header(first.len() + 5 + items));
    body.extend(first);
    body.extend(list_header(items));
    body.resize(body.len() + items, 0x80);
    body
}

async fn repeated(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    loop {
        let frame = peer.heard().frames.pop_front();
        if let Some((lane, body)) = frame.filter(|(_, body)| body[0] < 0xf0) {
            for _ in 0..100 {
                peer.frame(lane, &body).await?;
            }
        }
        peer.pause(PAUSE).await?;
    }
}

async fn reordered(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    loop {
        peer.pause(Duration::from_millis(300)).await?;
        let frames: Vec<_> = peer.heard().frames.drain(..).collect();
        for (lane, body) in frames.into_iter().rev().filter(|(_, body)| body[0] < 0xf0) {
            peer.frame(lane, &body).await?;
        }
    }
}

async fn damaged(arena: Arc<Arena>, n: usize, damage: fn(&mut Vec<u8>)) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    loop {
        let frame = peer.heard().frames.pop_front();
        if let Some((lane, mut body)) = frame {
            damage(&mut body);
            peer.frame(lane, &body).await?;
        }
        peer.pause(PAUSE).await?;
    }
}

fn flip(body: &mut [u8]) {
    let mut rng = rand::rng();
    let at = rng.random_range(0..body.len());
    body[at] ^= 1 << rng.random_range(0..8);
}

async fn unknown(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    for kind in 0..=u8::MAX {
        let mut peer = Peer::join(&arena, n, n).await?;
        let bodies = [vec![kind], vec![kind, 0xc0]];
        peer.frame(usize::from(kind) % 3, &bodies[usize::from(kind / 3) % 2]).await?;
        // The node bans it; the next is another.
        let _ = peer.pause(PAUSE).await;
    }
    Ok(())
}

async fn wrong_lanes(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    loop {
        let frame = peer.heard().frames.pop_front();
        if let Some((lane, body)) = frame {
            peer.frame((lane + 1) % 3, &body).await?;
        }
        peer.pause(PAUSE).await?;
    }
}

async fn nested(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::join(&arena, n, 0).await?;
    for turn in n.. {
        let rule = &message_rule::RULES[turn % message_rule::RULES.len()];
        let depth = rule.bytes_max.min(1 << 20) / 5 - 1;
        let mut body = vec![rule.kind];
        (1..=depth).rev().for_each(|inner| body.extend(list_header((inner - 1) * 5)));
        peer.frame(lane_of(rule), &body).await?;
        peer.pause(PAUSE).await?;
    }
    Ok(())
}

async fn unasked(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    let one = Bytes::from(vec![1; limits::TX_BYTES_MAX]);
    loop {
        let (height, _) = peer.position();
        let block = B256::repeat_byte(rand::random());
        let messages = [
            Message::Blocks(Blocks { from: height, blocks: vec![] }),
            Message::Bodies(Bodies { block, txs: vec![one.clone(); 60] }),
            Message::Txs(vec![one.clone(); 15]),
        ];
        for message in messages {
            peer.tell(&message).await?;
        }
        peer.pause(PAUSE).await?;
    }
}
