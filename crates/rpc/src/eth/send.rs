//! Transactions on their way in, and where they are.

use std::{sync::Arc, time::Duration};

use alloy_consensus::InMemorySize as _;
use alloy_primitives::{B256, Bytes};
use tokio::time::{Instant, timeout_at};
use trefoil_node::{Call, Reply};
use trefoil_types::TxError;

use crate::{
    Json, Params, Rpc, RpcError, RpcResult, convert, eth::blocks::mined_receipt, json, limits,
    lookup::mined,
};

/// A transaction in a block or in the pool.
pub async fn transaction(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    let hash: B256 = params.get(0)?;
    if let Some(shown) = mined_tx(rpc, &hash, params).await? {
        return Ok(shown);
    }
    if let Reply::PooledTransaction(Some(tx)) =
        rpc.backend.call(Call::PooledTransaction(hash)).await?
    {
        return json(&convert::pooled_tx(&tx));
    }
    // It may have moved from the pool into a block between the two looks.
    Ok(mined_tx(rpc, &hash, params).await?.unwrap_or(json(&())?))
}

async fn mined_tx(rpc: &Arc<Rpc>, hash: &B256, params: &Params) -> RpcResult<Option<Json>> {
    mined(rpc, hash, params, |block, index| json(&convert::mined_tx(block, index))).await
}

async fn submit(rpc: &Rpc, raw: Bytes) -> RpcResult<B256> {
    if raw.is_empty() {
        // geth's words. The decoder's would name a type that nobody wrote.
        return Err(TxError::Malformed("typed transaction too short".into()).into());
    }
    let tx = rpc.backend.recover(raw).await?;
    let held = rpc.memory.claim(tx.inner().size())?;
    match rpc.backend.call_holding(Call::Submit(tx), Some(held)).await? {
        Reply::Submitted(result) => Ok(result?),
        _ => Err(RpcError::Internal("the node did not say whether it took it".into())),
    }
}

pub async fn raw(rpc: &Rpc, params: &Params) -> RpcResult {
    json(&submit(rpc, params.get(0)?).await?)
}

/// EIP-7966: submits, and answers with the receipt when it is in a block.
pub async fn raw_sync(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    let raw: Bytes = params.get(0)?;
    let asked = params.opt::<u64>(1)?.map(Duration::from_millis);
    let wait = asked.unwrap_or(limits::SYNC_WAIT).min(limits::SYNC_WAIT_MAX);
    let Some(_waiting) = rpc.sync_waits.take(params.source) else {
        let text = "too many requests of yours, or of all, wait for their block; use eth_sendRawTransaction";
        return Err(RpcError::Busy(text.into()));
    };
    let until = Instant::now() + wait;
    // Listening begins before submitting, so that no block is missed.
    let mut blocks = rpc.events.blocks();
    let hash = submit(rpc, raw).await?;
    loop {
        if let Some(receipt) = mined_receipt(rpc, &hash, params).await? {
            return Ok(receipt);
        }
        // Having missed some blocks is as good a reason to look as a new one.
        if timeout_at(until, blocks.recv()).await.is_err() {
            return Err(RpcError::NotIncluded { hash, waited_ms: wait.as_millis() as u64 });
        }
    }
}
