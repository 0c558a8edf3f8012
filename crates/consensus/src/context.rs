//! The types that Malachite's [`Context`] needs, and their conversions to and from the
//! types of the wire.

use std::{fmt, sync::Arc};

use arc_malachitebft_core_consensus as core;
use arc_malachitebft_core_types::{
    self as mal, CommitCertificate, Context, LinearTimeouts, NilOrVal, PolkaSignature,
    RoundCertificateType, RoundSignature, SignedMessage, VoteType,
};
use trefoil_types::{
    B256, Certificate, Height, PolkaCertificate, Proposal, PublicKey, Round, RoundCertificate,
    RoundVote, Signature, ValidatorSet, ValidatorSignature, Vote, VoteKind,
};

/// The consensus of this chain: the value is a block's hash.
#[derive(Clone, Copy, Debug)]
pub struct ChainContext;

pub type CoreInput = core::Input<ChainContext>;
pub type SignedVote = mal::SignedVote<ChainContext>;
pub type SignedProposal = mal::SignedProposal<ChainContext>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsensusHeight(pub Height);

/// A validator's name: its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValidatorName(pub PublicKey);

/// A block, by hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value(pub B256);

/// A vote before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedVote {
    kind: VoteType,
    height: ConsensusHeight,
    round: mal::Round,
    value: NilOrVal<B256>,
    voter: ValidatorName,
}

/// A proposal before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedProposal {
    height: ConsensusHeight,
    round: mal::Round,
    value: Value,
    pol_round: mal::Round,
    proposer: ValidatorName,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsensusValidator {
    name: ValidatorName,
    power: u64,
}

/// A height's validators, cheap to clone as the core does so often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsensusValidators {
    pub set: Arc<ValidatorSet>,
    members: Arc<[ConsensusValidator]>,
    power: u64,
}

/// Bodies travel beside consensus, so there are no parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPart;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ed25519;

impl ConsensusValidators {
    pub fn new(set: ValidatorSet) -> Self {
        let members = set
            .iter()
            .map(|v| ConsensusValidator { name: ValidatorName(v.key), power: v.power })
            .collect();
        Self { power: set.total_power(), members, set: Arc::new(set) }
    }
}

pub fn vote_in(vote: Vote) -> SignedVote {
    let message = UnsignedVote {
        kind: kind_in(vote.kind),
        height: ConsensusHeight(vote.height),
        round: vote.round.into(),
        value: value_in(vote.block),
        voter: ValidatorName(vote.validator),
    };
    SignedMessage::new(message, vote.signature)
}

pub fn vote_out(SignedMessage { message, signature }: &SignedVote) -> Vote {
    Vote {
        kind: kind_out(message.kind),
        height: message.height.0,
        round: round_out(message.round),
        block: value_out(&message.value),
        validator: message.voter.0,
        signature: *signature,
    }
}

pub fn proposal_in(proposal: Proposal) -> SignedProposal {
    let message = UnsignedProposal {
        height: ConsensusHeight(proposal.height),
        round: proposal.round.into(),
        value: Value(proposal.block),
        pol_round: proposal.pol_round.into(),
        proposer: ValidatorName(proposal.proposer),
    };
    SignedMessage::new(message, proposal.signature)
}

pub fn proposal_out(SignedMessage { message, signature }: &SignedProposal) -> Proposal {
    Proposal {
        height: message.height.0,
        round: round_out(message.round),
        block: message.value.0,
        pol_round: message.pol_round.as_u32(),
        proposer: message.proposer.0,
        signature: *signature,
    }
}

pub fn polka_in(polka: PolkaCertificate) -> mal::PolkaCertificate<ChainContext> {
    let signatures = polka.signatures.iter();
    mal::PolkaCertificate {
        height: ConsensusHeight(polka.height),
        round: polka.round.into(),
        value_id: polka.block,
        polka_signatures: signatures
            .map(|s| PolkaSignature::new(ValidatorName(s.validator), s.signature))
            .collect(),
    }
}

pub fn polka_out(polka: &mal::PolkaCertificate<ChainContext>) -> PolkaCertificate {
    let signatures = polka.polka_signatures.iter();
    PolkaCertificate {
        height: polka.height.0,
        round: round_out(polka.round),
        block: polka.value_id,
        signatures: signatures
            .map(|s| ValidatorSignature { validator: s.address.0, signature: s.signature })
            .collect(),
    }
}

pub fn round_certificate_in(certificate: RoundCertificate) -> mal::RoundCertificate<ChainContext> {
    let votes = certificate.votes.iter();
    mal::RoundCertificate {
        height: ConsensusHeight(certificate.height),
        round: certificate.round.into(),
        cert_type: match certificate.skip {
            true => RoundCertificateType::Skip,
            false => RoundCertificateType::Precommit,
        },
        round_signatures: votes
            .map(|v| {
                let (kind, value) = (kind_in(v.kind), value_in(v.block));
                RoundSignature::new(kind, value, ValidatorName(v.validator), v.signature)
            })
            .collect(),
    }
}

pub fn round_certificate_out(
    certificate: &mal::RoundCertificate<ChainContext>,
) -> RoundCertificate {
    let votes = certificate.round_signatures.iter();
    RoundCertificate {
        height: certificate.height.0,
        round: round_out(certificate.round),
        skip: certificate.cert_type == RoundCertificateType::Skip,
        votes: votes
            .map(|v| RoundVote {
                kind: kind_out(v.vote_type),
                block: value_out(&v.value_id),
                validator: v.address.0,
                signature: v.signature,
            })
            .collect(),
    }
}

/// The commit certificate as it travels: signatures in order of key.
pub fn certificate_out(certificate: &CommitCertificate<ChainContext>) -> Certificate {
    let signatures = certificate.commit_signatures.iter();
    let mut signatures: Vec<_> = signatures
        .map(|s| ValidatorSignature { validator: s.address.0, signature: s.signature })
        .collect();
    signatures.sort_by_key(|s| s.validator);
    Certificate {
        height: certificate.height.0,
        round: round_out(certificate.round),
        block: certificate.value_id,
        signatures,
    }
}

/// The core speaks of round -1 only before a height has begun, never in what
/// it signs, sends or records.
pub fn round_out(round: mal::Round) -> Round {
    round.as_u32().expect("the core signs, sends and records begun rounds only")
}

fn kind_in(kind: VoteKind) -> VoteType {
    match kind {
        VoteKind::Prevote => VoteType::Prevote,
        VoteKind::Precommit => VoteType::Precommit,
    }
}

fn kind_out(kind: VoteType) -> VoteKind {
    match kind {
        VoteType::Prevote => VoteKind::Prevote,
        VoteType::Precommit => VoteKind::Precommit,
    }
}

fn value_in(block: Option<B256>) -> NilOrVal<B256> {
    block.map_or(NilOrVal::Nil, NilOrVal::Val)
}

fn value_out(value: &NilOrVal<B256>) -> Option<B256> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(block) => Some(*block),
    }
}

impl Context for ChainContext {
    type Address = ValidatorName;
    type Height = ConsensusHeight;
    type ProposalPart = NoPart;
    type Proposal = UnsignedProposal;
    type Validator = ConsensusValidator;
    type ValidatorSet = ConsensusValidators;
    type Timeouts = LinearTimeouts;
    type Value = Value;
    type Vote = UnsignedVote;
    type Extension = ();
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(
        &self,
        set: &'a ConsensusValidators,
        height: ConsensusHeight,
        round: mal::Round,
    ) -> &'a ConsensusValidator {
        let key = set.set.proposer(height.0, round_out(round)).key;
        mal::ValidatorSet::get_by_address(set, &ValidatorName(key))
            .expect("the proposer is in the set")
    }

    fn new_proposal(
        &self,
        height: ConsensusHeight,
        round: mal::Round,
        value: Value,
        pol_round: mal::Round,
        proposer: ValidatorName,
    ) -> UnsignedProposal {
        UnsignedProposal { height, round, value, pol_round, proposer }
    }

    fn new_prevote(
        &self,
        height: ConsensusHeight,
        round: mal::Round,
        value: NilOrVal<B256>,
        voter: ValidatorName,
    ) -> UnsignedVote {
        UnsignedVote { kind: VoteType::Prevote, height, round, value, voter }
    }

    fn new_precommit(
        &self,
        height: ConsensusHeight,
        round: mal::Round,
        value: NilOrVal<B256>,
        voter: ValidatorName,
    ) -> UnsignedVote {
        UnsignedVote { kind: VoteType::Precommit, height, round, value, voter }
    }
}

impl mal::Vote<ChainContext> for UnsignedVote {
    fn height(&self) -> ConsensusHeight {
        self.height
    }

    fn round(&self) -> mal::Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<B256> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<B256> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &ValidatorName {
        &self.voter
    }

    fn extension(&self) -> Option<&mal::SignedExtension<ChainContext>> {
        None
    }

    fn take_extension(&mut self) -> Option<mal::SignedExtension<ChainContext>> {
        None
    }

    fn extend(self, _: mal::SignedExtension<ChainContext>) -> Self {
        self
    }
}

impl mal::Proposal<ChainContext> for UnsignedProposal {
    fn height(&self) -> ConsensusHeight {
        self.height
    }

    fn round(&self) -> mal::Round {
        self.round
    }

    fn value(&self) -> &Value {
        &self.value
    }

    fn take_value(self) -> Value {
        self.value
    }

    fn pol_round(&self) -> mal::Round {
        self.pol_round
    }

    fn validator_address(&self) -> &ValidatorName {
        &self.proposer
    }
}

impl mal::Height for ConsensusHeight {
    const ZERO: Self = ConsensusHeight(0);
    const INITIAL: Self = ConsensusHeight(1);

    fn increment_by(&self, n: u64) -> Self {
        ConsensusHeight(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(ConsensusHeight)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl mal::Validator<ChainContext> for ConsensusValidator {
    fn address(&self) -> &ValidatorName {
        &self.name
    }

    fn public_key(&self) -> &ValidatorName {
        &self.name
    }

    fn voting_power(&self) -> u64 {
        self.power
    }
}

impl mal::ValidatorSet<ChainContext> for ConsensusValidators {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.power
    }

    fn get_by_address(&self, name: &ValidatorName) -> Option<&ConsensusValidator> {
        let at = self.members.binary_search_by_key(name, |m| m.name).ok()?;
        self.members.get(at)
    }

    fn get_by_index(&self, index: usize) -> Option<&ConsensusValidator> {
        self.members.get(index)
    }
}

impl mal::Value for Value {
    type Id = B256;

    fn id(&self) -> B256 {
        self.0
    }
}

impl mal::Address for ValidatorName {}

impl mal::ProposalPart<ChainContext> for NoPart {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

impl mal::SigningScheme for Ed25519 {
    type DecodingError = std::array::TryFromSliceError;
    type Signature = Signature;
    type PublicKey = ValidatorName;
    /// The core never holds a key: it asks for signatures.
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Signature, Self::DecodingError> {
        bytes.try_into().map(Signature)
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<ValidatorName, Self::DecodingError> {
        bytes.try_into().map(|key: [u8; 32]| ValidatorName(PublicKey(key.into())))
    }

    fn encode_public_key(name: &ValidatorName) -> Vec<u8> {
        name.0.0.to_vec()
    }
}

impl fmt::Display for ConsensusHeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ValidatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
