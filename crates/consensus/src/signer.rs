//! Signing and verifying for one validator.
//!
//! What always holds: for one height, round and kind of statement at most one
//! is ever signed, and all of a height's by one key; a signature is verified at most
//! once while it is remembered, and own signatures never.

use std::collections::{BTreeMap, BTreeSet};

use arc_malachitebft_core_consensus::ConsensusMsg;
use arc_malachitebft_core_types::{CertificateError, SignedMessage, ThresholdParam};
use trefoil_crypto::SecretKey;
use trefoil_types::{
    B256, Certificate, Height, PolkaCertificate, Proposal, PublicKey, Round, RoundCertificate,
    RoundVote, Signature, ValidatorSet, Vote, VoteKind,
};

use crate::{
    ConsensusMessage,
    context::{
        self, ChainContext, SignedProposal, SignedVote, UnsignedProposal, UnsignedVote,
        ValidatorName,
    },
};

// 128 validators × 2 votes × 64 rounds, as many as the node remembers of a height. About 200
// bytes each: 3 MiB.
/// How many verified statements of each kind are remembered; beyond it all are
/// forgotten, and verified again if they come again.
const VERIFIED_MAX: usize = 16_384;

type Validity = Result<(), Box<CertificateError<ChainContext>>>;

#[derive(Default)]
pub struct ValidatorSigner {
    /// This node's keys, oldest first.
    keys: Vec<SecretKey>,
    /// The one of them that signs at this height.
    key: Option<SecretKey>,
    network: B256,
    /// Whether a wrong signature was found since this was last cleared.
    pub wrong: bool,
    /// Set when the core asked for a signature against an earlier one of this node. It got the
    /// earlier one, and no message with it may leave the node.
    pub second: Option<String>,
    verified: BTreeSet<Vote>,
    verified_proposals: BTreeSet<Proposal>,
    signed: BTreeMap<(Height, Round, VoteKind), Vote>,
    proposed: BTreeMap<(Height, Round), Proposal>,
}

impl ValidatorSigner {
    pub fn new(keys: Vec<SecretKey>, network: B256) -> Self {
        Self { keys, network, ..Self::default() }
    }

    // Accident: a next key with which another machine signs already. The older key has signed
    // here, so this node is where it belongs.
    /// The key that signs in a height of these validators: the oldest that is one of theirs.
    pub fn key_in(&self, set: &ValidatorSet) -> Option<&SecretKey> {
        self.keys.iter().find(|key| set.get(&key.public()).is_some())
    }

    /// The validator that signs at this height: its public key.
    pub fn name(&self) -> Option<PublicKey> {
        self.key.as_ref().map(SecretKey::public)
    }

    /// Forgets the heights before `height`, and takes the key that its validators name.
    pub fn begin(&mut self, height: Height, set: &ValidatorSet) {
        self.key = self.key_in(set).cloned();
        self.wrong = false;
        self.second = None;
        self.verified.retain(|vote| vote.height >= height);
        self.verified_proposals.retain(|proposal| proposal.height >= height);
        self.signed.retain(|(at, ..), _| *at >= height);
        self.proposed.retain(|(at, _), _| *at >= height);
    }

    /// Remembers a vote that the journal holds, if it is this node's.
    pub fn recall_vote(&mut self, vote: Vote) {
        if self.name() == Some(vote.validator) {
            self.signed.entry((vote.height, vote.round, vote.kind)).or_insert(vote);
        }
    }

    /// Remembers a proposal that the journal holds, if it is this node's.
    pub fn recall_proposal(&mut self, proposal: Proposal) {
        if self.name() == Some(proposal.proposer) {
            self.proposed.entry((proposal.height, proposal.round)).or_insert(proposal);
        }
    }

    /// Whether a vote is by this node's key and was not made here.
    pub fn is_elsewhere(&self, vote: &Vote) -> bool {
        self.name() == Some(vote.validator)
            && self.signed.get(&(vote.height, vote.round, vote.kind)) != Some(vote)
    }

    /// Whether a proposal is by this node's key and was not made here.
    pub fn is_proposed_elsewhere(&self, proposal: &Proposal) -> bool {
        self.name() == Some(proposal.proposer)
            && self.own_proposal(proposal.height, proposal.round) != Some(proposal)
    }

    /// Whether this node has signed a precommit of a round, for a block or for none.
    pub fn has_precommitted(&self, height: Height, round: Round) -> bool {
        self.signed.contains_key(&(height, round, VoteKind::Precommit))
    }

    /// This node's proposal of a round, if it made one.
    pub fn own_proposal(&self, height: Height, round: Round) -> Option<&Proposal> {
        self.proposed.get(&(height, round))
    }

    pub fn sign_vote(&mut self, unsigned: UnsignedVote) -> SignedVote {
        let mut signed = SignedVote::new(unsigned, UNSIGNED);
        let Vote { kind, height, round, block, .. } = context::vote_out(&signed);
        if let Some(before) = self.signed.get(&(height, round, kind)) {
            // A validator is slashed for signing twice. The core gets the old signature, and the
            // engine stops on `second`: no second signature can leave, even by a bug.
            if before.block != block {
                self.second = Some(format!("a second {kind:?} in round {round} would be signed"));
            }
            signed.signature = before.signature;
            return signed;
        }
        let vote = Vote::sign(self.key(), &self.network, kind, height, round, block);
        signed.signature = vote.signature;
        remember(&mut self.verified, vote.clone());
        self.recall_vote(vote);
        signed
    }

    pub fn sign_proposal(&mut self, unsigned: UnsignedProposal) -> SignedProposal {
        let mut signed = SignedProposal::new(unsigned, UNSIGNED);
        let Proposal { height, round, block, pol_round, .. } = context::proposal_out(&signed);
        if let Some(before) = self.proposed.get(&(height, round)) {
            if (before.block, before.pol_round) != (block, pol_round) {
                self.second = Some(format!("a second proposal in round {round} would be signed"));
            }
            signed.signature = before.signature;
            return signed;
        }
        let proposal = Proposal::sign(self.key(), &self.network, height, round, block, pol_round);
        signed.signature = proposal.signature;
        remember(&mut self.verified_proposals, proposal.clone());
        self.recall_proposal(proposal);
        signed
    }

    /// Whether a statement's signature is right. It is verified unless it is remembered.
    pub fn verify_vote(&mut self, vote: Vote) -> bool {
        verify_once(&mut self.verified, vote, |vote| vote.verify(&self.network))
    }

    /// As [`Self::verify_vote`].
    pub fn verify_proposal(&mut self, proposal: Proposal) -> bool {
        verify_once(&mut self.verified_proposals, proposal, |p| p.verify(&self.network))
    }

    /// Whether all signatures of a peer's statement are remembered as right. One without
    /// signatures says nothing.
    pub fn has_verified(&self, message: &ConsensusMessage) -> bool {
        match message {
            ConsensusMessage::Vote(vote) => self.verified.contains(vote),
            ConsensusMessage::Proposal(proposal) => self.verified_proposals.contains(proposal),
            ConsensusMessage::PolkaCertificate(polka) => {
                !polka.signatures.is_empty() && polka.votes().all(|v| self.verified.contains(&v))
            }
            ConsensusMessage::RoundCertificate(round) => {
                !round.votes.is_empty() && round.votes().all(|v| self.verified.contains(&v))
            }
        }
    }

    pub fn verify_message(
        &mut self,
        signed: SignedMessage<ChainContext, ConsensusMsg<ChainContext>>,
    ) -> bool {
        let good = match signed.message {
            ConsensusMsg::Vote(vote) => {
                self.verify_vote(context::vote_out(&SignedVote::new(vote, signed.signature)))
            }
            ConsensusMsg::Proposal(proposal) => {
                let signed = SignedProposal::new(proposal, signed.signature);
                self.verify_proposal(context::proposal_out(&signed))
            }
        };
        self.wrong |= !good;
        good
    }

    pub fn verify_commit(&mut self, commit: &Certificate, set: &ValidatorSet) -> Validity {
        let votes = commit.signatures.iter().filter_map(|s| commit.vote_of(&s.validator));
        self.verify_votes(votes.collect(), set, ThresholdParam::TWO_F_PLUS_ONE)
    }

    pub fn verify_polka(&mut self, polka: &PolkaCertificate, set: &ValidatorSet) -> Validity {
        self.verify_votes(polka.votes().collect(), set, ThresholdParam::TWO_F_PLUS_ONE)
    }

    pub fn verify_round(&mut self, round: &RoundCertificate, set: &ValidatorSet) -> Validity {
        // A prevote in a precommit certificate would count a validator for a vote that it did not
        // cast.
        let prevote = |v: &&RoundVote| v.kind == VoteKind::Prevote;
        if !round.skip
            && let Some(vote) = round.votes.iter().find(prevote)
        {
            self.wrong = true;
            return Err(Box::new(CertificateError::InvalidVoteType(ValidatorName(vote.validator))));
        }
        let threshold = match round.skip {
            true => ThresholdParam::F_PLUS_ONE,
            false => ThresholdParam::TWO_F_PLUS_ONE,
        };
        self.verify_votes(round.votes().collect(), set, threshold)
    }

    /// Whether votes of distinct members carry enough power and are all signed.
    fn verify_votes(
        &mut self,
        votes: Vec<Vote>,
        set: &ValidatorSet,
        least: ThresholdParam,
    ) -> Validity {
        let enough = tally(&votes, set, least);
        let result = enough.and_then(|()| match votes.into_iter().all(|v| self.verify_vote(v)) {
            true => Ok(()),
            false => Err(Box::new(CertificateError::VerificationError(None))),
        });
        self.wrong |= result.is_err();
        result
    }

    fn key(&self) -> &SecretKey {
        self.key.as_ref().expect("the core asks an active validator only to sign")
    }
}

/// Stands in a message until it is signed.
const UNSIGNED: Signature = Signature([0; 64]);

/// Whether votes of distinct members carry enough power, if they are signed.
fn tally(votes: &[Vote], set: &ValidatorSet, least: ThresholdParam) -> Validity {
    // Power first, signatures after: a certificate that claims too much costs no verification.
    let (mut seen, mut signed) = (BTreeSet::new(), 0);
    for vote in votes {
        let name = ValidatorName(vote.validator);
        let member = set.get(&vote.validator).ok_or(CertificateError::UnknownValidator(name))?;
        if !seen.insert(vote.validator) {
            return Err(Box::new(CertificateError::DuplicateVote(name)));
        }
        signed += member.power;
    }
    let total = set.total_power();
    if !least.is_met(signed, total) {
        let expected = least.min_expected(total);
        let short = CertificateError::NotEnoughVotingPower { signed, total, expected };
        return Err(Box::new(short));
    }
    Ok(())
}

/// Verifies a statement unless it is remembered as right.
fn verify_once<T: Ord>(
    verified: &mut BTreeSet<T>,
    statement: T,
    verify: impl FnOnce(&T) -> bool,
) -> bool {
    let known = verified.contains(&statement);
    let good = known || verify(&statement);
    if good && !known {
        remember(verified, statement);
    }
    good
}

fn remember<T: Ord>(verified: &mut BTreeSet<T>, statement: T) {
    if verified.len() >= VERIFIED_MAX {
        verified.clear();
    }
    verified.insert(statement);
}
