//! Keys in files: Web3 Secret Storage (keystore v3), encrypted by a password.
//!
//! A node's directory holds `keys/node.json` (its name on the network). It holds
//! `keys/validator.json` if it may validate, `keys/next-validator.json` while that key is
//! rotated, `keys/ca.json` if it keeps its organisation's CA key, and any accounts and sealing
//! keys.
//!
//! What always holds: a secret is never written in the clear; only its owner can read a key
//! file; a file from outside is checked before its numbers cost anything.
//!
//! The scrypt cost is the standard's, N = 262144, r = 8, p = 1 (1 s, 256 MiB): a key
//! file that is copied away is only as safe as its password. Devnets and tests, whose
//! password everyone knows, take N = 8192 ([`ScryptCost::Light`]).

mod encrypt;
pub mod sealing;

use std::{
    fmt, fs,
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum as _;
use eth_keystore::{EthKeystore, KdfparamsType, KeystoreError};
use rand_08::{RngCore as _, rngs::OsRng};
use serde_json::Value;
use trefoil_crypto::SecretKey;
use trefoil_types::{Address, PeerId};
use zeroize::{Zeroize as _, Zeroizing};

pub use self::{
    encrypt::ScryptCost,
    sealing::{SealingKey, SealingKeyError},
};
use crate::{disk::cure, operator_file, private};

// A keystore file is about 500 bytes.
/// The longest key file that is read.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// A node's validator keys, oldest first.
const VALIDATORS: [KeyKind; 2] = [KeyKind::Validator, KeyKind::NextValidator];

/// The use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum KeyKind {
    /// Ed25519: signs votes and proposals.
    Validator,
    /// Ed25519: takes over from `validator` at the height from which the chain names it.
    NextValidator,
    /// Ed25519: the node's name on the network (libp2p identity).
    Node,
    /// Ed25519: signs the certificates of an organisation's nodes.
    Ca,
    /// secp256k1: an Ethereum account.
    Account,
    /// X25519: opens content that was sealed to it.
    Sealing,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no kind is left out").get_name())
    }
}

/// A key file, as it reads without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    pub kind: KeyKind,
    /// Validator, CA and sealing: public key; node: peer id; account: address.
    pub public: String,
    pub path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot use {path}: {source}; {}", cure(.source))]
    File { path: PathBuf, source: io::Error },
    #[error("{path} exists already; move it away first, or choose another --dir")]
    Exists { path: PathBuf },
    #[error(
        "{next} holds the same key as {current}; remove {next}, or move it away and make another with `trefoil keys new next-validator`"
    )]
    SameValidator { current: PathBuf, next: PathBuf },
    #[error("{path} is no key file that can be read: {reason}")]
    Malformed { path: PathBuf, reason: String },
    #[error(
        "the password does not open {path}; give the right one with --password-file or TREFOIL_PASSWORD"
    )]
    Password { path: PathBuf },
    #[error(
        "a password is needed for {what}; give one with --password-file or TREFOIL_PASSWORD (there is no terminal to ask on)"
    )]
    NoPassword { what: String },
    #[error(
        "others than its owner can read the password in {path}; `chmod 600 {path}`, or let root mount it read-only below /run/secrets or $CREDENTIALS_DIRECTORY (Docker and systemd do; Kubernetes with defaultMode: 0440), or leave --password-file out and give it in TREFOIL_PASSWORD"
    )]
    Open { path: PathBuf },
    #[error("the two passwords differ; try again")]
    Differ,
    #[error("the secret is no {kind} key: {reason}; give 32 bytes as hex")]
    Secret { kind: KeyKind, reason: &'static str },
}

// A program that a person must unlock first, such as a password manager, writes to it.
/// How long a pipe may take to give a password.
const PASSWORD_TIME_MAX: Duration = Duration::from_secs(60);

/// The variable that may hold the password.
pub const PASSWORD_VARIABLE: &str = "TREFOIL_PASSWORD";

/// A password. Wiped from memory on drop.
pub type Password = Zeroizing<String>;

// The order of all settings: a flag, then the environment, then `node.toml`.
/// Where a password comes from: the file of a flag, the environment, the file of a setting, or a
/// person; the first that there is.
#[derive(Clone, Debug, Default)]
pub struct PasswordSource {
    /// Named by a flag.
    pub file: Option<PathBuf>,
    /// Named by a setting.
    pub configured: Option<PathBuf>,
}

impl PasswordSource {
    /// The password of existing keys.
    ///
    /// # Errors
    /// When there is none and no terminal to ask on.
    pub fn get(&self, what: &str) -> Result<Password, KeysError> {
        self.given(environment())?.map_or_else(|| ask(&format!("Password of {what}: "), what), Ok)
    }

    /// The password of a key to be made; a person types it twice.
    ///
    /// # Errors
    /// As [`PasswordSource::get`], or when the two differ.
    pub fn choose(&self, what: &str) -> Result<Password, KeysError> {
        if let Some(password) = self.given(environment())? {
            return Ok(password);
        }
        let first = ask(&format!("New password for {what}: "), what)?;
        let second = ask("The same again: ", what)?;
        if first == second { Ok(first) } else { Err(KeysError::Differ) }
    }

    /// `environment`: the password that is there.
    fn given(&self, environment: Option<Password>) -> Result<Option<Password>, KeysError> {
        match (&self.file, environment, &self.configured) {
            (Some(file), _, _) | (None, None, Some(file)) => read_password(file).map(Some),
            (None, environment, _) => Ok(environment),
        }
    }
}

fn environment() -> Option<Password> {
    std::env::var(PASSWORD_VARIABLE).ok().map(Zeroizing::new)
}

/// The first line of a file that is its owner's.
fn read_password(path: &Path) -> Result<Password, KeysError> {
    let failed = |source| KeysError::File { path: path.into(), source };
    if private::is_open(path).map_err(failed)? {
        return Err(KeysError::Open { path: path.into() });
    }
    operator_file::read_line(path, PASSWORD_TIME_MAX).map_err(failed)
}

fn ask(prompt: &str, what: &str) -> Result<Password, KeysError> {
    // A node that a service manager starts would wait for ever for a password that nobody
    // types.
    if !io::stdin().is_terminal() {
        return Err(KeysError::NoPassword { what: what.into() });
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|_| KeysError::NoPassword { what: what.into() })
}

/// A fresh secret from the system's randomness.
pub fn generate(kind: KeyKind) -> Zeroizing<[u8; 32]> {
    loop {
        let mut secret = Zeroizing::new([0; 32]);
        OsRng.fill_bytes(secret.as_mut());
        // About one of 2^128 random numbers is no secp256k1 key.
        if public(kind, &secret).is_ok() {
            return secret;
        }
    }
}

/// The public name of a secret, as [`KeyFile::public`].
///
/// # Errors
/// When the bytes are no secp256k1 key (account).
pub fn public(kind: KeyKind, secret: &[u8; 32]) -> Result<String, KeysError> {
    Ok(match kind {
        KeyKind::Validator | KeyKind::NextValidator | KeyKind::Ca => {
            SecretKey::from_seed(secret).public().to_string()
        }
        KeyKind::Node => PeerId(SecretKey::from_seed(secret).public()).to_string(),
        KeyKind::Account => account_address(secret)?.to_string(),
        KeyKind::Sealing => SealingKey::of(secret).to_string(),
    })
}

/// The address of an account's secret key.
///
/// # Errors
/// When it is zero or not below the curve's order.
pub fn account_address(secret: &[u8; 32]) -> Result<Address, KeysError> {
    let key = secp256k1::SecretKey::from_byte_array(*secret).map_err(|_| KeysError::Secret {
        kind: KeyKind::Account,
        reason: "zero, or not below the order of secp256k1",
    })?;
    let public = key.public_key(secp256k1::SECP256K1).serialize_uncompressed();
    Ok(Address::from_raw_public_key(&public[1..]))
}

/// A secret in the clear: 32 bytes of hex, or of a sealing key as the age tools read it.
pub fn secret_text(kind: KeyKind, secret: &[u8; 32]) -> Password {
    match kind {
        KeyKind::Sealing => sealing::secret_text(secret),
        _ => Zeroizing::new(format!("0x{}", *Zeroizing::new(hex::encode(secret)))),
    }
}

/// Reads 32 bytes of hex; a sealing key also as the age tools write it.
///
/// # Errors
/// When it is something else, or no key of that kind.
pub fn parse_secret(kind: KeyKind, text: &str) -> Result<Zeroizing<[u8; 32]>, KeysError> {
    let text = text.trim();
    if kind == KeyKind::Sealing
        && let Some(secret) = sealing::secret(text)
    {
        return Ok(secret);
    }
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), secret.as_mut())
        .map_err(|_| KeysError::Secret { kind, reason: "it is not 64 hexadecimal digits" })?;
    public(kind, &secret)?;
    Ok(secret)
}

/// Where a key of this kind is kept: `keys/` under the node's directory.
pub fn path(dir: &Path, kind: KeyKind, public: &str) -> PathBuf {
    let keys = dir.join("keys");
    match kind {
        KeyKind::Validator | KeyKind::NextValidator | KeyKind::Node | KeyKind::Ca => {
            keys.join(format!("{kind}.json"))
        }
        KeyKind::Account | KeyKind::Sealing => {
            keys.join(format!("{kind}-{}.json", public.to_lowercase()))
        }
    }
}

/// Encrypts a secret into its place in the node's directory.
///
/// # Errors
/// When there is such a key already, or the file cannot be written.
pub fn store(
    dir: &Path,
    kind: KeyKind,
    secret: &[u8; 32],
    password: &str,
    cost: ScryptCost,
) -> Result<KeyFile, KeysError> {
    let public = public(kind, secret)?;
    let path = path(dir, kind, &public);
    if path.exists() {
        return Err(KeysError::Exists { path });
    }
    let text = text(kind, &public, encrypt::encrypt(secret, password, cost));
    let write = || -> io::Result<()> {
        private::directory(path.parent().expect("a key's path has a directory"))?;
        // Never over another file: a secret that is overwritten is lost for ever.
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| KeysError::File { path: path.clone(), source })?;
    Ok(KeyFile { kind, public, path })
}

/// The keystore's text: v3 with our own two fields (others ignore them).
fn text(kind: KeyKind, public: &str, mut json: Value) -> String {
    // The file of the next validator key is moved to the place of the old one: its place says
    // which it is.
    let kind = if kind == KeyKind::NextValidator { KeyKind::Validator } else { kind };
    json["trefoil"] = serde_json::json!({ "kind": kind.to_string(), "public": public });
    if kind == KeyKind::Account {
        json["address"] = public.trim_start_matches("0x").to_lowercase().into();
    }
    format!("{json:#}\n")
}

/// Decrypts a key file.
///
/// # Errors
/// A file that is no keystore or asks for absurd work, or a wrong password.
pub fn open(path: &Path, password: &str) -> Result<Zeroizing<[u8; 32]>, KeysError> {
    let malformed =
        |reason: &str| KeysError::Malformed { path: path.into(), reason: reason.into() };
    let text = read(path)?;
    let store: EthKeystore = serde_json::from_str(&text).map_err(|e| malformed(&e.to_string()))?;
    check(&store).map_err(malformed)?;
    let mut bytes = eth_keystore::decrypt_key(path, password).map_err(|e| match e {
        KeystoreError::MacMismatch => KeysError::Password { path: path.into() },
        e => malformed(&e.to_string()),
    })?;
    let secret = bytes.as_slice().try_into().map(Zeroizing::new);
    bytes.zeroize();
    secret.map_err(|_| malformed("the secret is not 32 bytes"))
}

// The library trusts these numbers: it would panic, or take all memory. These bounds allow
// scrypt 1 GiB, eight times over: geth's own (N = 2^18) needs a quarter of that.
/// Checks the numbers of a keystore.
fn check(store: &EthKeystore) -> Result<(), &'static str> {
    if store.version != 3 || store.crypto.cipher != "aes-128-ctr" {
        return Err("it is not version 3 with aes-128-ctr");
    }
    if store.crypto.cipherparams.iv.len() != 16 || store.crypto.ciphertext.len() != 32 {
        return Err("its iv or secret has the wrong length");
    }
    let sound = match &store.crypto.kdfparams {
        KdfparamsType::Scrypt { dklen: 32, n, p, r, .. } => {
            n.is_power_of_two() && (2..=1 << 20).contains(n) && *r == 8 && (1..=8).contains(p)
        }
        KdfparamsType::Pbkdf2 { dklen: 32, c, .. } => (1..=10_000_000).contains(c),
        _ => false,
    };
    if sound { Ok(()) } else { Err("its key derivation asks for too much, or for what is unknown") }
}

/// Opens a node's own Ed25519 key.
///
/// # Errors
/// As [`open`].
pub fn open_ed25519(dir: &Path, kind: KeyKind, password: &str) -> Result<SecretKey, KeysError> {
    Ok(SecretKey::from_seed(&*open(&path(dir, kind, ""), password)?))
}

/// Whether a node's directory holds a validator key.
pub fn holds_validator(dir: &Path) -> bool {
    VALIDATORS.into_iter().any(|kind| path(dir, kind, "").exists())
}

/// Opens a node's validator keys, oldest first: two during a rotation, none of a full node.
///
/// # Errors
/// As [`open`], or when the two are one.
pub fn open_validators(dir: &Path, password: &str) -> Result<Vec<SecretKey>, KeysError> {
    let held = VALIDATORS.into_iter().filter(|kind| path(dir, *kind, "").exists());
    let keys: Vec<_> =
        held.map(|kind| open_ed25519(dir, kind, password)).collect::<Result<_, _>>()?;
    if let [current, next] = &*keys
        && current.public() == next.public()
    {
        let [current, next] = VALIDATORS.map(|kind| path(dir, kind, ""));
        return Err(KeysError::SameValidator { current, next });
    }
    Ok(keys)
}

/// The keys of a node's directory, without their secrets, in order of name.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(dir: &Path) -> Result<Vec<KeyFile>, KeysError> {
    let keys = dir.join("keys");
    let file = |source| KeysError::File { path: keys.clone(), source };
    let entries = match fs::read_dir(&keys) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(file)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(file)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            found.push(describe(&path)?);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The kind and the public key in a key file.
///
/// # Errors
/// When it is no key file of ours.
pub fn describe(path: &Path) -> Result<KeyFile, KeysError> {
    let malformed =
        |reason: &str| KeysError::Malformed { path: path.into(), reason: reason.into() };
    let json: Value = serde_json::from_str(&read(path)?).map_err(|e| malformed(&e.to_string()))?;
    let ours = &json["trefoil"];
    let kind = ours["kind"].as_str().and_then(|name| KeyKind::from_str(name, false).ok());
    let kind =
        kind.ok_or_else(|| malformed("it does not say what it is for; use `trefoil keys import`"))?;
    let is_next =
        kind == KeyKind::Validator && path.file_stem().is_some_and(|stem| stem == "next-validator");
    let kind = if is_next { KeyKind::NextValidator } else { kind };
    let public = ours["public"].as_str().ok_or_else(|| malformed("it has no public key"))?;
    Ok(KeyFile { kind, public: public.into(), path: path.into() })
}

fn read(path: &Path) -> Result<String, KeysError> {
    operator_file::read_text(path, FILE_BYTES_MAX).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => {
            KeysError::Malformed { path: path.into(), reason: source.to_string() }
        }
        _ => KeysError::File { path: path.into(), source },
    })
}

#[cfg(test)]
mod tests;
