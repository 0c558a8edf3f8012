//! Entries of the write-ahead log: inputs of the core, as bytes in the node's journal.
//!
//! What always holds: one type byte, then RLP; one record has one encoding,
//! and a decoder takes no more than the bytes hold and the limits allow.

use alloy_rlp::{Decodable, Encodable, Header, RlpDecodable, RlpEncodable};
use arc_malachitebft_core_consensus::ProposedValue;
use arc_malachitebft_core_types::{self as mal, Timeout, TimeoutKind, Validity, ValueOrigin};
use trefoil_types::{B256, Height, PolkaCertificate, Proposal, PublicKey, Round, Vote, limits};

use crate::context::{self, ConsensusHeight, CoreInput, ValidatorName, Value};

// On disk since the first journal: a number is never given to another kind of entry.
const VOTE: u8 = 1;
const PROPOSAL: u8 = 2;
const POLKA: u8 = 3;
const CANDIDATE: u8 = 4;
const TIMEOUT: u8 = 5;
const ELSEWHERE: u8 = 6;

/// What one record holds.
#[derive(Clone, Debug)]
pub enum WalEntry {
    Input(CoreInput),
    /// A statement by this node's key, made elsewhere, for this round: see
    /// [`EffectHandler::elsewhere`](crate::effects::EffectHandler::elsewhere). What follows it in
    /// the log for this round or an earlier one is not this node's.
    Elsewhere(Round),
}

/// An executed block.
#[derive(RlpEncodable, RlpDecodable)]
pub struct Candidate {
    pub height: Height,
    pub round: Round,
    pub proposer: PublicKey,
    pub block: B256,
    pub valid: bool,
}

/// A timer that fired: 1 propose, 2 prevote, 3 precommit.
#[derive(RlpEncodable, RlpDecodable)]
struct Elapsed {
    height: Height,
    kind: u8,
    round: Round,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Elsewhere {
    height: Height,
    round: Round,
}

/// The bytes of [`WalEntry::Elsewhere`].
pub fn encode_elsewhere(height: Height, round: Round) -> Vec<u8> {
    let mut out = Vec::new();
    tagged(ELSEWHERE, &Elsewhere { height, round }, &mut out);
    out
}

/// The bytes for an input that the core wants remembered at `height`.
pub fn encode(height: ConsensusHeight, input: &CoreInput) -> Vec<u8> {
    // A vote, the most common entry, has about 150 bytes.
    let mut out = Vec::with_capacity(192);
    match input {
        CoreInput::Vote(vote) => tagged(VOTE, &context::vote_out(vote), &mut out),
        CoreInput::Proposal(proposal) => {
            tagged(PROPOSAL, &context::proposal_out(proposal), &mut out)
        }
        CoreInput::PolkaCertificate(polka) => tagged(POLKA, &context::polka_out(polka), &mut out),
        CoreInput::ProposedValue(value, _) => {
            let candidate = Candidate {
                height: value.height.0,
                round: context::round_out(value.round),
                proposer: value.proposer.0,
                block: value.value.0,
                valid: value.validity.is_valid(),
            };
            tagged(CANDIDATE, &candidate, &mut out);
        }
        CoreInput::TimeoutElapsed(timeout) => {
            let kind = match timeout.kind {
                TimeoutKind::Propose => 1,
                TimeoutKind::Prevote => 2,
                TimeoutKind::Precommit => 3,
                other => unreachable!("the core does not record the timer {other:?}"),
            };
            let round = context::round_out(timeout.round);
            tagged(TIMEOUT, &Elapsed { height: height.0, kind, round }, &mut out);
        }
        other => unreachable!("the core does not record {other:?}"),
    }
    out
}

/// The height that a record is of.
///
/// # Errors
/// Bytes that are no record.
pub fn height(bytes: &[u8]) -> alloy_rlp::Result<Height> {
    decode(bytes).map(|(height, _)| height)
}

/// The record's height and what it holds.
///
/// # Errors
/// Bytes that neither [`encode`] nor [`encode_elsewhere`] made.
pub fn decode(bytes: &[u8]) -> alloy_rlp::Result<(Height, WalEntry)> {
    let (&tag, mut rest) = bytes.split_first().ok_or(alloy_rlp::Error::InputTooShort)?;
    let buf = &mut rest;
    let (height, input) = match tag {
        VOTE => {
            let vote = Vote::decode(buf)?;
            (vote.height, CoreInput::Vote(context::vote_in(vote)))
        }
        PROPOSAL => {
            let proposal = Proposal::decode(buf)?;
            (proposal.height, CoreInput::Proposal(context::proposal_in(proposal)))
        }
        POLKA => {
            let polka = polka(buf)?;
            (polka.height, CoreInput::PolkaCertificate(context::polka_in(polka)))
        }
        CANDIDATE => {
            let candidate = Candidate::decode(buf)?;
            (candidate.height, candidate.input())
        }
        TIMEOUT => {
            let elapsed = Elapsed::decode(buf)?;
            (elapsed.height, elapsed.input()?)
        }
        ELSEWHERE => {
            let Elsewhere { height, round } = Elsewhere::decode(buf)?;
            return ended(buf, (height, WalEntry::Elsewhere(round)));
        }
        _ => return Err(alloy_rlp::Error::Custom("a record of an unknown type")),
    };
    ended(buf, (height, WalEntry::Input(input)))
}

fn ended<T>(rest: &[u8], decoded: T) -> alloy_rlp::Result<T> {
    match rest.is_empty() {
        true => Ok(decoded),
        false => Err(alloy_rlp::Error::Custom("a record with bytes after its end")),
    }
}

fn tagged(tag: u8, body: &impl Encodable, out: &mut Vec<u8>) {
    out.push(tag);
    body.encode(out);
}

/// A polka's signatures are refused by their length before they are read.
fn polka(buf: &mut &[u8]) -> alloy_rlp::Result<PolkaCertificate> {
    // A length that no polka has must not make the decoder allocate. A signature of one is
    // a key (32), a signature (64) and their RLP headers.
    const ENTRY_BYTES_MAX: usize = 128;
    let length = Header::decode(&mut &**buf)?.payload_length;
    if length > (limits::VALIDATORS_MAX + 1) * ENTRY_BYTES_MAX {
        return Err(alloy_rlp::Error::Custom("a polka with more signatures than validators"));
    }
    PolkaCertificate::decode(buf)
}

impl Candidate {
    pub(crate) fn input(self) -> CoreInput {
        let validity = Validity::from_bool(self.valid);
        let value = ProposedValue {
            height: ConsensusHeight(self.height),
            round: self.round.into(),
            valid_round: mal::Round::Nil,
            proposer: ValidatorName(self.proposer),
            value: Value(self.block),
            validity,
        };
        CoreInput::ProposedValue(value, ValueOrigin::Consensus)
    }
}

impl Elapsed {
    fn input(self) -> alloy_rlp::Result<CoreInput> {
        let kind = match self.kind {
            1 => TimeoutKind::Propose,
            2 => TimeoutKind::Prevote,
            3 => TimeoutKind::Precommit,
            _ => return Err(alloy_rlp::Error::Custom("a timer is 1, 2 or 3")),
        };
        Ok(CoreInput::TimeoutElapsed(Timeout::new(self.round.into(), kind)))
    }
}
