//! Lanes: what each may hold, and the bounded way of messages to the node.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, error::TryRecvError},
    },
    time::{error::Elapsed, timeout},
};
use trefoil_types::{limits, message::Lane};

use crate::{event::NetEvent, transport::kill_switch::KillSwitch};

/// Every lane, most urgent first; `lane as usize` is its place here.
pub(crate) const LANES: [Lane; 3] = [Lane::Consensus, Lane::CatchUp, Lane::Gossip];

const MIB: usize = 1024 * 1024;

/// A frame up to this size is small: a stranger needs no common room for it.
// Small frames are bounded by the stranger's own share (`STRANGER_BYTES_MAX`) and the lane's
// common room, where peers take turns.
pub(crate) const SMALL_BYTES_MAX: usize = 256 * 1024;

// Seven strangers may send the largest message (9 MiB) at the same time. A small budget
// for each is impossible while one message may be that large (ADR 13).
/// What all strangers that dialled us may make us hold of large frames, each
/// way, bytes. Their large frames take turns; those of peers that we dialled
/// or favour never wait for them.
const STRANGERS_BYTES_MAX: usize = 64 * MIB;

/// How long a stranger's large frame may wait for room.
// Honest strangers send large frames only when asked, so that seven that hold the room for
// longer than this are attackers: the eighth is let go, and its lane is not held for ever.
const ROOM_WAIT: Duration = Duration::from_secs(10);

/// Of one such stranger, small messages on one lane that the node has not read.
// Attack: strangers that together fill a lane's common room, so that members wait. Full, the
// lane of this one stranger stands still and no other.
const STRANGER_BYTES_MAX: usize = MIB;

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
    /// Messages a second that a peer may send, and at once. Honest nodes stay
    /// far below: votes of 128 validators at two blocks a second are 512,
    /// transactions are sent on in batches every 10 ms.
    pub in_rate: u32,
    pub in_burst: u32,
}

// Votes come first: a lane of its own, so that no flood of transactions delays one. 24 MiB
// out are two of the largest proposals and votes beside them; what waited longest goes
// first, since timers say a vote again.
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
    in_rate: 4000,
    in_burst: 16000,
};

// An answer has up to 8 MiB of blocks, and one request is out at a time: two answers wait
// at most. A newcomer is refused when full, since who asked asks again.
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
    in_rate: 500,
    in_burst: 1000,
};

// What is lost here is told again, or fetched by the hash: the smallest room of all.
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
    in_rate: 1000,
    in_burst: 4000,
};

pub(crate) const fn limits(lane: Lane) -> &'static LaneLimits {
    match lane {
        Lane::Consensus => &CONSENSUS,
        Lane::CatchUp => &CATCH_UP,
        Lane::Gossip => &GOSSIP,
    }
}

/// The receiving end of one lane.
#[derive(Debug)]
pub struct LaneReceiver(mpsc::Receiver<Parcel>);

impl LaneReceiver {
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
// The room is given back when the node reads, not when it is handed over: so a slow node slows
// its peers down by TCP, and its own memory does not grow.
#[derive(Debug)]
struct Parcel {
    event: NetEvent,
    _room: Option<[OwnedSemaphorePermit; 3]>,
    /// Of the connection that it came over.
    // What a revoked peer said before the revocation and nobody read is void: the node must
    // not act on it after the block that revoked the peer (ADR 11).
    switch: Option<Arc<KillSwitch>>,
}

impl Parcel {
    fn open(self) -> Option<NetEvent> {
        let void = self.switch.is_some_and(|switch| switch.reason().is_some());
        (!void).then_some(self.event)
    }
}

/// The node no longer listens.
#[derive(Debug)]
pub(crate) struct NodeGone;

/// The sending end of one lane, shared by all peers.
#[derive(Clone, Debug)]
pub(crate) struct LaneSender {
    lane: Lane,
    parcels: mpsc::Sender<Parcel>,
    bytes: Arc<Semaphore>,
}

/// One peer's part of a lane: its messages that the node has not read yet.
pub(crate) struct LaneShare {
    outlet: LaneSender,
    messages: Arc<Semaphore>,
    switch: Option<Arc<KillSwitch>>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    /// For the large frames of a stranger.
    strangers: Option<StrangersRoom>,
}

/// Room for large frames that all strangers share, one way.
#[derive(Clone, Debug)]
pub(crate) struct StrangersRoom(Arc<Semaphore>);

impl Default for StrangersRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STRANGERS_BYTES_MAX)))
    }
}

impl StrangersRoom {
    /// Waits for room.
    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = bytes.min(STRANGERS_BYTES_MAX) as u32;
        self.0.clone().acquire_many_owned(bytes).await.ok()
    }

    /// Room, if there is some now.
    pub fn try_take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }
}

/// A fresh lane.
pub(crate) fn lane(lane: Lane) -> (LaneSender, LaneReceiver) {
    let limits = limits(lane);
    let (parcels, inbox) = mpsc::channel(limits.in_messages_max);
    (
        LaneSender { lane, parcels, bytes: Arc::new(Semaphore::new(limits.in_bytes_max)) },
        LaneReceiver(inbox),
    )
}

impl LaneSender {
    /// The part of one peer; `strangers` if it is one that dialled us, `switch`
    /// if its connection can be cut.
    pub fn share(
        &self,
        strangers: Option<StrangersRoom>,
        switch: Option<Arc<KillSwitch>>,
    ) -> LaneShare {
        let limits = limits(self.lane);
        let messages = Arc::new(Semaphore::new(limits.in_messages_per_peer));
        let bytes_max = if strangers.is_some() { STRANGER_BYTES_MAX } else { limits.in_bytes_max };
        let bytes = Arc::new(Semaphore::new(bytes_max));
        LaneShare { outlet: self.clone(), messages, switch, bytes, bytes_max, strangers }
    }

    /// Tells the node of a connection; waits for room.
    pub async fn send(&self, event: NetEvent) -> Result<(), NodeGone> {
        self.parcels.send(Parcel { event, _room: None, switch: None }).await.map_err(|_| NodeGone)
    }

    /// Tells the node if there is room.
    pub fn try_send(&self, event: NetEvent) {
        let _ = self.parcels.try_send(Parcel { event, _room: None, switch: None });
    }
}

impl LaneShare {
    /// Room for reading a frame, if it needs any: memory is not taken before.
    ///
    /// # Errors
    /// Other strangers have all of it, and keep it.
    pub async fn room(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Elapsed> {
        match &self.strangers {
            Some(strangers) if bytes > SMALL_BYTES_MAX => {
                timeout(ROOM_WAIT, strangers.take(bytes)).await
            }
            _ => Ok(None),
        }
    }

    /// Hands over a message of `bytes` encoded bytes. Waits for room of this
    /// peer first, so that one peer's flood takes its own room only, then for
    /// room among all, where waiting peers take turns.
    pub async fn deliver(&self, event: NetEvent, bytes: usize) -> Result<(), NodeGone> {
        let gone = |_| NodeGone;
        let own = self.messages.clone().acquire_owned().await.map_err(gone)?;
        let of_own = bytes.min(self.bytes_max) as u32;
        let own_bytes = self.bytes.clone().acquire_many_owned(of_own).await.map_err(gone)?;
        let of_all = bytes.min(limits(self.outlet.lane).in_bytes_max) as u32;
        let all = self.outlet.bytes.clone().acquire_many_owned(of_all).await.map_err(gone)?;
        let room = Some([own, own_bytes, all]);
        let parcel = Parcel { event, _room: room, switch: self.switch.clone() };
        self.outlet.parcels.send(parcel).await.map_err(|_| NodeGone)
    }
}
