//! `trefoil node certify`: an organisation's word that a node is its own.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use alloy_primitives::hex;
use clap::Args;
use rand_08::{RngCore as _, rngs::OsRng};
use serde_json::json;
use trefoil_crypto::{CertificateError, Claims, NodeCertificate, Role, SecretKey, Serial};
use trefoil_types::{PeerId, PublicKey};

use super::{Dir, Password, report, verify};
use crate::{
    clock,
    failure::Failure,
    governance::{Contract, Organisations},
    keys::{self, KeyKind},
};

/// It is valid from so long before now, seconds: the chain's time may be behind.
const BACKDATED_S: u64 = 300;
const DAY_S: u64 = 24 * 60 * 60;

#[derive(Debug, Args)]
pub struct Certify {
    /// The node's peer id; `trefoil keys list` shows it on that node's machine
    peer: PeerId,
    /// full, or validator for a node that is to validate
    #[arg(long, default_value_t = Role::Full)]
    role: Role,
    /// The organisation's number; without: a running node is asked whose the CA key is
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    org: Option<u32>,
    /// How long it is valid
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
    /// Sign with what this shell command does: the bytes to be signed are its
    /// stdin, the signature (64 bytes, or their hex) its stdout. Without: the key in DIR/keys/ca.json
    #[arg(long, value_name = "CMD", requires = "ca")]
    ca_command: Option<String>,
    /// The Ed25519 public key that CMD signs with
    #[arg(long, value_name = "KEY", requires = "ca_command")]
    ca: Option<PublicKey>,
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
    dir: Dir,
    #[command(flatten)]
    password: Password,
}

impl Certify {
    pub async fn run(self) -> Result<(), Failure> {
        let ca = self.ca()?;
        let now = clock::wall().as_secs();
        let claims = Claims {
            genesis: verify::genesis(&self.dir.home().spec()?)?,
            organisation: match self.org {
                Some(id) => id,
                None => self.owner(ca.public()).await?,
            },
            peer: self.peer,
            role: self.role,
            serial: serial(),
            not_before: now.saturating_sub(BACKDATED_S),
            not_after: now + u64::from(self.days) * DAY_S,
        };
        let certificate = ca.certify(&claims)?;
        let path = self.out.unwrap_or_else(|| format!("{}.der", self.peer).into());
        fs::write(&path, certificate.to_der())
            .map_err(|source| Failure::file("write", &path, source))?;
        told(&claims, &path, self.json);
        Ok(())
    }

    fn ca(&self) -> Result<Ca, Failure> {
        if let (Some(command), Some(key)) = (&self.ca_command, self.ca) {
            return Ok(Ca::Command { command: command.clone(), key });
        }
        let path = keys::path(&self.dir.dir, KeyKind::Ca, "");
        let password = self.password.source().get(&path.display().to_string())?;
        Ok(Ca::Key(SecretKey::from_seed(&*keys::open(&path, &password)?)))
    }

    /// Whose CA key it is, says the chain.
    async fn owner(&self, ca: PublicKey) -> Result<u32, Failure> {
        let client = report::client(self.rpc.as_deref(), Some(&self.dir.dir))?;
        let organisations = Organisations::read(&Contract::new(client)).await?;
        organisations.of_ca_key(&ca.0).map(|organisation| organisation.id).ok_or_else(|| {
            Failure::told(
                format!("CA key {ca} is no organisation's"),
                "add it first with `trefoil org rotate-ca --add KEY`, or use the right one",
            )
        })
    }
}

fn told(claims: &Claims, path: &Path, as_json: bool) {
    let Claims { organisation, peer, role, serial, not_before, not_after, genesis } = claims;
    if as_json {
        println!(
            "{:#}",
            json!({
                "file": path,
                "genesis": genesis,
                "organisation": organisation,
                "peer": peer.to_string(),
                "role": role.name(),
                "serial": serial.to_string(),
                "notBefore": not_before,
                "notAfter": not_after,
            })
        );
        return;
    }
    println!("{role} {peer} of organisation {organisation}");
    println!("serial {serial}, until {not_after} (Unix seconds)");
    println!("{}", path.display());
}

/// Unique without a register: 159 random bits.
fn serial() -> Serial {
    let mut bytes = [0; 20];
    OsRng.fill_bytes(&mut bytes);
    // Positive, as DER's integers are signed.
    bytes[0] &= 0x7f;
    Serial(bytes)
}

/// Where the CA key is.
enum Ca {
    Key(SecretKey),
    /// In a command's hands: PKCS#11, an HSM, another machine.
    Command {
        command: String,
        key: PublicKey,
    },
}

impl Ca {
    fn public(&self) -> PublicKey {
        match self {
            Self::Key(key) => key.public(),
            Self::Command { key, .. } => *key,
        }
    }

    fn certify(&self, claims: &Claims) -> Result<NodeCertificate, Failure> {
        let odd = |e: CertificateError| {
            Failure::told(format!("no such certificate can be issued: {e}"), "ask for another")
        };
        let (command, key) = match self {
            Self::Key(key) => return NodeCertificate::issue(claims, key).map_err(odd),
            Self::Command { command, key } => (command, key),
        };
        let signed = claims.to_be_signed().map_err(odd)?;
        let signature = ask(command, &signed)?;
        let certificate = NodeCertificate::assemble(&signed, &signature).map_err(odd)?;
        if !certificate.is_signed_by(key) {
            return Err(Failure::told(
                format!("what {command:?} printed is no signature of key {key}"),
                "let it sign all of its stdin with Ed25519 (not a hash of it), with that key",
            ));
        }
        Ok(certificate)
    }
}

/// Lets a command sign.
fn ask(command: &str, signed: &[u8]) -> Result<[u8; 64], Failure> {
    let failed = |why: String| {
        Failure::told(
            format!("{command:?} signs nothing: {why}"),
            "try it in a shell, or correct --ca-command",
        )
    };
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    // One that does not read it may still sign, and its answer is checked.
    let _ = child.stdin.take().expect("it is piped").write_all(signed);
    let output = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let hex = || hex::decode(output.stdout.trim_ascii()).ok()?.try_into().ok();
    let raw = <[u8; 64]>::try_from(output.stdout.as_slice()).ok();
    raw.or_else(hex).ok_or_else(|| {
        let bytes = output.stdout.len();
        failed(format!(
            "it printed {bytes} bytes, which are neither a signature's 64 nor their hex"
        ))
    })
}

#[cfg(test)]
mod tests {
    use trefoil_types::B256;

    use super::*;

    fn claims() -> Claims {
        Claims {
            genesis: B256::repeat_byte(7),
            organisation: 2,
            peer: PeerId(SecretKey::from_seed(&[3; 32]).public()),
            role: Role::Validator,
            serial: serial(),
            not_before: 1_700_000_000,
            not_after: 1_800_000_000,
        }
    }

    #[test]
    fn a_command_signs_as_the_key_does() {
        let key = SecretKey::from_seed(&[9; 32]);
        let claims = claims();
        let certificate = Ca::Key(key.clone()).certify(&claims).unwrap();
        let der = certificate.to_der();
        // The signature ends the certificate.
        let signature = &der[der.len() - 64..];
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("signature");
        for text in [signature.to_vec(), format!("{}\n", hex::encode(signature)).into()] {
            fs::write(&file, text).unwrap();
            let command = format!("cat >/dev/null; cat {}", file.display());
            let ca = Ca::Command { command, key: key.public() };
            assert_eq!(ca.certify(&claims).unwrap(), certificate);
        }
    }

    #[test]
    fn a_command_that_does_not_sign_is_refused() {
        let key = SecretKey::from_seed(&[9; 32]).public();
        let zeros = format!("printf {}", "0".repeat(128));
        for (command, why) in [
            ("exit 3", "exit status: 3"),
            ("echo hello", "6 bytes"),
            ("cat", "bytes"),
            (&zeros, "no signature of key"),
        ] {
            let ca = Ca::Command { command: command.into(), key };
            let error = ca.certify(&claims()).unwrap_err().to_string();
            assert!(error.contains(why), "{command}: {error}");
        }
    }
}
