//! Founds a network: one chain specification, one directory for each founder.

use std::{collections::BTreeMap, net::SocketAddr};

use alloy_genesis::GenesisAccount;
use alloy_primitives::U256;
use trefoil_crypto::SecretKey;
use trefoil_types::{Address, ChainSpec, Kind, PeerId, Validator, spec::Fork};

use crate::{
    clock,
    failure::Failure,
    home::Home,
    keys::{self, KeyKind},
    settings::{PeerAddress, Settings},
};

/// Gas of one block: room for 9,500 transfers.
pub const GAS_LIMIT: u64 = 200_000_000;

/// 1 gwei, in wei.
pub const BASE_FEE: u64 = 1_000_000_000;

/// 10^18 wei.
pub const ETHER: u64 = 1_000_000_000_000_000_000;

/// What is decided about a chain before it exists.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub kind: Kind,
    pub chain_id: u64,
    pub base_fee: u64,
    pub block_interval_ms: u64,
    pub idle_block_s: u64,
    /// Who owns how much at genesis, in wei.
    pub funds: BTreeMap<Address, U256>,
}

/// One of the first validators.
#[derive(Clone, Debug)]
pub struct Founder {
    pub home: Home,
    /// Where the others reach it.
    pub address: SocketAddr,
    /// Its peers are filled in.
    pub settings: Settings,
    /// Where its fees go.
    pub fee_recipient: Address,
}

/// Makes keys for every founder and writes their directories; the keys are
/// encrypted with one password.
///
/// # Errors
/// A value outside its range, or a directory that cannot be written or holds a
/// node already.
pub fn found(plan: Plan, founders: &[Founder], password: &str) -> Result<ChainSpec, Failure> {
    let secrets = || (0..founders.len()).map(|_| keys::generate(KeyKind::Node)).collect::<Vec<_>>();
    let (identities, votes) = (secrets(), secrets());
    let validators = founders.iter().zip(&votes).map(|(founder, secret)| Validator {
        key: SecretKey::from_seed(secret).public(),
        power: 1,
        fee_recipient: founder.fee_recipient,
    });
    let spec = spec(plan, validators.collect());
    spec.check()?;
    let peers: Vec<PeerAddress> = founders
        .iter()
        .zip(&identities)
        .map(|(founder, secret)| PeerAddress {
            peer: PeerId(SecretKey::from_seed(secret).public()),
            address: founder.address,
        })
        .collect();
    for (index, founder) in founders.iter().enumerate() {
        let mut settings = founder.settings.clone();
        settings.p2p.peers = peers.clone();
        settings.p2p.peers.remove(index);
        let dir = &founder.home.dir;
        keys::store(dir, KeyKind::Node, &identities[index], password)?;
        keys::store(dir, KeyKind::Validator, &votes[index], password)?;
        founder.home.found(&spec, &settings)?;
    }
    Ok(spec)
}

fn spec(plan: Plan, validators: Vec<Validator>) -> ChainSpec {
    let account = |balance| GenesisAccount { balance, ..GenesisAccount::default() };
    ChainSpec {
        name: plan.name,
        kind: plan.kind,
        chain_id: plan.chain_id,
        genesis_time: clock::wall().as_secs(),
        gas_limit: GAS_LIMIT,
        base_fee: plan.base_fee,
        block_interval_ms: plan.block_interval_ms,
        idle_block_s: plan.idle_block_s,
        forks: [Fork::Cancun, Fork::Prague, Fork::Osaka]
            .into_iter()
            .map(|fork| (fork, 0))
            .collect(),
        validators,
        alloc: plan.funds.into_iter().map(|(address, wei)| (address, account(wei))).collect(),
    }
}
