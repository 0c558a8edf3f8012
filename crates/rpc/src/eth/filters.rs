//! Filters that a caller polls: for clients that cannot hold a WebSocket.

use alloy_primitives::B256;

use crate::{
    Params, Rpc, RpcError, RpcResult,
    eth::logs::{answer, scan},
    filter_table::{FilterId, FilterKind},
    json, limits,
    log_filter::LogFilter,
    params::BlockRef,
};

pub fn new_logs(rpc: &Rpc, params: &Params) -> RpcResult {
    let filter: LogFilter = params.opt(0)?.unwrap_or_default();
    let tip = rpc.backend.snapshot().tip().number;
    let next = match filter.from {
        Some(BlockRef::Number(from)) if from > tip => from,
        _ => tip + 1,
    };
    rpc.filters.add(&rpc.limits, FilterKind::Logs { filter, next }, params)
}

pub fn new_blocks(rpc: &Rpc, params: &Params) -> RpcResult {
    let next = rpc.backend.snapshot().tip().number + 1;
    rpc.filters.add(&rpc.limits, FilterKind::Blocks { next }, params)
}

pub fn new_pending(rpc: &Rpc, params: &Params) -> RpcResult {
    let (_, next) = rpc.events.admitted_since(u64::MAX);
    rpc.filters.add(&rpc.limits, FilterKind::Pending { next }, params)
}

pub fn uninstall(rpc: &Rpc, params: &Params) -> RpcResult {
    let id: FilterId = params.get(0)?;
    json(&rpc.filters.alive(&rpc.limits).remove(&id).is_some())
}

/// The changes since the last poll.
pub fn changes(rpc: &Rpc, params: &Params) -> RpcResult {
    let id: FilterId = params.get(0)?;
    let snapshot = rpc.backend.snapshot();
    let tip = snapshot.tip().number;
    let (result, advanced) = match rpc.filters.poll(&rpc.limits, id)? {
        FilterKind::Logs { filter, next } => {
            // At most so many blocks at a time; the rest at the next poll.
            let end = tip.min(next.saturating_add(rpc.limits.log_blocks - 1));
            let end = match filter.to {
                Some(BlockRef::Number(to)) => end.min(to),
                _ => end,
            };
            if next > end {
                return json(&[(); 0]);
            }
            let result = scan(rpc, &snapshot, next..=end, &filter.matcher)?;
            (result, FilterKind::Logs { filter, next: end + 1 })
        }
        FilterKind::Blocks { next } => {
            let end = tip.min(next.saturating_add(limits::LOGS_MAX as u64 - 1));
            let mut hashes: Vec<B256> = vec![];
            for height in next..=end {
                hashes.extend(snapshot.header(height)?.map(|(hash, _)| hash));
            }
            (json(&hashes)?, FilterKind::Blocks { next: next.max(end + 1) })
        }
        FilterKind::Pending { next } => {
            let (hashes, next) = rpc.events.admitted_since(next);
            (json(&hashes)?, FilterKind::Pending { next })
        }
    };
    rpc.filters.advance(&rpc.limits, id, advanced);
    Ok(result)
}

/// All logs that a log filter asks for, from its `fromBlock` on.
pub fn logs(rpc: &Rpc, params: &Params) -> RpcResult {
    match rpc.filters.poll(&rpc.limits, params.get(0)?)? {
        FilterKind::Logs { filter, .. } => answer(rpc, &filter),
        FilterKind::Blocks { .. } | FilterKind::Pending { .. } => {
            Err(RpcError::Rejected("the filter is not a log filter".into()))
        }
    }
}
