//! `trefoil init` and `trefoil join`: a directory for one more node.

use std::path::PathBuf;

use clap::Args;
use trefoil_types::ChainSpec;

use super::{Dir, SettingFlags};
use crate::{
    failure::Failure,
    home::{self, Home},
    invite::{self, Invite},
    keys::{self, KeyKind},
};

#[derive(Debug, Args)]
pub struct Init {
    /// The chain specification
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    #[command(flatten)]
    dir: Dir,
    /// Make a validator key too
    #[arg(long)]
    validator: bool,
    #[command(flatten)]
    flags: SettingFlags,
}

impl Init {
    pub fn run(self) -> Result<(), Failure> {
        let spec = home::read_spec(&self.chain)?;
        make(&self.dir.home(), &spec, &self.flags, self.validator, Vec::new())
    }
}

#[derive(Debug, Args)]
pub struct Join {
    /// The text that `trefoil network invite` printed, or a file that holds it
    invite: String,
    #[command(flatten)]
    dir: Dir,
    #[command(flatten)]
    flags: SettingFlags,
}

impl Join {
    pub fn run(self) -> Result<(), Failure> {
        let path = PathBuf::from(&self.invite);
        let text = if !self.invite.starts_with("trefoil-invite:") && path.exists() {
            home::read(&path, invite::CHARS_MAX as u64)?
        } else {
            self.invite
        };
        let invite: Invite = text.parse()?;
        let peers = invite.peers.iter().map(ToString::to_string).collect();
        make(&self.dir.home(), &invite.spec, &self.flags, false, peers)
    }
}

/// Makes a node's directory; `peers` count unless a flag names others.
fn make(
    home: &Home,
    spec: &ChainSpec,
    flags: &SettingFlags,
    validator: bool,
    peers: Vec<String>,
) -> Result<(), Failure> {
    if home.is_founded() {
        return Err(Failure::told(
            format!("{} holds a node already", home.dir.display()),
            "choose another directory with --dir, or remove that one",
        ));
    }
    let mut given = flags.given();
    if !peers.is_empty() && !given.iter().any(|(key, _)| *key == "p2p.peers") {
        given.push(("p2p.peers", peers.join(",")));
    }
    let settings = home.settings(&given)?.settings;
    let password = flags.password.source().choose("the new node's keys")?;
    let kinds = [KeyKind::Node, KeyKind::Validator];
    for kind in kinds.into_iter().take(if validator { 2 } else { 1 }) {
        let file = keys::store(&home.dir, kind, &keys::generate(kind), &password)?;
        println!("{:9}  {}", kind.to_string(), file.public);
    }
    home.found(spec, &settings)?;
    let dir = home.dir.display();
    println!(
        "{dir} is a node of {} (id {}); start it with `trefoil run --dir {dir}`",
        spec.name, spec.chain_id
    );
    Ok(())
}
