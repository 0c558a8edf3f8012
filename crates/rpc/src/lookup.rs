//! Finds stored blocks: by what a caller names, or by a transaction in them.

use alloy_primitives::B256;
use trefoil_ledger::StoredBlock;

use crate::{Params, Rpc, RpcError, RpcResult, params::BlockRef};

/// The final block that a caller means, if it is there; none is pending.
pub fn find(rpc: &Rpc, block: BlockRef) -> RpcResult<Option<StoredBlock>> {
    // Its hash and its receipts do not exist yet.
    if block == BlockRef::Pending {
        return Ok(None);
    }
    let (snapshot, height) = rpc.find(Some(block))?;
    match height {
        Some(height) => rpc.blocks.get(&snapshot, height),
        None => Ok(None),
    }
}

/// The block that holds a transaction, and its place there.
pub fn mined(rpc: &Rpc, hash: &B256) -> RpcResult<Option<(StoredBlock, usize)>> {
    let snapshot = rpc.backend.snapshot();
    let Some((height, index)) = snapshot.transaction(hash)? else { return Ok(None) };
    Ok(rpc.blocks.get(&snapshot, height)?.map(|stored| (stored, index)))
}

/// A block that must be there, for the debug methods.
pub fn stored(rpc: &Rpc, params: &Params) -> RpcResult<StoredBlock> {
    let (snapshot, height) = rpc.at(Some(params.get(0)?))?;
    snapshot
        .block(height)?
        .ok_or_else(|| RpcError::Rejected(format!("block {height} is no longer kept by this node")))
}
