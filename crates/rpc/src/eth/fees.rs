//! Prices of gas. On a gas-free network every price is 0.

use std::sync::PoisonError;

use alloy_primitives::{U64, U128};
use serde::Serialize;
use trefoil_ledger::{Snapshot, StoredBlock};
use trefoil_types::Height;

use crate::{Params, Rpc, RpcError, RpcResult, convert, json};

// The figures and the method are those of geth's gas price oracle: a wallet suggests the same
// here as elsewhere.
/// The suggestion when recent blocks have no transaction, wei: 1 gwei.
const TIP_DEFAULT: u128 = 1_000_000_000;
// A few transactions that overpay would otherwise raise the price for all callers (geth:
// `--gpo.maxprice`).
/// The highest suggestion, wei: 500 gwei.
const TIP_MAX: u128 = 500_000_000_000;
// Each is read and decoded, but once a block only: `Rpc::tip` keeps the suggestion (geth:
// `--gpo.blocks`).
/// Blocks that a suggestion looks back over.
const TIP_BLOCKS: u64 = 20;
// The cheapest tips that were included show what suffices; the high ones show what somebody
// was willing to pay.
/// The cheapest transactions of a block that count.
const TIP_SAMPLES: usize = 3;
// More than half, so that the suggestion beats most of the samples (geth:
// `--gpo.percentile`).
/// Of the samples, this share is cheaper than the suggestion, percent.
const TIP_PERCENTILE: usize = 60;
// geth's limit, as wallets expect it. With percentiles each block is read and decoded.
/// Blocks in one `eth_feeHistory`.
const HISTORY_MAX: u64 = 1_024;
// geth's limit too. Each is a number for each block: at most 102,400 in one answer.
/// Percentiles in one `eth_feeHistory`.
const PERCENTILES_MAX: usize = 100;

/// A tip with which a transaction is soon in a block, wei.
fn suggested_tip(rpc: &Rpc, snapshot: &Snapshot) -> RpcResult<u128> {
    if is_gas_free(snapshot) {
        return Ok(0);
    }
    let hash = snapshot.tip_hash();
    // Held while the tip is worked out, so that many callers at once wait for one.
    let mut cache = rpc.tip.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, tip)) = cache.filter(|(of, _)| *of == hash) {
        return Ok(tip);
    }
    let newest = snapshot.tip().number;
    let mut samples = vec![];
    for height in newest.saturating_sub(TIP_BLOCKS - 1)..=newest {
        if let Some(stored) = snapshot.block(height)? {
            let mut tips: Vec<u128> = tips(&stored).collect();
            tips.sort_unstable();
            samples.extend(tips.into_iter().take(TIP_SAMPLES));
        }
    }
    samples.sort_unstable();
    let at = samples.len() * TIP_PERCENTILE / 100;
    let tip = samples.get(at).map_or(TIP_DEFAULT, |tip| (*tip).min(TIP_MAX));
    *cache = Some((hash, tip));
    Ok(tip)
}

/// The price that each transaction of a block paid above the base fee, wei per gas.
fn tips(stored: &StoredBlock) -> impl Iterator<Item = u128> {
    let StoredBlock { block, .. } = stored;
    let base_fee = u128::from(block.header.base_fee_per_gas.unwrap_or(0));
    let paid = block.transactions.iter().map(|tx| convert::gas_price_paid(tx, &block.header));
    paid.map(move |price| price.saturating_sub(base_fee))
}

pub fn max_priority_fee(rpc: &Rpc, _: &Params) -> RpcResult {
    json(&U128::from(suggested_tip(rpc, &rpc.backend.snapshot())?))
}

pub fn gas_price(rpc: &Rpc, _: &Params) -> RpcResult {
    let snapshot = rpc.backend.snapshot();
    let base_fee = snapshot.next_base_fee();
    json(&U128::from(suggested_tip(rpc, &snapshot)?.saturating_add(base_fee.into())))
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
    for height in newest + 1 - count..newest + 1 {
        add_block(&snapshot, height, percentiles.as_deref(), &mut history)?;
    }
    history.base_fee_per_blob_gas = vec![blob_price; history.base_fee_per_gas.len()];
    json(&history)
}

/// Adds a block to the history; for the newest the next base fee too, since it
/// always stands last.
fn add_block(
    snapshot: &Snapshot,
    height: Height,
    percentiles: Option<&[f64]>,
    history: &mut HistoryJson,
) -> RpcResult<()> {
    let lost = || RpcError::Rejected(format!("block {height} is no longer kept by this node"));
    let (_, header) = snapshot.header(height)?.ok_or_else(lost)?;
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
        let stored = snapshot.block(height)?.ok_or_else(lost)?;
        rewards.push(reward(&stored, percentiles));
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
fn reward(stored: &StoredBlock, percentiles: &[f64]) -> Vec<U128> {
    let mut before = 0;
    let gas = stored.receipts.iter().map(|receipt| {
        let used = receipt.cumulative_gas_used().saturating_sub(before);
        before = receipt.cumulative_gas_used();
        used
    });
    let mut paid: Vec<(u128, u64)> = tips(stored).zip(gas).collect();
    paid.sort_unstable();
    let total = stored.block.header.gas_used as f64;
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
