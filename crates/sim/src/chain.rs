//! The chain of a plan: its specification and when its time begins.

use std::collections::BTreeMap;

use alloy_genesis::GenesisAccount;
use alloy_primitives::U256;
use trefoil_crypto::Address;
use trefoil_types::{ChainSpec, Kind, Time, Validator, spec::Fork};

use crate::{
    machine::secret,
    plan::Plan,
    workload::{CHAIN_ID, Workload},
};

/// Ten transfers, or a contract and a few.
const GAS_LIMIT: u64 = 1_000_000;

pub fn spec(plan: &Plan) -> ChainSpec {
    let validator = |id| Validator {
        key: secret("validator", id).public(),
        power: 1,
        fee_recipient: Address::with_last_byte(id as u8 + 1),
    };
    let account = |(address, balance)| {
        (address, GenesisAccount { balance: U256::from(balance), ..Default::default() })
    };
    ChainSpec {
        name: "sim".into(),
        kind: Kind::Consortium,
        chain_id: CHAIN_ID,
        genesis_time: 1_800_000_000,
        gas_limit: GAS_LIMIT,
        base_fee: plan.chain.base_fee,
        block_interval_ms: plan.chain.block_interval_ms,
        idle_block_s: plan.chain.idle_block_s,
        forks: BTreeMap::from([(Fork::Cancun, 0), (Fork::Prague, 0), (Fork::Osaka, 0)]),
        validators: (0..plan.validators).map(validator).collect(),
        alloc: Workload::funded().map(account).collect(),
    }
}

/// The first instant of a run: some time after genesis.
pub fn start(spec: &ChainSpec) -> Time {
    Time((spec.genesis_time + 10) * 1000)
}
