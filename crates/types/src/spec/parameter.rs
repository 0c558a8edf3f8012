//! Numbers with a name that a network of members sets: at its founding, and by vote.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// A parameter by its name in the contract (`contracts/src/RuleActions.sol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parameter {
    /// The most code of a contract, bytes, in place of EIP-170's; twice as much init code.
    CodeSize,
    /// The most gas of a transaction, in place of EIP-7825's.
    TxGas,
}

impl Parameter {
    /// All that this program knows.
    pub const ALL: [Self; 2] = [Self::CodeSize, Self::TxGas];

    /// The parameter of that name in the contract; `None`: this program does not know it.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|parameter| parameter.name() == name)
    }

    /// The name in the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CodeSize => "code-size",
            Self::TxGas => "tx-gas",
        }
    }

    // `_checkParameter` in `contracts/src/RuleActions.sol` has the same bounds, and says why.
    /// The values that it may have.
    pub const fn range(self) -> RangeInclusive<u64> {
        match self {
            Self::CodeSize => 24_576..=65_536,
            Self::TxGas => 16_777_216..=600_000_000,
        }
    }
}
