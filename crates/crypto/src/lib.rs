//! Proves who made a statement: keys, signatures, node certificates.
//!
//! Owns every secret-key operation outside TLS.
//!
//! What always holds: a signature is made and checked under a [`Domain`] and a network id
//! (the genesis hash), so that bytes signed for one purpose or network mean nothing in
//! another. Verification is strict: RFC 8032, and small-order and non-canonical keys are
//! refused.
//!
//! What it must never know: votes, blocks, members or files. It signs bytes; whether a
//! signer counts is decided elsewhere.

mod certificate;
mod keys;
mod recent;

pub use alloy_primitives::{Address, B256, keccak256};
pub use certificate::{
    CERTIFICATE_BYTES_MAX, CertificateError, Claims, NodeCertificate, Role, Serial,
};
pub use keys::{Domain, KeyError, PeerId, PublicKey, SecretKey, Signature};

#[cfg(test)]
mod tests;
