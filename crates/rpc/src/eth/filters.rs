//! Filters that a caller polls, for those who cannot hold a WebSocket.
//!
//! What always holds: at most so many filters live, one that nobody polls is
//! dropped, and its name is random, so that no caller can guess another's.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use alloy_primitives::{B256, U128};
use trefoil_types::Height;

use super::logs::{answer, scan};
use crate::{
    Limits, Rpc,
    error::{RpcError, RpcResult},
    json,
    params::{BlockRef, LogFilter, Params},
};

type FilterId = u128;

#[derive(Default)]
pub struct Filters(Mutex<BTreeMap<FilterId, Filter>>);

struct Filter {
    kind: Kind,
    polled: Instant,
}

#[derive(Clone)]
enum Kind {
    /// `next`: the first block not told of yet.
    Logs {
        filter: LogFilter,
        next: Height,
    },
    Blocks {
        next: Height,
    },
    /// `next`: the number of the first admission not told of yet.
    Pending {
        next: u64,
    },
}

impl Filters {
    /// The filters alive, without those that nobody polled.
    fn alive(&self, limits: &Limits) -> MutexGuard<'_, BTreeMap<FilterId, Filter>> {
        let mut filters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        filters.retain(|_, filter| filter.polled.elapsed() < limits.filter_idle);
        filters
    }

    fn add(&self, limits: &Limits, kind: Kind) -> RpcResult {
        let mut filters = self.alive(limits);
        if filters.len() >= limits.filters {
            let text = format!(
                "{} filters are alive, the most this node keeps; use eth_getLogs or eth_subscribe",
                limits.filters
            );
            return Err(RpcError::Busy(text));
        }
        let id = rand::random::<FilterId>();
        filters.insert(id, Filter { kind, polled: Instant::now() });
        json(&U128::from(id))
    }

    /// A filter as it stands; marks it as polled.
    fn poll(&self, limits: &Limits, id: FilterId) -> RpcResult<Kind> {
        let mut filters = self.alive(limits);
        let filter = filters.get_mut(&id).ok_or_else(not_found)?;
        filter.polled = Instant::now();
        Ok(filter.kind.clone())
    }

    /// Remembers how far a filter has been told.
    fn advance(&self, limits: &Limits, id: FilterId, kind: Kind) {
        if let Some(filter) = self.alive(limits).get_mut(&id) {
            filter.kind = kind;
        }
    }
}

fn not_found() -> RpcError {
    RpcError::Rejected("filter not found".into())
}

fn id(params: &Params) -> RpcResult<FilterId> {
    params.get(0)
}

pub fn new_logs(rpc: &Rpc, params: &Params) -> RpcResult {
    let filter: LogFilter = params.opt(0)?.unwrap_or_default();
    let tip = rpc.backend.snapshot().tip().number;
    let next = match filter.from {
        Some(BlockRef::Number(from)) if from > tip => from,
        _ => tip + 1,
    };
    rpc.filters.add(&rpc.limits, Kind::Logs { filter, next })
}

pub fn new_blocks(rpc: &Rpc, _: &Params) -> RpcResult {
    let next = rpc.backend.snapshot().tip().number + 1;
    rpc.filters.add(&rpc.limits, Kind::Blocks { next })
}

pub fn new_pending(rpc: &Rpc, _: &Params) -> RpcResult {
    let (_, next) = rpc.news.admitted_since(u64::MAX);
    rpc.filters.add(&rpc.limits, Kind::Pending { next })
}

pub fn uninstall(rpc: &Rpc, params: &Params) -> RpcResult {
    let id = id(params)?;
    json(&rpc.filters.alive(&rpc.limits).remove(&id).is_some())
}

/// What is new since the last poll.
pub fn changes(rpc: &Rpc, params: &Params) -> RpcResult {
    let id = id(params)?;
    let snapshot = rpc.backend.snapshot();
    let tip = snapshot.tip().number;
    let (result, told) = match rpc.filters.poll(&rpc.limits, id)? {
        Kind::Logs { filter, next } => {
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
            (result, Kind::Logs { filter, next: end + 1 })
        }
        Kind::Blocks { next } => {
            let end = tip.min(next.saturating_add(rpc.limits.logs as u64 - 1));
            let mut hashes: Vec<B256> = vec![];
            for height in next..=end {
                hashes.extend(snapshot.header(height)?.map(|(hash, _)| hash));
            }
            (json(&hashes)?, Kind::Blocks { next: next.max(end + 1) })
        }
        Kind::Pending { next } => {
            let (hashes, next) = rpc.news.admitted_since(next);
            (json(&hashes)?, Kind::Pending { next })
        }
    };
    rpc.filters.advance(&rpc.limits, id, told);
    Ok(result)
}

/// All logs that a log filter asks for, from its `fromBlock` on.
pub fn logs(rpc: &Rpc, params: &Params) -> RpcResult {
    match rpc.filters.poll(&rpc.limits, id(params)?)? {
        Kind::Logs { filter, .. } => answer(rpc, &filter),
        Kind::Blocks { .. } | Kind::Pending { .. } => {
            Err(RpcError::Rejected("the filter is not a log filter".into()))
        }
    }
}
