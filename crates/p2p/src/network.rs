//! The network that a node belongs to, and how two networks differ.

use trefoil_types::{B256, spec::Kind};

/// Two nodes must agree on this before they exchange messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkId {
    pub kind: Kind,
    pub genesis: B256,
    /// EIP-2124-like checksum of genesis and the fork schedule.
    pub fork_id: [u8; 4],
}

/// How a peer's network differs from ours. The text is sent to the peer, and its names for
/// the two sides are true at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    #[error("different kind of network: {theirs:?} there, {ours:?} here")]
    Kind { theirs: Kind, ours: Kind },
    #[error("different genesis: {theirs} there, {ours} here")]
    Genesis { theirs: B256, ours: B256 },
    #[error(
        "different fork schedule: fork id {:08x} there, {:08x} here; the chain.toml of one is out of date",
        u32::from_be_bytes(*.theirs), u32::from_be_bytes(*.ours)
    )]
    Fork { theirs: [u8; 4], ours: [u8; 4] },
}

impl NetworkId {
    /// The first difference that keeps the two apart, if there is one. The genesis goes
    /// first: the kind and the forks follow from it.
    pub fn difference(&self, theirs: &NetworkId) -> Option<Difference> {
        if self.genesis != theirs.genesis {
            Some(Difference::Genesis { theirs: theirs.genesis, ours: self.genesis })
        } else if self.kind != theirs.kind {
            Some(Difference::Kind { theirs: theirs.kind, ours: self.kind })
        } else if self.fork_id != theirs.fork_id {
            Some(Difference::Fork { theirs: theirs.fork_id, ours: self.fork_id })
        } else {
            None
        }
    }
}

/// The code of a kind on the wire.
pub(crate) const fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Public => 1,
        Kind::Private => 2,
        Kind::Consortium => 3,
    }
}

pub(crate) const fn kind(code: u8) -> Option<Kind> {
    match code {
        1 => Some(Kind::Public),
        2 => Some(Kind::Private),
        3 => Some(Kind::Consortium),
        _ => None,
    }
}

/// Two versions of one protocol that keep two nodes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionMismatch {
    pub theirs: u16,
    pub ours: u16,
}
