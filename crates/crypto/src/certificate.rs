//! Node certificates: an organisation's word that a node is its own.

use std::{fmt, str::FromStr};

use alloy_primitives::B256;

use crate::{PeerId, PublicKey};

/// What a node may be within its organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Follows, serves and relays.
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

/// A certificate's serial number (RFC 5280, 4.1.2.2): 1 to 20 bytes, positive,
/// unique within an organisation. Right-aligned.
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

/// A node certificate that keeps the profile (`docs/wire.md`), taken apart.
/// Whether it counts is for the chain to say (`trefoil_types::Admission`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCertificate {
    /// The network it is for.
    pub genesis: B256,
    pub organisation: u32,
    /// Whose it is: the subject's key is this peer's identity key.
    pub peer: PeerId,
    pub role: Role,
    pub serial: Serial,
    /// It is valid at `not_before <= time < not_after`, Unix seconds.
    pub not_before: u64,
    pub not_after: u64,
    /// The DER that is signed, and the Ed25519 signature.
    pub(crate) signed: Vec<u8>,
    pub(crate) signature: [u8; 64],
}

impl NodeCertificate {
    /// Whether `key` signed it (RFC 8410, strict verification).
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verify_plain(&self.signed, &self.signature)
    }
}
