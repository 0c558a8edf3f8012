//! What nodes said to their shells, for tests to look at, and what a test takes off the wire.

use trefoil_crypto::PeerId;
use trefoil_node::{PeerCommand, Reply, io::CallId};
use trefoil_types::Message;

use crate::wire::Id;

/// Whether a message from one machine to another is lost.
pub type Loss = Box<dyn FnMut(Id, Id, &Message) -> bool>;

/// What nodes said to their shells, for tests to look at.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every [`PeerCommand::Blame`].
    pub blames: Vec<PeerCommand>,
    /// Each peer whose block was committed while it could not be judged.
    pub brought: Vec<PeerId>,
    /// The honest machine of each equivocation that a node reported.
    pub equivocations: Vec<Id>,
    pub(crate) reply: Option<Reply>,
}

/// The call of a test; the wallets' calls count from 1.
pub(crate) const CALL: CallId = CallId(0);

impl Seen {
    pub(crate) fn order(&mut self, order: &PeerCommand) {
        match order {
            PeerCommand::Blame { .. } => self.blames.push(order.clone()),
            PeerCommand::Brought(peer) => self.brought.push(*peer),
            PeerCommand::Admission(_) | PeerCommand::Credit(_) => {}
        }
    }
}
