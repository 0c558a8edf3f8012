//! Lanes: what each may hold, and the bounded way of messages to the node.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{self, error::TryRecvError},
};
use trefoil_types::{limits, message::Lane};

use crate::NetEvent;

/// Every lane, most urgent first; `lane as usize` is its place here.
pub(crate) const LANES: [Lane; 3] = [Lane::Consensus, Lane::CatchUp, Lane::Gossip];

const MIB: usize = 1024 * 1024;

/// The bounds of one lane.
pub(crate) struct LaneLimits {
    pub name: &'static str,
    /// The libp2p protocol of its stream.
    pub protocol: &'static str,
    pub frame_bytes_max: usize,
    /// Waiting for one peer. A frame is always taken when nothing waits.
    pub out_messages_max: usize,
    pub out_bytes_max: usize,
    /// When full: drop what waited longest (votes are said again by timers, and
    /// new ones matter more), or refuse the newcomer.
    pub drop_oldest: bool,
    /// Waiting for the node, of all peers together, and of one peer.
    pub in_messages_max: usize,
    pub in_bytes_max: usize,
    pub in_messages_per_peer: usize,
}

const CONSENSUS: LaneLimits = LaneLimits {
    name: "consensus",
    protocol: "/trefoil/consensus/1",
    frame_bytes_max: limits::MESSAGE_BYTES_MAX,
    out_messages_max: 4096,
    out_bytes_max: 24 * MIB,
    drop_oldest: true,
    in_messages_max: 8192,
    in_bytes_max: 64 * MIB,
    in_messages_per_peer: 1024,
};

const CATCH_UP: LaneLimits = LaneLimits {
    name: "catch-up",
    protocol: "/trefoil/catch-up/1",
    frame_bytes_max: limits::MESSAGE_BYTES_MAX,
    out_messages_max: 64,
    out_bytes_max: 20 * MIB,
    drop_oldest: false,
    in_messages_max: 256,
    in_bytes_max: 32 * MIB,
    in_messages_per_peer: 16,
};

const GOSSIP: LaneLimits = LaneLimits {
    name: "gossip",
    protocol: "/trefoil/gossip/1",
    frame_bytes_max: 4 * MIB,
    out_messages_max: 1024,
    out_bytes_max: 8 * MIB,
    drop_oldest: false,
    in_messages_max: 1024,
    in_bytes_max: 16 * MIB,
    in_messages_per_peer: 64,
};

pub(crate) const fn limits(lane: Lane) -> &'static LaneLimits {
    match lane {
        Lane::Consensus => &CONSENSUS,
        Lane::CatchUp => &CATCH_UP,
        Lane::Gossip => &GOSSIP,
    }
}

/// Events in, most urgent first: the shell drains them in this order. All end
/// (`None`) once the network is shut down.
#[derive(Debug)]
pub struct Lanes {
    /// Connections and consensus messages.
    pub consensus: Inbox,
    pub catch_up: Inbox,
    pub gossip: Inbox,
}

/// The receiving end of one lane.
#[derive(Debug)]
pub struct Inbox(mpsc::Receiver<Parcel>);

impl Inbox {
    /// Waits for the next event; `None` when the network has ended.
    pub async fn recv(&mut self) -> Option<NetEvent> {
        loop {
            if let Some(event) = self.0.recv().await?.open() {
                return Some(event);
            }
        }
    }

    /// # Errors
    /// When nothing waits, or the network has ended.
    pub fn try_recv(&mut self) -> Result<NetEvent, TryRecvError> {
        loop {
            if let Some(event) = self.0.try_recv()?.open() {
                return Ok(event);
            }
        }
    }
}

/// An event and the room that it takes until it is read.
#[derive(Debug)]
struct Parcel {
    event: NetEvent,
    _room: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
    /// Set once its peer was cut: then it is void.
    cut: Option<Arc<AtomicBool>>,
}

impl Parcel {
    fn open(self) -> Option<NetEvent> {
        let void = self.cut.is_some_and(|cut| cut.load(Ordering::Acquire));
        (!void).then_some(self.event)
    }
}

/// The node no longer listens.
#[derive(Debug)]
pub(crate) struct NodeGone;

/// The sending end of one lane, shared by all peers.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    lane: Lane,
    parcels: mpsc::Sender<Parcel>,
    bytes: Arc<Semaphore>,
}

/// One peer's part of a lane: its messages that the node has not read yet.
pub(crate) struct Share {
    outlet: Outlet,
    messages: Arc<Semaphore>,
    cut: Arc<AtomicBool>,
}

/// A fresh lane.
pub(crate) fn lane(lane: Lane) -> (Outlet, Inbox) {
    let limits = limits(lane);
    let (parcels, inbox) = mpsc::channel(limits.in_messages_max);
    (Outlet { lane, parcels, bytes: Arc::new(Semaphore::new(limits.in_bytes_max)) }, Inbox(inbox))
}

impl Outlet {
    pub fn share(&self, cut: Arc<AtomicBool>) -> Share {
        let messages = Arc::new(Semaphore::new(limits(self.lane).in_messages_per_peer));
        Share { outlet: self.clone(), messages, cut }
    }

    /// Tells the node of a connection; waits for room.
    pub async fn tell(&self, event: NetEvent) -> Result<(), NodeGone> {
        self.parcels.send(Parcel { event, _room: None, cut: None }).await.map_err(|_| NodeGone)
    }

    /// Tells the node if there is room.
    pub fn try_tell(&self, event: NetEvent) {
        let _ = self.parcels.try_send(Parcel { event, _room: None, cut: None });
    }
}

impl Share {
    /// Hands over a message of `bytes` encoded bytes. Waits for room of this
    /// peer first, so that one peer's flood takes its own room only, then for
    /// room among all, where waiting peers take turns.
    pub async fn deliver(&self, event: NetEvent, bytes: usize) -> Result<(), NodeGone> {
        let bytes = bytes.min(limits(self.outlet.lane).in_bytes_max) as u32;
        let own = self.messages.clone().acquire_owned().await.map_err(|_| NodeGone)?;
        let all = self.outlet.bytes.clone().acquire_many_owned(bytes).await;
        let room = Some((own, all.map_err(|_| NodeGone)?));
        let parcel = Parcel { event, _room: room, cut: Some(self.cut.clone()) };
        self.outlet.parcels.send(parcel).await.map_err(|_| NodeGone)
    }
}
