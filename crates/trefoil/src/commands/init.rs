//! `trefoil init` and `trefoil join`: a directory for one more node.

use std::path::PathBuf;

use clap::Args;
use trefoil_crypto::NodeCertificate;
use trefoil_host::{
    home::{self, Home},
    settings::PeerAddress,
};
use trefoil_os::{
    certificate,
    keystore::{self, KeyKind, ScryptCost},
};
use trefoil_types::{ChainSpec, PeerId};

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
        let new = NewNode { validator: self.validator, cost: self.kdf.cost(), peers: vec![] };
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
        let text = if !self.invite.starts_with(invite::PREFIX) && path.exists() {
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
        let new = NewNode { validator: false, cost: self.kdf.cost(), peers };
        make(&home, &spec, &self.flags, new)?;
        if let Some(certificate) = &certificate {
            certificate::store(&certificate::path(&home.dir), certificate)?;
        }
        advise(&home, &spec)
    }
}

/// An invite with a certificate is for the one node whose key it names.
fn check_ours(home: &Home, certificate: &NodeCertificate) -> Result<(), CommandError> {
    let here = peer_id(home)?;
    if here == Some(certificate.peer) {
        return Ok(());
    }
    let file = keystore::path(&home.dir, KeyKind::Node, "");
    let here = here.map_or("missing".into(), |peer| peer.to_string());
    Err(CommandError::with_cure(
        format!("the invite is for node {}, and {} is {here}", certificate.peer, file.display()),
        "name the directory in which you ran `trefoil keys new node`, or ask for an invite for this key",
    ))
}

/// Who the node in a directory is, if its key is there.
fn peer_id(home: &Home) -> Result<Option<PeerId>, CommandError> {
    let file = keystore::path(&home.dir, KeyKind::Node, "");
    if !file.exists() {
        return Ok(None);
    }
    let public = keystore::describe(&file)?.public;
    public.parse().map(Some).map_err(|e| {
        CommandError::with_cure(
            format!("{} names no peer id: {e}", file.display()),
            "restore it from your copy",
        )
    })
}

/// Prints the steps that are left before the node can run.
fn advise(home: &Home, spec: &ChainSpec) -> Result<(), CommandError> {
    let dir = home.dir.display();
    let path = certificate::path(&home.dir);
    if spec.kind.has_members() && !path.exists() {
        let peer = keystore::describe(&keystore::path(&home.dir, KeyKind::Node, ""))?.public;
        println!("this network lets certified nodes in only: ask your organisation for");
        println!("  trefoil node certify {peer}{} --out node.der", founders_claims(spec, &peer));
        println!("and put the file at {}", path.display());
    }
    println!("then start it with `trefoil run --dir {dir}`");
    Ok(())
}

/// What the certificate of a founder's node says besides; no running node can be asked for it yet.
fn founders_claims(spec: &ChainSpec, peer: &str) -> String {
    let mut seats = spec.validators.iter();
    let seat = seats.find(|seat| seat.node.is_some_and(|node| node.to_string() == peer));
    let name = seat.and_then(|seat| seat.organisation.as_ref());
    let at = spec.organisations.iter().position(|own| Some(&own.name) == name);
    // Organisations are numbered from 1 in the order of the specification.
    at.map_or(String::new(), |at| format!(" --org {} --role validator", at + 1))
}

/// What a node's directory is made with.
struct NewNode {
    validator: bool,
    cost: ScryptCost,
    /// They count unless a flag names others; perhaps the node itself too, as a founder.
    peers: Vec<PeerAddress>,
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
    let own = peer_id(home)?;
    // A node does not dial itself.
    let (own, others): (Vec<_>, Vec<_>) =
        peers.into_iter().partition(|peer| own == Some(peer.peer));
    let others = others.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    // A founder said where it is reached: it listens there, on every address of its machine.
    let port = own.first().map(|own| format!("0.0.0.0:{}", own.address.port()));
    // The user's flag counts more than the invite.
    for (key, value) in [("p2p.peers", others), ("p2p.listen", port.unwrap_or_default())] {
        if !value.is_empty() && !given.iter().any(|(flag, _)| *flag == key) {
            given.push((key, value));
        }
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
