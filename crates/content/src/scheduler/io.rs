//! Inputs and effects of the swarm: plain data.

use std::{collections::BTreeSet, ops::Range};

use trefoil_types::{Offence, PeerId};

use crate::{AllowList, Bits, Layout, News, Part};

/// The name of a resource between peers. A file: its BLAKE3 root. The files of a directory:
/// a hash of the manifest's root. A resource with an allow-list: a hash of its usual name
/// and the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource(pub [u8; 32]);

impl Resource {
    /// A file, or a directory's manifest.
    pub fn file(root: [u8; 32]) -> Self {
        Self(root)
    }

    /// The hashes of a file or manifest, without its bytes.
    pub fn hashes(root: [u8; 32]) -> Self {
        Self(blake3::derive_key("trefoil 2026-11 the hashes of a file", &root))
    }

    // A peer that changes the list asks for a name that nobody has. So no node has to be
    // believed about a list (ADR 21).
    /// The name of the same resource for these organisations only.
    #[must_use]
    pub fn among(self, allow: &AllowList) -> Self {
        if allow.is_open() {
            return self;
        }
        let list = allow.organisations().iter().flat_map(|id| id.to_be_bytes());
        let named: Vec<u8> = self.0.into_iter().chain(list).collect();
        Self(blake3::derive_key("trefoil 2026-11 a resource for some organisations", &named))
    }

    /// The files that a manifest lists.
    pub fn tree(manifest: [u8; 32]) -> Self {
        Self(blake3::derive_key("trefoil 2026-11 the files of a directory", &manifest))
    }
}

/// A source of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Peer(PeerId),
    /// An HTTP server, by its index in the list of origins.
    Web(u16),
}

/// The role of a source for a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceRole {
    /// It has the pieces that it announced.
    #[default]
    Peer,
    /// It has all pieces, and is asked only for those that the swarm lacks.
    Origin,
}

/// Names one request of ours. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a request of a peer to us: the peer's own number, unique on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

// Members of one network are known organisations; strangers can come back under new names,
// so only what they give counts.
/// Which peers are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadPolicy {
    /// All peers in turn (networks of members).
    Fair,
    /// Peers that give, and one more by chance (public networks).
    TitForTat,
}

/// Bytes a second; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub up: Option<u64>,
    pub down: Option<u64>,
}

/// Why a peer is not served, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// It is choked, or has too many requests waiting.
    Choked = 0,
    /// The piece is not here.
    Missing = 1,
    // Keeps the origin at about one copy in all: the first taker passes it on (ADR 15).
    /// The origin gave this piece to another peer a moment ago, which will pass it on.
    Given = 2,
}

impl RejectReason {
    pub(crate) const ALL: [Self; 3] = [Self::Choked, Self::Missing, Self::Given];
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// The source refused it.
    Refused(RejectReason),
    /// The bytes do not have the hash that they must have, from this group on.
    Corrupt { group: u64 },
    /// The connection ended, or the source cannot serve it now.
    Closed,
}

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum SchedulerInput {
    /// Time passed; see `Swarm::deadline`.
    Tick,
    /// A resource to fetch and serve. `have`: the pieces that are here. `origin`: this node
    /// is the origin, which the others spare.
    Open {
        resource: Resource,
        layout: Layout,
        have: Bits,
        upload_policy: UploadPolicy,
        origin: bool,
    },
    /// The user wants these pieces, and nothing else is fetched. The newest input counts.
    Want {
        resource: Resource,
        pieces: Range<u32>,
        sequential: bool,
    },
    /// The user gave up, or the resource was removed.
    Close {
        resource: Resource,
    },
    Joined {
        resource: Resource,
        source: Source,
        role: SourceRole,
    },
    /// The source is gone, for all resources.
    Left {
        source: Source,
    },
    /// A peer announces pieces.
    Announced {
        resource: Resource,
        peer: PeerId,
        news: News,
    },
    Choked {
        resource: Resource,
        peer: PeerId,
        choked: bool,
    },
    /// More groups of a request arrived, and were verified and written.
    Arrived {
        resource: Resource,
        request: RequestId,
        groups: u64,
    },
    Failed {
        resource: Resource,
        request: RequestId,
        failure: FetchFailure,
    },
    /// Pieces are no longer here: their bytes have changed on disk.
    Lost {
        resource: Resource,
        pieces: BTreeSet<u32>,
    },
    /// A peer requests a piece, from one of its groups on.
    Asked {
        resource: Resource,
        peer: PeerId,
        ticket: Ticket,
        piece: u32,
        from: u64,
    },
    /// A peer cancels its request.
    Unasked {
        resource: Resource,
        peer: PeerId,
        ticket: Ticket,
    },
    /// The part of an [`Effect::Serve`] was sent, or could not be.
    Served {
        resource: Resource,
        peer: PeerId,
        ticket: Ticket,
    },
}

/// An order to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Ask {
        request: RequestId,
        resource: Resource,
        source: Source,
        piece: u32,
        part: Part,
    },
    Cancel {
        request: RequestId,
        source: Source,
    },
    /// Nothing more comes of this request, and its peer knows.
    Forget {
        request: RequestId,
        peer: PeerId,
    },
    /// `None`: to every peer of this resource.
    Announce {
        resource: Resource,
        to: Option<PeerId>,
        news: News,
    },
    Choke {
        resource: Resource,
        peer: PeerId,
        choked: bool,
    },
    /// Send this part now. [`SchedulerInput::Served`] is the answer.
    Serve {
        resource: Resource,
        peer: PeerId,
        ticket: Ticket,
        part: Part,
    },
    Refuse {
        resource: Resource,
        peer: PeerId,
        ticket: Ticket,
        why: RejectReason,
    },
    Blame {
        peer: PeerId,
        offence: Offence,
    },
    /// Ask this source for nothing any more.
    Leave {
        resource: Resource,
        source: Source,
        failure: FetchFailure,
    },
    /// All wanted pieces are here.
    Done {
        resource: Resource,
    },
}
