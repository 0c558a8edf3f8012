//! Proofs by which Ed25519 keys agree to their use.
//!
//! What always holds: a proof serves one role of one claimer on one network. The governing
//! contract accepts no key without, so nobody registers a key whose secret another holds (ADR 27).

use std::{fmt, str::FromStr};

use alloy_primitives::hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use trefoil_crypto::{Address, B256, Domain, PublicKey, SecretKey, Signature, keccak256};

use crate::spec::GOVERNING_CONTRACT;

/// What an Ed25519 key is for, by its number in the contract (`KeyRole` of
/// `contracts/src/KeyProofs.sol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeyRole {
    /// A node's identity.
    Peer = 1,
    /// Consensus.
    Validator = 2,
    /// Node certificates.
    Ca = 3,
}

impl KeyRole {
    const ALL: [Self; 3] = [Self::Peer, Self::Validator, Self::Ca];

    /// As the command line names such a key.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "node",
            Self::Validator => "validator",
            Self::Ca => "ca",
        }
    }
}

/// Why a text is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no proof; give what `trefoil keys prove` printed, ROLE:KEY:SIGNATURE")]
pub struct BadKeyProof(String);

/// To whose use a key agrees: an organisation by its name, or on a public network the account
/// that owns the stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyClaimer(B256);

impl From<&str> for KeyClaimer {
    fn from(organisation: &str) -> Self {
        // The contract packs a name of at most 32 bytes into one word.
        let mut name = organisation.as_bytes().to_vec();
        name.resize(32, 0);
        Self(B256::from_slice(&name))
    }
}

impl From<Address> for KeyClaimer {
    fn from(owner: Address) -> Self {
        Self(owner.into_word())
    }
}

/// The signature by which a key agrees to its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyProof {
    pub role: KeyRole,
    pub key: PublicKey,
    pub signature: Signature,
}

impl KeyProof {
    // The genesis hash follows from the keys, so they cannot sign it. No genesis hash is such a
    // value, so the governing contract takes no proof that was made for a founding.
    /// What keys sign instead of the genesis hash, while a network of that name and chain id is to
    /// be founded.
    pub fn founding(name: &str, chain_id: u64) -> B256 {
        let tag: &[u8] = b"trefoil/founding/1\0";
        keccak256([tag, &chain_id.to_be_bytes(), name.as_bytes()].concat())
    }

    /// The bytes after the domain's tag and the network: contract, role, claimer.
    fn message(role: KeyRole, claimer: KeyClaimer) -> Vec<u8> {
        [GOVERNING_CONTRACT.as_slice(), &[role as u8], claimer.0.as_slice()].concat()
    }

    /// All bytes that are signed, for a signer that is not this program. `network` is the
    /// genesis hash.
    pub fn preimage(network: &B256, role: KeyRole, claimer: impl Into<KeyClaimer>) -> Vec<u8> {
        Domain::KeyProof.preimage(network, &Self::message(role, claimer.into()))
    }

    pub fn sign(
        secret: &SecretKey,
        network: &B256,
        role: KeyRole,
        claimer: impl Into<KeyClaimer>,
    ) -> Self {
        let message = Self::message(role, claimer.into());
        let signature = secret.sign(Domain::KeyProof, network, &message);
        Self { role, key: secret.public(), signature }
    }

    /// Whether the key signed that.
    pub fn verify(&self, network: &B256, claimer: impl Into<KeyClaimer>) -> bool {
        let message = Self::message(self.role, claimer.into());
        self.key.verify(Domain::KeyProof, network, &message, &self.signature)
    }
}

impl fmt::Display for KeyProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = hex::encode_prefixed(self.signature.0);
        write!(f, "{}:{}:{signature}", self.role.name(), self.key)
    }
}

impl FromStr for KeyProof {
    type Err = BadKeyProof;

    fn from_str(text: &str) -> Result<Self, BadKeyProof> {
        let parse = || {
            let (role, rest) = text.split_once(':')?;
            let (key, signature) = rest.split_once(':')?;
            Some(Self {
                role: KeyRole::ALL.into_iter().find(|known| known.name() == role)?,
                key: key.parse().ok()?,
                signature: Signature(hex::decode(signature).ok()?.try_into().ok()?),
            })
        };
        parse().ok_or_else(|| BadKeyProof(text.into()))
    }
}

impl Serialize for KeyProof {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyProof {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
