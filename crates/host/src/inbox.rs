//! What waits for the node, most urgent first.
//!
//! What always holds: every lane is bounded (the network's lanes drop or hold
//! back, calls are refused, workers wait), and a batch takes from each lane at
//! most its share, so that a flood in one delays the others by one batch.

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
    /// Told, or dropped: the process is to end.
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
    Stop,
    Done(Done),
    /// The node's deadline has come.
    Time,
    Net(NetEvent),
    Call(NodeCall),
}

/// How much one batch may still take from each lane.
#[derive(Debug)]
pub struct Budget {
    consensus: u32,
    calls: u32,
    catch_up: u32,
    gossip: u32,
}

impl Budget {
    /// A whole batch; `gossip`: whether the workers have room for more.
    pub fn batch(gossip: bool) -> Self {
        // Block sync takes few: each answer holds blocks, which are executed on the node's
        // thread.
        Self { consensus: 1024, calls: 512, catch_up: 8, gossip: if gossip { 64 } else { 0 } }
    }
}

impl InboxLanes {
    /// Waits for the first arrival of a batch, or until `wait` is over.
    pub async fn wait(&mut self, wait: Option<Duration>, budget: &Budget) -> Arrival {
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
            _ = &mut self.stop => Arrival::Stop,
            Some(done) = self.done.recv() => Arrival::Done(done),
            () = deadline => Arrival::Time,
            Some(event) = self.consensus.recv() => Arrival::Net(event),
            Some(request) = self.calls.recv() => Arrival::Call(request),
            Some(event) = self.catch_up.recv() => Arrival::Net(event),
            Some(event) = self.gossip.recv(), if budget.gossip > 0 => Arrival::Net(event),
        }
    }

    /// The most urgent of what has arrived and the batch may still take.
    pub fn next(&mut self, budget: &mut Budget) -> Option<Arrival> {
        if let Ok(done) = self.done.try_recv() {
            return Some(Arrival::Done(done));
        }
        if let Some(event) = spend(&mut budget.consensus, || self.consensus.try_recv().ok()) {
            return Some(Arrival::Net(event));
        }
        if let Some(request) = spend(&mut budget.calls, || self.calls.try_recv().ok()) {
            return Some(Arrival::Call(request));
        }
        if let Some(event) = spend(&mut budget.catch_up, || self.catch_up.try_recv().ok()) {
            return Some(Arrival::Net(event));
        }
        spend(&mut budget.gossip, || self.gossip.try_recv().ok()).map(Arrival::Net)
    }
}

/// Takes one if the budget has room and there is one.
fn spend<T>(budget: &mut u32, take: impl FnOnce() -> Option<T>) -> Option<T> {
    let left = budget.checked_sub(1)?;
    let taken = take()?;
    *budget = left;
    Some(taken)
}
