//! Requests by method and outcome, for `/metrics`.
//!
//! What always holds: a name that is counted is a literal of this program. A caller that
//! made up names could otherwise grow the page and this table without end, so all unknown
//! names count as one.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

#[derive(Default)]
pub struct RequestCounters {
    /// Answers and errors of each method that was ever called.
    by_method: Mutex<BTreeMap<&'static str, [u64; 2]>>,
    unknown: AtomicU64,
}

impl RequestCounters {
    pub fn answered(&self, method: &'static str, ok: bool) {
        let mut counters = self.by_method.lock().unwrap_or_else(PoisonError::into_inner);
        counters.entry(method).or_default()[usize::from(!ok)] += 1;
    }

    pub fn unknown(&self) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
    }

    /// Each method's answers and errors, in order of name.
    pub fn by_method(&self) -> BTreeMap<&'static str, [u64; 2]> {
        self.by_method.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn unknown_total(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }
}
