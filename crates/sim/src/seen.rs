//! Observations for tests: some effects of the nodes; and the messages that a test drops.

use trefoil_crypto::PeerId;
use trefoil_node::{PeerCommand, Reply, io::CallId};
use trefoil_types::Message;

use crate::wire::Id;

/// Whether a message from one machine to another is lost.
pub type Loss = Box<dyn FnMut(Id, Id, &Message) -> bool>;

/// Effects of the nodes that tests look at.
#[derive(Debug, Default)]
pub struct Observations {
    /// Every [`PeerCommand::Blame`].
    pub blames: Vec<PeerCommand>,
    /// Every [`PeerCommand::Credit`].
    pub credits: Vec<PeerCommand>,
    /// Each peer whose block was committed while it could not be judged.
    pub brought: Vec<PeerId>,
    /// The peer of each answer that nothing waited for.
    pub unasked: Vec<PeerId>,
    /// The honest machine of each equivocation that a node reported.
    pub equivocations: Vec<Id>,
    pub(crate) reply: Option<Reply>,
}

/// The id of a test's call; the ids of the wallets' calls count from 1.
pub(crate) const CALL: CallId = CallId(0);
