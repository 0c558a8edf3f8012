//! The bounds of each lane.

use trefoil_types::{limits, message::Lane};

/// Every lane, most urgent first; `lane as usize` is its place here.
pub(crate) const LANES: [Lane; 3] = [Lane::Consensus, Lane::CatchUp, Lane::Gossip];

const MIB: usize = 1024 * 1024;

/// The bounds of one lane. What a peer may make the node hold is in `budget.rs`.
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
    /// Messages a second that a peer may send, and at once. Honest nodes stay
    /// far below: votes of 128 validators at two blocks a second are 512,
    /// transactions are sent on in batches every 10 ms.
    pub in_rate: u32,
    pub in_burst: u32,
}

// Votes come first: a lane of its own, so that no flood of transactions delays one. 16 MiB
// out are a largest message and many votes beside it; what waited longest goes first, since
// timers say a vote again.
const CONSENSUS: LaneLimits = LaneLimits {
    name: "consensus",
    protocol: "/trefoil/consensus/1",
    frame_bytes_max: limits::MESSAGE_BYTES_MAX,
    out_messages_max: 4096,
    out_bytes_max: 16 * MIB,
    drop_oldest: true,
    in_rate: 4000,
    in_burst: 16000,
};

// One request is out at a time, and its answer is one message: 12 MiB are the largest and
// small ones beside it. A newcomer is refused when full, since who asked asks again.
const CATCH_UP: LaneLimits = LaneLimits {
    name: "catch-up",
    protocol: "/trefoil/catch-up/1",
    frame_bytes_max: limits::MESSAGE_BYTES_MAX,
    out_messages_max: 64,
    out_bytes_max: 12 * MIB,
    drop_oldest: false,
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
