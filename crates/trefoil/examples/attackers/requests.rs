//! Requests that cost more than they weigh, and what a node is made to hold.

use std::{io, sync::Arc, time::Duration};

use tokio::time::timeout;
use trefoil_crypto::B256;
use trefoil_types::{
    Attached, Header, Message, Proposal, ProposedBlock, limits,
    message::{GetBlocks, GetBodies},
};

use crate::{
    arena::Arena,
    manners,
    peer::{CATCH_UP, CONSENSUS, GOSSIP, Peer},
    transactions,
};

const PAUSE: Duration = Duration::from_millis(10);
/// 300 requests a second.
const BEGS: Duration = Duration::from_millis(3);
/// 60 announcements a second.
const ANNOUNCES: Duration = Duration::from_millis(16);

manners! {
    "body-beggars" "C3" "GetBodies for 20 pooled transactions of 100 kB, 300 a second, answers read" {}
        |arena, n| beg(arena, n, true, true);
    "body-beggars-unread" "C3" "the same, answers not read" {}
        |arena, n| beg(arena, n, true, false);
    "transaction-beggars" "-" "GetTxs for them, 300 a second, answers read" {}
        |arena, n| beg(arena, n, false, true);
    "transaction-beggars-unread" "-" "the same, answers not read" {}
        |arena, n| beg(arena, n, false, false);
    "bodies-of-no-block" "-" "GetBodies for 30,000 hashes that nobody has, each time others" {}
        unknown_bodies;
    "block-beggars" "M" "GetBlocks from block 1, 300 a second, answers read" {}
        |arena, n| blocks(arena, n, true, false);
    "block-beggars-unread" "M" "the same, answers not read" {}
        |arena, n| blocks(arena, n, false, false);
    "block-beggars-deaf" "M" "the same; not even the socket is read" {}
        |arena, n| blocks(arena, n, false, true);
    "early-proposals" "H5" "proposals of the next heights with 30,000 hashes, each another" {crowd: 8}
        |arena, n| proposals(arena, n, 1);
    "many-proposals" "-" "proposals of this height with 30,000 hashes, each another, signed by strangers" {}
        |arena, n| proposals(arena, n, 0);
    "hash-liars" "M" "proposals that went by, with other lists of hashes" {} hash_liars;
    "false-hashes" "H8" "4,096 hashes of no transaction, 60 times a second" {} false_hashes;
    "sync-by-drips" "M" "a tip ahead, and Blocks that come a byte at a time" {} drips;
    "silent-ahead" "-" "a tip ahead, and requests for blocks are not answered" {} silent_ahead;
}

async fn beg(arena: Arc<Arena>, n: usize, bodies: bool, reads: bool) -> io::Result<()> {
    let tx_hashes = transactions::pooled(&arena).await?;
    let mut peer = Peer::join(&arena, n, 0).await?;
    if reads {
        peer.listen();
    }
    for turn in 0u64.. {
        // Another block each time, or it is the same request.
        let block = B256::from(alloy_primitives::U256::from(turn));
        let hashes = tx_hashes.clone();
        let message = match bodies {
            true => Message::GetBodies(GetBodies { block, tx_hashes: hashes }),
            false => Message::GetTxs(hashes),
        };
        peer.tell(&message).await?;
        peer.pause(BEGS).await?;
    }
    Ok(())
}

async fn unknown_bodies(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    loop {
        let tx_hashes = distinct(limits::BLOCK_TXS_MAX);
        let block = B256::new(rand::random());
        peer.tell(&Message::GetBodies(GetBodies { block, tx_hashes })).await?;
        peer.pause(PAUSE).await?;
    }
}

async fn blocks(arena: Arc<Arena>, n: usize, reads: bool, deaf: bool) -> io::Result<()> {
    let mut peer = Peer::join(&arena, n, 0).await?;
    if reads {
        peer.listen();
    }
    if deaf {
        peer.go_deaf();
    }
    loop {
        peer.tell(&Message::GetBlocks(GetBlocks { from: 1, count: 256 })).await?;
        peer.pause(BEGS).await?;
    }
}

async fn proposals(arena: Arc<Arena>, n: usize, ahead: u64) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    for round in 0.. {
        let (height, _) = peer.position();
        let height = height + ahead;
        let block = B256::new(rand::random());
        let network = &arena.target.genesis;
        let message = Message::Proposal(Box::new(ProposedBlock {
            proposal: Proposal::sign(&peer.key, network, height, round, block, None),
            header: Header { number: height, ..Header::default() },
            tx_hashes: distinct(limits::BLOCK_TXS_MAX),
            attached: Attached::default(),
            bytes: 0,
        }));
        peer.tell(&message).await?;
        peer.pause(PAUSE).await?;
    }
    Ok(())
}

/// So many hashes of nothing: a list that names one twice is malformed.
pub fn distinct(count: usize) -> Vec<B256> {
    (0..count).map(|_| B256::new(rand::random())).collect()
}

/// To all nodes, before they have it from each other if possible.
async fn hash_liars(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    loop {
        let proposal = peer.heard().proposal.take();
        if let Some(proposal) = proposal {
            let other = B256::new(rand::random());
            let lists = [vec![other], distinct(limits::BLOCK_TXS_MAX), vec![]];
            for (tx_hashes, bytes) in lists.into_iter().zip([0, u64::MAX, 1]) {
                let lie = ProposedBlock { tx_hashes, bytes, ..(*proposal).clone() };
                peer.tell(&Message::Proposal(Box::new(lie))).await?;
            }
        }
        peer.pause(Duration::from_millis(1)).await?;
    }
}

async fn false_hashes(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    loop {
        peer.tell(&Message::TxHashes(distinct(limits::TX_HASHES_MAX))).await?;
        peer.pause(ANNOUNCES).await?;
    }
}

async fn drips(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    let (height, _) = peer.position();
    peer.tell(&crate::certificates::tip(height + 50, B256::repeat_byte(1), 0)).await?;
    // On each lane a frame of nearly the limit.
    for (lane, bytes) in [(CONSENSUS, 9 << 20), (CATCH_UP, 9 << 20), (GOSSIP, 4 << 20)] {
        peer.bytes(lane, &u32::to_be_bytes(bytes)).await?;
    }
    loop {
        for (lane, kind) in [(CONSENSUS, 20), (CATCH_UP, 18), (GOSSIP, 34)] {
            peer.bytes(lane, &[kind]).await?;
        }
        peer.pause(Duration::from_millis(200)).await?;
    }
}

async fn silent_ahead(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    let (height, _) = peer.position();
    for ahead in [2, 50, 1 << 40] {
        peer.tell(&crate::certificates::tip(height + ahead, B256::repeat_byte(1), 0)).await?;
    }
    // And again as another, before it is forgotten.
    let _ = timeout(Duration::from_secs(8), peer.stay()).await;
    Ok(())
}
