//! Evidence: two signed statements of one validator of which it may make only one.
//!
//! What always holds: evidence that was made here or decoded is a conflict, and is in its
//! one order (the lesser block first, none before any). Whether the signatures are right,
//! and whose they are, is for [`Evidence::verify`].

use alloy_rlp::{Decodable, Encodable, Header as RlpHeader};
use trefoil_crypto::{B256, PublicKey};

use crate::{Height, Proposal, ValidatorSet, Vote};

/// Two conflicting signed statements of one validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Of one kind, height and round, for different blocks or a block and none.
    Votes(Vote, Vote),
    /// Of one height and round, for different blocks.
    Proposals(Proposal, Proposal),
}

/// Why evidence convicts no validator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    #[error("{validator} did not validate height {height}")]
    Stranger { height: Height, validator: PublicKey },
    #[error("{validator} did not sign both statements of height {height}")]
    Signature { height: Height, validator: PublicKey },
    #[error("height {height} is not final here: the next is {next}")]
    Ahead { height: Height, next: Height },
    #[error("height {height} is too long past for block {next}: at most {max} heights")]
    TooOld { height: Height, next: Height, max: u64 },
    #[error("{0} was convicted before")]
    Convicted(PublicKey),
}

// The first field of the encoding (docs/wire.md).
const VOTES: u8 = 1;
const PROPOSALS: u8 = 2;

impl Evidence {
    /// Of two votes; `None` if they do not conflict.
    pub fn of_votes(a: Vote, b: Vote) -> Option<Self> {
        let pair = if a.block < b.block { Self::Votes(a, b) } else { Self::Votes(b, a) };
        pair.is_conflict().then_some(pair)
    }

    /// Of two proposals; `None` if they do not conflict.
    pub fn of_proposals(a: Proposal, b: Proposal) -> Option<Self> {
        let pair = if a.block < b.block { Self::Proposals(a, b) } else { Self::Proposals(b, a) };
        pair.is_conflict().then_some(pair)
    }

    pub fn height(&self) -> Height {
        match self {
            Self::Votes(vote, _) => vote.height,
            Self::Proposals(proposal, _) => proposal.height,
        }
    }

    /// The validator that it convicts.
    pub fn validator(&self) -> PublicKey {
        match self {
            Self::Votes(vote, _) => vote.validator,
            Self::Proposals(proposal, _) => proposal.proposer,
        }
    }

    // Two proposals of one block that name different proof-of-lock rounds are no conflict:
    // they do not endanger agreement (ADR 16).
    fn is_conflict(&self) -> bool {
        match self {
            Self::Votes(a, b) => {
                let place = |vote: &Vote| (vote.kind, vote.height, vote.round, vote.validator);
                // Strictly less: equal blocks are one statement, and of two orders only one
                // decodes. Otherwise one conflict could be carried twice.
                place(a) == place(b) && a.block < b.block
            }
            Self::Proposals(a, b) => {
                let place = |p: &Proposal| (p.height, p.round, p.proposer);
                place(a) == place(b) && a.block < b.block
            }
        }
    }

    /// Checks that a validator of `set`, which is that of the evidence's height,
    /// signed both for the network whose genesis hash is `network`.
    ///
    /// # Errors
    /// [`EvidenceError::Stranger`] or [`EvidenceError::Signature`].
    pub fn verify(&self, set: &ValidatorSet, network: &B256) -> Result<(), EvidenceError> {
        let (height, validator) = (self.height(), self.validator());
        // Before the signatures, which cost 32 µs each: anyone can make keys that sign two
        // things.
        if set.get(&validator).is_none() {
            return Err(EvidenceError::Stranger { height, validator });
        }
        let signed = match self {
            Self::Votes(a, b) => a.verify(network) && b.verify(network),
            Self::Proposals(a, b) => a.verify(network) && b.verify(network),
        };
        if signed { Ok(()) } else { Err(EvidenceError::Signature { height, validator }) }
    }
}

impl Encodable for Evidence {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        let fields: [&dyn Encodable; 3] = match self {
            Self::Votes(a, b) => [&VOTES, a, b],
            Self::Proposals(a, b) => [&PROPOSALS, a, b],
        };
        alloy_rlp::encode_list::<&dyn Encodable, dyn Encodable>(&fields, out);
    }
}

impl Decodable for Evidence {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let mut payload = RlpHeader::decode_bytes(buf, true)?;
        let rest = &mut payload;
        let evidence = match u8::decode(rest)? {
            VOTES => Self::Votes(Vote::decode(rest)?, Vote::decode(rest)?),
            PROPOSALS => Self::Proposals(Proposal::decode(rest)?, Proposal::decode(rest)?),
            _ => return Err(alloy_rlp::Error::Custom("evidence is of votes (1) or proposals (2)")),
        };
        if !rest.is_empty() {
            return Err(alloy_rlp::Error::UnexpectedLength);
        }
        if !evidence.is_conflict() {
            return Err(alloy_rlp::Error::Custom("evidence is a conflict, the lesser block first"));
        }
        Ok(evidence)
    }
}
