//! False certificates of liars.

use trefoil_crypto::{B256, SecretKey};
use trefoil_types::{Certificate, Height, ValidatorSignature, Vote, VoteKind};

/// A certificate with one signature.
pub fn certify_alone(key: &SecretKey, network: &B256, height: Height, block: B256) -> Certificate {
    let vote = Vote::sign(key, network, VoteKind::Precommit, height, 0, Some(block));
    let Vote { validator, signature, .. } = vote;
    let signatures = vec![ValidatorSignature { validator, signature }];
    Certificate { height, round: 0, block, signatures }
}
