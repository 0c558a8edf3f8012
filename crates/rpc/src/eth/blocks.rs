//! Blocks, their transactions and receipts. An unknown one is `null`.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use alloy_consensus::{EMPTY_ROOT_HASH, Transaction as _, proofs::calculate_transaction_root};
use alloy_primitives::{B256, Bloom, Bytes};
use trefoil_ledger::{Snapshot, StoredBlock};
use trefoil_types::{Attached, Header, RecoveredBlock, Transaction};

use crate::{
    Json, Params, Rpc, RpcResult,
    answer::json_within,
    convert,
    heavy::heavy,
    json, limits,
    lookup::{place, with_block},
    params::BlockRef,
    pool_view::PoolContent,
};

pub fn number(rpc: &Rpc, _: &Params) -> RpcResult {
    json(&convert::quantity(rpc.backend.snapshot().tip().number))
}

pub fn by_hash(rpc: &Rpc, params: &Params) -> RpcResult {
    let _: B256 = params.get(0)?;
    by_ref(rpc, params)
}

pub async fn by_number(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    let whole = params.opt(1)?.unwrap_or(false);
    match params.get(0)? {
        // It asks the node's thread, which no reader's thread should wait for.
        BlockRef::Pending => pending(rpc, whole, params).await,
        _ => heavy(rpc, by_ref, params.clone()).await,
    }
}

fn by_ref(rpc: &Rpc, params: &Params) -> RpcResult {
    let (block, whole) = (params.get(0)?, params.opt(1)?.unwrap_or(false));
    let Some((snapshot, height)) = place(rpc, block)? else { return json(&()) };
    let Some(block) = rpc.blocks.body(&snapshot, height)? else { return json(&()) };
    json_within(&rpc.memory, block.bytes(), &convert::block(&block, whole))
}

pub fn receipts(rpc: &Rpc, params: &Params) -> RpcResult {
    let Some((snapshot, height)) = place(rpc, params.get(0)?)? else { return json(&()) };
    let Some(block) = rpc.blocks.block(&snapshot, height)? else { return json(&()) };
    json_within(&rpc.memory, block.bytes(), &convert::ReceiptsJson(&block))
}

pub async fn receipt(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    let hash: B256 = params.get(0)?;
    Ok(mined_receipt(rpc, &hash, params).await?.unwrap_or(json(&())?))
}

// The receipt of one transaction can be as long as those of a block: 43 MB.
/// The receipt of a transaction that is in a block, at once unless it is long; `None`: it is in none.
pub async fn mined_receipt(
    rpc: &Arc<Rpc>,
    hash: &B256,
    params: &Params,
) -> RpcResult<Option<Json>> {
    let snapshot = rpc.backend.snapshot();
    let Some((height, index)) = snapshot.transaction(hash)? else { return Ok(None) };
    let work = move |rpc: &Rpc, snapshot: &Snapshot, height| {
        let block = rpc.blocks.block(snapshot, height)?;
        Ok(block.map(|block| (short_receipt(&block, index), block)))
    };
    let read = with_block(rpc, params, (snapshot, height), work).await?;
    let Some((short, block)) = read else { return Ok(None) };
    if let Some(short) = short {
        return short.map(Some);
    }
    let show = move |rpc: &Rpc, _: &Params| {
        json_within(&rpc.memory, block.bytes(), &convert::receipt(&block, index))
    };
    heavy(rpc, show, params.clone()).await.map(Some)
}

/// A receipt, unless it is long.
fn short_receipt(block: &StoredBlock, index: usize) -> Option<RpcResult> {
    let logs = block.receipts[index].logs().iter();
    let bytes = logs.map(|log| convert::LOG_BYTES + 2 * log.data.data.len()).sum::<usize>();
    (bytes <= limits::LONG_BYTES).then(|| json(&convert::receipt(block, index)))
}

pub async fn transaction_at(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    let (place, index) = (place(rpc, params.get(0)?)?, params.get::<usize>(1)?);
    let Some(place) = place else { return json(&()) };
    let work = move |rpc: &Rpc, snapshot: &Snapshot, height| {
        let block = rpc.blocks.body(snapshot, height)?;
        let block = block.filter(|block| index < block.transactions.len());
        json(&block.map(|block| convert::mined_tx(&block, index)))
    };
    with_block(rpc, params, place, work).await
}

pub fn transaction_count(rpc: &Rpc, params: &Params) -> RpcResult {
    let count = match place(rpc, params.get(0)?)? {
        Some((snapshot, height)) => snapshot.transaction_count(height)?,
        None => None,
    };
    json(&count.map(|count| convert::quantity(count as u64)))
}

/// Our blocks have no uncles: 0, or `null` for a block that is not there.
pub fn uncle_count(rpc: &Rpc, params: &Params) -> RpcResult {
    let (_, height) = rpc.find(Some(params.get(0)?))?;
    json(&height.map(|_| convert::quantity(0)))
}

pub fn no_uncle(_: &Rpc, params: &Params) -> RpcResult {
    let (_, _) = (params.get::<BlockRef>(0)?, params.get::<usize>(1)?);
    json(&())
}

async fn pending(rpc: &Arc<Rpc>, whole: bool, params: &Params) -> RpcResult {
    let pool = rpc.pool_content().await?;
    let show = move |rpc: &Rpc, _: &Params| {
        json_within(&rpc.memory, 0, &convert::block(&next_block(rpc, &pool), whole))
    };
    heavy(rpc, show, params.clone()).await
}

/// The block that this node would build now from its pool: with the tip's state
/// and without receipts, so its hash is not the final one.
fn next_block(rpc: &Rpc, pool: &PoolContent) -> RecoveredBlock {
    let snapshot = rpc.backend.snapshot();
    let tip = snapshot.tip();
    let gas_limit = snapshot.governed().settings.gas_limit;
    let mut room = gas_limit;
    let mut fits = |tx: &Transaction| match room.checked_sub(tx.gas_limit()) {
        Some(rest) => {
            room = rest;
            true
        }
        None => false,
    };
    let txs: Vec<Transaction> = pool.pending.iter().take_while(|tx| fits(tx)).cloned().collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let envelopes: Vec<_> = txs.iter().map(|tx| tx.inner().clone()).collect();
    let header = Header {
        parent_hash: snapshot.tip_hash(),
        number: tip.number + 1,
        timestamp: now.max(tip.timestamp),
        base_fee_per_gas: Some(snapshot.next_base_fee()),
        transactions_root: calculate_transaction_root(&envelopes),
        receipts_root: EMPTY_ROOT_HASH,
        logs_bloom: Bloom::ZERO,
        gas_limit,
        gas_used: gas_limit - room,
        extra_data: Bytes::new(),
        parent_beacon_block_root: Some(B256::ZERO),
        ..tip.clone()
    };
    RecoveredBlock::new(header, txs, Attached::default())
}
