//! Numbers that a network of members sets by vote, each from a height on.

use std::collections::BTreeMap;

use trefoil_types::Height;

/// Each parameter that this program knows, with its values in the order of their heights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<Parameter, Vec<(Height, u64)>>);

/// A parameter by its name in the contract (`contracts/src/RuleActions.sol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

impl Parameters {
    /// Adds a value that holds from `height` on, which is after those added before.
    pub(crate) fn add(&mut self, parameter: Parameter, height: Height, value: u64) {
        self.0.entry(parameter).or_default().push((height, value));
    }

    /// The value at `height`; `None`: what the rule set says.
    pub fn at(&self, parameter: Parameter, height: Height) -> Option<u64> {
        let values = self.0.get(&parameter)?.iter();
        let (_, value) = values.rev().find(|(from, _)| *from <= height)?;
        // The contract writes 0 for what the rule set says.
        (*value != 0).then_some(*value)
    }
}
