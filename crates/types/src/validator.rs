//! The validator set: which keys validate a height, and with what weight.

use alloy_rlp::{RlpDecodable, RlpEncodable};
use serde::{Deserialize, Serialize};
use trefoil_crypto::PublicKey;

use crate::limits;

// Nothing besides: each other set is proven in every later state snapshot for ever, so what may
// change for a fee, as the fee recipient does, is read of the state instead.
/// One validator. Its consensus key is its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// Ed25519 consensus key.
    pub key: PublicKey,
    /// Voting power, at least 1.
    pub power: u64,
}

// Ordered by key, so that one set has one encoding, and a certificate names its signers in
// the same order.
/// The validators of one height, ordered by key, each key once.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable)]
pub struct ValidatorSet {
    validators: Vec<Validator>,
}

/// Why a list of validators is no set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    #[error("a validator set holds 1 to {max} validators, got {0}", max = limits::VALIDATORS_MAX)]
    Size(usize),
    #[error("validator {0} is listed twice")]
    Twice(PublicKey),
    #[error("validator {0} has no voting power; leave it out instead")]
    NoPower(PublicKey),
    #[error("the total voting power exceeds {max}", max = limits::POWER_MAX)]
    Power,
}

impl ValidatorSet {
    /// # Errors
    /// When the list is empty, too long, has a key twice, a power of 0, or too
    /// much power in all.
    pub fn new(mut validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        if validators.is_empty() || validators.len() > limits::VALIDATORS_MAX {
            return Err(ValidatorSetError::Size(validators.len()));
        }
        validators.sort_by_key(|v| v.key);
        if let Some(pair) = validators.windows(2).find(|pair| pair[0].key == pair[1].key) {
            return Err(ValidatorSetError::Twice(pair[0].key));
        }
        if let Some(v) = validators.iter().find(|v| v.power == 0) {
            return Err(ValidatorSetError::NoPower(v.key));
        }
        let total = validators.iter().try_fold(0u64, |sum, v| sum.checked_add(v.power));
        if total.is_none_or(|total| total > limits::POWER_MAX) {
            return Err(ValidatorSetError::Power);
        }
        Ok(Self { validators })
    }

    /// In order of key.
    pub fn iter(&self) -> impl Iterator<Item = &Validator> {
        self.validators.iter()
    }

    pub fn len(&self) -> usize {
        self.validators.len()
    }

    /// Never true: a set has at least one validator.
    pub fn is_empty(&self) -> bool {
        self.validators.is_empty()
    }

    pub fn get(&self, key: &PublicKey) -> Option<&Validator> {
        let at = self.validators.binary_search_by_key(key, |v| v.key).ok()?;
        self.validators.get(at)
    }

    pub fn total_power(&self) -> u64 {
        self.validators.iter().map(|v| v.power).sum()
    }

    /// Whether `power` is more than two thirds of the whole (Tendermint's
    /// quorum, arXiv:1807.04938).
    // Two quorums of more than two thirds share more than a third of the power, so at least
    // one honest validator: it never signs two blocks of one height.
    pub fn is_quorum(&self, power: u64) -> bool {
        // Multiplied, not divided: rounding down two thirds would let a smaller power pass.
        u128::from(power) * 3 > u128::from(self.total_power()) * 2
    }
}

impl alloy_rlp::Decodable for ValidatorSet {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        #[derive(RlpDecodable)]
        struct ValidatorSetWire {
            validators: Vec<Validator>,
        }
        let wire = ValidatorSetWire::decode(buf)?;
        Self::new(wire.validators).map_err(|_| alloy_rlp::Error::Custom("not a validator set"))
    }
}
