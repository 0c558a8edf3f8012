//! The queues before the node's thread, most urgent first.
//!
//! What always holds: every lane is bounded. (The network's lanes drop or hold
//! back, calls are refused, workers wait.) A batch takes from each lane at most its
//! share, and from each that has something at least one, so that a flood in one delays the
//! others by one batch.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use trefoil_node::Done;
use trefoil_p2p::{LaneReceiver, NetEvent};
use trefoil_rpc::backend::NodeCall;

// A worker that waits takes no new work, which is what should happen when the node's thread is
// behind.
/// Finished jobs that may wait; workers wait beyond it.
pub const DONE_MAX: usize = 256;

/// Everything that can reach the node's thread, in order of urgency.
pub struct InboxLanes {
    /// Sent or dropped: the process is to end.
    pub stop: oneshot::Receiver<()>,
    pub done: mpsc::Receiver<Done>,
    pub consensus: LaneReceiver,
    pub calls: mpsc::Receiver<NodeCall>,
    pub catch_up: LaneReceiver,
    pub gossip: LaneReceiver,
}

/// One thing that arrived.
#[derive(Debug)]
pub enum Arrival {
    Done(Done),
    /// The node's deadline has come.
    Time,
    Net(NetEvent),
    Call(NodeCall),
}

/// How much one batch may still take from each lane.
#[derive(Debug)]
pub struct Budget {
    done: u32,
    consensus: u32,
    calls: u32,
    catch_up: u32,
    gossip: u32,
    is_closed: bool,
}

impl Default for Budget {
    /// A whole batch.
    fn default() -> Self {
        // A round of 128 validators has 256 votes: consensus takes four of them. Block sync takes
        // few: each answer holds blocks, which are executed on the node's thread. Gossip takes
        // little, too: a message may have 4,096 transactions, each of which is hashed.
        Self { done: 1024, consensus: 1024, calls: 512, catch_up: 8, gossip: 64, is_closed: false }
    }
}

impl Budget {
    // Attack: consensus messages without end. They come first, and took the whole time of every
    // batch: calls, block sync and gossip waited for as long as they came.
    /// The batch's time is over: what it still takes is one from each lane that it took nothing
    /// from, for which the most urgent wait.
    pub fn close(&mut self) {
        if self.is_closed {
            return;
        }
        let whole = Self::default();
        let owed = |left: u32, whole: u32| u32::from(left == whole);
        *self = Self {
            done: 0,
            consensus: 0,
            calls: owed(self.calls, whole.calls),
            catch_up: owed(self.catch_up, whole.catch_up),
            gossip: owed(self.gossip, whole.gossip),
            is_closed: true,
        };
    }
}

impl InboxLanes {
    /// Waits for the first arrival of a batch, or until `wait` is over; `None`: the process
    /// is to end.
    pub async fn wait(&mut self, wait: Option<Duration>) -> Option<Arrival> {
        let deadline = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        // A lane that has ended (the network, on stopping) is passed over.
        tokio::select! {
            // In this order: tokio otherwise takes a ready lane at random, and a vote would
            // wait behind gossip.
            biased;
            _ = &mut self.stop => None,
            Some(done) = self.done.recv() => Some(Arrival::Done(done)),
            () = deadline => Some(Arrival::Time),
            Some(event) = self.consensus.recv() => Some(Arrival::Net(event)),
            Some(request) = self.calls.recv() => Some(Arrival::Call(request)),
            Some(event) = self.catch_up.recv() => Some(Arrival::Net(event)),
            Some(event) = self.gossip.recv() => Some(Arrival::Net(event)),
        }
    }

    /// Waits for a finished job alone; `None`: the process is to end.
    pub async fn wait_for_done(&mut self) -> Option<Done> {
        tokio::select! {
            biased;
            _ = &mut self.stop => None,
            done = self.done.recv() => done,
        }
    }

    /// The most urgent of what has arrived and the batch may still take.
    pub fn next(&mut self, budget: &mut Budget) -> Option<Arrival> {
        let done = spend(&mut budget.done, || self.done.try_recv().ok()).map(Arrival::Done);
        let net = |left: &mut u32, lane: &mut LaneReceiver| {
            spend(left, || lane.try_recv().ok()).map(Arrival::Net)
        };
        done.or_else(|| net(&mut budget.consensus, &mut self.consensus))
            .or_else(|| spend(&mut budget.calls, || self.calls.try_recv().ok()).map(Arrival::Call))
            .or_else(|| net(&mut budget.catch_up, &mut self.catch_up))
            .or_else(|| net(&mut budget.gossip, &mut self.gossip))
    }
}

/// Takes one if the budget has room and there is one.
fn spend<T>(budget: &mut u32, take: impl FnOnce() -> Option<T>) -> Option<T> {
    let left = budget.checked_sub(1)?;
    let taken = take()?;
    *budget = left;
    Some(taken)
}
