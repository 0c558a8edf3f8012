//! Every message between nodes, and its encoding: one type byte, then RLP.

use alloy_primitives::Bytes;
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use trefoil_crypto::B256;

use crate::{
    Attached, CertifiedBlock, Evidence, Header, Height, PolkaCertificate, Proposal,
    RoundCertificate, Vote,
    message_lists::{self, ListError},
    message_rule::{self as rules, MessageRule},
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

impl ProposedBlock {
    // Attack: 990 kB that name a transaction of 128 KiB 30,000 times. Sorted, since an attacker who
    // chooses the hashes could have them collide in a map. No valid block holds one twice, and a
    // node makes its list of a block that it executed.
    /// Whether a transaction stands in the list twice, which makes it malformed.
    fn names_one_twice(&self) -> bool {
        let mut hashes: Vec<&B256> = self.tx_hashes.iter().collect();
        hashes.sort_unstable();
        hashes.windows(2).any(|pair| pair[0] == pair[1])
    }
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
    #[error("message of type {kind} and {bytes} bytes is over the limit of {max}")]
    TooLarge { kind: u8, bytes: usize, max: usize },
    #[error("message of unknown type {0}")]
    UnknownType(u8),
    #[error("message of type {kind} cannot be decoded: {reason}")]
    Malformed { kind: u8, reason: alloy_rlp::Error },
    #[error("message of type {kind} holds a list of more than {max} items")]
    TooMany { kind: u8, max: usize },
    #[error("message of type {0} names a transaction twice")]
    NamedTwice(u8),
    #[error("message of type {0} in an encoding that is not the one")]
    NotCanonical(u8),
    #[error("an empty message")]
    Empty,
}

const VOTE: u8 = rules::VOTE.kind;
const PROPOSAL: u8 = rules::PROPOSAL.kind;
const POLKA: u8 = rules::POLKA.kind;
const ROUND: u8 = rules::ROUND.kind;
const TIP: u8 = rules::TIP.kind;
const GET_BLOCKS: u8 = rules::GET_BLOCKS.kind;
const BLOCKS: u8 = rules::BLOCKS.kind;
const GET_BODIES: u8 = rules::GET_BODIES.kind;
const BODIES: u8 = rules::BODIES.kind;
const TX_HASHES: u8 = rules::TX_HASHES.kind;
const GET_TXS: u8 = rules::GET_TXS.kind;
const TXS: u8 = rules::TXS.kind;
const EVIDENCE: u8 = rules::EVIDENCE.kind;

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

    // Exhaustive, so that no message is without a rule.
    /// Who may send it, what it may cost, and who is blamed for it.
    pub const fn rule(&self) -> &'static MessageRule {
        match self {
            Self::Vote(_) => &rules::VOTE,
            Self::Proposal(_) => &rules::PROPOSAL,
            Self::PolkaCertificate(_) => &rules::POLKA,
            Self::RoundCertificate(_) => &rules::ROUND,
            Self::Tip(_) => &rules::TIP,
            Self::GetBlocks(_) => &rules::GET_BLOCKS,
            Self::Blocks(_) => &rules::BLOCKS,
            Self::GetBodies(_) => &rules::GET_BODIES,
            Self::Bodies(_) => &rules::BODIES,
            Self::TxHashes(_) => &rules::TX_HASHES,
            Self::GetTxs(_) => &rules::GET_TXS,
            Self::Txs(_) => &rules::TXS,
            Self::Evidence(_) => &rules::EVIDENCE,
        }
    }

    fn body(&self) -> &dyn Encodable {
        match self {
            Self::Vote(m) => m,
            Self::Proposal(m) => &**m,
            Self::PolkaCertificate(m) => m,
            Self::RoundCertificate(m) => m,
            Self::Tip(m) => m,
            Self::GetBlocks(m) => m,
            Self::Blocks(m) => m,
            Self::GetBodies(m) => m,
            Self::Bodies(m) => m,
            Self::TxHashes(m) | Self::GetTxs(m) => m,
            Self::Txs(m) => m,
            Self::Evidence(m) => &**m,
        }
    }

    /// The bytes of its encoding, which is not made for it.
    pub fn encoded_len(&self) -> usize {
        1 + self.body().length()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.push(self.rule().kind);
        self.body().encode(&mut out);
        out
    }

    /// What the message of these bytes takes in memory beyond as many bytes, when it is decoded:
    /// many short transactions take more than they have. 0 for what is no message.
    pub fn unpacked_bytes(bytes: &[u8]) -> usize {
        let Some((&kind, body)) = bytes.split_first() else { return 0 };
        message_lists::check(kind, body).unwrap_or(0)
    }

    /// Decodes exactly one message.
    ///
    /// # Errors
    /// Over a limit, of an unknown type, malformed, not in its one encoding, or
    /// followed by more bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let (&kind, mut body) = bytes.split_first().ok_or(MessageError::Empty)?;
        let rule = rules::of_kind(kind).ok_or(MessageError::UnknownType(kind))?;
        // Once more here, although the frame was bounded: a decoder may be called with
        // bytes from anywhere, and a frame's limit is its lane's.
        if bytes.len() > rule.bytes_max {
            return Err(MessageError::TooLarge { kind, bytes: bytes.len(), max: rule.bytes_max });
        }
        let malformed = |reason| MessageError::Malformed { kind, reason };
        message_lists::check(kind, body).map_err(|error| match error {
            ListError::Malformed(reason) => malformed(reason),
            ListError::TooMany(max) => MessageError::TooMany { kind, max },
        })?;
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
        // Ethereum's decoders accept some wrong lengths inside a block (found by fuzzing),
        // and one value must have one encoding. Encoding is cheap beside decoding.
        if message.encode() != bytes {
            return Err(MessageError::NotCanonical(kind));
        }
        if let Self::Proposal(proposed) = &message
            && proposed.names_one_twice()
        {
            return Err(MessageError::NamedTwice(kind));
        }
        Ok(message)
    }
}
