//! The logs of a new block, which thousands of subscriptions ask for those that match their filters.
//!
//! What always holds: equal filters are asked of the logs once; a filter is asked of as few of them
//! as an index gives, and others have their turn after each [`LOGS_AT_ONCE`]; what is found is short.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use alloy_primitives::Log;
use tokio::{
    sync::OnceCell,
    task::{spawn_blocking, yield_now},
};
use trefoil_types::Receipt;

use crate::{log_filter::LogMatcher, log_orders::LogOrders};

/// Logs that are looked at without a pause: some 10 µs.
pub const LOGS_AT_ONCE: usize = 1_000;
// Whoever has more of them sends as many notifications, beside which a walk over all logs is little.
/// Logs of which the numbers are kept for a filter: 1 KiB.
const FEW_MAX: usize = 256;
// 1.2 MiB.
/// Filters of which what was found is kept for their equals.
const FOUND_MAX: usize = 1_024;

/// The logs of a block that match a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchingLogs {
    /// Their numbers, ascending.
    Few(Arc<[u32]>),
    /// More than [`FEW_MAX`].
    Many,
}

/// What is found for a filter, by whoever looks first.
type SharedFind = Arc<OnceCell<MatchingLogs>>;

/// The logs of one block.
pub struct BlockLogs {
    receipts: Arc<Vec<Receipt>>,
    /// For each receipt, how many logs it and those before it have.
    ends: Vec<u32>,
    /// Made when somebody first asks; `None`: that failed.
    orders: OnceCell<Option<LogOrders>>,
    found: Mutex<BTreeMap<Arc<LogMatcher>, SharedFind>>,
}

fn ends(receipts: &[Receipt]) -> Vec<u32> {
    let mut end = 0;
    let ends = receipts.iter().map(|receipt| {
        end += receipt.logs().len() as u32;
        end
    });
    ends.collect()
}

impl BlockLogs {
    pub fn new(receipts: Arc<Vec<Receipt>>) -> Self {
        let ends = ends(&receipts);
        Self { receipts, ends, orders: OnceCell::new(), found: Mutex::default() }
    }

    pub fn count(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    /// The log with this number, and the index of its transaction.
    pub fn get(&self, number: u32) -> (usize, &Log) {
        let tx = self.ends.partition_point(|end| *end <= number);
        let before = tx.checked_sub(1).map_or(0, |tx| self.ends[tx]);
        (tx, &self.receipts[tx].logs()[(number - before) as usize])
    }

    /// The logs that match a filter.
    pub async fn matching(&self, matcher: &Arc<LogMatcher>) -> MatchingLogs {
        match self.found(matcher) {
            Some(found) => found.get_or_init(|| self.look(matcher)).await.clone(),
            None => self.look(matcher).await,
        }
    }

    /// Where is kept what is found for a filter, if there is room.
    fn found(&self, matcher: &Arc<LogMatcher>) -> Option<SharedFind> {
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.get(matcher) {
            return Some(found.clone());
        }
        (all.len() < FOUND_MAX).then(|| all.entry(matcher.clone()).or_default().clone())
    }

    async fn look(&self, matcher: &LogMatcher) -> MatchingLogs {
        // In an order each name costs a search, as much as a look at some logs.
        let orders = match self.count() > matcher.named().max(LOGS_AT_ONCE) {
            true => self.orders().await,
            false => None,
        };
        let all: Vec<u32>;
        let runs = match orders {
            Some(orders) => orders.runs(|number| self.get(number).1, matcher),
            None => {
                all = (0..self.count() as u32).collect();
                vec![&all[..]]
            }
        };
        let (mut found, mut looked_at) = (vec![], 0_usize);
        for number in runs.into_iter().flatten().copied() {
            if matcher.matches(self.get(number).1) {
                if found.len() == FEW_MAX {
                    return MatchingLogs::Many;
                }
                found.push(number);
            }
            looked_at += 1;
            if looked_at.is_multiple_of(LOGS_AT_ONCE) {
                yield_now().await;
            }
        }
        found.sort_unstable();
        MatchingLogs::Few(found.into())
    }

    async fn orders(&self) -> Option<&LogOrders> {
        let receipts = self.receipts.clone();
        // Half a million logs take 0.1 s.
        let make = move || {
            let logs: Vec<&Log> = receipts.iter().flat_map(|receipt| receipt.logs()).collect();
            LogOrders::of(&logs)
        };
        let made = self.orders.get_or_init(|| async { spawn_blocking(make).await.ok() });
        made.await.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use alloy_consensus::TxType;
    use alloy_primitives::{Address, B256, Bytes};
    use futures::future::join_all;

    use super::*;

    fn address(n: u8) -> Address {
        Address::repeat_byte(n)
    }

    /// Logs of the addresses, of some transactions.
    fn logs(all: &[&[u8]]) -> BlockLogs {
        let receipt = |logs: &&[u8]| {
            let log = |n: &u8| Log::new_unchecked(address(*n), vec![B256::ZERO], Bytes::new());
            let bare = alloy_consensus::Receipt {
                status: true.into(),
                cumulative_gas_used: 0,
                logs: logs.iter().map(log).collect(),
            };
            Receipt::from_typed(TxType::Eip1559, bare)
        };
        BlockLogs::new(Arc::new(all.iter().map(receipt).collect()))
    }

    fn wants(n: u8) -> Arc<LogMatcher> {
        Arc::new(LogMatcher::new(vec![address(n)], vec![]))
    }

    fn few(numbers: &[u32]) -> MatchingLogs {
        MatchingLogs::Few(numbers.into())
    }

    #[test]
    fn each_log_has_its_number_and_its_transaction() {
        let logs = logs(&[&[], &[1, 2], &[], &[3], &[]]);
        let found = (0..logs.count() as u32).map(|number| logs.get(number));
        let found: Vec<_> = found.map(|(tx, log)| (tx, log.address)).collect();
        assert_eq!(found, [(1, address(1)), (1, address(2)), (3, address(3))]);
        assert_eq!(BlockLogs::new(Arc::default()).count(), 0);
    }

    #[tokio::test]
    async fn what_matches_is_found_in_small_blocks_and_in_large_ones() {
        for zeros in [10, 3 * LOGS_AT_ONCE] {
            let zeros = vec![0; zeros];
            let logs = logs(&[&[1], &zeros, &[1, 2], &zeros]);
            let last = 1 + zeros.len() as u32;
            assert_eq!(logs.matching(&wants(1)).await, few(&[0, last]));
            assert_eq!(logs.matching(&wants(2)).await, few(&[last + 1]));
            assert_eq!(logs.matching(&wants(3)).await, few(&[]));
            let all = logs.matching(&wants(0)).await;
            assert_eq!(all == MatchingLogs::Many, 2 * zeros.len() > FEW_MAX, "{all:?}");
        }
    }

    /// Thousands of equal subscriptions cost one look at the logs.
    #[tokio::test]
    async fn equal_filters_are_asked_once() {
        let zeros = vec![0; 3 * LOGS_AT_ONCE];
        let logs = logs(&[&zeros, &[1]]);
        // Each of a caller of its own.
        let equal: Vec<_> = (0..100).map(|_| wants(1)).collect();
        let found = join_all(equal.iter().map(|matcher| logs.matching(matcher))).await;
        let numbers = |found: &MatchingLogs| match found {
            MatchingLogs::Few(numbers) => numbers.as_ptr(),
            MatchingLogs::Many => panic!("there is one"),
        };
        assert!(found.iter().all(|other| numbers(other) == numbers(&found[0])));
        assert_eq!(logs.found.lock().unwrap().len(), 1);
        // However many ask for other things, what is kept for their equals is bounded.
        for n in 0..2 * FOUND_MAX as u64 {
            let topics = vec![vec![B256::left_padding_from(&n.to_be_bytes())]];
            let other = Arc::new(LogMatcher::new(vec![address(1)], topics));
            assert_eq!(logs.matching(&other).await, few(if n == 0 { &[3_000] } else { &[] }));
        }
        assert_eq!(logs.found.lock().unwrap().len(), FOUND_MAX);
    }
}
