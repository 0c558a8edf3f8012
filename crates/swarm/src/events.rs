//! Events and commands of the service.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use trefoil_content::{
    ContentId, Part,
    message::SwarmMessage,
    scheduler::{FetchFailure, RequestId, Resource, Source, Ticket},
};
use trefoil_types::{Height, Offence, PeerId, Standing};

use crate::{
    error::FetchError,
    fetch::{Progress, Seeking, Want},
    peer_backlog::HeldBytes,
    store::{OpenStore, StoreError},
};

/// An event from a task: of a peer, an origin, the disk or a timer.
#[derive(Debug)]
pub enum TaskEvent {
    Gone {
        peer: PeerId,
        connection: u64,
        offence: Option<Offence>,
    },
    Message {
        peer: PeerId,
        connection: u64,
        message: SwarmMessage,
        /// Room for it and its answer, until it is handled.
        held: HeldBytes,
    },
    /// A resource that a peer seeks was opened; `None`: it is not here.
    Opened {
        peer: PeerId,
        connection: u64,
        resource: Resource,
        /// How often stores had been closed for good when the opening began.
        closings: u64,
        result: Result<Option<Arc<OpenStore>>, StoreError>,
        /// Of the Find, until it is answered.
        held: HeldBytes,
    },
    /// A resource that a user of this node asked for was opened.
    OpenedForUser {
        request: StoreRequest,
        /// As of [`Self::Opened`].
        closings: u64,
        result: Result<Option<Arc<OpenStore>>, StoreError>,
    },
    /// A peer did what no honest one does, and stays until that adds up.
    Misdeed {
        peer: PeerId,
        offence: Offence,
    },
    /// More groups of a request came, and their bytes.
    Arrived {
        resource: Resource,
        request: RequestId,
        source: Source,
        groups: u64,
        bytes: u64,
    },
    Failed {
        resource: Resource,
        request: RequestId,
        failure: FetchFailure,
    },
    /// An HTTP server is not to be asked any more, or not for a while.
    OriginLeft {
        web: u16,
        resource: Resource,
        for_good: bool,
    },
    /// All hashes of a resource are here.
    Hashed {
        resource: Resource,
    },
    /// The disk does not take the bytes that came.
    Broken {
        opened: Arc<OpenStore>,
        error: io::Error,
    },
    /// More is kept than the quota, unless these are removed.
    Excess {
        ids: Vec<ContentId>,
    },
    /// Resources were removed, because there was no room, or could not be.
    Freed {
        result: Result<(), StoreError>,
    },
    /// Bytes that were to be served have changed on disk.
    Damaged {
        opened: Arc<OpenStore>,
        part: Part,
    },
    /// What was to be served cannot be read.
    Unreadable {
        opened: Arc<OpenStore>,
        why: String,
    },
    Served {
        resource: Resource,
        peer: PeerId,
        ticket: Ticket,
    },
    Synced {
        opened: Arc<OpenStore>,
        result: io::Result<()>,
    },
    /// Time to check whether the connected peers are enough: `after` has passed.
    Look {
        resource: Resource,
        after: Duration,
    },
}

/// A node's newest state snapshot, as it announces it to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announced {
    pub height: Height,
    /// The root of the file that lists the files for state sync.
    pub index: [u8; 32],
}

impl Announced {
    pub fn message(self) -> SwarmMessage {
        SwarmMessage::Snapshot { resource: Resource::file(self.index), height: self.height }
    }
}

/// A user of this node asks for the store of a resource.
#[derive(Debug)]
pub struct StoreRequest {
    pub resource: Resource,
    /// Of a directory's files, even if none of them is here.
    pub begin: bool,
    /// For a reader, who is refused while the directories in use leave no room for another one.
    pub yields: bool,
    pub reply: oneshot::Sender<Result<Option<Arc<OpenStore>>, FetchError>>,
}

/// A command of a user of this node.
#[derive(Debug)]
pub enum ContentCommand {
    /// Fetches a resource of which nothing is known but its name.
    Seek { resource: Resource, seeking: Seeking },
    /// Fetches pieces of a resource whose store is open; `done` is sent when they are here.
    /// Dropping its other end ends the fetch.
    Fetch { opened: Arc<OpenStore>, want: Want },
    /// The store of a resource, if it is here.
    Store(StoreRequest),
    /// These groups have changed on disk.
    Lose { opened: Arc<OpenStore>, lost: Vec<Part>, reply: oneshot::Sender<()> },
    /// The operator put origins of a resource.
    NewOrigins { resource: Resource },
    /// The progress of a fetch.
    Progress { resource: Resource, reply: oneshot::Sender<Option<Progress>> },
    /// Nothing of it is fetched or served any more.
    Close { id: ContentId, reply: oneshot::Sender<()> },
    /// Announces this node's newest state snapshot to all peers.
    Announce(Announced),
    /// The snapshots that peers announced, and what each peer is.
    Announced { reply: oneshot::Sender<BTreeMap<PeerId, (Standing, Announced)>> },
    /// A peer's announcement was false.
    Blame { peer: PeerId, offence: Offence },
}
