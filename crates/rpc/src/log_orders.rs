//! The logs of a block in the orders in which filters ask for them.
//!
//! What always holds: every log that a filter matches is in the runs that are found for it; the runs
//! of a filter that names one address or one topic are those logs and no others.

use std::array;

use alloy_primitives::{Address, B256, Log};

use crate::log_filter::{LogMatcher, TOPICS_MAX};

/// Numbers of logs, by what a filter can name: 4 bytes a log in each order.
pub struct LogOrders {
    // Attack: a filter with topics that may be anything matches no log that has fewer, and would look
    // at each of them.
    /// By how many topics they have.
    by_count: Vec<u32>,
    /// By address, then by how many topics they have.
    by_address: Vec<u32>,
    /// Those that have a topic at a position: by it, then by how many they have.
    by_topic: [Vec<u32>; TOPICS_MAX],
}

/// Parts of an order.
type LogRuns<'a> = Vec<&'a [u32]>;

fn count(log: &Log) -> usize {
    log.topics().len()
}

/// Numbers in the order of what `key` makes of their logs; equals by number.
fn ordered<K: Ord>(logs: &[&Log], mut numbers: Vec<u32>, key: impl Fn(&Log) -> K) -> Vec<u32> {
    numbers.sort_by_key(|number| key(logs[*number as usize]));
    numbers
}

/// The logs in an order whose key is `wanted` with at least so many topics.
fn run<'a, 'l, K: Ord>(
    order: &'a [u32],
    log: &impl Fn(u32) -> &'l Log,
    key: impl Fn(&Log) -> K,
    wanted: K,
    topics: usize,
) -> &'a [u32] {
    let least = (wanted, topics);
    let begin = order.partition_point(|number| {
        let log = log(*number);
        (key(log), count(log)) < least
    });
    let rest = &order[begin..];
    &rest[..rest.partition_point(|number| key(log(*number)) == least.0)]
}

fn length(runs: &[&[u32]]) -> usize {
    runs.iter().map(|run| run.len()).sum()
}

impl LogOrders {
    /// Of a block's logs, by their numbers.
    pub fn of(logs: &[&Log]) -> Self {
        let all = || 0..logs.len() as u32;
        let by_topic = array::from_fn(|at| {
            let those = all().filter(|number| count(logs[*number as usize]) > at);
            ordered(logs, those.collect(), |log| (log.topics()[at], count(log)))
        });
        Self {
            by_count: ordered(logs, all().collect(), count),
            by_address: ordered(logs, all().collect(), |log| (log.address, count(log))),
            by_topic,
        }
    }

    /// The shortest runs that hold all logs which match; `log` finds one by its number.
    pub fn runs<'l>(&self, log: impl Fn(u32) -> &'l Log, matcher: &LogMatcher) -> LogRuns<'_> {
        let topics = matcher.topics.len();
        let begin = self.by_count.partition_point(|number| count(log(*number)) < topics);
        let mut shortest: LogRuns<'_> = vec![&self.by_count[begin..]];
        let mut offer = |runs: Vec<_>| {
            if length(&runs) < length(&shortest) {
                shortest = runs;
            }
        };
        if !matcher.addresses.is_empty() {
            let of = |address: &Address| {
                run(&self.by_address, &log, |log| log.address, *address, topics)
            };
            offer(matcher.addresses.iter().map(of).collect());
        }
        for (at, any) in matcher.topics.iter().enumerate().filter(|(_, any)| !any.is_empty()) {
            let of = |topic: &B256| {
                run(&self.by_topic[at], &log, |log| log.topics()[at], *topic, topics)
            };
            offer(any.iter().map(of).collect());
        }
        shortest
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Bytes;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn log(at: u8, topics: &[u8]) -> Log {
        let topics = topics.iter().map(|n| B256::repeat_byte(*n)).collect();
        Log::new_unchecked(Address::repeat_byte(at), topics, Bytes::new())
    }

    fn matcher(addresses: &[u8], topics: &[Vec<u8>]) -> LogMatcher {
        let mut addresses: Vec<_> = addresses.iter().map(|n| Address::repeat_byte(*n)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let list = |any: &Vec<u8>| {
            let mut any: Vec<_> = any.iter().map(|n| B256::repeat_byte(*n)).collect();
            any.sort_unstable();
            any.dedup();
            any
        };
        LogMatcher::new(addresses, topics.iter().map(list).collect())
    }

    /// How many logs are looked at for a filter.
    fn looked_at(logs: &[Log], matcher: &LogMatcher) -> usize {
        let all: Vec<&Log> = logs.iter().collect();
        length(&LogOrders::of(&all).runs(|number| all[number as usize], matcher))
    }

    /// A block of which a walk over all logs would cost each of thousands of subscriptions the same.
    #[test]
    fn a_filter_that_names_one_thing_is_asked_of_no_log_in_vain() {
        let mut logs = vec![log(1, &[]); 10_000];
        logs.extend(vec![log(2, &[7, 8]); 100]);
        for (addresses, topics, want) in [
            (vec![], vec![], 10_100),
            (vec![1], vec![], 10_000),
            // The bloom filter lets it pass, and no log matches.
            (vec![1], vec![vec![], vec![]], 0),
            (vec![2], vec![vec![], vec![]], 100),
            (vec![], vec![vec![], vec![]], 100),
            (vec![], vec![vec![8]], 0),
            (vec![1], vec![vec![7]], 0),
            (vec![1, 2], vec![vec![], vec![8]], 100),
            (vec![3, 4], vec![], 0),
            (vec![], vec![vec![], vec![], vec![], vec![]], 0),
        ] {
            let matcher = matcher(&addresses, &topics);
            assert_eq!(looked_at(&logs, &matcher), want, "{matcher:?}");
        }
    }

    fn few() -> impl Strategy<Value = Vec<u8>> {
        vec(0..5_u8, 0..3)
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_look_at_each_log_finds(
            logs in vec((0..5_u8, vec(0..5_u8, 0..5)), 0..40),
            addresses in few(),
            topics in vec(few(), 0..5),
        ) {
            let logs: Vec<_> = logs.iter().map(|(at, topics)| log(*at, topics)).collect();
            let matcher = matcher(&addresses, &topics);
            let all: Vec<&Log> = logs.iter().collect();
            let orders = LogOrders::of(&all);
            let runs = orders.runs(|number| all[number as usize], &matcher);
            let found = runs.into_iter().flatten().copied();
            let mut found: Vec<_> = found.filter(|n| matcher.matches(all[*n as usize])).collect();
            found.sort_unstable();
            let want = (0..logs.len() as u32).filter(|n| matcher.matches(all[*n as usize]));
            prop_assert_eq!(found, want.collect::<Vec<_>>());
        }
    }
}
