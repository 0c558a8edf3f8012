//! Which chain and node this is: `net_`, `web3_`, `rpc_`, and the `eth_`
//! methods of that kind.

use alloy_primitives::{Bytes, keccak256};

use crate::{Params, Rpc, RpcResult, convert, json, sync_progress};

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

/// `false`, or how far the node is.
pub fn syncing(rpc: &Rpc, _: &Params) -> RpcResult {
    json(&sync_progress::progress(&rpc.backend.status()))
}
