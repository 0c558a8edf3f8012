//! What the p2p service tells the node.

use trefoil_types::{Message, PeerId, Standing};

/// What the network tells the node. `Message`s arrive in lane order per peer,
/// between its `Connected` and its `Disconnected` (both on the consensus lane;
/// what still waits on the other lanes may be read after `Disconnected`). Of a peer
/// that the chain has revoked no `Message` arrives after `set_admission`.
#[derive(Debug)]
pub enum NetEvent {
    Connected {
        peer: PeerId,
        address: String,
        inbound: bool,
        /// Of one that is not judged only [`Message::brings_blocks`] arrive, and it is
        /// sent nothing but `GetBlocks`. See [`NetHandle::brought`].
        standing: Standing,
    },
    Disconnected {
        peer: PeerId,
        reason: String,
    },
    Message {
        peer: PeerId,
        message: Message,
    },
    /// A peer that was turned away, or turned us away, and why. Told when there
    /// is room: a flood of strangers must not fill the consensus lane.
    Refused {
        peer: Option<PeerId>,
        address: String,
        reason: String,
    },
}
