//! Bytes that the node holds for its peers.
//!
//! What always holds: whatever a peer makes the node hold (a frame that is read, a decoded
//! message that the node has not read, a frame that waits to be written to this peer
//! alone) is charged to the peer's budget before memory is taken, until it is gone. Bytes that
//! are only claimed are charged to nobody else. Small frames have a reserve for each peer and
//! lane. The proposals of favoured peers have one together that a third of the validators cannot
//! fill, so that they wait for nobody else's; and those of a few others have one that brought
//! something of use. Larger frames share what is there for all peers of
//! their kind: strangers, peers that cannot be judged yet, and all others. Frames for all peers
//! are counted once: see `send_queue::Broadcasts`. What the muxer holds is counted below it:
//! `mux::memory`.
//!
//! By arithmetic, not measured, 128 strangers make a node hold 327 MiB at most in all of these,
//! 128 favoured peers 446 MiB: the sums are a test of this file.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alloy_primitives::bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use trefoil_types::{
    limits::{MESSAGE_BYTES_MAX, TXS_BYTES_MAX, UNPACKED_BYTES_MAX, VALIDATORS_MAX},
    message::Lane,
    message_rule::PROPOSAL,
};

use crate::{
    connection::{
        answer_pool::{AnswerPool, Frame, FrameCharge, PeerAnswers},
        lane_limits::LANES,
        read_pool::{LargeFrame, ReadPool},
    },
    inbound_limits::peer_rates::PeerRates,
    transport::kill_switch::KillSwitch,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;

const LANE_COUNT: usize = LANES.len();

/// What each frame and message costs beside its bytes: its place in a queue, and what
/// decoding adds.
// Attack: empty messages, of which a bound on bytes alone would let millions in.
pub(crate) const OVERHEAD: usize = 512;

/// The reserve of one peer for small frames that are read or not read by the node yet, by
/// lane.
// 192 KiB are 300 votes, more than the 256 of a round that 128 validators cast: the node reads
// them between two blocks that it executes. Requests are few and small.
const RESERVE_IN: [usize; LANE_COUNT] = [192 * KIB, 32 * KIB, 32 * KIB];

/// The same, for answers that wait to be written.
// The bodies of a proposal leave in messages of 64 KiB, and a certificate of 128 validators
// has 13 KB.
const RESERVE_OUT: [usize; LANE_COUNT] = [128 * KIB, 16 * KIB, 16 * KIB];

/// The same, for a proposal of a favoured peer.
// Attack: peers that begin large frames on the consensus lane and drip them, so that the
// proposals of validators wait, and the votes behind them.
const PROPOSAL_RESERVE: usize = PROPOSAL.bytes_max + OVERHEAD;

// With a third of the validators every promise about votes and blocks ends anyway.
/// The proposals of all favoured peers: as many as there are validators in a third, and two of
/// honest ones.
const PROPOSALS: usize = (VALIDATORS_MAX / 3 + 2) * PROPOSAL_RESERVE;

// A public network does not know which peer is which validator. It takes one of them, or of the
// peers that this node dialled, to bring a proposal in time.
/// Peers that are not favoured, and whose proposals wait for nobody either.
pub(crate) const CREDITED_MAX: usize = 8;

// Twice as many: what one that lost its place has begun takes room until it is here whole
// (`connection_table/credit.rs`).
/// Their proposals.
const CREDITED_PROPOSALS: usize = 2 * CREDITED_MAX * PROPOSAL_RESERVE;

/// Beyond its reserve, of one peer and lane: the largest message, and small ones beside it.
const PEER_IN_MAX: usize = MESSAGE_BYTES_MAX + MIB;
const PEER_OUT_MAX: usize = MESSAGE_BYTES_MAX + 3 * MIB;

/// The room that a request calls for, by lane.
// Bodies leave in small messages, and a validator may ask for those of a block of 8 MiB.
const ANSWER: [usize; LANE_COUNT] = [MIB, MESSAGE_BYTES_MAX + OVERHEAD, TXS_BYTES_MAX + MIB];

/// Beyond their reserves, of all peers of one kind and lane, for whoever comes first. One
/// frame at a time has what it needs beside it (9 MiB; 4 MiB on the gossip lane).
// By lane: transactions that the node has no time for must not keep out blocks or proposals.
const STRANGERS_IN: usize = 2 * MIB;
// They are chosen by the operator, the chain or this node's dialler.
const OTHERS_IN: usize = 4 * MIB;

/// Two of the largest answers, and smaller ones; of a usual size (`CATCH_UP_BYTES_MAX`) six.
const STRANGERS_OUT: usize = 24 * MIB;
const OTHERS_OUT: usize = 24 * MIB;
/// They are only asked for blocks.
const UNJUDGED_OUT: usize = MIB;

/// Small frames of all peers of one kind that the node has not read: as many as 128 peers may
/// send.
// Attack: a peer that fills its reserve, ends its session and comes again under another name.
const RESERVES_IN: usize = 128 * (RESERVE_IN[0] + RESERVE_IN[1] + RESERVE_IN[2]);

// Attack: messages full of the shortest transactions, each of which takes 64 bytes beside its own,
// or 512 in a block; or of authorisations (EIP-7702), which take ten times their bytes.
/// What the blocks of all peers of one kind take beyond their bytes when they are decoded: as much
/// as one of the largest messages.
const UNPACKED_BLOCKS: usize = UNPACKED_BYTES_MAX;

// Attack: 9 MiB of blocks that nobody asked for took all there was, and the transactions of proposals
// and of gossip waited.
// By lane: gossip that the node has not read held up the bodies of blocks, and the votes behind them.
/// The same, for lists of transactions on a lane, which are not decoded yet: twice what one of the
/// longest takes.
const UNPACKED_LISTS: usize = 4 * MIB;

/// Connections, ends and refusals of one kind of peers that the node has not been told of.
// A node that reads nothing is told no more, and takes no more connections.
const EVENTS_MAX: usize = 1024;

/// Between two looks at whether a peer has read.
const LOOK: Duration = Duration::from_millis(50);

/// What all peers of one kind may make the node hold beyond their reserves.
#[derive(Clone, Debug)]
pub(crate) struct SharedBudget {
    reserves_in: Arc<Semaphore>,
    proposals: Arc<Semaphore>,
    credited: Arc<Semaphore>,
    inbound: [Arc<ReadPool>; LANE_COUNT],
    unpacked_blocks: Arc<Semaphore>,
    unpacked_lists: [Arc<Semaphore>; LANE_COUNT],
    answers: Arc<AnswerPool>,
    events: Arc<Semaphore>,
}

/// What one peer may make the node hold, each way.
#[derive(Debug)]
pub(crate) struct PeerBudget {
    reserve_in: [Arc<Semaphore>; LANE_COUNT],
    proposal: Arc<Semaphore>,
    reserve_out: [Arc<Semaphore>; LANE_COUNT],
    inbound: [Arc<Semaphore>; LANE_COUNT],
    pub answers: Arc<PeerAnswers>,
    favoured: AtomicBool,
    credited: AtomicBool,
    pub rates: Arc<PeerRates>,
    /// Steps of frames on the catch-up lane.
    pub block_steps: Arc<AtomicU64>,
    /// Of its connection.
    kill_switch: Arc<KillSwitch>,
    shared: SharedBudget,
}

/// A part of a budget that is taken. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge(
    #[expect(dead_code, reason = "held until it is dropped")] [Option<OwnedSemaphorePermit>; 4],
);

impl Charge {
    fn of(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self([permit, None, None, None])
    }
}

/// The room of a frame that is being read.
#[derive(Debug)]
pub(crate) struct FrameRoom {
    own: Option<OwnedSemaphorePermit>,
    of_all: Option<OwnedSemaphorePermit>,
    large: Option<LargeFrame>,
    /// Counts its steps.
    steps: Option<Arc<AtomicU64>>,
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits))
}

async fn take(from: &Arc<Semaphore>, cost: usize) -> Option<OwnedSemaphorePermit> {
    let cost = u32::try_from(cost).unwrap_or(u32::MAX);
    from.clone().acquire_many_owned(cost).await.ok()
}

impl SharedBudget {
    /// Of peers that dialled us and are not favoured.
    pub fn strangers() -> Self {
        Self::new(STRANGERS_IN, STRANGERS_OUT)
    }

    /// Of peers that cannot be judged yet.
    // Attack: a stranger that lets such a peer wait until its trial is over.
    pub fn unjudged() -> Self {
        Self::new(STRANGERS_IN, UNJUDGED_OUT)
    }

    pub fn others() -> Self {
        Self::new(OTHERS_IN, OTHERS_OUT)
    }

    fn new(inbound: usize, outbound: usize) -> Self {
        Self {
            reserves_in: semaphore(RESERVES_IN),
            proposals: semaphore(PROPOSALS),
            credited: semaphore(CREDITED_PROPOSALS),
            inbound: LANES.map(|_| ReadPool::new(inbound)),
            unpacked_blocks: semaphore(UNPACKED_BLOCKS),
            unpacked_lists: LANES.map(|_| semaphore(UNPACKED_LISTS)),
            answers: AnswerPool::new(outbound),
            events: semaphore(EVENTS_MAX),
        }
    }

    /// Waits until the node may be told of one more event.
    pub async fn event(&self) -> Charge {
        Charge::of(take(&self.events, 1).await)
    }

    /// The same, if it may be told now.
    pub fn try_event(&self) -> Option<Charge> {
        let permit = self.events.clone().try_acquire_owned().ok();
        permit.map(|permit| Charge::of(Some(permit)))
    }
}

impl PeerBudget {
    pub fn new(shared: SharedBudget, kill_switch: Arc<KillSwitch>, rates: Arc<PeerRates>) -> Self {
        Self {
            reserve_in: RESERVE_IN.map(semaphore),
            proposal: semaphore(PROPOSAL_RESERVE),
            reserve_out: RESERVE_OUT.map(semaphore),
            inbound: LANES.map(|_| semaphore(PEER_IN_MAX)),
            answers: PeerAnswers::new(shared.answers.clone(), PEER_OUT_MAX),
            favoured: AtomicBool::new(false),
            credited: AtomicBool::new(false),
            rates,
            block_steps: Arc::default(),
            kill_switch,
            shared,
        }
    }

    /// The peer is favoured from now on: its proposals wait for nobody else's frames.
    pub fn favour(&self) {
        self.favoured.store(true, Ordering::Release);
    }

    /// The peer has one of the places of those that brought something of use, or has lost it.
    pub fn set_credited(&self, credited: bool) {
        self.credited.store(credited, Ordering::Release);
    }

    #[cfg(test)]
    pub fn is_favoured(&self) -> bool {
        self.favoured.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub fn is_credited(&self) -> bool {
        self.credited.load(Ordering::Acquire)
    }

    /// Waits until a frame of so many bytes may be read, as far as this peer alone is concerned.
    pub async fn begin(&self, lane: Lane, bytes: usize) -> FrameRoom {
        let favoured = self.favoured.load(Ordering::Acquire);
        let credited = self.credited.load(Ordering::Acquire);
        // No frame is longer than its lane allows; one that is takes all there is.
        let cost = bytes.saturating_add(OVERHEAD).min(PEER_IN_MAX);
        let steps = (lane == Lane::CatchUp).then(|| self.block_steps.clone());
        if cost <= RESERVE_IN[lane as usize] {
            let own = take(&self.reserve_in[lane as usize], cost).await;
            let of_all = if favoured { None } else { take(&self.shared.reserves_in, cost).await };
            return FrameRoom { own, of_all, large: None, steps };
        }
        if (favoured || credited) && lane == Lane::Consensus && cost <= PROPOSAL_RESERVE {
            let own = take(&self.proposal, cost).await;
            let all = if favoured { &self.shared.proposals } else { &self.shared.credited };
            let of_all = take(all, cost).await;
            return FrameRoom { own, of_all, large: None, steps };
        }
        let own = take(&self.inbound[lane as usize], cost).await;
        let large = self.shared.inbound[lane as usize].begin(self.kill_switch.clone());
        FrameRoom { own, of_all: None, large: Some(large), steps }
    }

    /// A frame that is for this peer alone, if there is room for it.
    pub fn send(&self, lane: Lane, bytes: Bytes) -> Option<Arc<Frame>> {
        let cost = bytes.len().saturating_add(OVERHEAD);
        let reserve = self.reserve_out[lane as usize].clone();
        let cost_of_reserve = u32::try_from(cost).unwrap_or(u32::MAX);
        match reserve.try_acquire_many_owned(cost_of_reserve) {
            Ok(own) => Some(Frame::new(bytes, FrameCharge::Reserve(own))),
            Err(_) => self.answers.frame(bytes, cost, Instant::now()),
        }
    }

    /// Whether the peer has left so much unread that an answer on the lane has no room.
    pub fn owes_reading(&self, lane: Lane) -> bool {
        self.answers.room() < ANSWER[lane as usize]
    }

    /// Waits until the peer has read, at most for `limit`; whether it has.
    pub async fn has_read(&self, lane: Lane, limit: Duration) -> bool {
        let read = async {
            while self.owes_reading(lane) {
                sleep(LOOK).await;
            }
        };
        timeout(limit, read).await.is_ok()
    }
}

impl FrameRoom {
    /// Waits for room for `step` more bytes, when `read` have come; how long it waited.
    pub async fn grow(&mut self, read: usize, step: usize) -> Duration {
        if read > 1 {
            self.steps.iter().for_each(|steps| _ = steps.fetch_add(1, Ordering::Relaxed));
        }
        match &mut self.large {
            // What decoding adds goes with the first step.
            Some(large) if read == 0 => large.grow(read, step + OVERHEAD).await,
            Some(large) => large.grow(read, step).await,
            None => Duration::ZERO,
        }
    }

    /// The frame is here whole, and its message (`blocks`, or others on the lane) takes so many bytes
    /// beyond as many as it has: waits for room for them. What it holds until the node has read it.
    // What waits here holds its frame, and nobody whom it waits for waits for that.
    pub async fn unpack(
        self,
        lane: Lane,
        blocks: bool,
        more: usize,
        budget: &PeerBudget,
    ) -> Charge {
        let SharedBudget { unpacked_blocks, unpacked_lists, .. } = &budget.shared;
        let unpacked = match (more, blocks) {
            (0, _) => None,
            (more, true) => take(unpacked_blocks, more.min(UNPACKED_BLOCKS)).await,
            (more, false) => take(&unpacked_lists[lane as usize], more.min(UNPACKED_LISTS)).await,
        };
        let [steps, turn] = self.large.map_or([None, None], LargeFrame::finish);
        Charge([self.own, self.of_all.or(steps), turn, unpacked])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connection::{lane_limits::limits, send_queue::broadcasts_max},
        transport::{
            clear::frames::FRAME_MAX,
            mux::memory::{
                FAVOURED_UNREAD, FAVOURED_UNSENT, FRAME_BYTES_MAX, KIND_UNSENT, OWN_UNREAD,
                OWN_UNSENT, STRANGERS_UNREAD,
            },
        },
    };

    /// What 128 peers of a kind make a node hold at the very most. docs/security.md has the sums.
    fn all([inbound, outbound, muxers, proposals]: [usize; 4]) -> usize {
        const PEERS: usize = 128;
        let reserves = RESERVE_IN.iter().chain(&RESERVE_OUT).sum::<usize>();
        let turns: usize = LANES.map(|lane| limits(lane).frame_bytes_max).iter().sum();
        let broadcasts: usize = LANES.map(broadcasts_max).iter().sum();
        let own = OWN_UNREAD + FRAME_BYTES_MAX + OWN_UNSENT;
        // Two frames that come, and one that leaves (`clear/stream.rs`).
        let transport = 3 * FRAME_MAX;
        // A frame that is being decoded is held twice.
        let unpacked = UNPACKED_BLOCKS + LANE_COUNT * UNPACKED_LISTS;
        let read = LANE_COUNT * inbound + 2 * turns + proposals + unpacked;
        let written = outbound + broadcasts;
        PEERS * (reserves + own + transport) + read + written + muxers
    }

    #[test]
    fn what_128_peers_make_a_node_hold_is_bounded() {
        let muxers = STRANGERS_UNREAD + KIND_UNSENT;
        let strangers = all([STRANGERS_IN, STRANGERS_OUT, muxers, CREDITED_PROPOSALS]);
        let muxers = FAVOURED_UNREAD + FAVOURED_UNSENT;
        let favoured = all([OTHERS_IN, OTHERS_OUT, muxers, PROPOSALS]);
        assert_eq!([strangers, favoured].map(|bytes| bytes.div_ceil(MIB)), [327, 446]);
    }
}
