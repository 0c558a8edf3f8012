//! Blocks, their transactions and receipts. An unknown one is `null`.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use alloy_consensus::{EMPTY_ROOT_HASH, Transaction as _, proofs::calculate_transaction_root};
use alloy_primitives::{B256, Bloom, Bytes};
use trefoil_types::{Attached, Header, RecoveredBlock, Transaction};

use crate::{
    Params, Rpc, RpcResult,
    answer::json_within,
    convert,
    heavy::heavy,
    json, limits,
    lookup::{find, mined},
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
    let stored = find(rpc, block)?;
    json_within(&rpc.memory, &stored.as_ref().map(|stored| convert::block(&stored.block, whole)))
}

pub fn receipts(rpc: &Rpc, params: &Params) -> RpcResult {
    json_within(&rpc.memory, &find(rpc, params.get(0)?)?.as_ref().map(convert::receipts))
}

// The receipt of one transaction can be as long as those of a block: 43 MB.
/// At once, unless it is long.
pub async fn receipt(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    let hash: B256 = params.get(0)?;
    let Some((stored, index)) = mined(rpc, &hash)? else { return json(&()) };
    let logs = stored.receipts[index].logs().iter();
    let bytes = logs.map(|log| convert::LOG_BYTES + 2 * log.data.data.len()).sum::<usize>();
    if bytes <= limits::LONG_BYTES {
        return json(&convert::receipt(&stored, index));
    }
    let show =
        move |rpc: &Rpc, _: &Params| json_within(&rpc.memory, &convert::receipt(&stored, index));
    heavy(rpc, show, params.clone()).await
}

pub fn transaction_at(rpc: &Rpc, params: &Params) -> RpcResult {
    let (stored, index) = (find(rpc, params.get(0)?)?, params.get::<usize>(1)?);
    let stored = stored.filter(|stored| index < stored.block.transactions.len());
    json(&stored.map(|stored| convert::mined_tx(&stored.block, index)))
}

pub fn transaction_count(rpc: &Rpc, params: &Params) -> RpcResult {
    let stored = find(rpc, params.get(0)?)?;
    json(&stored.map(|stored| convert::quantity(stored.block.transactions.len() as u64)))
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
    let pool = rpc.pool.content(&rpc.backend).await?;
    let show = move |rpc: &Rpc, _: &Params| {
        json_within(&rpc.memory, &convert::block(&next_block(rpc, &pool), whole))
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
