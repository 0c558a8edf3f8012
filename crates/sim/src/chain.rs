//! The chain of a plan: its specification and when its time begins.

use std::collections::BTreeMap;

use alloy_genesis::GenesisAccount;
use alloy_primitives::U256;
use trefoil_crypto::{Address, PeerId};
use trefoil_types::{
    ChainSpec, Kind, Time,
    spec::{Fork, FoundingValidator, Organisation},
};

use crate::{
    governors::{self, Governors},
    machine::secret,
    plan::Plan,
    workload::{CHAIN_ID, Workload},
};

/// Each founding validator is a node of an organisation of its own.
pub fn spec(plan: &Plan) -> ChainSpec {
    let validator = |id| FoundingValidator {
        key: secret("validator", id).public(),
        power: 1,
        fee_recipient: Address::with_last_byte(id as u8 + 1),
        node: Some(PeerId(secret("node", id).public())),
        organisation: Some(format!("org-{id}")),
        owner: None,
    };
    let organisation = |id| Organisation {
        name: format!("org-{id}"),
        threshold: 1,
        keys: vec![governors::address(id)],
        ca_keys: vec![secret("ca", id).public()],
    };
    let account = |(address, balance)| {
        (address, GenesisAccount { balance: U256::from(balance), ..Default::default() })
    };
    ChainSpec {
        name: "sim".into(),
        kind: Kind::Consortium,
        chain_id: CHAIN_ID,
        genesis_time: 1_800_000_000,
        gas_limit: plan.chain.gas_limit,
        base_fee: plan.chain.base_fee,
        min_base_fee: None,
        block_interval_ms: plan.chain.block_interval_ms,
        idle_block_s: plan.chain.idle_block_s,
        validator_delay: 2,
        quorum: [2, 3],
        staking: None,
        forks: BTreeMap::from([(Fork::Cancun, 0), (Fork::Prague, 0), (Fork::Osaka, 0)]),
        organisations: (0..plan.validators).map(organisation).collect(),
        validators: (0..plan.validators).map(validator).collect(),
        alloc: Workload::funded().chain(Governors::funded(plan.validators)).map(account).collect(),
    }
}

/// The first instant of a run: some time after genesis.
pub fn start(spec: &ChainSpec) -> Time {
    Time((spec.genesis_time + 10) * 1000)
}
