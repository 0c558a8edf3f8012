//! Votes and proposals, and the certificates that votes add up to.

use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use trefoil_crypto::{B256, Domain, PublicKey, SecretKey, Signature};

use crate::{Height, Round};

// Two steps, so that a validator that commits a block knows that a quorum has seen a quorum
// for it. With one step, validators could lock different blocks when messages are lost.
/// Tendermint's two votes (arXiv:1807.04938), by their numbers in the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VoteKind {
    Prevote = 1,
    Precommit = 2,
}

/// A validator's signed vote for a block, or for none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vote {
    pub kind: VoteKind,
    pub height: Height,
    pub round: Round,
    /// The block's hash; `None` is a vote for no block ("nil").
    pub block: Option<B256>,
    pub validator: PublicKey,
    pub signature: Signature,
}

/// A proposer's signed choice of a block for a round. The body travels separately.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proposal {
    pub height: Height,
    pub round: Round,
    pub block: B256,
    /// The earlier round in which this block got a quorum of prevotes, if any.
    pub pol_round: Option<Round>,
    pub proposer: PublicKey,
    pub signature: Signature,
}

/// A validator and its signature. The certificate around it has the statement that it signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ValidatorSignature {
    pub validator: PublicKey,
    pub signature: Signature,
}

/// A quorum of prevotes for a block in one round: proof that validators may lock it.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct PolkaCertificate {
    pub height: Height,
    pub round: Round,
    pub block: B256,
    /// Prevotes for `block`, each validator once.
    pub signatures: Vec<ValidatorSignature>,
}

// More than a third of the power includes an honest validator, so at least one that is in
// that round is not lying about it. Without this, nodes whose timers differ would drift
// apart.
/// Votes that justify leaving a round, or skipping to it.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct RoundCertificate {
    pub height: Height,
    pub round: Round,
    /// `true`: more than a third of the power voted in `round`, so skip to it; `false`: a
    /// quorum of precommits ended it.
    pub skip: bool,
    pub votes: Vec<RoundVote>,
}

/// A vote in a [`RoundCertificate`], which has its height and round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundVote {
    pub kind: VoteKind,
    pub block: Option<B256>,
    pub validator: PublicKey,
    pub signature: Signature,
}

impl Vote {
    // Without the signer: all votes for one block are the same bytes, so a certificate
    // stores a key and a signature for each.
    /// The bytes that the validator signs: the vote without its signer.
    pub fn signed_bytes(
        kind: VoteKind,
        height: Height,
        round: Round,
        block: Option<B256>,
    ) -> Vec<u8> {
        alloy_rlp::encode(VoteBody::new(kind, height, round, block))
    }

    /// A vote signed by `key` for the network whose genesis hash is `network`.
    pub fn sign(
        key: &SecretKey,
        network: &B256,
        kind: VoteKind,
        height: Height,
        round: Round,
        block: Option<B256>,
    ) -> Self {
        let signature =
            key.sign(Domain::Vote, network, &Self::signed_bytes(kind, height, round, block));
        Self { kind, height, round, block, validator: key.public(), signature }
    }

    pub fn verify(&self, network: &B256) -> bool {
        let bytes = Self::signed_bytes(self.kind, self.height, self.round, self.block);
        self.validator.verify(Domain::Vote, network, &bytes, &self.signature)
    }
}

impl ValidatorSignature {
    /// The vote for `block` that it signs.
    pub fn vote(self, kind: VoteKind, height: Height, round: Round, block: B256) -> Vote {
        let Self { validator, signature } = self;
        Vote { kind, height, round, block: Some(block), validator, signature }
    }
}

impl PolkaCertificate {
    /// The prevotes in it.
    pub fn votes(&self) -> impl Iterator<Item = Vote> {
        let Self { height, round, block, signatures } = self;
        signatures.iter().map(move |s| s.vote(VoteKind::Prevote, *height, *round, *block))
    }
}

impl RoundCertificate {
    /// The votes in it.
    pub fn votes(&self) -> impl Iterator<Item = Vote> {
        self.votes.iter().map(|vote| {
            let (height, round) = (self.height, self.round);
            let RoundVote { kind, block, validator, signature } = *vote;
            Vote { kind, height, round, block, validator, signature }
        })
    }
}

impl Proposal {
    /// The bytes that the proposer signs: the proposal without its signer.
    pub fn signed_bytes(
        height: Height,
        round: Round,
        block: B256,
        pol_round: Option<Round>,
    ) -> Vec<u8> {
        alloy_rlp::encode(ProposalBody::new(height, round, block, pol_round))
    }

    /// A proposal signed by `key` for the network whose genesis hash is `network`.
    pub fn sign(
        key: &SecretKey,
        network: &B256,
        height: Height,
        round: Round,
        block: B256,
        pol_round: Option<Round>,
    ) -> Self {
        let bytes = Self::signed_bytes(height, round, block, pol_round);
        let signature = key.sign(Domain::Proposal, network, &bytes);
        Self { height, round, block, pol_round, proposer: key.public(), signature }
    }

    pub fn verify(&self, network: &B256) -> bool {
        let bytes = Self::signed_bytes(self.height, self.round, self.block, self.pol_round);
        self.proposer.verify(Domain::Proposal, network, &bytes, &self.signature)
    }
}

impl VoteKind {
    /// Its name, for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prevote => "prevote",
            Self::Precommit => "precommit",
        }
    }

    fn from_code(code: u8) -> alloy_rlp::Result<Self> {
        match code {
            1 => Ok(Self::Prevote),
            2 => Ok(Self::Precommit),
            _ => Err(alloy_rlp::Error::Custom("a vote's kind is 1 (prevote) or 2 (precommit)")),
        }
    }
}

/// An option is a list of none or one, so that nil has one encoding.
fn option_of<T>(list: Vec<T>) -> alloy_rlp::Result<Option<T>> {
    if list.len() > 1 {
        return Err(alloy_rlp::Error::Custom("an optional field holds at most one value"));
    }
    Ok(list.into_iter().next())
}

/// A signed statement on the wire: the bytes that are signed, then the signer.
#[derive(RlpEncodable, RlpDecodable)]
struct SignedStatement<T> {
    body: T,
    signer: PublicKey,
    signature: Signature,
}

#[derive(RlpEncodable, RlpDecodable)]
struct VoteBody {
    kind: u8,
    height: Height,
    round: Round,
    block: Vec<B256>,
}

impl VoteBody {
    fn new(kind: VoteKind, height: Height, round: Round, block: Option<B256>) -> Self {
        Self { kind: kind as u8, height, round, block: block.into_iter().collect() }
    }
}

impl Encodable for Vote {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        let Self { kind, height, round, block, validator: signer, signature } = *self;
        SignedStatement { body: VoteBody::new(kind, height, round, block), signer, signature }
            .encode(out);
    }
}

impl Decodable for Vote {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let SignedStatement { body, signer: validator, signature } =
            SignedStatement::<VoteBody>::decode(buf)?;
        let VoteBody { kind, height, round, block } = body;
        let (kind, block) = (VoteKind::from_code(kind)?, option_of(block)?);
        Ok(Self { kind, height, round, block, validator, signature })
    }
}

#[derive(RlpEncodable, RlpDecodable)]
struct ProposalBody {
    height: Height,
    round: Round,
    block: B256,
    pol_round: Vec<Round>,
}

impl ProposalBody {
    fn new(height: Height, round: Round, block: B256, pol_round: Option<Round>) -> Self {
        Self { height, round, block, pol_round: pol_round.into_iter().collect() }
    }
}

impl Encodable for Proposal {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        let Self { height, round, block, pol_round, proposer: signer, signature } = *self;
        let body = ProposalBody::new(height, round, block, pol_round);
        SignedStatement { body, signer, signature }.encode(out);
    }
}

impl Decodable for Proposal {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let SignedStatement { body, signer: proposer, signature } =
            SignedStatement::<ProposalBody>::decode(buf)?;
        let ProposalBody { height, round, block, pol_round } = body;
        let pol_round = option_of(pol_round)?;
        Ok(Self { height, round, block, pol_round, proposer, signature })
    }
}

#[derive(RlpEncodable, RlpDecodable)]
struct RoundVoteWire {
    kind: u8,
    block: Vec<B256>,
    validator: PublicKey,
    signature: Signature,
}

impl Encodable for RoundVote {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        RoundVoteWire {
            kind: self.kind as u8,
            block: self.block.into_iter().collect(),
            validator: self.validator,
            signature: self.signature,
        }
        .encode(out);
    }
}

impl Decodable for RoundVote {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let RoundVoteWire { kind, block, validator, signature } = RoundVoteWire::decode(buf)?;
        let (kind, block) = (VoteKind::from_code(kind)?, option_of(block)?);
        Ok(Self { kind, block, validator, signature })
    }
}
