//! The final block, or the transaction in it, that a caller means.
//!
//! What always holds: a block that takes long to read and decode is read in a turn of heavy work,
//! never on the threads that serve all callers.

use std::sync::Arc;

use alloy_primitives::B256;
use trefoil_ledger::{Snapshot, StoredBlock};
use trefoil_types::{Height, RecoveredBlock};

use crate::{
    Json, Params, Rpc, RpcError, RpcResult,
    caches::HeldBlock,
    heavy::{HeldResult, heavy},
    params::BlockRef,
};

/// Where the final block is that a caller means, if it is there; none is pending.
pub fn place(rpc: &Rpc, block: BlockRef) -> RpcResult<Option<(Snapshot, Height)>> {
    // Its hash and its receipts do not exist yet.
    if block == BlockRef::Pending {
        return Ok(None);
    }
    let (snapshot, height) = rpc.find(Some(block))?;
    Ok(height.map(|height| (snapshot, height)))
}

/// Works on a block at once if it is light, or else in a turn of heavy work.
pub async fn with_block<T: HeldResult>(
    rpc: &Arc<Rpc>,
    params: &Params,
    (snapshot, height): (Snapshot, Height),
    work: impl FnOnce(&Rpc, &Snapshot, Height) -> RpcResult<T> + Send + 'static,
) -> RpcResult<T> {
    if rpc.blocks.is_light(&snapshot, height)? {
        return work(rpc, &snapshot, height);
    }
    heavy(rpc, move |rpc, _| work(rpc, &snapshot, height), params.clone()).await
}

/// Shows a transaction that is in a block; `None`: it is in none.
pub async fn mined(
    rpc: &Arc<Rpc>,
    hash: &B256,
    params: &Params,
    show: fn(&RecoveredBlock, usize) -> RpcResult,
) -> RpcResult<Option<Json>> {
    let snapshot = rpc.backend.snapshot();
    let Some((height, index)) = snapshot.transaction(hash)? else { return Ok(None) };
    let work = move |rpc: &Rpc, snapshot: &Snapshot, height| {
        let block = rpc.blocks.body(snapshot, height)?;
        block.map(|block| show(&block, index)).transpose()
    };
    with_block(rpc, params, (snapshot, height), work).await
}

/// A block that must be there, for the debug methods.
pub fn stored(rpc: &Rpc, params: &Params) -> RpcResult<HeldBlock<StoredBlock>> {
    let (snapshot, height) = rpc.at(Some(params.get(0)?))?;
    rpc.blocks.block_once(&snapshot, height)?.ok_or_else(|| lost(height))
}

/// As [`stored`], without its receipts.
pub fn stored_body(rpc: &Rpc, params: &Params) -> RpcResult<HeldBlock<Arc<RecoveredBlock>>> {
    let (snapshot, height) = rpc.at(Some(params.get(0)?))?;
    rpc.blocks.body_once(&snapshot, height)?.ok_or_else(|| lost(height))
}

pub fn lost(height: Height) -> RpcError {
    RpcError::Rejected(format!("block {height} is no longer kept by this node"))
}
