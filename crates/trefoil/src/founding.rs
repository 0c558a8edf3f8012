//! Founds a network: one chain specification, one directory for each founder.
//!
//! What always holds: a secret is written, encrypted, into the directory of the
//! founder who holds it and nowhere else. An organisation's first founder keeps
//! its CA key, and the account that votes for it unless accounts were named.

use std::{collections::BTreeMap, net::SocketAddr};

use alloy_genesis::GenesisAccount;
use alloy_primitives::U256;
use trefoil_crypto::SecretKey;
use trefoil_types::{
    Address, ChainSpec, Kind, PeerId,
    spec::{self, Fork, FoundingValidator},
};

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
    /// Of a network of members; founders are theirs in turn.
    pub organisations: Vec<Party>,
    /// Who owns how much at genesis, in wei.
    pub funds: BTreeMap<Address, U256>,
}

/// An organisation among the founders.
#[derive(Clone, Debug)]
pub struct Party {
    pub name: String,
    /// The accounts that vote for it, each alone; none: one is made.
    pub accounts: Vec<Address>,
}

/// One of the first validators.
#[derive(Clone, Debug)]
pub struct Founder {
    pub home: Home,
    /// Where the others reach it.
    pub address: SocketAddr,
    /// Its peers are filled in.
    pub settings: Settings,
    /// Where its fees go; `None`: on a public network to an account that is made,
    /// which owns its stake; else nowhere.
    pub fee_recipient: Option<Address>,
}

/// Makes keys for every founder and writes their directories; the keys are
/// encrypted with one password.
///
/// # Errors
/// A value outside its range, or a directory that cannot be written or holds a
/// node already.
pub fn found(plan: Plan, founders: &[Founder], password: &str) -> Result<ChainSpec, Failure> {
    if let Some(founder) = founders.iter().find(|founder| founder.home.is_founded()) {
        return Err(founder.home.taken());
    }
    let secrets = || (0..founders.len()).map(|_| keys::generate(KeyKind::Node)).collect::<Vec<_>>();
    let (identities, votes) = (secrets(), secrets());
    let mut validators = Vec::new();
    for (index, founder) in founders.iter().enumerate() {
        let public = !plan.kind.has_members();
        let account = founder.fee_recipient.map_or_else(
            || if public { make_account(founder, password) } else { Ok(Address::ZERO) },
            Ok,
        )?;
        let party = plan.organisations.get(index % plan.organisations.len().max(1));
        validators.push(FoundingValidator {
            key: SecretKey::from_seed(&votes[index]).public(),
            power: 1,
            fee_recipient: account,
            owner: public.then_some(account),
            node: (!public).then(|| PeerId(SecretKey::from_seed(&identities[index]).public())),
            organisation: party.map(|party| party.name.clone()),
        });
    }
    let parties = plan.organisations.iter().zip(founders);
    let organisations = parties.map(|(party, first)| organise(party, first, password));
    let spec = spec(&plan, organisations.collect::<Result<_, Failure>>()?, validators);
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

/// An organisation with its CA key, and an account if it named none; the secrets
/// go to its first founder.
fn organise(
    party: &Party,
    first: &Founder,
    password: &str,
) -> Result<spec::Organisation, Failure> {
    let ca = keys::generate(KeyKind::Ca);
    keys::store(&first.home.dir, KeyKind::Ca, &ca, password)?;
    let accounts = match &party.accounts[..] {
        [] => vec![make_account(first, password)?],
        named => named.to_vec(),
    };
    Ok(spec::Organisation {
        name: party.name.clone(),
        threshold: 1,
        keys: accounts,
        ca_keys: vec![SecretKey::from_seed(&ca).public()],
    })
}

/// A new account, its key in the founder's directory.
fn make_account(founder: &Founder, password: &str) -> Result<Address, Failure> {
    let secret = keys::generate(KeyKind::Account);
    keys::store(&founder.home.dir, KeyKind::Account, &secret, password)?;
    Ok(keys::account_address(&secret)?)
}

fn spec(
    plan: &Plan,
    organisations: Vec<spec::Organisation>,
    validators: Vec<FoundingValidator>,
) -> ChainSpec {
    let account = |balance| GenesisAccount { balance, ..GenesisAccount::default() };
    let funds = plan.funds.iter().map(|(address, wei)| (*address, account(*wei)));
    ChainSpec {
        name: plan.name.clone(),
        kind: plan.kind,
        chain_id: plan.chain_id,
        genesis_time: clock::wall().as_secs(),
        gas_limit: GAS_LIMIT,
        base_fee: plan.base_fee,
        min_base_fee: None,
        block_interval_ms: plan.block_interval_ms,
        idle_block_s: plan.idle_block_s,
        validator_delay: spec::default_validator_delay(),
        quorum: spec::default_quorum(),
        staking: (!plan.kind.has_members()).then(spec::Staking::default),
        forks: Fork::ALL.into_iter().map(|fork| (fork, 0)).collect(),
        organisations,
        validators,
        alloc: funds.collect(),
    }
}
