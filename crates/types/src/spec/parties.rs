//! Who founds a network: organisations, validators, the terms of staking.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use trefoil_crypto::{Address, PeerId, PublicKey};

use crate::Validator;

/// An organisation that founds a network of members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Organisation {
    /// For people; letters, digits, `-` and `_`.
    pub name: String,
    /// So many of `keys` speak for it.
    #[serde(default = "one")]
    pub threshold: u8,
    /// The accounts that vote for it.
    pub keys: Vec<Address>,
    /// Ed25519 keys that sign its nodes' certificates, 1 to 4.
    pub ca_keys: Vec<PublicKey>,
}

fn one() -> u8 {
    1
}

/// A validator of height 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundingValidator {
    /// Ed25519 consensus key.
    pub key: PublicKey,
    /// Voting power, at least 1.
    pub power: u64,
    /// Where the fees of its blocks go (the header's `beneficiary`). On a
    /// public network also who owns the stake.
    pub fee_recipient: Address,
    /// In a network of members: the node that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<PeerId>,
    /// In a network of members: the name of the organisation whose node it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
}

impl FoundingValidator {
    /// What consensus needs of it.
    pub fn validator(&self) -> Validator {
        Validator { key: self.key, power: self.power, fee_recipient: self.fee_recipient }
    }
}

/// How a public network is validated by stake. Amounts in wei.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Staking {
    /// The set of validators changes at heights that this divides.
    pub epoch_blocks: u64,
    /// Blocks from leaving until the stake can be withdrawn.
    pub unbonding_blocks: u64,
    /// The least stake of a validator.
    pub min_stake: U256,
    /// The most validators.
    pub validators_max: u16,
    /// What a convicted equivocator loses of its stake, percent.
    pub slash_percent: u8,
    /// So many blocks in a row without its signature jail a validator.
    pub absent_blocks_max: u64,
    /// Blocks that a jailed validator stays out at least.
    pub jail_blocks: u64,
}

impl Default for Staking {
    fn default() -> Self {
        Self {
            epoch_blocks: 120,
            unbonding_blocks: 172_800,
            min_stake: U256::from(1_000_000_000_000_000_000u64),
            validators_max: 64,
            slash_percent: 10,
            absent_blocks_max: 1_200,
            jail_blocks: 1_200,
        }
    }
}
