//! The hello: what each side says first, and the judgement on it.

use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use trefoil_types::B256;

use crate::network::{NetworkId, kind, kind_code};

/// The wire protocol's version.
// It leads the hello, outside of its RLP, so that a node of another version is named and not
// called malformed, whatever that version's hello holds.
pub const VERSION: u16 = 3;

/// The longest software name, bytes of printable ASCII.
pub const SOFTWARE_BYTES_MAX: usize = 64;

/// The first frame on the consensus lane, each way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub network: NetworkId,
    /// Drawn at random when the process starts.
    // Tells a peer that restarted, and has lost its old connection, from a second connection of
    // one that never left.
    pub instance: u64,
    /// For people: name and version of the program.
    pub software: String,
    /// The TCP port that the sender says it listens on.
    // The port that a connection comes from is another each time: nobody could dial it.
    pub listen_port: u16,
}

/// Why bytes are no hello of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    #[error("it speaks version {theirs} of the wire protocol, this node version {VERSION}")]
    Version { theirs: u16 },
    #[error("its hello cannot be decoded: {0}")]
    Malformed(#[from] alloy_rlp::Error),
    #[error("its hello ends within the version")]
    Short,
    #[error("its hello names an unknown kind of network: {0}")]
    Kind(u8),
    #[error("its software name is not 1 to {SOFTWARE_BYTES_MAX} printable characters")]
    Software,
}

#[derive(RlpEncodable, RlpDecodable)]
struct HelloWire {
    kind: u8,
    genesis: B256,
    fork_id: [u8; 4],
    instance: u64,
    software: String,
    listen_port: u16,
}

impl Hello {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = VERSION.to_be_bytes().to_vec();
        HelloWire {
            kind: kind_code(self.network.kind),
            genesis: self.network.genesis,
            fork_id: self.network.fork_id,
            instance: self.instance,
            software: self.software.clone(),
            listen_port: self.listen_port,
        }
        .encode(&mut out);
        out
    }

    /// Decodes a hello. The version is judged before the rest is looked at.
    ///
    /// # Errors
    /// Another version, or not exactly one well-formed hello.
    pub fn decode(bytes: &[u8]) -> Result<Self, HelloError> {
        let (version, mut rest) = bytes.split_first_chunk().ok_or(HelloError::Short)?;
        let theirs = u16::from_be_bytes(*version);
        if theirs != VERSION {
            return Err(HelloError::Version { theirs });
        }
        let wire = HelloWire::decode(&mut rest)?;
        if !rest.is_empty() {
            return Err(HelloError::Malformed(alloy_rlp::Error::UnexpectedLength));
        }
        let printable = wire.software.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if wire.software.is_empty() || wire.software.len() > SOFTWARE_BYTES_MAX || !printable {
            return Err(HelloError::Software);
        }
        let kind = kind(wire.kind).ok_or(HelloError::Kind(wire.kind))?;
        Ok(Self {
            network: NetworkId { kind, genesis: wire.genesis, fork_id: wire.fork_id },
            instance: wire.instance,
            software: wire.software,
            listen_port: wire.listen_port,
        })
    }
}
