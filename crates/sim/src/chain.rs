//! The chain of a plan: its specification and when its time begins.

use std::collections::BTreeMap;

use alloy_genesis::GenesisAccount;
use alloy_primitives::U256;
use trefoil_crypto::{Address, PeerId};
use trefoil_types::{
    ChainSpec, Time,
    spec::{Fork, FoundingOrganisation, FoundingValidator, Staking},
};

use crate::{
    actions::actors,
    governors::{self, Governors},
    machine::secret,
    plan::SimPlan,
    workload::{CHAIN_ID, Workload},
};

/// Seconds since 1970; fixed, since a run must not depend on the time of day.
const GENESIS_TIME: u64 = 1_800_000_000;

/// The least that a founder may have.
const IDLE_POWER: u64 = 17;

/// The number of the first key that nobody runs.
const IDLE: usize = 1_000;

/// Each founding validator is a node of an organisation of its own; on a public
/// network that organisation's account owns its stake.
pub fn spec(plan: &SimPlan) -> ChainSpec {
    let members = plan.chain.kind.has_members();
    let idle = plan.chain.idle_seats;
    let validator = |id| FoundingValidator {
        key: secret("validator", id).public(),
        // More than newcomers' least stakes on all seats on probation can stop.
        power: match (members, id < plan.validators) {
            (true, _) => 1,
            (false, true) if idle == 0 => 20,
            (false, true) => IDLE_POWER * 1_000_000,
            (false, false) => IDLE_POWER,
        },
        fee_recipient: fee_recipient(id),
        node: members.then(|| PeerId(secret("node", id).public())),
        organisation: members.then(|| format!("org-{id}")),
        owner: (!members).then(|| governors::address(id)),
    };
    let organisation = |id| FoundingOrganisation {
        name: format!("org-{id}"),
        threshold: 1,
        keys: vec![governors::address(id)],
        recovery_key: None,
        ca_keys: vec![secret("ca", id).public()],
        senders: vec![],
    };
    // Behind the names of all machines, so that none runs with such a key.
    let seats = (0..plan.validators).chain(IDLE..IDLE + idle);
    ChainSpec {
        name: "sim".into(),
        kind: plan.chain.kind,
        chain_id: CHAIN_ID,
        genesis_time: GENESIS_TIME,
        gas_limit: plan.chain.gas_limit,
        base_fee: plan.chain.base_fee,
        min_base_fee: None,
        block_interval_ms: plan.chain.block_interval_ms,
        idle_block_s: plan.chain.idle_block_s,
        // Short: changes must take hold within a run.
        validator_delay: 2,
        decision_delay_s: plan.chain.decision_delay_s,
        quorum: [2, 3],
        snapshot_every: plan.chain.snapshot_every,
        // Epochs so short that a run sees several.
        accounts: None,
        deployers: None,
        parameters: Default::default(),
        staking: (!members).then(|| Staking {
            epoch_blocks: 10,
            window_blocks: plan.chain.window_blocks,
            window_seconds: 0,
            jail_blocks: plan.chain.jail_blocks,
            ..Staking::default()
        }),
        forks: BTreeMap::from([(Fork::Cancun, 0), (Fork::Prague, 0), (Fork::Osaka, 0)]),
        organisations: (0..plan.validators).filter(|_| members).map(organisation).collect(),
        validators: seats.map(validator).collect(),
        alloc: alloc(plan),
    }
}

fn alloc(plan: &SimPlan) -> BTreeMap<Address, GenesisAccount> {
    let governors = Governors::funded(plan.validators);
    let all = Workload::funded().chain(governors).chain(actors::funded(plan));
    let account = |(address, balance)| {
        (address, GenesisAccount { balance: U256::from(balance), ..Default::default() })
    };
    all.map(account).collect()
}

/// Where the tips of a validator's blocks go.
pub fn fee_recipient(id: usize) -> Address {
    Address::left_padding_from(&(id as u64 + 1).to_be_bytes())
}

/// The first instant of a run: some time after genesis.
pub fn start(plan: &SimPlan) -> Time {
    Time((GENESIS_TIME + plan.chain.age_s) * 1000)
}
