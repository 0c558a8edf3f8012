//! `trefoil init` and `trefoil join`: a directory for one more node.

use std::path::PathBuf;

use clap::Args;
use trefoil_crypto::NodeCertificate;
use trefoil_host::home::{self, Home};
use trefoil_os::{
    certificate,
    keystore::{self, KeyKind, ScryptCost},
};
use trefoil_types::ChainSpec;

use super::arguments::{DirArgs, KdfArgs, SettingsArgs};
use crate::{
    error::CommandError,
    genesis::invite::{self, Invite},
};

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The chain specification
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    #[command(flatten)]
    dir: DirArgs,
    /// Make a validator key too
    #[arg(long)]
    validator: bool,
    #[command(flatten)]
    kdf: KdfArgs,
    #[command(flatten)]
    flags: SettingsArgs,
}

impl InitArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let spec = home::read_spec(&self.chain)?;
        let new = NewNode { validator: self.validator, cost: self.kdf.cost(), peers: Vec::new() };
        make(&self.dir.home(), &spec, &self.flags, new)?;
        advise(&self.dir.home(), &spec)
    }
}

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The text that `trefoil network invite` printed, or a file that holds it
    invite: String,
    #[command(flatten)]
    dir: DirArgs,
    #[command(flatten)]
    kdf: KdfArgs,
    #[command(flatten)]
    flags: SettingsArgs,
}

impl JoinArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let path = PathBuf::from(&self.invite);
        let text = if !self.invite.starts_with("trefoil-invite:") && path.exists() {
            home::read(&path, invite::CHARS_MAX as u64)?
        } else {
            self.invite
        };
        let Invite { spec, peers, certificate }: Invite = text.parse()?;
        let home = self.dir.home();
        if let Some(certificate) = &certificate {
            // Before anything is made: a certificate of another node would let this one in
            // nowhere.
            check_ours(&home, certificate)?;
        }
        let peers = peers.iter().map(ToString::to_string).collect();
        make(
            &home,
            &spec,
            &self.flags,
            NewNode { validator: false, cost: self.kdf.cost(), peers },
        )?;
        if let Some(certificate) = &certificate {
            certificate::store(&certificate::path(&home.dir), certificate)?;
        }
        advise(&home, &spec)
    }
}

/// An invite with a certificate is for the one node whose key it names.
fn check_ours(home: &Home, certificate: &NodeCertificate) -> Result<(), CommandError> {
    let file = keystore::path(&home.dir, KeyKind::Node, "");
    let here = if file.exists() { keystore::describe(&file)?.public } else { "missing".into() };
    if here == certificate.peer.to_string() {
        return Ok(());
    }
    Err(CommandError::with_cure(
        format!("the invite is for node {}, and {} is {here}", certificate.peer, file.display()),
        "name the directory in which you ran `trefoil keys new node`, or ask for an invite for this key",
    ))
}

/// Prints the steps that are left before the node can run.
fn advise(home: &Home, spec: &ChainSpec) -> Result<(), CommandError> {
    let dir = home.dir.display();
    let path = certificate::path(&home.dir);
    if spec.kind.has_members() && !path.exists() {
        let peer = keystore::describe(&keystore::path(&home.dir, KeyKind::Node, ""))?.public;
        println!("this network lets certified nodes in only: ask your organisation for");
        println!("  trefoil node certify {peer} --out node.der");
        println!("and put the file at {}", path.display());
    }
    println!("then start it with `trefoil run --dir {dir}`");
    Ok(())
}

/// What a node's directory is made with.
struct NewNode {
    validator: bool,
    cost: ScryptCost,
    /// They count unless a flag names others.
    peers: Vec<String>,
}

/// Makes a node's directory.
fn make(
    home: &Home,
    spec: &ChainSpec,
    flags: &SettingsArgs,
    new: NewNode,
) -> Result<(), CommandError> {
    let NewNode { validator, cost, peers } = new;
    if home.is_founded() {
        return Err(home.taken().into());
    }
    let mut given = flags.given();
    // The user's flag counts more than the invite.
    if !peers.is_empty() && !given.iter().any(|(key, _)| *key == "p2p.peers") {
        given.push(("p2p.peers", peers.join(",")));
    }
    let settings = home.settings(&given)?.settings;
    let password = flags.password.source().choose("the new node's keys")?;
    let kinds = [KeyKind::Node, KeyKind::Validator];
    for kind in kinds.into_iter().take(if validator { 2 } else { 1 }) {
        let path = keystore::path(&home.dir, kind, "");
        let file = match path.exists() {
            // Made before, so that it could be certified.
            true => keystore::describe(&path)?,
            false => keystore::store(&home.dir, kind, &keystore::generate(kind), &password, cost)?,
        };
        println!("{:9}  {}", kind.to_string(), file.public);
    }
    home.found(spec, &settings)?;
    println!("{} is a node of {} (id {})", home.dir.display(), spec.name, spec.chain_id);
    Ok(())
}
