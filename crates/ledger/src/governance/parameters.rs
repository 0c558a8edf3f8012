//! Numbers that a network of members sets by vote, each from a height on.

use std::collections::BTreeMap;

use trefoil_types::{Height, spec::Parameter};

/// Each parameter that this program knows, with its values in the order of their heights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<Parameter, Vec<(Height, u64)>>);

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
