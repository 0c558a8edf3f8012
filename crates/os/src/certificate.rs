//! A node's certificate: its file, and how an organisation issues one.
//!
//! What always holds: a certificate that is written keeps the profile (`docs/wire.md`), and
//! the CA key that was asked for signed it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use alloy_primitives::hex;
use rand_08::{RngCore as _, rngs::OsRng};
use trefoil_crypto::{
    CERTIFICATE_BYTES_MAX, CertificateError, Claims, NodeCertificate, Role, SecretKey, Serial,
};
use trefoil_types::{B256, KeyClaimer, KeyProof, KeyRole, PeerId, PublicKey, Signature};

use crate::{
    FileError,
    disk::write_whole,
    inherited,
    keystore::{self, KeyKind, KeysError, PASSWORD_VARIABLE, Password},
    operator_file,
};

// Certificates are judged by the chain's time. On an idle chain it is behind the clock by up to
// an interval of idle blocks, a minute by default: these are five of them.
/// A certificate is valid from this long before it is issued, seconds.
const BACKDATED_S: u64 = 300;

const DAY_S: u64 = 24 * 60 * 60;

// A node renews its own 30 days before the end if the CA key is at hand
// (`host/src/certificate_renewal.rs`). Elsewhere a year means one renewal by hand a year.
/// How many days a certificate is valid unless others are asked for.
pub const DAYS: u16 = 365;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFileError {
    #[error(
        "this network lets certified nodes in only, and there is no {path}; let your organisation issue it (`trefoil node certify PEERID`; `trefoil keys list` shows the peer id) and put it there"
    )]
    Missing { path: PathBuf },
    #[error(
        "{path} is no node certificate: {source}; copy it anew, or let your organisation issue another"
    )]
    Damaged { path: PathBuf, source: CertificateError },
    #[error("no such certificate can be issued: {0}; ask for another")]
    Claims(#[from] CertificateError),
    #[error(
        "what {command:?} printed is no signature of key {key}; let it sign all of its stdin with Ed25519 (not a hash of it), with that key"
    )]
    NotSigned { command: String, key: PublicKey },
    #[error("{command:?} signs nothing: {why}; try it in a shell, or correct --ca-command")]
    Command { command: String, why: String },
    #[error(transparent)]
    File(#[from] FileError),
}

/// Where a node's directory keeps its certificate (DER).
pub fn path(dir: &Path) -> PathBuf {
    dir.join("keys").join("node.der")
}

/// The certificate of the node in `dir`.
///
/// # Errors
/// When there is none, or it is none.
pub fn load(dir: &Path) -> Result<NodeCertificate, CertificateFileError> {
    let path = path(dir);
    let der = match operator_file::read(&path, CERTIFICATE_BYTES_MAX as u64) {
        Ok(der) => der,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(CertificateFileError::Missing { path });
        }
        Err(source) => return Err(FileError::new("read", &path, source).into()),
    };
    NodeCertificate::decode(&der).map_err(|source| CertificateFileError::Damaged { path, source })
}

/// Whole days that a certificate is still valid at `now` (Unix seconds); `None`: it
/// has ended.
pub fn days_left(certificate: &NodeCertificate, now: u64) -> Option<u64> {
    (now < certificate.not_after).then(|| (certificate.not_after - now) / DAY_S)
}

/// Puts a certificate in its place, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn store(path: &Path, certificate: &NodeCertificate) -> Result<(), CertificateFileError> {
    let failed = |source| FileError::new("write", path, source);
    // It is public, and the place may be the user's: its mode is left alone. (`keys/` is closed by
    // whoever writes a key there.)
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    Ok(write_whole(path, |file| file.write_all(&certificate.to_der())).map_err(failed)?)
}

/// The claims of a certificate that is issued at `now` (Unix seconds) for some days.
pub fn claims(
    genesis: B256,
    organisation: u32,
    peer: PeerId,
    role: Role,
    now: u64,
    days: u16,
) -> Claims {
    Claims {
        genesis,
        organisation,
        peer,
        role,
        serial: serial(),
        not_before: now.saturating_sub(BACKDATED_S),
        not_after: now + u64::from(days) * DAY_S,
    }
}

/// Unique without a register: 159 random bits.
fn serial() -> Serial {
    let mut bytes = [0; 20];
    OsRng.fill_bytes(&mut bytes);
    // Positive, as DER's integers are signed.
    bytes[0] &= 0x7f;
    Serial(bytes)
}

/// Where a CA key is.
pub enum Ca {
    Key(SecretKey),
    /// Used by a command: PKCS#11, an HSM, another machine.
    Command {
        command: String,
        key: PublicKey,
    },
}

impl Ca {
    /// The CA key that lies in a node's directory; `None`: there is none.
    ///
    /// # Errors
    /// A wrong password, or a damaged key file.
    pub fn open(dir: &Path, password: &Password) -> Result<Option<Self>, KeysError> {
        let there = keystore::path(dir, KeyKind::Ca, "").exists();
        there.then(|| keystore::open_ed25519(dir, KeyKind::Ca, password).map(Self::Key)).transpose()
    }

    pub fn public(&self) -> PublicKey {
        match self {
            Self::Key(key) => key.public(),
            Self::Command { key, .. } => *key,
        }
    }

    /// Agrees to be an organisation's CA key on a network (the genesis hash).
    ///
    /// # Errors
    /// A command that does not sign.
    pub fn prove(
        &self,
        network: &B256,
        claimer: KeyClaimer,
    ) -> Result<KeyProof, CertificateFileError> {
        let (command, key) = match self {
            Self::Key(secret) => {
                return Ok(KeyProof::sign(secret, network, KeyRole::Ca, claimer));
            }
            Self::Command { command, key } => (command, *key),
        };
        let signed = KeyProof::preimage(network, KeyRole::Ca, claimer);
        let signature = Signature(ask(command, &signed)?);
        let proof = KeyProof { role: KeyRole::Ca, key, signature };
        if !proof.verify(network, claimer) {
            return Err(CertificateFileError::NotSigned { command: command.clone(), key });
        }
        Ok(proof)
    }

    /// Issues a certificate.
    ///
    /// # Errors
    /// Claims that X.509 cannot express, or a command that does not sign.
    pub fn certify(&self, claims: &Claims) -> Result<NodeCertificate, CertificateFileError> {
        let (command, key) = match self {
            Self::Key(key) => return Ok(NodeCertificate::issue(claims, key)?),
            Self::Command { command, key } => (command, key),
        };
        let signed = claims.to_be_signed()?;
        let signature = ask(command, &signed)?;
        let certificate = NodeCertificate::assemble(&signed, &signature)?;
        // A command may sign with another key, or sign a hash: only the other nodes would
        // notice.
        if !certificate.is_signed_by(key) {
            let (command, key) = (command.clone(), *key);
            return Err(CertificateFileError::NotSigned { command, key });
        }
        Ok(certificate)
    }
}

/// Lets a command sign: the bytes are its stdin, the signature (64 bytes, or
/// their hex) its stdout.
fn ask(command: &str, signed: &[u8]) -> Result<[u8; 64], CertificateFileError> {
    let failed = |why: String| CertificateFileError::Command { command: command.to_owned(), why };
    let mut child = shell(command)
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

// The command is not this node's: what the node was given its password by, a variable or an open
// file (`--password-file /dev/fd/3`), is not handed on.
/// A shell, so that the setting can be a pipe of tools.
fn shell(command: &str) -> Command {
    inherited::withhold();
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env_remove(PASSWORD_VARIABLE);
    shell
}

#[cfg(test)]
mod tests {
    use std::os::{
        fd::IntoRawFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    };

    use super::*;

    fn some_claims() -> Claims {
        let peer = PeerId(SecretKey::from_seed(&[3; 32]).public());
        claims(B256::repeat_byte(7), 2, peer, Role::Validator, 1_700_000_000, DAYS)
    }

    #[test]
    fn a_command_signs_as_the_key_does() {
        let key = SecretKey::from_seed(&[9; 32]);
        let claims = some_claims();
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
    fn a_command_does_not_inherit_what_opens_the_keys() {
        // As if a parent had left files open for this process.
        let file = fs::File::open("/dev/null").unwrap();
        for least in [3, 20] {
            let left = rustix::io::fcntl_dupfd_cloexec(&file, least).unwrap();
            rustix::io::fcntl_setfd(&left, rustix::io::FdFlags::empty()).unwrap();
            let _ = left.into_raw_fd();
        }
        inherited::note();
        let mut shell = shell("ls /proc/self/fd");
        let removed =
            shell.get_envs().any(|(name, value)| name == PASSWORD_VARIABLE && value.is_none());
        assert!(removed);
        let listed = String::from_utf8(shell.output().unwrap().stdout).unwrap();
        let mut open: Vec<u32> = listed.lines().map(|line| line.parse().unwrap()).collect();
        open.sort_unstable();
        assert_eq!(open, [0, 1, 2, 3], "3 is that of `ls` itself");
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
            let error = ca.certify(&some_claims()).unwrap_err().to_string();
            assert!(error.contains(why), "{command}: {error}");
        }
    }

    #[test]
    fn a_certificate_goes_where_the_user_says_and_the_place_stays_as_it_was() {
        let certificate = Ca::Key(SecretKey::from_seed(&[9; 32])).certify(&some_claims()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        for open in [0o755, 0o1777] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(open)).unwrap();
            store(&dir.path().join("x.der"), &certificate).unwrap();
            assert_eq!(mode(dir.path()), open);
        }
        store(&dir.path().join("new/x.der"), &certificate).unwrap();
        // In the directory of the process, which the tests share.
        let bare = PathBuf::from(format!("test-{}.der", std::process::id()));
        let stored = store(&bare, &certificate);
        let removed = fs::remove_file(&bare);
        assert!(stored.is_ok() && removed.is_ok(), "{stored:?}, {removed:?}");
    }

    #[test]
    fn a_certificate_comes_back_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let missing = load(dir.path()).unwrap_err().to_string();
        assert!(missing.contains("trefoil node certify"), "{missing}");
        let certificate = Ca::Key(SecretKey::from_seed(&[9; 32])).certify(&some_claims()).unwrap();
        store(&path(dir.path()), &certificate).unwrap();
        assert_eq!(load(dir.path()).unwrap(), certificate);
        fs::write(path(dir.path()), b"garbage").unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("is no node certificate"));
    }
}
