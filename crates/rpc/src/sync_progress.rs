//! How far the node is behind the chain.

use serde_json::{Value, json as value};
use trefoil_node::NodeStatus;
use trefoil_types::Height;

use crate::convert;

// The newest block or two may still be on their way to a node that follows the chain.
/// A node that is fewer blocks behind is not reported as syncing.
const BEHIND_MIN: u64 = 3;

/// The tip of the chain, if this node is well behind it.
pub fn behind(status: &NodeStatus) -> Option<Height> {
    status.syncing_to.filter(|to| *to >= status.height.saturating_add(BEHIND_MIN))
}

/// `false`, or how far the node is, as `eth_syncing` has it.
pub fn progress(status: &NodeStatus) -> Value {
    match behind(status) {
        None => value!(false),
        Some(to) => value!({
            "startingBlock": convert::quantity(status.height),
            "currentBlock": convert::quantity(status.height),
            "highestBlock": convert::quantity(to),
        }),
    }
}
