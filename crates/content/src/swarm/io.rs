//! What goes into the swarm and what comes out: all of it plain data.

use std::{collections::BTreeSet, ops::Range};

use trefoil_types::{Offence, PeerId, Time};

use crate::{AllowList, Bits, Layout, News, Part};

/// What peers call a resource: a file by its BLAKE3 root, the files of a
/// directory by a hash of the manifest's; what is for some only, by a hash of
/// that and the list.
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

    /// The same for these organisations only.
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

/// Whom parts are asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Peer(PeerId),
    /// An HTTP server, by its place in the shell's list of origins.
    Web(u16),
}

/// What a source is to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has what it says that it has.
    Peer,
    /// Has all, and is asked only for what the swarm lacks.
    Origin,
}

/// Names one request for as long as it is open; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a peer's request to us: its own number, unique at that peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Members of one network: everyone in turn.
    Fair,
    /// Strangers: who gives gets, and one more by chance.
    TitForTat,
}

/// Bytes a second; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub up: Option<u64>,
    pub down: Option<u64>,
}

/// Why a peer is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is choked, or has too many requests open.
    Choked,
    /// The piece is not here.
    Missing,
    /// The origin gave it to another just now, which will pass it on.
    Given,
}

/// Why a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The source would not serve it.
    Refused(Refusal),
    /// What came was not what the hash says, from this group on.
    Corrupt { group: u64 },
    /// The connection ended, or the source could not serve it now.
    Closed,
}

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed; see `Swarm::deadline`.
    Tick,
    /// A resource to fetch and serve. `have` are the pieces that are here;
    /// `origin`: this node is the one that the others should spare.
    Open {
        resource: Resource,
        layout: Layout,
        have: Bits,
        manner: Manner,
        rates: Rates,
        origin: bool,
    },
    /// The user wants these pieces; nothing else is fetched. The newest wins.
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
        role: Role,
    },
    /// The source is gone, for every resource.
    Left {
        source: Source,
    },
    /// A peer's news of what it has.
    Told {
        resource: Resource,
        peer: PeerId,
        news: News,
    },
    Choked {
        resource: Resource,
        peer: PeerId,
        choked: bool,
    },
    /// So many more groups of a request came, were verified and written.
    Arrived {
        resource: Resource,
        request: RequestId,
        groups: u64,
    },
    Failed {
        resource: Resource,
        request: RequestId,
        failure: Failure,
    },
    /// Pieces that were here are not any more: their bytes have changed on disk.
    Lost {
        resource: Resource,
        pieces: BTreeSet<u32>,
    },
    /// A peer asks for a piece, from a group of it on.
    Asked {
        resource: Resource,
        peer: PeerId,
        ticket: Ticket,
        piece: u32,
        from: u64,
    },
    /// A peer takes its request back.
    Unasked {
        resource: Resource,
        peer: PeerId,
        ticket: Ticket,
    },
    /// What [`Effect::Serve`] asked for is sent, or could not be.
    Served {
        resource: Resource,
        peer: PeerId,
        ticket: Ticket,
    },
}

/// What is to be done.
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
    /// `None`: to every peer of this resource.
    Tell {
        resource: Resource,
        to: Option<PeerId>,
        news: News,
    },
    Choke {
        resource: Resource,
        peer: PeerId,
        choked: bool,
    },
    /// To be sent now; the answer is [`Input::Served`].
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
        why: Refusal,
    },
    Blame {
        peer: PeerId,
        offence: Offence,
    },
    /// The source is asked for nothing any more.
    Leave {
        resource: Resource,
        source: Source,
        failure: Failure,
    },
    /// All that was wanted is here.
    Done {
        resource: Resource,
    },
}

/// The earlier of two deadlines.
pub(crate) fn sooner(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
