//! The rules of Ethereum that hold in a block, as one value.
//!
//! Owns: the way from a fork to what the EVM and the block checks need. What always holds:
//! everything that execution looks at and that differs between forks or networks is a field
//! of [`BlockRules`].

use alloy_eips::eip7840::BlobParams;
use revm::{
    context::{BlockEnv, CfgEnv},
    context_interface::block::BlobExcessGasAndPrice,
    primitives::hardfork::SpecId,
};
use trefoil_types::{Address, Header, spec::Fork};

/// The rules of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRules {
    pub chain_id: u64,
    pub fork: SpecId,
    /// EIP-4844 limits and prices; `None` before Cancun.
    pub blobs: Option<BlobParams>,
    // False on every network of Trefoil: there is no layer that keeps blobs.
    /// Whether blocks may hold blob transactions (type 3).
    pub blob_txs: bool,
    /// Whether gas costs nothing: no fee is required or charged.
    pub gas_free: bool,
    /// The EIP-6110 deposit contract, if the network has one.
    pub deposits: Option<Address>,
    /// Whether only listed accounts may send transactions.
    pub accounts_listed: bool,
    /// Whether only listed accounts may send transactions that create contracts.
    pub deployers_listed: bool,
    /// The most code of a contract, bytes, and twice that of init code; `None`: the fork's
    /// (EIP-170, EIP-3860).
    pub code_bytes_max: Option<u64>,
    /// The most gas of a transaction; `None`: the fork's (EIP-7825).
    pub tx_gas_max: Option<u64>,
}

impl BlockRules {
    /// The rules of a Trefoil network by its rule set alone.
    pub(crate) fn of_fork(chain_id: u64, fork: Fork) -> Self {
        let (fork, blobs) = match fork {
            Fork::Cancun => (SpecId::CANCUN, BlobParams::cancun()),
            Fork::Prague => (SpecId::PRAGUE, BlobParams::prague()),
            Fork::Osaka => (SpecId::OSAKA, BlobParams::osaka()),
        };
        Self {
            chain_id,
            fork,
            blobs: Some(blobs),
            blob_txs: false,
            gas_free: false,
            deposits: None,
            accounts_listed: false,
            deployers_listed: false,
            code_bytes_max: None,
            tx_gas_max: None,
        }
    }

    /// Whether `fork` or a later one holds.
    pub fn is(&self, fork: SpecId) -> bool {
        self.fork.is_enabled_in(fork)
    }

    /// The EVM's configuration under these rules.
    pub(crate) fn cfg(&self) -> CfgEnv {
        let mut cfg = CfgEnv::new_with_spec(self.fork).with_chain_id(self.chain_id);
        cfg.limit_contract_code_size = self.code_bytes_max.map(|bytes| bytes as usize);
        cfg.tx_gas_limit_cap = self.tx_gas_max;
        if let Some(blobs) = &self.blobs {
            cfg.set_max_blobs_per_tx(blobs.max_blobs_per_tx);
        }
        cfg
    }

    /// As [`Self::cfg`], for what a caller runs. That is no transaction: contracts may be its
    /// sender (EIP-3607), and neither nonce nor block gas limit binds it.
    pub(crate) fn call_cfg(&self) -> CfgEnv {
        let mut cfg = self.cfg();
        cfg.disable_nonce_check = true;
        cfg.disable_eip3607 = true;
        cfg.disable_block_gas_limit = true;
        cfg.tx_gas_limit_cap = Some(u64::MAX);
        cfg
    }

    /// The block with this header, as the EVM sees it.
    pub(crate) fn block_env(&self, header: &Header) -> BlockEnv {
        let merged = self.is(SpecId::MERGE);
        BlockEnv {
            number: alloy_primitives::U256::from(header.number),
            beneficiary: header.beneficiary,
            timestamp: alloy_primitives::U256::from(header.timestamp),
            gas_limit: header.gas_limit,
            basefee: header.base_fee_per_gas.unwrap_or(0),
            difficulty: if merged { Default::default() } else { header.difficulty },
            prevrandao: merged.then_some(header.mix_hash),
            blob_excess_gas_and_price: self.blobs.map(|blobs| {
                let excess_blob_gas = header.excess_blob_gas.unwrap_or(0);
                let blob_gasprice = blobs.calc_blob_fee(excess_blob_gas);
                BlobExcessGasAndPrice { excess_blob_gas, blob_gasprice }
            }),
            slot_num: 0,
        }
    }
}
