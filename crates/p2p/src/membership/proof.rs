//! The membership proof: what each side of `/trefoil/member/1` says of itself,
//! and the codes by which it is refused. `docs/wire.md` has the bytes.

use alloy_primitives::Bytes;
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use trefoil_crypto::{CERTIFICATE_BYTES_MAX, CertificateError, NodeCertificate};
use trefoil_types::{B256, Height, NotAMember, PeerId};

use crate::network::{Difference, NetworkId, kind, kind_code};

/// The version of the membership proof.
// It leads the frame, outside of its RLP, so that a peer of another version is named and not
// called malformed.
pub const VERSION: u16 = 1;

/// The longest proof, bytes: all that is read of a peer before it is judged.
pub const PROOF_BYTES_MAX: usize = 2048;
const _: () = assert!(CERTIFICATE_BYTES_MAX + 100 < PROOF_BYTES_MAX);

/// The verdict on a member.
pub(crate) const ADMITTED: u8 = 0;

/// What a node says of itself within TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub network: NetworkId,
    /// Its tip: a node that is behind knows that its list of members is old.
    pub height: Height,
    pub certificate: NodeCertificate,
}

/// Why a peer is refused. It learns the code, the operator the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    #[error(transparent)]
    Member(#[from] NotAMember),
    #[error("it speaks version {theirs} of the membership proof, this node version {VERSION}")]
    Version { theirs: u16 },
    #[error(transparent)]
    Network(#[from] Difference),
    #[error("its proof cannot be decoded: {0}")]
    Malformed(#[from] alloy_rlp::Error),
    #[error("its proof has {bytes} bytes where 2 to {PROOF_BYTES_MAX} are allowed")]
    Length { bytes: usize },
    #[error("its proof names an unknown kind of network: {0}")]
    Kind(u8),
    #[error("its certificate is no node certificate: {0}")]
    Certificate(#[from] CertificateError),
    #[error("it agreed on the key exchange {0}, not on X25519MLKEM768")]
    KeyExchange(String),
    #[error("it is {0}, which is this node: an address leads back here, or the key is used twice")]
    Ourselves(PeerId),
    #[error("{0} is no ed25519 identity")]
    Identity(String),
}

impl Objection {
    /// What the peer learns.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Member(reason) => reason.code(),
            Self::Version { .. } => 16,
            Self::Network(Difference::Genesis { .. }) => 17,
            Self::Network(Difference::Kind { .. }) => 18,
            Self::Network(Difference::Fork { .. }) => 19,
            Self::Malformed(_) | Self::Length { .. } | Self::Kind(_) => 20,
            Self::Certificate(_) => 21,
            Self::KeyExchange(_) => 22,
            Self::Ourselves(_) => 23,
            Self::Identity(_) => 24,
        }
    }
}

/// What a peer's refusal of us means, for our operator.
pub(crate) fn meaning(code: u8) -> &'static str {
    match code {
        1 => "our certificate is for another network",
        2 => "our certificate names another node",
        3 => "our key was revoked",
        4 => "our organisation is not a member",
        5 => "our organisation is suspended, removed, or has not joined yet",
        6 => "our node belongs to another organisation",
        7 => "our certificate is not signed by a CA key that counts now",
        8 => "our certificate was revoked",
        9 => "our certificate is not valid yet",
        10 => "our certificate has expired: renew it",
        11 => "our certificate says a role that the chain has not given us",
        16 => "we speak another version of the membership proof",
        17 => "we have another genesis",
        18 => "we are of another kind of network",
        19 => "we have another fork schedule",
        20 => "our proof is malformed",
        21 => "our certificate is malformed",
        22 => "we agreed on a weaker key exchange than X25519MLKEM768",
        23 => "we are the same node",
        24 => "our identity is no ed25519 key",
        _ => "a code that this version does not know",
    }
}

#[derive(RlpEncodable, RlpDecodable)]
struct ProofWire {
    kind: u8,
    genesis: B256,
    fork_id: [u8; 4],
    height: Height,
    certificate: Bytes,
}

impl Proof {
    /// The whole frame, with its length.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = VERSION.to_be_bytes().to_vec();
        ProofWire {
            kind: kind_code(self.network.kind),
            genesis: self.network.genesis,
            fork_id: self.network.fork_id,
            height: self.height,
            certificate: self.certificate.to_der().into(),
        }
        .encode(&mut body);
        let length = u16::try_from(body.len()).expect("a certificate and less than 100 bytes");
        [length.to_be_bytes().as_slice(), &body].concat()
    }

    /// Decodes a proof without its length, and compares its network with
    /// `ours`: first the version, then the network, which names what differs,
    /// then the certificate.
    ///
    /// # Errors
    /// The first objection.
    pub fn decode(bytes: &[u8], ours: &NetworkId) -> Result<Self, Objection> {
        let (version, mut rest) =
            bytes.split_first_chunk().ok_or(Objection::Length { bytes: bytes.len() })?;
        let theirs = u16::from_be_bytes(*version);
        if theirs != VERSION {
            return Err(Objection::Version { theirs });
        }
        let wire = ProofWire::decode(&mut rest)?;
        if !rest.is_empty() {
            return Err(alloy_rlp::Error::UnexpectedLength.into());
        }
        let kind = kind(wire.kind).ok_or(Objection::Kind(wire.kind))?;
        let network = NetworkId { kind, genesis: wire.genesis, fork_id: wire.fork_id };
        if let Some(difference) = ours.difference(&network) {
            return Err(difference.into());
        }
        let certificate = NodeCertificate::decode(&wire.certificate)?;
        Ok(Self { network, height: wire.height, certificate })
    }
}
