//! Certificates that prove nothing, or not what they claim; and other claims of consensus.

use std::{io, sync::Arc, time::Duration};

use trefoil_crypto::{B256, SecretKey, Signature};
use trefoil_types::{
    Message, PolkaCertificate, RoundCertificate, RoundVote, ValidatorSignature, Vote, VoteKind,
    message::Tip,
};

use crate::{arena::Arena, manners, peer::Peer};

/// How often a devnet without transactions makes a block.
const IDLE: Duration = Duration::from_secs(1);
/// How long before that certificates go out: before any honest one is there.
const BEFORE: Duration = Duration::from_millis(6);
const OFTEN: Duration = Duration::from_millis(2);
const SELDOM: Duration = Duration::from_millis(20);
/// How long a peer goes by one name.
const TURN: Duration = Duration::from_secs(4);
/// Of so many votes every subset is tried; of more, the first ones.
const SUBSETS_OF: usize = 5;

manners! {
    "empty-certificates" "C1" "certificates without a vote, some milliseconds before a block" {}
        empty;
    "false-tips" "C4" "tips of height 10^9, each 4 s by another identity" {} false_tips;
    "tips-of-all-heights" "-" "tips that rise by one, as of a chain that is ahead for ever" {}
        rising_tips;
    "tips-beside" "-" "tips of the right height with another hash and a round of 2^32 - 1" {}
        other_tips;
    "certificate-subsets" "-" "every subset, repetition and order of the votes that went by" {}
        subsets;
    "certificates-inflated" "-" "one vote that went by, 256 times in a certificate" {} inflated;
    "certificates-renamed" "-" "votes that went by, in a certificate of another block or round" {}
        renamed;
    "certificates-of-strangers" "-" "sound certificates of 128 keys that do not validate" {}
        strangers;
    "certificates-without-signatures" "-" "the validators' keys with signatures of zeros" {}
        unsigned;
    "certificates-of-all-rounds" "-" "empty and small certificates of rounds up to 2^32 - 1" {}
        rounds;
}

async fn empty(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    loop {
        let (height, _) = peer.position();
        let since = peer.heard().tip_at.map(|at| at.elapsed());
        if since.is_some_and(|since| IDLE.saturating_sub(since) < BEFORE) {
            for skip in [true, false] {
                peer.tell(&round(height, 0, skip, vec![])).await?;
            }
            peer.tell(&polka(height, 0, B256::ZERO, vec![])).await?;
        }
        peer.pause(OFTEN).await?;
    }
}

async fn false_tips(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    for _ in 0..TURN.as_millis() / OFTEN.as_millis() {
        peer.tell(&tip(1_000_000_000, B256::ZERO, 0)).await?;
        peer.pause(OFTEN).await?;
    }
    Ok(())
}

async fn rising_tips(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    for ahead in 0.. {
        let (height, _) = peer.position();
        peer.tell(&tip(height + ahead, B256::repeat_byte(ahead as u8), 0)).await?;
        peer.pause(OFTEN).await?;
    }
    Ok(())
}

async fn other_tips(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    for turn in 0..=u8::MAX {
        let (height, _) = peer.position();
        for round in [0, 1, u32::MAX] {
            peer.tell(&tip(height - 1, B256::repeat_byte(turn), round)).await?;
            peer.tell(&tip(u64::MAX, B256::repeat_byte(turn), round)).await?;
        }
        peer.pause(OFTEN).await?;
    }
    Ok(())
}

async fn subsets(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    loop {
        let votes = peer.heard().votes.clone();
        let some = &votes[..votes.len().min(SUBSETS_OF)];
        for subset in 0..1u32 << some.len() {
            let chosen = some.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1);
            let mut chosen: Vec<Vote> = chosen.map(|(_, vote)| vote.clone()).collect();
            for message in of_votes(&peer, &chosen) {
                peer.tell(&message).await?;
            }
            chosen.reverse();
            chosen.extend(chosen.first().cloned());
            for message in of_votes(&peer, &chosen) {
                peer.tell(&message).await?;
            }
        }
        peer.pause(SELDOM).await?;
    }
}

async fn inflated(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    loop {
        let vote = peer.heard().votes.first().cloned();
        if let Some(vote) = vote {
            for message in of_votes(&peer, &std::iter::repeat_n(vote, 256).collect::<Vec<_>>()) {
                peer.tell(&message).await?;
            }
        }
        peer.pause(SELDOM).await?;
    }
}

async fn renamed(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    loop {
        let votes = peer.heard().votes.clone();
        let (height, position) = peer.position();
        for other in [0, position + 1, u32::MAX] {
            peer.tell(&round(height, other, true, round_votes(&votes))).await?;
            peer.tell(&round(height + 1, other, false, round_votes(&votes))).await?;
            let block = B256::repeat_byte(other as u8);
            peer.tell(&polka(height, other, block, signatures(&votes))).await?;
        }
        peer.pause(SELDOM).await?;
    }
}

async fn strangers(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    let keys: Vec<SecretKey> = (0..128).map(|n| SecretKey::from_seed(&[n; 32])).collect();
    loop {
        let (height, position) = peer.position();
        let block = Some(B256::repeat_byte(n as u8));
        let sign = |key| {
            let kind = VoteKind::Prevote;
            Vote::sign(key, &arena.target.genesis, kind, height, position, block)
        };
        let votes: Vec<Vote> = keys.iter().map(sign).collect();
        for message in of_votes(&peer, &votes) {
            peer.tell(&message).await?;
        }
        peer.pause(SELDOM).await?;
    }
}

async fn unsigned(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    loop {
        let mut votes = peer.heard().votes.clone();
        votes.iter_mut().for_each(|vote| vote.signature = Signature([0; 64]));
        for message in of_votes(&peer, &votes) {
            peer.tell(&message).await?;
        }
        peer.pause(SELDOM).await?;
    }
}

async fn rounds(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    loop {
        let (height, _) = peer.position();
        let one: Vec<Vote> = peer.heard().votes.iter().take(1).cloned().collect();
        for position in (0..32).map(|bits| u32::MAX >> bits) {
            for skip in [true, false] {
                peer.tell(&round(height, position, skip, vec![])).await?;
                peer.tell(&round(height, position, skip, round_votes(&one))).await?;
            }
            peer.tell(&polka(height, position, B256::ZERO, vec![])).await?;
        }
        peer.pause(SELDOM).await?;
    }
}

/// Both kinds of certificate of these votes, at the network's position.
fn of_votes(peer: &Peer, votes: &[Vote]) -> Vec<Message> {
    let (height, position) = peer.position();
    let block = votes.iter().find_map(|vote| vote.block).unwrap_or_default();
    vec![
        round(height, position, true, round_votes(votes)),
        round(height, position, false, round_votes(votes)),
        polka(height, position, block, signatures(votes)),
    ]
}

fn round_votes(votes: &[Vote]) -> Vec<RoundVote> {
    let vote = |vote: &Vote| RoundVote {
        kind: vote.kind,
        block: vote.block,
        validator: vote.validator,
        signature: vote.signature,
    };
    votes.iter().map(vote).collect()
}

fn signatures(votes: &[Vote]) -> Vec<ValidatorSignature> {
    let signed =
        |vote: &Vote| ValidatorSignature { validator: vote.validator, signature: vote.signature };
    votes.iter().map(signed).collect()
}

pub fn round(height: u64, round: u32, skip: bool, votes: Vec<RoundVote>) -> Message {
    Message::RoundCertificate(RoundCertificate { height, round, skip, votes })
}

pub fn polka(height: u64, round: u32, block: B256, signatures: Vec<ValidatorSignature>) -> Message {
    Message::PolkaCertificate(PolkaCertificate { height, round, block, signatures })
}

pub fn tip(height: u64, hash: B256, round: u32) -> Message {
    Message::Tip(Tip { height, hash, round })
}
