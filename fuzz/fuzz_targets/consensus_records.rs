//! A height's records in a journal that something else wrote: replayed or
//! refused.
#![no_main]

use std::sync::LazyLock;

use alloy_rlp::{Encodable, RlpEncodable};
use libfuzzer_sys::fuzz_target;
use trefoil_consensus::{Config, Consensus, Timeouts};
use trefoil_crypto::SecretKey;
use trefoil_types::{
    B256, Millis, PolkaCertificate, Proposal, PublicKey, Time, Turns, Validator, ValidatorSet,
    ValidatorSignature, Vote, VoteKind,
};

const NETWORK: B256 = B256::repeat_byte(7);
const RECORDS_MAX: usize = 64;

/// The node's own key is the first.
static KEYS: LazyLock<Vec<SecretKey>> =
    LazyLock::new(|| (1..=4).map(|seed| SecretKey::from_seed(&[seed; 32])).collect());

fuzz_target!(|bytes: &[u8]| {
    let records: Vec<Vec<u8>> = bytes.chunks(4).take(RECORDS_MAX).map(record).collect();
    let validator = |key: &SecretKey| Validator { key: key.public(), power: 1 };
    let set = ValidatorSet::new(KEYS.iter().map(validator).collect()).expect("four validators");
    let timeouts = Timeouts {
        propose: Millis(1_000),
        prevote: Millis(400),
        precommit: Millis(400),
        delta: Millis(150),
        max: Millis(3_000),
        passes_over: true,
    };
    let keys = vec![KEYS[0].clone()];
    let mut consensus = Consensus::new(Config { keys, network: NETWORK, timeouts });
    let _ = consensus.start(Time(0), 1, Turns::first(set), &records, &mut Vec::new());
});

/// Four bytes as a record (crates/consensus/src/wal_entry.rs): a kind, then who,
/// what and when. No mutation finds a signature, so they are made here; one in
/// eight records is none.
fn record(bytes: &[u8]) -> Vec<u8> {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let (who, what, round) = (byte(1), byte(2), u32::from(byte(3) % 16));
    let height = if who < 0xf0 { 1 } else { u64::from(what) };
    let key = &KEYS[usize::from(who % 4)];
    let block = B256::repeat_byte(what % 4);
    let earlier = (what >= 0x80).then_some(round.wrapping_sub(u32::from(what >> 2) % 8));
    let kind = if who & 4 == 0 { VoteKind::Prevote } else { VoteKind::Precommit };
    let vote = |key, kind| {
        let block = (what % 4 != 3).then_some(block);
        Vote::sign(key, &NETWORK, kind, height, round, block)
    };
    match byte(0) % 9 {
        0 => bytes.to_vec(),
        1 | 2 => tagged(1, &vote(key, kind)),
        3 => tagged(2, &Proposal::sign(key, &NETWORK, height, round, block, earlier)),
        4 => {
            let voted = KEYS.iter().enumerate().filter(|(at, _)| who >> at & 1 == 1);
            let signed = |(_, key)| {
                let Vote { validator, signature, .. } = vote(key, VoteKind::Prevote);
                ValidatorSignature { validator, signature }
            };
            let signatures = voted.map(signed).collect();
            tagged(3, &PolkaCertificate { height, round, block, signatures })
        }
        5 | 6 => {
            let (proposer, valid) = (key.public(), who & 4 == 0);
            tagged(4, &Candidate { height, round, proposer, block, valid })
        }
        7 => tagged(6, &Elsewhere { height, round }),
        _ => tagged(5, &Elapsed { height, kind: what % 5, round }),
    }
}

fn tagged(tag: u8, body: &impl Encodable) -> Vec<u8> {
    let mut out = vec![tag];
    body.encode(&mut out);
    out
}

#[derive(RlpEncodable)]
struct Candidate {
    height: u64,
    round: u32,
    proposer: PublicKey,
    block: B256,
    valid: bool,
}

#[derive(RlpEncodable)]
struct Elsewhere {
    height: u64,
    round: u32,
}

#[derive(RlpEncodable)]
struct Elapsed {
    height: u64,
    kind: u8,
    round: u32,
}
