//! A peer record: the addresses at which a node claims to be reachable, signed by its
//! identity.
//!
//! It proves its author and nothing else: an address is a candidate until a dial there
//! meets that identity.

use std::net::{IpAddr, SocketAddr};

use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use trefoil_crypto::{Domain, SecretKey, Signature};
use trefoil_types::{B256, PeerId, PublicKey};

use crate::discovery::reachability::is_reachable;

/// The most addresses of one record.
// One each way (IPv4, IPv6) of two lines. Each address costs the receiver a place in its book.
pub const ADDRESSES_MAX: usize = 4;

/// The longest record, bytes: key, number, four IPv6 addresses, signature.
pub const RECORD_BYTES_MAX: usize = 256;

/// The most records of one answer.
// An answer has about 16 KiB at most. A peer is asked once a connection. It then names at most
// 256 addresses (`ADDRESSES_MAX` a record), and the book has 4,096 new places.
pub const RECORDS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    pub peer: PeerId,
    pub addresses: Vec<SocketAddr>,
    /// Grows with each record of this peer: seconds of its clock.
    pub sequence: u64,
    pub signature: Signature,
}

/// Why bytes are no peer record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a peer record cannot be decoded: {0}")]
    Malformed(#[from] alloy_rlp::Error),
    #[error("a peer record of {0} bytes where at most {RECORD_BYTES_MAX} are allowed")]
    TooLarge(usize),
    #[error("a peer record with {0} addresses where 1 to {ADDRESSES_MAX} are allowed")]
    Addresses(usize),
    #[error("a peer record with an address that nobody can be reached at: {0}")]
    Unreachable(SocketAddr),
    #[error("{0} peer records where at most {RECORDS_MAX} are allowed")]
    TooMany(usize),
}

/// An address on the wire and on disk: 4 or 16 bytes, and the port.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Address {
    ip: alloy_primitives::Bytes,
    port: u16,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Signed {
    peer: PublicKey,
    addresses: Vec<Address>,
    sequence: u64,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Wire {
    signed: Signed,
    signature: Signature,
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        Self { ip: ip.into(), port: address.port() }
    }
}

impl Address {
    /// The address, if it is one: IPv4 is never written as IPv6.
    pub fn socket(&self) -> Option<SocketAddr> {
        let ip = match self.ip.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(self.ip.as_ref()).ok()?),
            16 => IpAddr::from(<[u8; 16]>::try_from(self.ip.as_ref()).ok()?),
            _ => return None,
        };
        (ip.to_canonical() == ip).then_some(SocketAddr::new(ip, self.port))
    }
}

impl PeerRecord {
    /// Signs the addresses at which this node can be reached: 1 to [`ADDRESSES_MAX`].
    pub fn sign(
        key: &SecretKey,
        network: &B256,
        addresses: Vec<SocketAddr>,
        sequence: u64,
    ) -> Self {
        let peer = PeerId(key.public());
        let mut record = Self { peer, addresses, sequence, signature: Signature([0; 64]) };
        let message = alloy_rlp::encode(record.signed());
        record.signature = key.sign(Domain::PeerRecord, network, &message);
        record
    }

    /// Whether its peer signed it, on this network.
    pub fn verify(&self, network: &B256) -> bool {
        let message = alloy_rlp::encode(self.signed());
        self.peer.0.verify(Domain::PeerRecord, network, &message, &self.signature)
    }

    fn signed(&self) -> Signed {
        let addresses = self.addresses.iter().map(|address| Address::from(*address)).collect();
        Signed { peer: self.peer.0, addresses, sequence: self.sequence }
    }

    pub fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        Wire { signed: self.signed(), signature: self.signature }.encode(out);
    }

    /// Decodes one record from the front of `bytes`. Its signature is not looked at.
    ///
    /// # Errors
    /// When there is none within its bounds.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, RecordError> {
        let header = alloy_rlp::Header::decode(&mut &**bytes)?;
        if header.payload_length > RECORD_BYTES_MAX {
            return Err(RecordError::TooLarge(header.payload_length));
        }
        let Wire { signed, signature } = Wire::decode(bytes)?;
        let count = signed.addresses.len();
        if !(1..=ADDRESSES_MAX).contains(&count) {
            return Err(RecordError::Addresses(count));
        }
        let address = |address: &Address| {
            let socket = address.socket().ok_or(alloy_rlp::Error::Custom("no IP address"))?;
            is_reachable(socket).then_some(socket).ok_or(RecordError::Unreachable(socket))
        };
        let addresses =
            signed.addresses.iter().map(address).collect::<Result<Vec<_>, RecordError>>()?;
        Ok(Self { peer: PeerId(signed.peer), addresses, sequence: signed.sequence, signature })
    }
}

/// Records, one after the other.
pub fn encode_all(records: &[PeerRecord]) -> Vec<u8> {
    let mut out = Vec::new();
    records.iter().for_each(|record| record.encode(&mut out));
    out
}

/// Decodes at most [`RECORDS_MAX`] records that fill `bytes`.
///
/// # Errors
/// The first that is none, or too many.
pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<PeerRecord>, RecordError> {
    if bytes.len() > RECORDS_MAX * (RECORD_BYTES_MAX + 3) {
        return Err(RecordError::TooLarge(bytes.len()));
    }
    let mut records = Vec::new();
    while !bytes.is_empty() {
        if records.len() >= RECORDS_MAX {
            return Err(RecordError::TooMany(records.len() + 1));
        }
        records.push(PeerRecord::decode(&mut bytes)?);
    }
    Ok(records)
}
