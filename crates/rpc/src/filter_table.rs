//! The filters that are alive.
//!
//! What always holds: at most so many filters live, one that nobody polls is
//! dropped, and its name is random, so that no caller can guess another's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use alloy_primitives::U128;
use trefoil_types::Height;

use crate::{
    Limits, Params, RpcError, RpcResult, json,
    log_filter::LogFilter,
    memory::{Claim, MemoryAccount},
    source_places::{SourcePlace, SourcePlaces},
};

/// What all filters look for, bytes: [`Limits::filters`] of 16 kB, which is 200 addresses each.
const FILTERS_BYTES_MAX: usize = 16 << 20;

/// Random, so that no caller can guess another's.
pub type FilterId = u128;

pub struct FilterTable {
    filters: Mutex<BTreeMap<FilterId, Filter>>,
    memory: MemoryAccount,
    places: Arc<SourcePlaces>,
}

pub struct Filter {
    kind: FilterKind,
    polled: Instant,
    _held: (Claim, SourcePlace),
}

#[derive(Clone)]
pub enum FilterKind {
    /// `next`: the first block that was not reported yet.
    Logs {
        filter: LogFilter,
        next: Height,
    },
    Blocks {
        next: Height,
    },
    /// `next`: the number of the first admission that was not reported yet.
    Pending {
        next: u64,
    },
}

impl FilterTable {
    /// For so many filters.
    pub fn new(all: &MemoryAccount, max: usize) -> Self {
        let cure = "uninstall filters, name fewer addresses and topics, or use eth_getLogs";
        let memory = all.within(FILTERS_BYTES_MAX, cure);
        Self { filters: Mutex::default(), memory, places: SourcePlaces::new(max) }
    }

    /// The filters alive, without those that nobody polled.
    pub fn alive(&self, limits: &Limits) -> MutexGuard<'_, BTreeMap<FilterId, Filter>> {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        filters.retain(|_, filter| filter.polled.elapsed() < limits.filter_idle);
        filters
    }

    /// `params`: what it was asked for with.
    pub fn add(&self, limits: &Limits, kind: FilterKind, params: &Params) -> RpcResult {
        let mut filters = self.alive(limits);
        let Some(place) = self.places.take(params.source) else {
            let text = format!(
                "{} filters are alive, and this node keeps no more for you; use eth_getLogs or eth_subscribe",
                filters.len()
            );
            return Err(RpcError::Busy(text));
        };
        let held = (self.memory.claim(params.bytes())?, place);
        let id = rand::random::<FilterId>();
        filters.insert(id, Filter { kind, polled: Instant::now(), _held: held });
        json(&U128::from(id))
    }

    /// A filter as it stands; marks it as polled.
    pub fn poll(&self, limits: &Limits, id: FilterId) -> RpcResult<FilterKind> {
        let mut filters = self.alive(limits);
        let filter = filters.get_mut(&id);
        let filter = filter.ok_or_else(|| RpcError::Rejected("filter not found".into()))?;
        filter.polled = Instant::now();
        Ok(filter.kind.clone())
    }

    /// Remembers how far a filter has reported.
    pub fn advance(&self, limits: &Limits, id: FilterId, kind: FilterKind) {
        if let Some(filter) = self.alive(limits).get_mut(&id) {
            filter.kind = kind;
        }
    }
}
