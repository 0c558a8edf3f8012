//! The types that Malachite's [`Context`] needs, and (in `convert`) their conversions to and
//! from the types of the wire.

mod convert;

use std::{fmt, sync::Arc};

use arc_malachitebft_core_consensus as core;
use arc_malachitebft_core_types::{self as mal, Context, LinearTimeouts, NilOrVal, VoteType};
use trefoil_types::{B256, Height, PublicKey, Round, Signature, Turns, Validator, ValidatorSet};

pub use self::convert::{
    certificate_out, polka_in, polka_out, proposal_in, proposal_out, round_certificate_in,
    round_certificate_out, vote_in, vote_out,
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
    pub turns: Arc<Turns>,
    members: Arc<[ConsensusValidator]>,
    power: u64,
}

/// Bodies travel beside consensus, so there are no parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPart;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ed25519;

impl ConsensusValidators {
    pub fn new(turns: Turns) -> Self {
        let set = turns.validators().clone();
        let members = set
            .iter()
            .map(|v| ConsensusValidator { name: ValidatorName(v.key), power: v.power })
            .collect();
        Self { power: set.total_power(), members, set, turns: Arc::new(turns) }
    }

    pub fn proposer(&self, round: Round) -> &Validator {
        self.turns.proposer(round)
    }
}

/// The core has round -1 only before a height has begun, never in a message that it signs,
/// sends or records.
pub fn round_out(round: mal::Round) -> Round {
    round.as_u32().expect("the core signs, sends and records begun rounds only")
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
        _: ConsensusHeight,
        round: mal::Round,
    ) -> &'a ConsensusValidator {
        let key = set.proposer(round_out(round)).key;
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
