//! The commit certificate: the proof that a block is final. A light client needs it and the
//! validator set of its height, and nothing else.

use std::cmp::Ordering;

use alloy_rlp::{RlpDecodable, RlpEncodable};
use trefoil_crypto::{B256, Domain, PublicKey, keccak256};

use crate::{Height, Round, ValidatorSet, ValidatorSignature, Vote, VoteKind};

/// Precommits of more than two thirds of a height's voting power for one block.
/// Certificates of one block may differ in the signatures that they hold, since each node
/// has those that reached it first (ADR 3).
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Certificate {
    pub height: Height,
    pub round: Round,
    pub block: B256,
    /// In order of validator key, each once.
    pub signatures: Vec<ValidatorSignature>,
}

/// Why a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitCertificateError {
    #[error("certificate of height {height}: {validator} is not in that height's validator set")]
    Stranger { height: Height, validator: PublicKey },
    #[error("certificate of height {height}: {validator} signs twice")]
    Twice { height: Height, validator: PublicKey },
    #[error("certificate of height {height}: {validator} is not in order of key")]
    Order { height: Height, validator: PublicKey },
    #[error("certificate of height {height}: the signature of {validator} is wrong")]
    Signature { height: Height, validator: PublicKey },
    #[error("certificate of height {height}: power {power} of {total} is not more than two thirds")]
    NoQuorum { height: Height, power: u64, total: u64 },
}

impl Certificate {
    /// keccak256 of the encoding; the next block's `parent_beacon_block_root`.
    pub fn hash(&self) -> B256 {
        keccak256(alloy_rlp::encode(self))
    }

    /// The precommit of `validator` in it, if there is one.
    pub fn vote_of(&self, validator: &PublicKey) -> Option<Vote> {
        let at = self.signatures.binary_search_by_key(validator, |s| s.validator).ok()?;
        Some(self.signatures[at].vote(VoteKind::Precommit, self.height, self.round, self.block))
    }

    /// Checks that a quorum of `set`, the validators of this height, signed
    /// precommits for the block on the network whose genesis hash is `network`.
    ///
    /// # Errors
    /// The first signature that does not count, or the power that is missing.
    pub fn verify(&self, set: &ValidatorSet, network: &B256) -> Result<(), CommitCertificateError> {
        let height = self.height;
        let bytes = Vote::signed_bytes(VoteKind::Precommit, height, self.round, Some(self.block));
        let (mut before, mut power) = (None, 0u64);
        for ValidatorSignature { validator, signature } in &self.signatures {
            let validator = *validator;
            // The cheap checks first: a signature is verified only if its validator counts
            // and comes in order. At the first fault the rest is not looked at.
            let member = set
                .get(&validator)
                .ok_or(CommitCertificateError::Stranger { height, validator })?;
            match before.replace(validator).cmp(&Some(validator)) {
                Ordering::Less => {}
                // Attack: one signature, repeated until the sum is a quorum.
                Ordering::Equal => return Err(CommitCertificateError::Twice { height, validator }),
                Ordering::Greater => {
                    return Err(CommitCertificateError::Order { height, validator });
                }
            }
            if !validator.verify(Domain::Vote, network, &bytes, signature) {
                return Err(CommitCertificateError::Signature { height, validator });
            }
            power += member.power;
        }
        // The power is summed only from signatures that were verified, never taken from the
        // certificate.
        if set.is_quorum(power) {
            Ok(())
        } else {
            Err(CommitCertificateError::NoQuorum { height, power, total: set.total_power() })
        }
    }
}
