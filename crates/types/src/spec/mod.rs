//! The chain specification: the one file that founds a network.
//!
//! What always holds: a [`ChainSpec`] that was read has been checked; all of it enters the
//! genesis hash; and it describes only the beginning of a network. Later changes (of members,
//! validators, gas, forks) are decided on the chain.

mod check;
mod error;
mod hash;
mod lists;
mod parameter;
mod parties;

use std::{collections::BTreeMap, fmt, str::FromStr};

use alloy_genesis::GenesisAccount;
use alloy_primitives::address;
use serde::{Deserialize, Serialize};
use trefoil_crypto::Address;

use crate::{Height, Millis, ValidatorSet, limits, validator::ValidatorSetError};

pub use error::SpecError;
pub use parameter::Parameter;
pub use parties::{FOUNDING_STAKE, FoundingOrganisation, FoundingValidator, MEMBER_POWER, Staking};

/// The address of the contract that governs a network, from genesis on, for every kind of
/// network: "trefoil" in ASCII, and 1.
pub const GOVERNING_CONTRACT: Address = address!("747265666f696c00000000000000000000000001");

// The contract is larger than EIP-170 allows (24 KiB), so its actions lie in a second one
// (ADR 10).
/// The address of the actions of a members' governing contract
/// (`contracts/src/GovernanceActions.sol`).
pub const GOVERNING_ACTIONS: Address = address!("747265666f696c00000000000000000000000101");

/// The address of the actions about the chain, to which those pass on what they do not know
/// (`contracts/src/ChainActions.sol`).
pub const CHAIN_ACTIONS: Address = address!("747265666f696c00000000000000000000000103");

/// The address of the actions about accounts, to which those pass on what they do not know
/// (`contracts/src/AccountActions.sol`).
pub const ACCOUNT_ACTIONS: Address = address!("747265666f696c00000000000000000000000104");

/// The address of the verifier of Ed25519 signatures (`contracts/src/Ed25519Verifier.sol`),
/// from genesis on, in every kind of network.
pub const ED25519_VERIFIER: Address = address!("747265666f696c00000000000000000000000102");

/// The address of the content registry (`contracts/src/IContentRegistry.sol`), from genesis
/// on, in every kind of network.
pub const CONTENT_REGISTRY: Address = address!("747265666f696c00000000000000000000000002");

/// Decides which peers may connect, and how validators are chosen. Its number enters the
/// specification's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Public = 1,
    Private = 2,
    Consortium = 3,
}

impl Kind {
    /// Whether only members may connect: nodes for which an organisation vouches.
    pub const fn has_members(self) -> bool {
        matches!(self, Self::Private | Self::Consortium)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Consortium => "consortium",
        }
    }
}

// Cancun is the oldest: rules before it (proof of work, self-destruct with storage) would
// be code that no chain of ours can run (ADR 7).
/// The Ethereum rule sets from which a chain can start or to which it can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fork {
    Cancun,
    Prague,
    Osaka,
}

impl Fork {
    /// Oldest first.
    pub const ALL: [Self; 3] = [Self::Cancun, Self::Prague, Self::Osaka];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancun => "cancun",
            Self::Prague => "prague",
            Self::Osaka => "osaka",
        }
    }
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|fork| fork.name() == text);
        found.ok_or_else(|| format!("a rule set is cancun, prague or osaka, got {text:?}"))
    }
}

/// The height from which each rule set holds.
pub type Forks = BTreeMap<Fork, Height>;

/// The newest of `forks` that holds at `height`; Cancun at the least.
pub fn fork_at(forks: &Forks, height: Height) -> Fork {
    let active = forks.iter().filter(|(_, from)| **from <= height);
    active.map(|(fork, _)| *fork).max().unwrap_or(Fork::Cancun)
}

/// A chain, as `chain.toml` states it. All of it enters the genesis hash: two
/// specifications that differ in anything are two networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSpec {
    /// For people; letters, digits, `-` and `_`.
    pub name: String,
    pub kind: Kind,
    /// EIP-155 chain id, 1 to 2^53 − 1.
    pub chain_id: u64,
    /// The genesis block's timestamp, seconds since the Unix epoch.
    pub genesis_time: u64,
    /// Gas that one block may use.
    pub gas_limit: u64,
    /// The first block's EIP-1559 base fee in wei. 0 makes the network
    /// gas-free: no fee is required or charged.
    pub base_fee: u64,
    /// The base fee never falls below this, in wei. Without: 1, and 0 on a
    /// gas-free network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_base_fee: Option<u64>,
    /// The least time between two blocks.
    #[serde(default = "default_block_interval_ms")]
    pub block_interval_ms: u64,
    // An idle chain wastes no disk on empty blocks. But the chain's time, by which
    // certificates are judged, must go on.
    /// An idle chain makes a block this often, in seconds; 0: never.
    #[serde(default = "default_idle_block_s")]
    pub idle_block_s: u64,
    /// A voted change of validators holds after this many blocks.
    #[serde(default = "default_validator_delay")]
    pub validator_delay: u64,
    /// A decision about another organisation's keys, the lists or how is decided is carried out
    /// so many seconds after its last approval, unless all approve.
    #[serde(default = "default_decision_delay_s")]
    pub decision_delay_s: u64,
    /// A vote passes with more than this share of the organisations: numerator,
    /// denominator.
    #[serde(default = "default_quorum")]
    pub quorum: [u16; 2],
    /// Every node writes the state after each block whose height is a multiple of this to a
    /// file, with the same bytes on all nodes. New nodes join from these files (state
    /// sync). 0: never.
    #[serde(default = "default_snapshot_every")]
    pub snapshot_every: u64,
    /// Of a network of members: only these accounts, and those that speak for organisations,
    /// may send transactions. `None`: all may. A vote changes the list later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<Address>>,
    /// Of a network of members: only transactions of these accounts create contracts. `None`:
    /// those of all may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployers: Option<Vec<Address>>,
    /// Of a public network only: the terms of staking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staking: Option<Staking>,
    /// The height from which each rule set holds. Cancun at 0 is the least.
    pub forks: Forks,
    /// Of a network of members: parameters that hold from genesis on. A vote changes them later.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<Parameter, u64>,
    /// The founding organisations of a network of members; one, if it is private.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organisations: Vec<FoundingOrganisation>,
    /// The validators of height 1; a set.
    pub validators: Vec<FoundingValidator>,
    /// The accounts that exist at genesis.
    #[serde(default)]
    pub alloc: BTreeMap<Address, GenesisAccount>,
}

// The lanes' rate limits are computed for two blocks a second
// (`p2p/src/connection/lanes.rs`).
fn default_block_interval_ms() -> u64 {
    500
}

// The chain's time, by which certificates are judged, is then at most a minute late: 1,440
// empty blocks a day.
fn default_idle_block_s() -> u64 {
    60
}

/// Blocks between the vote on a change of validators and the change. Consensus needs one;
/// two give the operator of a new validator time to see it coming.
pub const fn default_validator_delay() -> u64 {
    2
}

// Long enough that a weekend night's decision is seen on Monday; a stolen key is revoked by
// others without any delay.
/// Two days.
pub const fn default_decision_delay_s() -> u64 {
    172_800
}

// The share with which validators decide on blocks, too. Fewer than a third of the
// organisations can then neither pass a decision nor block one.
/// More than two thirds.
pub const fn default_quorum() -> [u16; 2] {
    [2, 3]
}

/// Blocks from one state snapshot to the next. A node that joins from a snapshot executes
/// half as many on average.
pub const fn default_snapshot_every() -> u64 {
    1_024
}

impl ChainSpec {
    /// Reads and checks a `chain.toml`.
    ///
    /// # Errors
    /// Bad TOML, an unknown key, or a value outside its range.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        let spec: Self = toml::from_str(text).map_err(|e| SpecError::Toml(e.to_string()))?;
        spec.check()?;
        Ok(spec)
    }

    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a chain specification is plain data")
    }

    /// The validators of height 1.
    ///
    /// # Errors
    /// The list is no set (see [`ValidatorSet::new`]).
    pub fn validator_set(&self) -> Result<ValidatorSet, ValidatorSetError> {
        ValidatorSet::new(self.validators.iter().map(FoundingValidator::validator).collect())
    }

    /// The rule set that holds at `height` as long as no vote changes it.
    pub fn fork_at(&self, height: Height) -> Fork {
        fork_at(&self.forks, height)
    }

    /// The least base fee at the founding, wei; 0: gas is free.
    pub fn min_base_fee(&self) -> u64 {
        self.min_base_fee.unwrap_or(self.base_fee.min(1))
    }

    /// How many heights back a block may convict: on a public network, while what
    /// its validators staked can still be slashed.
    pub fn evidence_blocks_max(&self) -> u64 {
        match self.kind {
            Kind::Public => self.staking.clone().unwrap_or_default().unbonding_blocks,
            Kind::Private | Kind::Consortium => limits::EVIDENCE_BLOCKS_MAX,
        }
    }

    pub fn block_interval(&self) -> Millis {
        Millis(self.block_interval_ms)
    }
}

#[cfg(test)]
mod tests;
