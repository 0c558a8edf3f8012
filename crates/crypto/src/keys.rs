//! Ed25519 keys: the validator's (votes) and the node's (identity).

use std::{fmt, str::FromStr};

use alloy_primitives::{B256, hex, keccak256};
use alloy_rlp::{RlpDecodableWrapper, RlpEncodableWrapper};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::recent;

// Attack: a signature made for one purpose is shown as another. A vote must never be a peer
// record, and a vote of a test network never one of the main network.
/// The purpose of a signature. Its tag enters the signed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A consensus prevote or precommit.
    Vote,
    /// A consensus proposal.
    Proposal,
    /// The static key of a `/trefoil/clear/1` key exchange. It belongs to no network (zero).
    /// The hello that follows names one, and can refuse a peer of another network with the
    /// reason.
    ClearKey,
    /// The addresses of a node, as it publishes them itself.
    PeerRecord,
    /// A key agrees to a use that the governing contract is to record
    /// (`contracts/src/KeyProofs.sol`).
    KeyProof,
}

impl Domain {
    // Each ends with a zero byte, so that no tag is the beginning of another.
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::Vote => b"trefoil/vote/1\0",
            Self::Proposal => b"trefoil/proposal/1\0",
            Self::ClearKey => b"trefoil/clear-key/1\0",
            Self::PeerRecord => b"trefoil/peer-record/1\0",
            Self::KeyProof => b"trefoil/key-proof/1\0",
        }
    }

    /// The bytes that are signed: tag, network (genesis hash), message.
    pub fn preimage(self, network: &B256, message: &[u8]) -> Vec<u8> {
        [self.tag(), network.as_slice(), message].concat()
    }
}

/// Why bytes are no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a public key is 32 bytes of hex, got {0:?}")]
    BadHex(String),
    #[error("{0} is not a point of ed25519, or one of small order")]
    NotAPoint(String),
    #[error("a peer id is the base58 text of an ed25519 identity (12D3KooW…), got {0:?}")]
    BadPeerId(String),
}

/// An Ed25519 secret key (32-byte seed, RFC 8032). Wiped from memory on drop.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key whose RFC 8032 seed is `seed`.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for a keystore. Wiped when dropped.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(B256::from(self.0.verifying_key().to_bytes()))
    }

    /// Signs `message` for one purpose on one network (the genesis hash).
    pub fn sign(&self, domain: Domain, network: &B256, message: &[u8]) -> Signature {
        Signature(self.0.sign(&domain.preimage(network, message)).to_bytes())
    }

    // X.509 has no domains. The DER of a certificate begins with 0x30 and every tag of ours
    // with "trefoil/", so neither can pass for the other.
    /// Signs bytes that another standard defines: the DER of X.509.
    pub(crate) fn sign_plain(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the secret: debug output ends in logs.
        write!(f, "SecretKey(of {})", self.public())
    }
}

// Unchecked: decompressing a point costs much more than decoding a vote, and most keys are
// only compared.
/// An Ed25519 public key, 32 bytes, not checked to be a point until it is used. It names a
/// validator in consensus.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    RlpEncodableWrapper,
    RlpDecodableWrapper,
)]
#[serde(transparent)]
pub struct PublicKey(pub B256);

impl PublicKey {
    // Lenient checks differ between libraries (cofactor, small order, non-canonical
    // encodings). Two nodes that disagree about one signature have split.
    /// Strict verification; `false` for a key that is no point or of small order.
    pub fn verify(
        &self,
        domain: Domain,
        network: &B256,
        message: &[u8],
        signature: &Signature,
    ) -> bool {
        let bytes = domain.preimage(network, message);
        let verify = || self.verify_plain(&bytes, &signature.0);
        match domain {
            Domain::Vote | Domain::Proposal => {
                // The first two are of fixed length, so that no other three are the same bytes.
                let all = [self.0.as_slice(), &signature.0, &bytes].concat();
                recent::verify_once(keccak256(all), verify)
            }
            // Each of these is met once.
            Domain::ClearKey | Domain::PeerRecord | Domain::KeyProof => verify(),
        }
    }

    /// Strict verification of a signature that other standards define, without
    /// a domain of ours: X.509's (RFC 8410).
    pub(crate) fn verify_plain(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0.0).is_ok_and(|key| {
            let signature = ed25519_dalek::Signature::from_bytes(signature);
            key.verify_strict(message, &signature).is_ok()
        })
    }

    // A signature by a key of small order can be right for many messages: it proves
    // nothing.
    /// Whether the bytes are a usable key.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`] otherwise.
    pub fn check(&self) -> Result<(), KeyError> {
        match VerifyingKey::from_bytes(&self.0.0) {
            Ok(key) if !key.is_weak() => Ok(()),
            _ => Err(KeyError::NotAPoint(self.to_string())),
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.10}", hex::encode_prefixed(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let key = Self(text.parse().map_err(|_| KeyError::BadHex(text.into()))?);
        key.check().map(|()| key)
    }
}

/// An Ed25519 signature, 64 bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, RlpEncodableWrapper, RlpDecodableWrapper,
)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:.10})", hex::encode_prefixed(self.0))
    }
}

/// A node on the network: its libp2p identity, an Ed25519 public key.
/// Printed as libp2p does (base58 of the identity multihash, `12D3KooW…`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub PublicKey);

/// Identity multihash of the protobuf `PublicKey {Ed25519, 32 bytes}`
/// (libp2p peer-ids specification).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl PeerId {
    /// The multihash of the peer id, as in libp2p.
    pub fn multihash(&self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(self.0.0.as_slice());
        bytes
    }

    /// The peer with this identity multihash. `None`: it is no Ed25519 identity.
    pub fn from_multihash(bytes: &[u8]) -> Option<Self> {
        // Other key types and hashed ids are refused: the id must be the key itself, since
        // a peer is verified with it.
        let key: [u8; 32] = bytes.strip_prefix(&PEER_ID_PREFIX)?.try_into().ok()?;
        Some(Self(PublicKey(B256::from(key))))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.multihash()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        write!(f, "PeerId(…{})", &text[text.len() - 6..])
    }
}

impl Serialize for PeerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for PeerId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bad = || KeyError::BadPeerId(text.into());
        // A peer id is 52 characters; base58 is quadratic in its input.
        if text.len() > 64 {
            return Err(bad());
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| bad())?;
        Self::from_multihash(&bytes).ok_or_else(bad)
    }
}
