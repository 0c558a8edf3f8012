//! Lanes: the way of events to the node, each bounded by the budget of its peer.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::sync::mpsc::{self, error::TryRecvError};
use trefoil_types::PeerId;

use crate::{connection::budget::Charge, event::NetEvent, transport::kill_switch::KillSwitch};

/// An event on its way, what it takes of its peer's budget until the node reads it, and
/// the switch of the connection that a message came over.
// The budget is given back when the node reads, not when it is handed over: so a slow node
// slows its peers down by TCP, and its own memory does not grow. The channels themselves
// need no bound: nothing enters them without a charge.
type LaneItem = (NetEvent, Charge, Option<Arc<KillSwitch>>);

/// The sending end of one lane, shared by all peers.
pub(crate) type LaneSender = mpsc::UnboundedSender<LaneItem>;

// Attack: 128 strangers fill their reserves with 356 tips each, and a validator's vote waits behind
// all 45,600 of them: 110 to 270 ms.
/// The receiving end of one lane. What waits is read in turns, one of each peer: an event waits for
/// the earlier ones of its own peer, and for as many of each other.
#[derive(Debug)]
pub struct LaneReceiver {
    arrivals: mpsc::UnboundedReceiver<LaneItem>,
    /// Of each peer that has any, the oldest first; refusals, of whomever, have one turn together.
    waiting: BTreeMap<Option<PeerId>, VecDeque<LaneItem>>,
    /// These peers, the next first.
    turns: VecDeque<Option<PeerId>>,
}

impl LaneReceiver {
    /// Waits for the next event; `None` when the network has ended.
    pub async fn recv(&mut self) -> Option<NetEvent> {
        loop {
            match self.try_recv() {
                Ok(event) => return Some(event),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return None,
            }
            let item = self.arrivals.recv().await?;
            self.add(item);
        }
    }

    /// # Errors
    /// When nothing waits, or the network has ended.
    pub fn try_recv(&mut self) -> Result<NetEvent, TryRecvError> {
        let end = loop {
            match self.arrivals.try_recv() {
                Ok(item) => self.add(item),
                Err(end) => break end,
            }
        };
        std::iter::from_fn(|| self.take()).find_map(valid).ok_or(end)
    }

    fn add(&mut self, item: LaneItem) {
        let peer = match &item.0 {
            NetEvent::Connected { peer, .. }
            | NetEvent::Disconnected { peer, .. }
            | NetEvent::Message { peer, .. } => Some(*peer),
            NetEvent::Refused { .. } => None,
        };
        let waiting = self.waiting.entry(peer).or_default();
        if waiting.is_empty() {
            self.turns.push_back(peer);
        }
        waiting.push_back(item);
    }

    /// The oldest of the peer whose turn it is.
    fn take(&mut self) -> Option<LaneItem> {
        let peer = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&peer)?;
        let item = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&peer);
        } else {
            self.turns.push_back(peer);
        }
        item
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
    let (sender, arrivals) = mpsc::unbounded_channel();
    (sender, LaneReceiver { arrivals, waiting: BTreeMap::new(), turns: VecDeque::new() })
}

#[cfg(test)]
mod tests {
    use trefoil_types::{B256, Message, message::Tip};

    use super::*;
    use crate::{connection::budget::SharedBudget, tests::peer};

    #[tokio::test]
    async fn a_vote_waits_for_one_message_of_each_other_peer_at_most() {
        let (sender, mut receiver) = lane();
        let charges = SharedBudget::others();
        let send = |event| {
            sender.send((event, charges.try_event().expect("room"), None)).expect("it is read");
        };
        let message = |n, height| NetEvent::Message {
            peer: peer(n),
            message: Message::Tip(Tip { height, hash: B256::ZERO, round: 0 }),
        };
        (0..10).for_each(|height| (1..=90).for_each(|n| send(message(n, height))));
        // Under however many names somebody is refused.
        for n in 101..=190 {
            let (peer, address, reason) = (Some(peer(n)), String::new(), String::new());
            send(NetEvent::Refused { peer, address, reason });
        }
        // Turns have begun.
        receiver.recv().await.expect("a tip");
        [0, 1].into_iter().for_each(|height| send(message(200, height)));
        drop(sender);
        let (mut read, mut came) = (0, vec![]);
        let mut next = BTreeMap::from([(peer(1), 1)]);
        while let Some(event) = receiver.recv().await {
            read += 1;
            let NetEvent::Message { peer: from, message: Message::Tip(tip) } = event else {
                continue;
            };
            let expected = next.entry(from).or_default();
            assert_eq!(tip.height, *expected, "order holds within a peer");
            *expected += 1;
            came.extend((from == peer(200)).then_some(read));
        }
        // 90 peers and the refusals.
        assert!(came[0] <= 92 && came[1] <= 2 * 92, "{came:?}");
        assert_eq!(read, 899 + 90 + 2);
        assert!(receiver.waiting.is_empty() && receiver.turns.is_empty());
    }
}
