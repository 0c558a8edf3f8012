//! The chain specification: the one file that founds a network.

use std::collections::BTreeMap;

use alloy_genesis::GenesisAccount;
use alloy_rlp::Encodable;
use serde::{Deserialize, Serialize};
use trefoil_crypto::{Address, B256, keccak256};

use crate::{Height, Millis, Validator, ValidatorSet, validator::ValidatorSetError};

/// Who may connect, and who decides who validates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Public,
    Private,
    Consortium,
}

/// The Ethereum rule sets that a chain can start from or change to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fork {
    Cancun,
    Prague,
    Osaka,
}

/// A chain, as `chain.toml` states it. All of it enters the genesis hash, so
/// that two specifications that differ in anything are two networks.
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
    /// gas-free: no fee is required or charged, ever.
    pub base_fee: u64,
    /// A block is not made oftener than this.
    #[serde(default = "default_block_interval_ms")]
    pub block_interval_ms: u64,
    /// An idle chain makes a block this often, in seconds; 0: never.
    #[serde(default = "default_idle_block_s")]
    pub idle_block_s: u64,
    /// From which height each rule set holds. Cancun at 0 is the floor.
    pub forks: BTreeMap<Fork, Height>,
    /// The founders; a set at height 1.
    pub validators: Vec<Validator>,
    /// The accounts that exist at genesis.
    #[serde(default)]
    pub alloc: BTreeMap<Address, GenesisAccount>,
}

fn default_block_interval_ms() -> u64 {
    500
}

fn default_idle_block_s() -> u64 {
    60
}

/// What is wrong with a `chain.toml`, with the key and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("chain specification: {0}")]
    Toml(String),
    #[error("chain specification: `{key}` is {got}; {cure}")]
    Value { key: &'static str, got: String, cure: &'static str },
    #[error("chain specification: `validators`: {0}")]
    Validators(#[from] ValidatorSetError),
    #[error("chain specification: `validators`: {0}")]
    Key(#[from] trefoil_crypto::KeyError),
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

    /// # Errors
    /// A value outside its range.
    pub fn check(&self) -> Result<(), SpecError> {
        let value = |key, got: &dyn std::fmt::Display, cure| {
            Err(SpecError::Value { key, got: got.to_string(), cure })
        };
        let name_ok = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > 32 || !self.name.chars().all(name_ok) {
            return value(
                "name",
                &format!("{:?}", self.name),
                "use 1 to 32 letters, digits, - or _",
            );
        }
        if self.chain_id == 0 || self.chain_id >= 1 << 53 {
            return value(
                "chain_id",
                &self.chain_id,
                "use 1 to 9007199254740991 (wallets read it as a double)",
            );
        }
        if self.gas_limit < 1_000_000 || self.gas_limit > 600_000_000 {
            return value("gas_limit", &self.gas_limit, "use 1000000 to 600000000");
        }
        if self.block_interval_ms < 10 || self.block_interval_ms > 60_000 {
            return value("block_interval_ms", &self.block_interval_ms, "use 10 to 60000");
        }
        if self.forks.get(&Fork::Cancun) != Some(&0) {
            return value(
                "forks.cancun",
                &"not 0",
                "write `cancun = 0`: a chain starts at Cancun or later",
            );
        }
        for (earlier, later) in [(Fork::Cancun, Fork::Prague), (Fork::Prague, Fork::Osaka)] {
            let (a, b) = (self.forks.get(&earlier), self.forks.get(&later));
            if b.is_some() && (a.is_none() || a > b) {
                return value(
                    "forks",
                    &format!("{later:?} before {earlier:?}"),
                    "order them cancun, prague, osaka",
                );
            }
        }
        self.validators.iter().try_for_each(|v| v.key.check())?;
        self.validator_set()?;
        Ok(())
    }

    /// The validators of height 1.
    ///
    /// # Errors
    /// When they are no set (see [`ValidatorSet::new`]).
    pub fn validator_set(&self) -> Result<ValidatorSet, ValidatorSetError> {
        ValidatorSet::new(self.validators.clone())
    }

    /// The newest rule set that holds at `height`.
    pub fn fork_at(&self, height: Height) -> Fork {
        let active = self.forks.iter().filter(|(_, from)| **from <= height);
        active.map(|(fork, _)| *fork).max().unwrap_or(Fork::Cancun)
    }

    /// Whether no transaction pays for gas (base fee 0 from the start).
    pub fn is_gas_free(&self) -> bool {
        self.base_fee == 0
    }

    pub fn block_interval(&self) -> Millis {
        Millis(self.block_interval_ms)
    }

    /// keccak256 over everything that the genesis state root does not cover;
    /// the genesis header carries it in `extra_data`.
    pub fn hash(&self) -> B256 {
        let mut out = Vec::new();
        b"trefoil/spec/1".as_slice().encode(&mut out);
        self.name.as_str().encode(&mut out);
        (match self.kind {
            Kind::Public => 1u8,
            Kind::Private => 2,
            Kind::Consortium => 3,
        })
        .encode(&mut out);
        for number in [
            self.chain_id,
            self.genesis_time,
            self.gas_limit,
            self.base_fee,
            self.block_interval_ms,
            self.idle_block_s,
        ] {
            number.encode(&mut out);
        }
        for fork in [Fork::Cancun, Fork::Prague, Fork::Osaka] {
            // A fork that is not scheduled encodes as one beyond any height.
            self.forks.get(&fork).copied().unwrap_or(u64::MAX).encode(&mut out);
        }
        // In order of key, so that the order in the file does not matter.
        let mut validators = self.validators.clone();
        validators.sort_by_key(|v| v.key);
        validators.encode(&mut out);
        keccak256(out)
    }
}
