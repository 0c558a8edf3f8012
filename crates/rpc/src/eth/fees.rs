//! Prices of gas. On a gas-free network every price is 0.

use std::sync::Arc;

use alloy_primitives::{U64, U128};
use serde::Serialize;
use trefoil_ledger::Snapshot;
use trefoil_types::{Height, RecoveredBlock};

use crate::{
    Params, Rpc, RpcError, RpcResult, convert,
    heavy::{WorkTime, heavy},
    json,
    lookup::lost,
    recent_tips::tips,
};

// geth's limit, as wallets expect it. With percentiles each block's transactions are decoded.
/// Blocks in one `eth_feeHistory`.
const HISTORY_MAX: u64 = 1_024;
// geth's limit too. Each is a number for each block: at most 102,400 in one answer.
/// Percentiles in one `eth_feeHistory`.
const PERCENTILES_MAX: usize = 100;

/// A price that is made of the suggested tip.
async fn price(rpc: &Arc<Rpc>, params: &Params, of: fn(&Snapshot, tip: u128) -> u128) -> RpcResult {
    let snapshot = rpc.backend.snapshot();
    if is_gas_free(&snapshot) {
        return json(&U128::from(of(&snapshot, 0)));
    }
    let tip = snapshot.tip().number;
    // Wallets ask all the time: the blocks since the start were looked at when they were committed.
    if !rpc.events.tips.missing(tip).is_empty() {
        let asked = snapshot.clone();
        heavy(rpc, move |rpc, _| look_back(rpc, &asked), params.clone()).await?;
    }
    json(&U128::from(of(&snapshot, rpc.events.tips.suggested(tip))))
}

/// Looks at the blocks from before the start of this node.
fn look_back(rpc: &Rpc, snapshot: &Snapshot) -> RpcResult<()> {
    for height in rpc.events.tips.missing(snapshot.tip().number) {
        let block = rpc.blocks.body_once(snapshot, height)?;
        rpc.events.tips.add(height, block.as_ref().map(|block| &***block));
    }
    Ok(())
}

pub async fn max_priority_fee(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    price(rpc, params, |_, tip| tip).await
}

pub async fn gas_price(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    price(rpc, params, |at, tip| tip.saturating_add(at.next_base_fee().into())).await
}

/// Of the next block.
pub fn base_fee(rpc: &Rpc, _: &Params) -> RpcResult {
    json(&convert::quantity(rpc.backend.snapshot().next_base_fee()))
}

/// There are no blobs here; the least price of EIP-4844, or 0 if gas is free.
pub fn blob_base_fee(rpc: &Rpc, _: &Params) -> RpcResult {
    json(&convert::quantity(blob_price(&rpc.backend.snapshot())))
}

fn blob_price(snapshot: &Snapshot) -> u64 {
    if is_gas_free(snapshot) { 0 } else { 1 }
}

/// Whether no fee is required or charged in the next block.
fn is_gas_free(snapshot: &Snapshot) -> bool {
    snapshot.governed().settings.is_gas_free()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryJson {
    oldest_block: U64,
    base_fee_per_gas: Vec<U64>,
    gas_used_ratio: Vec<f64>,
    base_fee_per_blob_gas: Vec<U64>,
    blob_gas_used_ratio: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<Vec<Vec<U128>>>,
}

pub fn history(rpc: &Rpc, params: &Params) -> RpcResult {
    let count = params.get::<u64>(0)?.min(HISTORY_MAX);
    let (snapshot, newest) = rpc.at(params.opt(1)?)?;
    let percentiles = params.opt::<Vec<f64>>(2)?;
    check_percentiles(percentiles.as_deref().unwrap_or_default())?;
    let count = count.min(newest + 1);
    let blob_price = convert::quantity(blob_price(&snapshot));
    let mut history = HistoryJson {
        oldest_block: convert::quantity(if count == 0 { 0 } else { newest + 1 - count }),
        base_fee_per_gas: vec![],
        gas_used_ratio: vec![],
        base_fee_per_blob_gas: vec![],
        blob_gas_used_ratio: vec![],
        reward: percentiles.as_ref().filter(|_| count > 0).map(|_| vec![]),
    };
    let time = WorkTime::begin();
    for height in newest + 1 - count..newest + 1 {
        time.check("the history", height)?;
        add_block(rpc, &snapshot, height, percentiles.as_deref(), &mut history)?;
    }
    history.base_fee_per_blob_gas = vec![blob_price; history.base_fee_per_gas.len()];
    json(&history)
}

/// Adds a block to the history; for the newest the next base fee too, since it
/// always stands last.
fn add_block(
    rpc: &Rpc,
    snapshot: &Snapshot,
    height: Height,
    percentiles: Option<&[f64]>,
    history: &mut HistoryJson,
) -> RpcResult<()> {
    let (_, header) = snapshot.header(height)?.ok_or_else(|| lost(height))?;
    // The last entry was a forecast of this block: replace it.
    history.base_fee_per_gas.truncate(history.gas_used_ratio.len());
    let next = match snapshot.header(height + 1)? {
        Some((_, child)) => child.base_fee_per_gas.unwrap_or(0),
        None => snapshot.next_base_fee(),
    };
    let base_fee = header.base_fee_per_gas.unwrap_or(0);
    history.base_fee_per_gas.extend([convert::quantity(base_fee), convert::quantity(next)]);
    history.gas_used_ratio.push(header.gas_used as f64 / header.gas_limit as f64);
    history.blob_gas_used_ratio.push(0.0);
    if let (Some(rewards), Some(percentiles)) = (&mut history.reward, percentiles) {
        let block = rpc.blocks.body_once(snapshot, height)?.ok_or_else(|| lost(height))?;
        let gas = snapshot.cumulative_gas(height)?.ok_or_else(|| lost(height))?;
        rewards.push(reward(&block, &gas, percentiles));
    }
    Ok(())
}

fn check_percentiles(percentiles: &[f64]) -> RpcResult<()> {
    let wrong = |text: String| Err(RpcError::InvalidParams(text));
    if percentiles.len() > PERCENTILES_MAX {
        return wrong(format!("over the query limit {PERCENTILES_MAX} of reward percentiles"));
    }
    if let Some(p) = percentiles.iter().find(|p| !(0.0..=100.0).contains(*p)) {
        return wrong(format!("invalid reward percentile: {p}"));
    }
    if let Some(pair) = percentiles.windows(2).find(|pair| pair[0] > pair[1]) {
        return wrong(format!("invalid reward percentile: {} after {}", pair[1], pair[0]));
    }
    Ok(())
}

/// For each percentile the tip below which that share of the block's gas paid.
fn reward(block: &RecoveredBlock, cumulative_gas: &[u64], percentiles: &[f64]) -> Vec<U128> {
    let mut before = 0;
    let gas = cumulative_gas.iter().map(|gas| {
        let used = gas.saturating_sub(before);
        before = *gas;
        used
    });
    let mut paid: Vec<(u128, u64)> = tips(block).zip(gas).collect();
    paid.sort_unstable();
    let total = block.header.gas_used as f64;
    let (mut at, mut sum) = (0, paid.first().map_or(0, |(_, gas)| *gas));
    let pick = |percentile: &f64| {
        let threshold = total * percentile / 100.0;
        while (sum as f64) < threshold && at + 1 < paid.len() {
            at += 1;
            sum += paid[at].1;
        }
        U128::from(paid.get(at).map_or(0, |(tip, _)| *tip))
    };
    percentiles.iter().map(pick).collect()
}
