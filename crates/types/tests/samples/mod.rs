//! One message of each kind, from fixed keys: for golden bytes and benches.

use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Bytes, TxKind, U256};
use trefoil_crypto::SecretKey;
use trefoil_types::{
    Address, Attached, B256, Block, Certificate, CertifiedBlock, Evidence, Header, Message,
    PolkaCertificate, Proposal, ProposedBlock, RoundCertificate, RoundVote, TxEnvelope,
    ValidatorSignature, Vote, VoteKind,
    message::{Blocks, Bodies, GetBlocks, GetBodies, Tip},
};

const NETWORK: B256 = B256::repeat_byte(7);
const BLOCK: B256 = B256::repeat_byte(9);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn vote(n: u8, kind: VoteKind, block: Option<B256>) -> Vote {
    Vote::sign(&key(n), &NETWORK, kind, 5, 1, block)
}

fn signatures(signers: u8, kind: VoteKind) -> Vec<ValidatorSignature> {
    let sign = |n| {
        let vote = vote(n, kind, Some(BLOCK));
        ValidatorSignature { validator: vote.validator, signature: vote.signature }
    };
    (1..=signers).map(sign).collect()
}

fn certificate(signers: u8) -> Certificate {
    let signatures = signatures(signers, VoteKind::Precommit);
    Certificate { height: 5, round: 1, block: BLOCK, signatures }
}

/// Two votes of validator 4.
fn evidence() -> Evidence {
    let [a, b] = [Some(BLOCK), None].map(|block| vote(4, VoteKind::Precommit, block));
    Evidence::of_votes(a, b).expect("they conflict")
}

fn attached() -> Attached {
    Attached { evidence: vec![evidence()], parent_certificate: Some(certificate(3)) }
}

fn header() -> Header {
    Header {
        parent_hash: B256::repeat_byte(1),
        beneficiary: Address::repeat_byte(2),
        state_root: B256::repeat_byte(3),
        number: 6,
        gas_limit: 30_000_000,
        gas_used: 21_000,
        timestamp: 1_700_000_000,
        mix_hash: B256::repeat_byte(4),
        base_fee_per_gas: Some(7),
        withdrawals_root: Some(B256::repeat_byte(5)),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        extra_data: attached().extra_data(),
        parent_beacon_block_root: Some(certificate(3).hash()),
        requests_hash: Some(B256::repeat_byte(6)),
        ..Header::default()
    }
}

/// A plain transfer. Its signature has the right shape, not a real sender.
pub fn transfer(nonce: u64) -> TxEnvelope {
    let tx = TxEip1559 {
        chain_id: 7331,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::repeat_byte(8)),
        value: U256::from(1_000_000_000_000_000_000u64),
        ..TxEip1559::default()
    };
    let word = U256::from_be_bytes([0x5a; 32]);
    tx.into_signed(alloy_primitives::Signature::new(word, word, nonce % 2 == 1)).into()
}

fn raw(nonce: u64) -> Bytes {
    transfer(nonce).encoded_2718().into()
}

fn hashes(count: u64) -> Vec<B256> {
    (0..count).map(|n| B256::from(U256::from(n + 1))).collect()
}

/// A block of `txs` transfers with its certificates of three of four.
fn block(txs: u64) -> CertifiedBlock {
    let body = alloy_consensus::BlockBody {
        transactions: (0..txs).map(transfer).collect(),
        ommers: vec![],
        withdrawals: Some(Default::default()),
    };
    CertifiedBlock {
        block: Block { header: header(), body },
        certificate: certificate(3),
        attached: attached(),
    }
}

/// Every kind of message by name; lists hold `n` items.
pub fn messages(n: u64) -> Vec<(&'static str, Message)> {
    let proposal = Proposal::sign(&key(1), &NETWORK, 6, 1, BLOCK, Some(0));
    let other = Proposal::sign(&key(1), &NETWORK, 6, 1, NETWORK, None);
    let proposals = Evidence::of_proposals(proposal.clone(), other).expect("they conflict");
    let round_vote = |n, kind, block| {
        let vote = vote(n, kind, block);
        RoundVote { kind, block, validator: vote.validator, signature: vote.signature }
    };
    vec![
        ("vote", Message::Vote(vote(1, VoteKind::Precommit, Some(BLOCK)))),
        ("vote-nil", Message::Vote(vote(1, VoteKind::Prevote, None))),
        (
            "proposal",
            Message::Proposal(Box::new(ProposedBlock {
                proposal,
                header: header(),
                tx_hashes: hashes(n),
                attached: attached(),
                bytes: 1_100,
            })),
        ),
        (
            "polka",
            Message::PolkaCertificate(PolkaCertificate {
                height: 5,
                round: 1,
                block: BLOCK,
                signatures: signatures(3, VoteKind::Prevote),
            }),
        ),
        (
            "round",
            Message::RoundCertificate(RoundCertificate {
                height: 5,
                round: 1,
                skip: true,
                votes: vec![
                    round_vote(1, VoteKind::Prevote, None),
                    round_vote(2, VoteKind::Precommit, Some(BLOCK)),
                ],
            }),
        ),
        ("tip", Message::Tip(Tip { height: 5, hash: BLOCK, round: 1 })),
        ("get-blocks", Message::GetBlocks(GetBlocks { from: 6, count: n })),
        ("blocks", Message::Blocks(Blocks { from: 6, blocks: vec![block(n)] })),
        ("get-bodies", Message::GetBodies(GetBodies { block: BLOCK, tx_hashes: hashes(n) })),
        ("bodies", Message::Bodies(Bodies { block: BLOCK, txs: (0..n).map(raw).collect() })),
        ("tx-hashes", Message::TxHashes(hashes(n))),
        ("get-txs", Message::GetTxs(hashes(n))),
        ("txs", Message::Txs((0..n).map(raw).collect())),
        ("evidence-votes", Message::Evidence(Box::new(evidence()))),
        ("evidence-proposals", Message::Evidence(Box::new(proposals))),
    ]
}
