//! Founds a network: one chain specification, one directory for each founder.
//!
//! What always holds: a secret is written, encrypted, into the directory of the
//! founder who holds it and nowhere else. An organisation's first founder keeps
//! its CA key, and the account that votes for it unless accounts were named;
//! that key has certified the nodes of all its founders. Where organisations
//! declare keys that they made themselves, no secret is made here.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use alloy_genesis::GenesisAccount;
use alloy_primitives::U256;
use trefoil_crypto::{Role, SecretKey};
use trefoil_host::{
    home::Home,
    settings::{PeerAddress, Settings},
};
use trefoil_os::{
    certificate::{self, Ca},
    clock,
    keystore::{self, KeyKind, ScryptCost},
};
use trefoil_types::{
    Address, ChainSpec, Kind, PeerId,
    spec::{self, Fork, FoundingValidator, Parameter},
};
use zeroize::Zeroizing;

use super::declaration::Declaration;
use crate::error::CommandError;

// At the default half second 19,000 transfers a second. Four nodes on two cores sustain about
// 4,000 (`bench/load.py`), so the machines are the bound.
/// Gas of one block: room for 9,500 transfers.
pub const GAS_LIMIT: u64 = 200_000_000;

// Ethereum's initial base fee (EIP-1559).
/// 1 gwei, in wei.
pub const BASE_FEE: u64 = 1_000_000_000;

/// 10^18 wei.
pub const ETHER: u64 = 1_000_000_000_000_000_000;

/// The parameters of a chain that is to be founded.
#[derive(Clone, Debug)]
pub struct FoundingPlan {
    pub name: String,
    pub kind: Kind,
    /// The stake of each founder of a public network, in units of stake; else they have
    /// `MEMBER_POWER`.
    pub stake: u64,
    pub chain_id: u64,
    pub base_fee: u64,
    pub block_interval_ms: u64,
    pub idle_block_s: u64,
    pub snapshot_every: u64,
    /// Of a network of members; founders are theirs in turn.
    pub organisations: Vec<Party>,
    /// Only these accounts may send, besides those that speak for organisations; `None`: all.
    pub accounts: Option<Vec<Address>>,
    /// Only these may deploy; `None`: all.
    pub deployers: Option<Vec<Address>>,
    /// Parameters that hold from genesis on.
    pub parameters: BTreeMap<Parameter, u64>,
    /// The accounts' balances at genesis, in wei.
    pub funds: BTreeMap<Address, U256>,
}

/// An organisation among the founders.
#[derive(Clone, Debug)]
pub struct Party {
    pub name: String,
    /// The accounts that vote for it, each alone; none: one is made.
    pub accounts: Vec<Address>,
    /// Accounts that may send for it whatever the lists say.
    pub senders: Vec<Address>,
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

/// A secret, and the directory of the founder who will hold it.
type Secret = (PathBuf, KeyKind, Zeroizing<[u8; 32]>);

/// Makes keys for every founder and writes their directories; the keys are
/// encrypted with one password.
///
/// # Errors
/// A value outside its range, or a directory that cannot be written or holds a
/// node already.
pub fn found(
    plan: FoundingPlan,
    founders: &[Founder],
    password: &str,
    cost: ScryptCost,
) -> Result<ChainSpec, CommandError> {
    if let Some(founder) = founders.iter().find(|founder| founder.home.is_founded()) {
        return Err(founder.home.taken().into());
    }
    let mut secrets = Vec::new();
    let seats = founders.iter().enumerate().map(|(index, founder)| {
        let party = plan.organisations.get(index % plan.organisations.len().max(1));
        seat(founder, party, plan.stake, &mut secrets)
    });
    let seats: Vec<(PeerId, FoundingValidator)> = seats.collect();
    let parties = plan.organisations.iter().zip(founders);
    let organised = parties.map(|(party, first)| organise(party, first, &mut secrets));
    let (organisations, cas): (_, Vec<Ca>) = organised.unzip();
    let peers = seats.iter().zip(founders);
    let peers: Vec<PeerAddress> =
        peers.map(|((peer, _), f)| PeerAddress { peer: *peer, address: f.address }).collect();
    let spec = spec(&plan, organisations, seats.into_iter().map(|(_, seat)| seat).collect());
    // Before any key is written: a value outside its range leaves no half-made directory.
    spec.check()?;
    for (dir, kind, secret) in &secrets {
        keystore::store(dir, *kind, secret, password, cost)?;
    }
    if !cas.is_empty() {
        certify(&spec, &cas, &peers, founders)?;
    }
    for (index, founder) in founders.iter().enumerate() {
        let mut settings = founder.settings.clone();
        settings.p2p.peers = peers.clone();
        // A node does not dial itself.
        settings.p2p.peers.remove(index);
        founder.home.found(&spec, &settings)?;
    }
    Ok(spec)
}

/// Founds a network with keys that were made elsewhere: makes none, and writes nothing.
///
/// # Errors
/// A value outside its range, or one thing declared by two.
pub fn found_declared(
    plan: &FoundingPlan,
    declarations: &[Declaration],
) -> Result<ChainSpec, CommandError> {
    let mut names = BTreeSet::new();
    let twice = declarations.iter().find(|one| !names.insert(one.name.to_ascii_lowercase()));
    if let Some(Declaration { name, .. }) = twice {
        return Err(CommandError::with_cure(
            format!("{name} is declared twice"),
            "give one declaration of each organisation, whose name differs by more than capitals",
        ));
    }
    let organisations = declarations.iter().map(Declaration::organisation).collect();
    let validators = declarations.iter().flat_map(Declaration::validators).collect();
    let spec = spec(plan, organisations, validators);
    spec.check()?;
    let mut addresses = BTreeSet::new();
    for peer in declarations.iter().flat_map(Declaration::peers) {
        if !addresses.insert(peer.address) {
            return Err(CommandError::with_cure(
                format!("two nodes are declared at {}", peer.address),
                "ask the organisations for the address at which each node is reached",
            ));
        }
    }
    Ok(spec)
}

/// Certifies each founder's node with the CA key of its organisation.
fn certify(
    spec: &ChainSpec,
    cas: &[Ca],
    peers: &[PeerAddress],
    founders: &[Founder],
) -> Result<(), CommandError> {
    let genesis = trefoil_ledger::genesis_hash(spec)?;
    for (index, (founder, peer)) in founders.iter().zip(peers).enumerate() {
        let party = index % cas.len();
        // Organisations are numbered from 1 in the order of the specification.
        let (organisation, now) = (party as u32 + 1, spec.genesis_time);
        let (role, days) = (Role::Validator, certificate::DAYS);
        let claims = certificate::claims(genesis, organisation, peer.peer, role, now, days);
        let path = certificate::path(&founder.home.dir);
        certificate::store(&path, &cas[party].certify(&claims)?)?;
    }
    Ok(())
}

/// A founder's node and validator; of `party` in a network of members.
fn seat(
    founder: &Founder,
    party: Option<&Party>,
    stake: u64,
    secrets: &mut Vec<Secret>,
) -> (PeerId, FoundingValidator) {
    let peer = PeerId(make_key(founder, KeyKind::Node, secrets).public());
    let key = make_key(founder, KeyKind::Validator, secrets).public();
    let account = match (founder.fee_recipient, party) {
        (Some(account), _) => account,
        (None, Some(_)) => Address::ZERO,
        (None, None) => make_account(founder, secrets),
    };
    let validator = FoundingValidator {
        key,
        power: if party.is_some() { spec::MEMBER_POWER } else { stake },
        fee_recipient: account,
        // Stake, and with it an owner, is of public networks only.
        owner: party.is_none().then_some(account),
        node: party.map(|_| peer),
        organisation: party.map(|party| party.name.clone()),
    };
    (peer, validator)
}

/// An organisation with its CA key, and an account if it named none; the secrets
/// go to its first founder.
fn organise(
    party: &Party,
    first: &Founder,
    secrets: &mut Vec<Secret>,
) -> (spec::FoundingOrganisation, Ca) {
    let ca = make_key(first, KeyKind::Ca, secrets);
    let keys = match &party.accounts[..] {
        [] => vec![make_account(first, secrets)],
        named => named.to_vec(),
    };
    let Party { name, senders, .. } = party.clone();
    let (ca_keys, recovery_key) = (vec![ca.public()], None);
    let organisation =
        spec::FoundingOrganisation { name, threshold: 1, keys, recovery_key, ca_keys, senders };
    (organisation, Ca::Key(ca))
}

/// A new Ed25519 key for a founder to hold.
fn make_key(founder: &Founder, kind: KeyKind, secrets: &mut Vec<Secret>) -> SecretKey {
    let secret = keystore::generate(kind);
    let key = SecretKey::from_seed(&secret);
    // Written later, all with one password, when the specification is known to be good.
    secrets.push((founder.home.dir.clone(), kind, secret));
    key
}

/// A new account for a founder to hold.
fn make_account(founder: &Founder, secrets: &mut Vec<Secret>) -> Address {
    let secret = keystore::generate(KeyKind::Account);
    let address = keystore::account_address(&secret).expect("a generated key is one");
    secrets.push((founder.home.dir.clone(), KeyKind::Account, secret));
    address
}

fn spec(
    plan: &FoundingPlan,
    organisations: Vec<spec::FoundingOrganisation>,
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
        decision_delay_s: spec::default_decision_delay_s(),
        quorum: spec::default_quorum(),
        snapshot_every: plan.snapshot_every,
        accounts: plan.accounts.clone(),
        deployers: plan.deployers.clone(),
        parameters: plan.parameters.clone(),
        staking: (!plan.kind.has_members()).then(spec::Staking::default),
        forks: Fork::ALL.into_iter().map(|fork| (fork, 0)).collect(),
        organisations,
        validators,
        alloc: funds.collect(),
    }
}
