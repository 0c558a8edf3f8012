//! Lanes: the way of events to the node, each bounded by the budget of its peer.

use std::sync::Arc;

use tokio::sync::mpsc::{self, error::TryRecvError};

use crate::{connection::budget::Charge, event::NetEvent, transport::kill_switch::KillSwitch};

/// An event on its way, what it takes of its peer's budget until the node reads it, and
/// the switch of the connection that a message came over.
// The budget is given back when the node reads, not when it is handed over: so a slow node
// slows its peers down by TCP, and its own memory does not grow. The channels themselves
// need no bound: nothing enters them without a charge.
type LaneItem = (NetEvent, Charge, Option<Arc<KillSwitch>>);

/// The sending end of one lane, shared by all peers.
pub(crate) type LaneSender = mpsc::UnboundedSender<LaneItem>;

/// The receiving end of one lane.
#[derive(Debug)]
pub struct LaneReceiver(mpsc::UnboundedReceiver<LaneItem>);

impl LaneReceiver {
    /// Waits for the next event; `None` when the network has ended.
    pub async fn recv(&mut self) -> Option<NetEvent> {
        loop {
            if let Some(event) = valid(self.0.recv().await?) {
                return Some(event);
            }
        }
    }

    /// # Errors
    /// When nothing waits, or the network has ended.
    pub fn try_recv(&mut self) -> Result<NetEvent, TryRecvError> {
        loop {
            if let Some(event) = valid(self.0.try_recv()?) {
                return Ok(event);
            }
        }
    }
}

// What a revoked peer said before the revocation and nobody read is void: the node must not
// act on it after the block that revoked the peer (ADR 11).
fn valid((event, _, kill_switch): LaneItem) -> Option<NetEvent> {
    let void = kill_switch.is_some_and(|switch| switch.is_cut());
    (!void).then_some(event)
}

/// A fresh lane.
pub(crate) fn lane() -> (LaneSender, LaneReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, LaneReceiver(receiver))
}
