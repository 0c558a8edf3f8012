//! Conversions between the types of the wire and the journal, and those of the core.

use arc_malachitebft_core_types::{
    self as mal, CommitCertificate, NilOrVal, PolkaSignature, RoundCertificateType, RoundSignature,
    SignedMessage, VoteType,
};
use trefoil_types::{
    B256, Certificate, PolkaCertificate, Proposal, RoundCertificate, RoundVote, ValidatorSignature,
    Vote, VoteKind,
};

use super::{
    ChainContext, ConsensusHeight, SignedProposal, SignedVote, UnsignedProposal, UnsignedVote,
    ValidatorName, Value, round_out,
};

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
