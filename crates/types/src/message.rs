//! Every message between nodes, and its encoding: one type byte, then RLP.

use alloy_primitives::Bytes;
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use trefoil_crypto::B256;

use crate::{
    Attached, CertifiedBlock, Evidence, Header, Height, PolkaCertificate, Proposal,
    RoundCertificate, Vote, limits,
};

// Bodies are most of a block, and the mempools of the validators hold nearly all of them:
// sending hashes keeps the proposer's uplink from being the limit (ADR 22).
/// A proposal, and what a receiver needs to rebuild the block: the header and the hashes of
/// its transactions. It holds most of the bodies already.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ProposedBlock {
    pub proposal: Proposal,
    pub header: Header,
    pub tx_hashes: Vec<B256>,
    pub attached: Attached,
    /// The bytes of all transactions together (EIP-2718). Nobody vouches for this number:
    /// it only helps to choose how to request those that are missing.
    pub bytes: u64,
}

/// A message from one node to another. Order holds within a lane (see [`Message::lane`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Consensus.
    Vote(Vote),
    Proposal(Box<ProposedBlock>),
    PolkaCertificate(PolkaCertificate),
    RoundCertificate(RoundCertificate),

    // A claim: it may lead to a `GetBlocks`, and to nothing else. A claimed tip of 10^9
    // once stopped validators, which went to block sync for blocks that did not exist.
    /// The sender's newest final block. Sent on connecting and on each commit.
    Tip(Tip),
    /// Requests at most `count` final blocks, starting at `from`.
    GetBlocks(GetBlocks),
    /// Consecutive final blocks, as many as the sender chooses to give; none if it has none
    /// of those that were requested.
    Blocks(Blocks),

    /// Requests transactions of a proposed block that the sender lacks.
    GetBodies(GetBodies),
    /// Raw EIP-2718 transactions of a proposed block, in the order of the request.
    Bodies(Bodies),

    /// Hashes of transactions in the sender's mempool.
    TxHashes(Vec<B256>),
    /// Requests announced transactions.
    GetTxs(Vec<B256>),
    /// Raw EIP-2718 transactions.
    Txs(Vec<Bytes>),

    /// Proof of double signing that no block has carried yet.
    Evidence(Box<Evidence>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Tip {
    pub height: Height,
    pub hash: B256,
    /// The consensus round of the sender at `height + 1`: peers help a node that lags
    /// behind.
    pub round: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct GetBlocks {
    pub from: Height,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Blocks {
    pub from: Height,
    pub blocks: Vec<CertifiedBlock>,
}

#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct GetBodies {
    pub block: B256,
    pub tx_hashes: Vec<B256>,
}

#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Bodies {
    pub block: B256,
    pub txs: Vec<Bytes>,
}

// One queue for all would let a flood of transactions delay a vote (ADR 4).
/// The queue in which a message waits. The most urgent is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    Consensus,
    CatchUp,
    Gossip,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("message of {0} bytes is over the limit of {max}", max = limits::MESSAGE_BYTES_MAX)]
    TooLarge(usize),
    #[error("message of unknown type {0}")]
    UnknownType(u8),
    #[error("message of type {kind} cannot be decoded: {reason}")]
    Malformed { kind: u8, reason: alloy_rlp::Error },
    #[error("message of type {kind} holds {count} items, more than {max}")]
    TooMany { kind: u8, count: usize, max: usize },
    #[error("message of type {0} in an encoding that is not the one")]
    NotCanonical(u8),
    #[error("an empty message")]
    Empty,
}

// The type bytes of docs/wire.md.
const VOTE: u8 = 1;
const PROPOSAL: u8 = 2;
const POLKA: u8 = 3;
const ROUND: u8 = 4;
const TIP: u8 = 16;
const GET_BLOCKS: u8 = 17;
const BLOCKS: u8 = 18;
const GET_BODIES: u8 = 19;
const BODIES: u8 = 20;
const TX_HASHES: u8 = 32;
const GET_TXS: u8 = 33;
const TXS: u8 = 34;
const EVIDENCE: u8 = 35;

impl Message {
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Vote(_)
            | Self::Proposal(_)
            | Self::PolkaCertificate(_)
            | Self::RoundCertificate(_)
            | Self::Tip(_)
            // Without its bodies a proposal cannot be voted for, so they are as urgent as
            // votes.
            | Self::GetBodies(_)
            | Self::Bodies(_) => Lane::Consensus,
            // Blocks of the past are large and help one node that is behind; they must not
            // delay the height that all are deciding.
            Self::GetBlocks(_) | Self::Blocks(_) => Lane::CatchUp,
            Self::TxHashes(_) | Self::GetTxs(_) | Self::Txs(_) | Self::Evidence(_) => Lane::Gossip,
        }
    }

    // Attack: a configured peer with a certificate of its own making claims a height beyond
    // ours, so that it cannot be judged. It may bring blocks that verify, and nothing else.
    /// Whether it tells of final blocks or brings them: the only messages that are accepted
    /// from a peer that cannot be judged yet.
    pub const fn brings_blocks(&self) -> bool {
        matches!(self, Self::Tip(_) | Self::Blocks(_))
    }

    pub fn encode(&self) -> Vec<u8> {
        let (kind, body): (u8, &dyn Encodable) = match self {
            Self::Vote(m) => (VOTE, m),
            Self::Proposal(m) => (PROPOSAL, m.as_ref()),
            Self::PolkaCertificate(m) => (POLKA, m),
            Self::RoundCertificate(m) => (ROUND, m),
            Self::Tip(m) => (TIP, m),
            Self::GetBlocks(m) => (GET_BLOCKS, m),
            Self::Blocks(m) => (BLOCKS, m),
            Self::GetBodies(m) => (GET_BODIES, m),
            Self::Bodies(m) => (BODIES, m),
            Self::TxHashes(m) => (TX_HASHES, m),
            Self::GetTxs(m) => (GET_TXS, m),
            Self::Txs(m) => (TXS, m),
            Self::Evidence(m) => (EVIDENCE, m.as_ref()),
        };
        let mut out = Vec::with_capacity(1 + body.length());
        out.push(kind);
        body.encode(&mut out);
        out
    }

    /// Decodes exactly one message.
    ///
    /// # Errors
    /// Over a limit, of an unknown type, malformed, not in its one encoding, or
    /// followed by more bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        // Once more here, although the frame was bounded: a decoder may be called with
        // bytes from anywhere.
        if bytes.len() > limits::MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLarge(bytes.len()));
        }
        let (&kind, mut body) = bytes.split_first().ok_or(MessageError::Empty)?;
        let malformed = |reason| MessageError::Malformed { kind, reason };
        let buf = &mut body;
        let message = match kind {
            VOTE => Vote::decode(buf).map(Self::Vote),
            PROPOSAL => ProposedBlock::decode(buf).map(|m| Self::Proposal(Box::new(m))),
            POLKA => PolkaCertificate::decode(buf).map(Self::PolkaCertificate),
            ROUND => RoundCertificate::decode(buf).map(Self::RoundCertificate),
            TIP => Tip::decode(buf).map(Self::Tip),
            GET_BLOCKS => GetBlocks::decode(buf).map(Self::GetBlocks),
            BLOCKS => Blocks::decode(buf).map(Self::Blocks),
            GET_BODIES => GetBodies::decode(buf).map(Self::GetBodies),
            BODIES => Bodies::decode(buf).map(Self::Bodies),
            TX_HASHES => Vec::decode(buf).map(Self::TxHashes),
            GET_TXS => Vec::decode(buf).map(Self::GetTxs),
            TXS => Vec::decode(buf).map(Self::Txs),
            EVIDENCE => Evidence::decode(buf).map(|m| Self::Evidence(Box::new(m))),
            _ => return Err(MessageError::UnknownType(kind)),
        }
        .map_err(malformed)?;
        if !body.is_empty() {
            return Err(malformed(alloy_rlp::Error::UnexpectedLength));
        }
        message.check_counts(kind)?;
        // Ethereum's decoders accept some wrong lengths inside a block (found by fuzzing),
        // and one value must have one encoding. Encoding is cheap beside decoding.
        if message.encode() != bytes {
            return Err(MessageError::NotCanonical(kind));
        }
        Ok(message)
    }

    /// RLP takes memory in proportion to the bytes that arrived, which the frame limit
    /// bounds. These counts bound the work that a message asks for.
    fn check_counts(&self, kind: u8) -> Result<(), MessageError> {
        let (count, max) = match self {
            Self::Proposal(m) if m.attached.evidence.len() > limits::BLOCK_EVIDENCE_MAX => {
                (m.attached.evidence.len(), limits::BLOCK_EVIDENCE_MAX)
            }
            Self::Proposal(m) => (m.tx_hashes.len(), limits::BLOCK_TXS_MAX),
            Self::PolkaCertificate(m) => (m.signatures.len(), limits::VALIDATORS_MAX),
            // A prevote and a precommit of each validator.
            Self::RoundCertificate(m) => (m.votes.len(), 2 * limits::VALIDATORS_MAX),
            Self::Blocks(m) => (m.blocks.len(), limits::CATCH_UP_BLOCKS_MAX as usize),
            Self::GetBodies(m) => (m.tx_hashes.len(), limits::BLOCK_TXS_MAX),
            Self::Bodies(m) => (m.txs.len(), limits::BLOCK_TXS_MAX),
            Self::TxHashes(m) | Self::GetTxs(m) => (m.len(), limits::TX_HASHES_MAX),
            Self::Txs(m) => (m.len(), limits::TX_HASHES_MAX),
            Self::Vote(_) | Self::Tip(_) | Self::GetBlocks(_) | Self::Evidence(_) => (0, 0),
        };
        if count > max { Err(MessageError::TooMany { kind, count, max }) } else { Ok(()) }
    }
}
