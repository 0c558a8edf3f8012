//! The fault of a `chain.toml`, with the key and the cure.

use crate::validator::ValidatorSetError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("chain specification: {0}")]
    Toml(String),
    #[error("chain specification: `{key}` is {got}; {cure}")]
    Value { key: &'static str, got: String, cure: &'static str },
    #[error("chain specification: `validators`: {0}")]
    Validators(#[from] ValidatorSetError),
    #[error("chain specification: {0}")]
    Key(#[from] trefoil_crypto::KeyError),
}
