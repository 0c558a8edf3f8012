//! `trefoil keys`.

use std::{
    io::{self, Read as _},
    path::PathBuf,
};

use clap::Subcommand;
use serde_json::json;
use trefoil_os::keystore::{self, KeyFile, KeyKind, KeysError};
use zeroize::Zeroizing;

use super::{
    arguments::{DirArgs, KdfArgs, PasswordArgs},
    prove::ProveArgs,
};
use crate::error::CommandError;

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a new key
    New {
        kind: KeyKind,
        #[command(flatten)]
        dir: DirArgs,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        kdf: KdfArgs,
    },
    /// List the keys of a node's directory
    List {
        #[command(flatten)]
        dir: DirArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take in a key: hex on stdin (sealing: or AGE-SECRET-KEY-1…), or a keystore file
    Import {
        kind: KeyKind,
        /// A keystore v3 file, of which the same password opens both ends; without it, 32 bytes of hex are read from stdin
        #[arg(long, value_name = "FILE")]
        keystore: Option<PathBuf>,
        #[command(flatten)]
        dir: DirArgs,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        kdf: KdfArgs,
    },
    /// Let a key agree to its use by an organisation: prints what --proof takes elsewhere
    Prove(ProveArgs),
    /// Print a key's secret, in the clear (its keystore file can be copied as it is)
    Export {
        kind: KeyKind,
        /// Which account, or which sealing key
        #[arg(long, value_name = "ADDRESS|KEY", default_value = "")]
        address: String,
        #[command(flatten)]
        dir: DirArgs,
        #[command(flatten)]
        password: PasswordArgs,
    },
}

// The longest secret is an age key of 74 characters; the rest is for line ends.
/// The most that is read from stdin, bytes.
const HEX_BYTES_MAX: u64 = 128;

impl KeysCommand {
    pub fn run(self) -> Result<(), CommandError> {
        match self {
            Self::New { kind, dir, password, kdf } => {
                let password = password.source().choose(&format!("the new {kind} key"))?;
                check_password(&dir, kind, &password)?;
                let secret = keystore::generate(kind);
                print_key(&keystore::store(&dir.dir, kind, &secret, &password, kdf.cost())?);
            }
            Self::List { dir, json } => list(&keystore::list(&dir.dir)?, json),
            Self::Import { kind, keystore, dir, password, kdf } => {
                let secret = match keystore {
                    Some(path) => {
                        let password = password.source().get(&path.display().to_string())?;
                        let secret = keystore::open(&path, &password)?;
                        // This refuses a secret that is no key of this kind, before it is
                        // stored.
                        keystore::public(kind, &secret)?;
                        secret
                    }
                    None => keystore::parse_secret(kind, &read_stdin()?)?,
                };
                let password = password.source().choose(&format!("the imported {kind} key"))?;
                check_password(&dir, kind, &password)?;
                print_key(&keystore::store(&dir.dir, kind, &secret, &password, kdf.cost())?);
            }
            Self::Prove(command) => command.run()?,
            Self::Export { kind, address, dir, password } => {
                // The other kinds have one file each, so no name is needed.
                if matches!(kind, KeyKind::Account | KeyKind::Sealing) && address.is_empty() {
                    return Err(CommandError::with_cure(
                        "there may be many of this kind",
                        "name one with --address; `trefoil keys list` shows them",
                    ));
                }
                let path = keystore::path(&dir.dir, kind, &address);
                let password = password.source().get(&path.display().to_string())?;
                let secret = keystore::open(&path, &password)?;
                println!("{}", *keystore::secret_text(kind, &secret));
            }
        }
        Ok(())
    }
}

/// A node opens its keys with one password: a next key with another would only be noticed when
/// the validator does not start again.
fn check_password(dir: &DirArgs, kind: KeyKind, password: &str) -> Result<(), KeysError> {
    let node = keystore::path(&dir.dir, KeyKind::Node, "");
    if kind == KeyKind::NextValidator && node.exists() {
        keystore::open(&node, password)?;
    }
    Ok(())
}

fn read_stdin() -> Result<Zeroizing<String>, CommandError> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().take(HEX_BYTES_MAX).read_to_string(&mut text).map_err(|e| {
        CommandError::with_cure(format!("stdin cannot be read: {e}"), "give 32 bytes of hex")
    })?;
    Ok(text)
}

fn print_key(file: &KeyFile) {
    println!("{} {}\n{}", file.kind, file.public, file.path.display());
}

fn list(files: &[KeyFile], as_json: bool) {
    if as_json {
        let files = files.iter().map(|file| {
            json!({ "kind": file.kind.to_string(), "public": file.public, "path": file.path })
        });
        println!("{:#}", files.collect::<serde_json::Value>());
        return;
    }
    for file in files {
        println!("{:14}  {:66}  {}", file.kind.to_string(), file.public, file.path.display());
    }
}
