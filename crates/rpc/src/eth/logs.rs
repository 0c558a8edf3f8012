//! Logs of a range of blocks, or of one block.

use std::ops::RangeInclusive;

use trefoil_ledger::Snapshot;
use trefoil_types::Height;

use crate::{
    Json, Params, Rpc, RpcError, RpcResult, convert,
    heavy::WorkTime,
    json, limits,
    log_filter::{LogFilter, LogMatcher},
    memory::Claim,
    params::BlockRef,
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
    let (begin, end, step) = (*range.start(), *range.end(), rpc.limits.log_step);
    let claim = rpc.memory.claim_anyway(0);
    let (mut found, time) = (FoundLogs { logs: vec![], bytes: 0, claim }, WorkTime::begin());
    for from in (begin..=end).step_by(step) {
        time.check("the search", from)?;
        let part = from..=end.min(from.saturating_add(step as Height - 1));
        for height in snapshot.log_candidates(part, &matcher.addresses, &matcher.topics)? {
            time.check("the search", height)?;
            found.add(rpc, snapshot, height, matcher)?;
        }
    }
    json(&found.logs)
}

/// An answer that is gathered from many blocks: it stays below its bounds and is claimed.
struct FoundLogs {
    logs: Vec<Json>,
    bytes: usize,
    claim: Claim,
}

impl FoundLogs {
    fn add(
        &mut self,
        rpc: &Rpc,
        snapshot: &Snapshot,
        height: Height,
        matcher: &LogMatcher,
    ) -> RpcResult<()> {
        // The index knows a topic's last 20 bytes only: a topic that ends like a common one would have
        // each of its blocks read for nothing.
        let header = snapshot.header(height)?;
        if !header.is_some_and(|(_, header)| matcher.may_be_in(&header.logs_bloom)) {
            return Ok(());
        }
        let Some(stored) = rpc.blocks.block_once(snapshot, height)? else { return Ok(()) };
        let max = limits::LOGS_MAX;
        for (log, place) in convert::logs(&stored) {
            // The index names blocks; which of a block's logs match is looked up here.
            if !matcher.matches(log) {
                continue;
            }
            let shown = json(&place)?;
            self.bytes += shown.get().len();
            if self.logs.len() == max || self.bytes > limits::ANSWER_BYTES_MAX {
                let text = format!(
                    "the answer has more than {max} logs or {} bytes (reached at block {height}); ask for a smaller range",
                    limits::ANSWER_BYTES_MAX
                );
                return Err(RpcError::InvalidParams(text));
            }
            // Each by itself, and once more in the whole.
            self.claim.grow(2 * shown.get().len())?;
            self.logs.push(shown);
        }
        Ok(())
    }
}
