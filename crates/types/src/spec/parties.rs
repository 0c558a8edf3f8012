//! The founders of a network: organisations, validators, the terms of staking.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use trefoil_crypto::{Address, PeerId, PublicKey};

use crate::Validator;

/// An organisation that founds a network of members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundingOrganisation {
    /// A name for people: letters, digits, `-` and `_`.
    pub name: String,
    /// How many of `keys` must agree to act for it.
    #[serde(default = "one")]
    pub threshold: u8,
    /// The accounts that vote for it.
    pub keys: Vec<Address>,
    /// The account that can give it new keys, should it lose its own; `None`: no account can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_key: Option<Address>,
    /// Ed25519 keys that sign its nodes' certificates, 1 to 4.
    pub ca_keys: Vec<PublicKey>,
    /// Accounts that may send for it whatever the lists say, since its keys are contracts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<Address>,
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
    /// Voting power, at least 1; on a public network at least 17 and more than twice that of the
    /// least stake.
    pub power: u64,
    /// The account that gets the fees of its blocks (the header's `beneficiary`).
    pub fee_recipient: Address,
    /// On a public network: the account that owns its stake. Genesis grants the stake:
    /// `staking.stake_unit` for each unit of power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Address>,
    /// In a network of members: the node on which it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<PeerId>,
    /// In a network of members: the name of the organisation that runs the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
}

impl FoundingValidator {
    /// The validator as consensus sees it.
    pub fn validator(&self) -> Validator {
        Validator { key: self.key, power: self.power }
    }
}

// A newcomer's least stake must be nothing beside it (`Staking::check`); what more it is makes a
// third of the power dear. Genesis makes it up, so it costs the founders nothing.
/// The stake of each founder of a public network that names no other: so many whole ethers.
pub const FOUNDING_STAKE: u64 = 1_000_000;

// Not 1: power that is new must be less than half of the power that validates
// (`TooMuchNewPower`), or one validator alone could never be joined by another.
/// The power of each founder of a network of members.
pub const MEMBER_POWER: u64 = 100;

/// The terms of staking on a public network (`contracts/src/IStaking.sol`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Staking {
    /// Validators are elected after each block whose height this divides.
    pub epoch_blocks: u64,
    // Evidence convicts within this time: stake that was paid out could not be slashed.
    /// Blocks between leaving and the payment of the stake.
    pub unbonding_blocks: u64,
    /// Wei of stake for one unit of voting power.
    pub stake_unit: U256,
    /// The least stake of a validator, wei.
    pub min_stake: U256,
    /// The largest number of validators.
    pub validators_max: u16,
    /// Nobody leaves whole while fewer validators would stay.
    pub validators_min: u16,
    /// A validator does not grow beyond this share of all power, in ten thousandths.
    pub power_share_max: u16,
    /// The share of its stake that an equivocator loses, in ten thousandths.
    pub slash_parts: u16,
    /// Absence is judged over at least this many blocks and `window_seconds`: a validator that
    /// signs less than half of them is jailed.
    pub window_blocks: u32,
    pub window_seconds: u32,
    /// The share of its stake that a validator loses that signs less than a quarter, in ten
    /// thousandths.
    pub absence_parts: u16,
    /// The least number of blocks that a jailed validator stays out.
    pub jail_blocks: u64,
}

/// 10^18 wei.
const ETHER: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

impl Default for Staking {
    fn default() -> Self {
        Self {
            // A minute of half-second blocks: a newcomer waits no longer for its place.
            epoch_blocks: 120,
            // Two weeks of half-second blocks.
            unbonding_blocks: 2_419_200,
            stake_unit: ETHER,
            min_stake: ETHER,
            // The most. Fewer seats are all taken sooner, and then some stake counts for nothing: economics.md.
            validators_max: 120,
            // Fewer bear no fault.
            validators_min: 4,
            // A third can stop the chain.
            power_share_max: 3_333,
            // A tenth, not all: a key that runs on two machines by mistake is slashed too (ADR
            // 16).
            slash_parts: 1_000,
            // Twenty minutes of half-second blocks: a machine can be away for ten of them.
            window_blocks: 2_400,
            window_seconds: 1_200,
            // A thousandth: nobody is ruined by a machine that is away over a weekend, since jail
            // comes with the first window.
            absence_parts: 10,
            jail_blocks: 1_200,
        }
    }
}
