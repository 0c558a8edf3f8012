//! `trefoil node certify`: signs a node's certificate with its organisation's CA key.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use trefoil_crypto::{Claims, Role};
use trefoil_os::{
    certificate::{self, Ca},
    clock,
    keystore::{self, KeyKind},
};
use trefoil_types::{PeerId, PublicKey};

use super::{
    arguments::{DirArgs, PasswordArgs},
    status,
};
use crate::{
    chain_client::{contract::Contract, governance::Organisations},
    error::{CommandError, OrCure as _},
};

#[derive(Debug, Args)]
pub struct CertifyArgs {
    /// The node's peer id; `trefoil keys list` shows it on that node's machine
    peer: PeerId,
    /// full, or validator for a node that is to validate
    #[arg(long, default_value_t = Role::Full)]
    role: Role,
    /// The organisation's number; without: a running node is asked whose the CA key is
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    org: Option<u32>,
    /// How long it is valid
    #[arg(long, default_value_t = certificate::DAYS, value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
    #[command(flatten)]
    ca: CaArgs,
    /// Where the certificate goes; without: PEERID.der
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The RPC address of the node that is asked; without: that of DIR
    #[arg(long, value_name = "URL")]
    rpc: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dir: DirArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

/// Where the CA key is.
#[derive(Debug, Args)]
pub struct CaArgs {
    /// Sign with what this shell command does: the bytes to be signed are its
    /// stdin, the signature (64 bytes, or their hex) its stdout. Without: the key in DIR/keys/ca.json
    #[arg(long, value_name = "CMD", requires = "ca")]
    ca_command: Option<String>,
    /// The Ed25519 public key that CMD signs with
    #[arg(long, value_name = "KEY", requires = "ca_command")]
    ca: Option<PublicKey>,
}

impl CaArgs {
    /// # Errors
    /// A wrong password, or no key.
    pub fn open(&self, dir: &Path, password: &PasswordArgs) -> Result<Ca, CommandError> {
        if let (Some(command), Some(key)) = (&self.ca_command, self.ca) {
            return Ok(Ca::Command { command: command.clone(), key });
        }
        let path = keystore::path(dir, KeyKind::Ca, "");
        let password = password.source().get(&path.display().to_string())?;
        Ca::open(dir, &password)?.or_cure(
            format!("there is no CA key at {}", path.display()),
            "name the directory that holds it with --dir, or a command that signs with --ca-command",
        )
    }
}

impl CertifyArgs {
    pub async fn run(self) -> Result<(), CommandError> {
        let ca = self.ca.open(&self.dir.dir, &self.password)?;
        let organisation = match self.org {
            Some(id) => id,
            None => self.owner(ca.public()).await?,
        };
        let genesis = trefoil_ledger::genesis_hash(&*self.dir.home().spec()?)?;
        let now = clock::wall().as_secs();
        let claims =
            certificate::claims(genesis, organisation, self.peer, self.role, now, self.days);
        let path = self.out.unwrap_or_else(|| format!("{}.der", self.peer).into());
        certificate::store(&path, &ca.certify(&claims)?)?;
        print_issued(&claims, &path, self.json);
        Ok(())
    }

    /// The organisation that has the CA key, by the chain.
    async fn owner(&self, ca: PublicKey) -> Result<u32, CommandError> {
        let client = status::client(self.rpc.as_deref(), Some(&self.dir.dir))?;
        let organisations = Organisations::read(&Contract::governing(client)).await?;
        organisations.of_ca_key(&ca.0).map(|organisation| organisation.id).or_cure(
            format!("CA key {ca} is no organisation's"),
            "add it first with `trefoil org rotate-ca --add KEY`, or use the right one",
        )
    }
}

fn print_issued(claims: &Claims, path: &Path, as_json: bool) {
    let Claims { organisation, peer, role, serial, not_before, not_after, genesis } = claims;
    if as_json {
        let all = json!({
            "file": path,
            "genesis": genesis,
            "organisation": organisation,
            "peer": peer.to_string(),
            "role": role.name(),
            "serial": serial.to_string(),
            "notBefore": not_before,
            "notAfter": not_after,
        });
        println!("{all:#}");
        return;
    }
    println!("{role} {peer} of organisation {organisation}");
    println!("serial {serial}, until {not_after} (Unix seconds)");
    println!("{}", path.display());
}
