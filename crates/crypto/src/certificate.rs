//! Node certificates: an organisation's word that a node is its own.
//!
//! Owns the profile (`docs/wire.md`): reading it, and issuing by it. What always holds: a
//! [`NodeCertificate`] keeps the profile; one certificate has one encoding.

mod profile;
#[cfg(test)]
mod tests;
mod uri;

use std::{fmt, ops::Deref, str::FromStr};

use alloy_primitives::B256;

use crate::{PeerId, PublicKey, SecretKey};

// It is read from peers that are not admitted yet, within a proof of at most 2 KiB. There
// are no chains of certificates, so one fits easily.
/// The longest certificate, bytes of DER.
pub const CERTIFICATE_BYTES_MAX: usize = 1024;

/// The role of a node in its organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Follows the chain, serves and relays.
    Full,
    /// May validate, if the chain names it.
    Validator,
}

impl Role {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Validator => "validator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Full, Self::Validator]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("a role is full or validator, got {text:?}"))
    }
}

// Right-aligned to one width, so that a serial has one form and revocations are compared as
// bytes.
/// A certificate's serial number (RFC 5280, 4.1.2.2): 1 to 20 bytes, positive, unique
/// within an organisation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub [u8; 20]);

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = alloy_primitives::hex::encode(self.0);
        write!(f, "0x{}", digits.trim_start_matches('0'))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// Why bytes are no node certificate, or why none can be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("it has {0} bytes; at most {CERTIFICATE_BYTES_MAX} are allowed")]
    TooLong(usize),
    #[error("it is no DER of an X.509 certificate: {0}")]
    Der(String),
    #[error("its DER has a shorter or another encoding of the same")]
    NotCanonical,
    #[error("it is not of version 3")]
    Version,
    #[error("its {0} is not Ed25519 (RFC 8410)")]
    Algorithm(&'static str),
    #[error("its serial number is not 1 to 20 bytes and positive")]
    Serial,
    #[error("its {0} name has {1} bytes; 1 to {max} are allowed", max = profile::NAME_BYTES_MAX)]
    Name(&'static str, usize),
    #[error("it is valid from {from} until {until} (Unix seconds); the end must be later")]
    Validity { from: u64, until: u64 },
    #[error("a time of {0} (Unix seconds) is after the year 9999")]
    Time(u64),
    #[error("it has the extension {0} twice")]
    Twice(String),
    #[error("it has the critical extension {0}, which this node does not know")]
    Critical(String),
    #[error("it is a CA's certificate; a node's must not sign others")]
    Authority,
    #[error("its key may not make signatures")]
    KeyUsage,
    #[error("it has {0} subject alternative names; exactly one, a URI, is allowed")]
    Names(usize),
    #[error("its subject alternative name is no URI")]
    NotUri,
    #[error(
        "its URI is not trefoil://<genesis>/org/<id>/node/<peer id>/role/<full|validator>: {0:?}"
    )]
    Uri(String),
    #[error("its URI names {named}, but its key is that of {key}")]
    Key { named: PeerId, key: PeerId },
}

/// The content of a node certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The network that it is for.
    pub genesis: B256,
    pub organisation: u32,
    /// The node: the subject's key is this peer's identity key, so the handshake proves
    /// that the holder has it.
    pub peer: PeerId,
    pub role: Role,
    pub serial: Serial,
    /// It is valid at `not_before <= time < not_after`, Unix seconds.
    pub not_before: u64,
    pub not_after: u64,
}

/// A node certificate that keeps the profile. Whether it counts is decided by the chain
/// (`trefoil_types::Admission`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCertificate {
    claims: Claims,
    /// The DER that is signed, and the Ed25519 signature.
    signed: Vec<u8>,
    signature: [u8; 64],
}

/// A certificate is read as its claims.
impl Deref for NodeCertificate {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.claims
    }
}

impl NodeCertificate {
    /// Issues a certificate with a CA key that is at hand.
    ///
    /// # Errors
    /// See [`Claims::to_be_signed`].
    pub fn issue(claims: &Claims, ca: &SecretKey) -> Result<Self, CertificateError> {
        let signed = claims.to_be_signed()?;
        let signature = ca.sign_plain(&signed);
        Self::assemble(&signed, &signature)
    }

    /// A certificate from claims that were signed elsewhere (by a command, a token) and the
    /// Ed25519 signature, which only [`Self::is_signed_by`] verifies.
    ///
    /// # Errors
    /// `signed` does not keep the profile.
    pub fn assemble(signed: &[u8], signature: &[u8; 64]) -> Result<Self, CertificateError> {
        Self::decode(&profile::join(signed, signature))
    }

    /// The certificate's bytes.
    pub fn to_der(&self) -> Vec<u8> {
        profile::join(&self.signed, &self.signature)
    }

    /// Whether `key` signed it (RFC 8410, strict verification).
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verify_plain(&self.signed, &self.signature)
    }
}
