//! Logs of a range of blocks, or of one block.

use std::{ops::RangeInclusive, time::Instant};

use trefoil_ledger::Snapshot;
use trefoil_types::Height;

use crate::{
    Json, Params, Rpc, RpcError, RpcResult, convert, json, limits,
    params::{BlockRef, LogFilter, LogMatcher},
};

pub fn get(rpc: &Rpc, params: &Params) -> RpcResult {
    answer(rpc, &params.opt(0)?.unwrap_or_default())
}

/// The logs that a filter asks for, as JSON.
pub fn answer(rpc: &Rpc, filter: &LogFilter) -> RpcResult {
    let snapshot = rpc.backend.snapshot();
    let range = range(rpc, &snapshot, filter)?;
    scan(rpc, &snapshot, range, &filter.matcher)
}

fn range(rpc: &Rpc, snapshot: &Snapshot, filter: &LogFilter) -> RpcResult<RangeInclusive<Height>> {
    let wrong = |text: &str| RpcError::InvalidParams(text.into());
    if let Some(hash) = filter.block {
        let unknown = || RpcError::Rejected(format!("unknown block {hash}"));
        let height = snapshot.height_of(&hash)?.ok_or_else(unknown)?;
        return Ok(height..=height);
    }
    let tip = snapshot.tip().number;
    let height = |block: Option<BlockRef>| match block {
        Some(BlockRef::Number(number)) => Ok(number),
        None | Some(BlockRef::Latest | BlockRef::Pending) => Ok(tip),
        Some(BlockRef::Hash(_)) => Err(wrong("fromBlock and toBlock are numbers or tags")),
    };
    let (from, to) = (height(filter.from)?, height(filter.to)?);
    if from > to && filter.to.is_some() {
        return Err(wrong("invalid block range params"));
    }
    if to > tip {
        return Err(wrong("block range extends beyond current head block"));
    }
    let max = rpc.limits.log_blocks;
    if to.saturating_sub(from) >= max {
        let text = format!(
            "the range {from} to {to} is over {max} blocks; ask for smaller ranges one after another"
        );
        return Err(RpcError::InvalidParams(text));
    }
    Ok(from..=to)
}

/// The matching logs of `range`, which is within the snapshot.
pub fn scan(
    rpc: &Rpc,
    snapshot: &Snapshot,
    range: RangeInclusive<Height>,
    matcher: &LogMatcher,
) -> RpcResult {
    let mut found: Vec<Json> = vec![];
    let (mut bytes, mut claim) = (0, rpc.memory.claim_anyway(0));
    let max = limits::LOGS_MAX;
    let started = Instant::now();
    for height in snapshot.log_candidates(range, &matcher.addresses, &matcher.topics)? {
        // The caller has given up by then: the reader is for others.
        if started.elapsed() > limits::HEAVY_TIME_MAX {
            return Err(RpcError::Busy(format!(
                "the search took too long (reached block {height})"
            )));
        }
        let Some(stored) = snapshot.block(height)? else { continue };
        for (log, place) in convert::logs(&stored) {
            // The index names blocks; which of a block's logs match is looked up here.
            if !matcher.matches(log) {
                continue;
            }
            let shown = json(&place)?;
            bytes += shown.get().len();
            if found.len() == max || bytes > limits::ANSWER_BYTES_MAX {
                let text = format!(
                    "the answer has more than {max} logs or {} bytes (reached at block {height}); ask for a smaller range",
                    limits::ANSWER_BYTES_MAX
                );
                return Err(RpcError::InvalidParams(text));
            }
            // Each by itself, and once more in the whole.
            claim.grow(2 * shown.get().len())?;
            found.push(shown);
        }
    }
    json(&found)
}
