//! Which chain and node this is: `net_`, `web3_`, `rpc_`, and the `eth_`
//! methods of that kind.

use alloy_primitives::{Bytes, keccak256};
use serde_json::{Value, json as value};
use trefoil_node::NodeStatus;
use trefoil_types::Height;

use crate::{Params, Rpc, RpcResult, convert, json};

// The newest block or two may still be on their way to a node that follows the chain.
/// A node that is fewer blocks behind is not reported as syncing.
const BEHIND_MIN: u64 = 3;

pub fn chain_id(rpc: &Rpc, _: &Params) -> RpcResult {
    json(&convert::quantity(rpc.backend.spec.chain_id))
}

// EIP-155 made the chain id what replay protection goes by; geth's network id is a separate
// number, and here both are one.
pub fn version(rpc: &Rpc, _: &Params) -> RpcResult {
    json(&rpc.backend.spec.chain_id.to_string())
}

pub fn peer_count(rpc: &Rpc, _: &Params) -> RpcResult {
    json(&convert::quantity(rpc.backend.status().peers as u64))
}

pub fn client_version(_: &Rpc, _: &Params) -> RpcResult {
    use std::env::consts::{ARCH, OS};
    json(&format!("trefoil/v{}/{OS}-{ARCH}", env!("CARGO_PKG_VERSION")))
}

pub fn sha3(_: &Rpc, params: &Params) -> RpcResult {
    json(&keccak256(params.get::<Bytes>(0)?))
}

/// The tip of the chain, if this node is well behind it.
pub fn behind(status: &NodeStatus) -> Option<Height> {
    status.syncing_to.filter(|to| *to >= status.height.saturating_add(BEHIND_MIN))
}

/// `false`, or how far the node is.
pub fn syncing(rpc: &Rpc, _: &Params) -> RpcResult {
    json(&sync_progress(&rpc.backend.status()))
}

pub fn sync_progress(status: &NodeStatus) -> Value {
    match behind(status) {
        None => value!(false),
        Some(to) => value!({
            "startingBlock": convert::quantity(status.height),
            "currentBlock": convert::quantity(status.height),
            "highestBlock": convert::quantity(to),
        }),
    }
}
