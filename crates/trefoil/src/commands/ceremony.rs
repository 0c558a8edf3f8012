//! The key ceremony: `trefoil network declare`, by which an organisation hands over the public
//! parts of keys that it made itself, and `trefoil network check`, by which it sees that a network
//! is founded with these.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use trefoil_host::{home, settings::PeerAddress};
use trefoil_os::keystore::{self, KeyKind};
use trefoil_types::{Address, ChainSpec, KeyClaimer, KeyProof, KeyRole};

use super::{
    arguments::{DirArgs, PasswordArgs, account, name, reachable},
    certify::CaArgs,
    prove,
};
use crate::{
    chain_client::ether,
    error::CommandError,
    genesis::{
        declaration::{self, Declaration, DeclaredNode},
        invite::{self, Invite},
    },
};

/// # Errors
/// No declaration, or one whose keys did not agree.
pub fn read_declaration(path: &Path) -> Result<Declaration, CommandError> {
    let text = home::read(path, declaration::BYTES_MAX)?;
    Declaration::from_toml(&text).map_err(|e| CommandError::declaration(path, e))
}

#[derive(Debug, Args)]
pub struct DeclareArgs {
    /// The organisation's name
    #[arg(value_parser = name)]
    name: String,
    /// The name of the network that is to be founded
    #[arg(long)]
    network: String,
    /// Its chain id
    #[arg(long)]
    chain_id: u64,
    /// An account that votes for the organisation; give it once for each. Without: those in DIR/keys
    #[arg(long = "key", value_name = "ADDRESS", value_parser = account)]
    keys: Vec<Address>,
    /// So many of them speak for it
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    threshold: u8,
    /// The account that can give it new keys, should it lose its own
    #[arg(long, value_name = "ADDRESS", value_parser = account)]
    recovery_key: Option<Address>,
    /// Where the others reach its node
    #[arg(long, value_name = "IP:PORT", value_parser = reachable)]
    at: SocketAddr,
    /// The account that gets the fees of the node's blocks; without: nobody
    #[arg(long, value_name = "ADDRESS", value_parser = account)]
    fee_recipient: Option<Address>,
    /// What `trefoil keys prove --founding` printed where a key lies that is not in DIR/keys: once for a node,
    /// a validator and each CA key
    #[arg(long = "proof", value_name = "PROOF")]
    proofs: Vec<KeyProof>,
    #[command(flatten)]
    ca: CaArgs,
    /// Where the declaration goes; without: NAME.toml
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    dir: DirArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

impl DeclareArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let declaration = Declaration {
            network: self.network.clone(),
            chain_id: self.chain_id,
            name: self.name.clone(),
            threshold: self.threshold,
            keys: self.accounts()?,
            recovery_key: self.recovery_key,
            ca_keys: self.ca_keys()?,
            nodes: vec![DeclaredNode {
                at: self.at,
                fee_recipient: self.fee_recipient.unwrap_or_default(),
                node: self.proof(KeyKind::Node, KeyRole::Peer)?,
                validator: self.proof(KeyKind::Validator, KeyRole::Validator)?,
            }],
        };
        let path = self.out.unwrap_or_else(|| format!("{}.toml", self.name).into());
        declaration.check().map_err(|e| CommandError::declaration(&path, e))?;
        home::write(&path, &declaration.to_toml())?;
        let (threshold, keys) = (declaration.threshold, declaration.keys.len());
        println!("{}: {threshold} of {keys} accounts decide for {}", path.display(), self.name);
        println!("nothing in it is secret: hand it over to whoever runs `trefoil network new`");
        Ok(())
    }

    fn accounts(&self) -> Result<Vec<Address>, CommandError> {
        if !self.keys.is_empty() {
            return Ok(self.keys.clone());
        }
        let files = keystore::list(&self.dir.dir)?.into_iter();
        let accounts = files.filter(|file| file.kind == KeyKind::Account);
        Ok(accounts.filter_map(|file| file.public.parse().ok()).collect())
    }

    fn ca_keys(&self) -> Result<Vec<KeyProof>, CommandError> {
        let given = self.proofs.iter().copied().filter(|proof| proof.role == KeyRole::Ca);
        let given: Vec<_> = given.collect();
        if !given.is_empty() {
            return Ok(given);
        }
        let network = KeyProof::founding(&self.network, self.chain_id);
        let ca = self.ca.open(&self.dir.dir, &self.password)?;
        Ok(vec![ca.prove(&network, KeyClaimer::from(self.name.as_str()))?])
    }

    /// That which was given, or one by the key in the directory.
    fn proof(&self, kind: KeyKind, role: KeyRole) -> Result<KeyProof, CommandError> {
        let network = KeyProof::founding(&self.network, self.chain_id);
        if let Some(given) = self.proofs.iter().find(|proof| proof.role == role) {
            return Ok(*given);
        }
        let secret = prove::open(&self.dir.dir, kind, &self.password)?;
        Ok(KeyProof::sign(&secret, &network, role, self.name.as_str()))
    }
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The invite that `trefoil network new` wrote, or a chain.toml
    file: PathBuf,
    /// What your organisation declared; those of others too, if you have them
    #[arg(long = "declaration", value_name = "FILE", required = true)]
    declarations: Vec<PathBuf>,
}

impl CheckArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let text = home::read(&self.file, home::CHAIN_BYTES_MAX)?;
        let (spec, peers) = if text.starts_with(invite::PREFIX) {
            let Invite { spec, peers, .. } = text.parse()?;
            (spec, peers)
        } else {
            (ChainSpec::from_toml(&text)?, vec![])
        };
        let mut declared = Vec::new();
        for path in &self.declarations {
            let declaration = read_declaration(path)?;
            let mut found = declaration.differences(&spec);
            found.extend(declaration.peers().filter_map(|own| other_address(own, &peers)));
            if !found.is_empty() {
                return Err(CommandError::with_cure(
                    format!(
                        "{} is not what {} declares: {}",
                        self.file.display(),
                        path.display(),
                        found.join("; ")
                    ),
                    "do not run it: ask whoever wrote it, and let all check the next one",
                ));
            }
            declared.push(declaration.name);
        }
        print_spec(&spec, &declared)?;
        println!("Compare the genesis hash with the other organisations by voice, or by another");
        println!("way than this file came: whoever has the same hash runs the same network.");
        Ok(())
    }
}

/// An invite names only some of the nodes.
fn other_address(own: PeerAddress, peers: &[PeerAddress]) -> Option<String> {
    let named = peers.iter().find(|named| named.peer == own.peer && **named != own)?;
    Some(format!("{} is at {}, declared {}", own.peer, named.address, own.address))
}

/// What people agree on, in words. `declared`: the organisations whose part was compared.
fn print_spec(spec: &ChainSpec, declared: &[String]) -> Result<(), CommandError> {
    println!("genesis       {}", trefoil_ledger::genesis_hash(spec)?);
    println!("network       {} ({}), chain id {}", spec.name, spec.kind.name(), spec.chain_id);
    let all: u64 = spec.validators.iter().map(|validator| validator.power).sum();
    for (number, organisation) in (1..).zip(&spec.organisations) {
        let name = &organisation.name;
        let own = spec.validators.iter().filter(|v| v.organisation.as_ref() == Some(name));
        let power: u64 = own.map(|validator| validator.power).sum();
        let compared = if declared.contains(name) { "as it declared" } else { "NOT COMPARED" };
        println!("organisation  {number} {name}, {compared}: power {power} of {all}");
        println!("  {} of these decide for it:", organisation.threshold);
        organisation.keys.iter().for_each(|key| println!("  {key}"));
        if let Some(key) = organisation.recovery_key {
            println!("  {key} can give it new ones");
        }
        organisation.senders.iter().for_each(|account| println!("  {account} may send for it"));
    }
    let [numerator, denominator] = spec.quorum;
    println!("decisions     by more than {numerator}/{denominator} of the organisations");
    println!("              what may hurt one waits {} s", spec.decision_delay_s);
    let (gas, fee) = (spec.gas_limit, spec.base_fee);
    println!("gas           {gas} a block, {fee} wei each (the least: {})", spec.min_base_fee());
    for (what, listed) in [("accounts", &spec.accounts), ("deployers", &spec.deployers)] {
        match listed {
            None => println!("{what:12}  all"),
            Some(listed) => listed.iter().for_each(|account| println!("{what:12}  {account}")),
        }
    }
    for (parameter, value) in &spec.parameters {
        println!("parameter     {} {value}", parameter.name());
    }
    for (address, account) in &spec.alloc {
        let code = if account.code.is_some() { ", and is a contract" } else { "" };
        println!("owns          {address} {} ether{code}", ether(account.balance));
    }
    Ok(())
}
