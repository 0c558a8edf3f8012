//! Which logs a caller wants: by address and topics, in a range of blocks or in one block.

use alloy_primitives::{Address, B256, Bloom, BloomInput, Log, keccak256};
use serde_json::Value;

use crate::params::{Arg, BlockRef, kind, member, object};

// Each is compared with every log of every block that the index names.
/// The most addresses, or alternatives for one topic, in a log filter.
const FILTER_ALTERNATIVES_MAX: usize = 1_000;
/// Topics that a log can have (LOG4).
pub const TOPICS_MAX: usize = 4;

/// Which logs a caller wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    pub from: Option<BlockRef>,
    pub to: Option<BlockRef>,
    pub block: Option<B256>,
    pub matcher: LogMatcher,
}

// Hundreds of subscriptions look at each log of each block.
/// Any of `addresses` (empty: any), and at each position any of the topics
/// listed (empty: any); all sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogMatcher {
    pub addresses: Vec<Address>,
    pub topics: Vec<Vec<B256>>,
    /// Hashes of each list that is not empty: a bloom filter has some of each.
    hashes: Vec<Vec<B256>>,
}

/// Whether it is one of the sorted `any`, or there are none.
fn is_any<T: Ord>(any: &[T], one: &T) -> bool {
    any.is_empty() || any.binary_search(one).is_ok()
}

impl LogMatcher {
    /// Of sorted lists, in which each is once.
    pub fn new(addresses: Vec<Address>, topics: Vec<Vec<B256>>) -> Self {
        let mut hashes = vec![addresses.iter().map(keccak256).collect()];
        hashes.extend(topics.iter().map(|any| any.iter().map(keccak256).collect()));
        hashes.retain(|any: &Vec<B256>| !any.is_empty());
        Self { addresses, topics, hashes }
    }

    /// How many addresses and topics it names.
    pub fn named(&self) -> usize {
        self.addresses.len() + self.topics.iter().map(Vec::len).sum::<usize>()
    }

    pub fn matches(&self, log: &Log) -> bool {
        let topics = log.data.topics();
        is_any(&self.addresses, &log.address)
            && self.topics.len() <= topics.len()
            && self.topics.iter().zip(topics).all(|(any, topic)| is_any(any, topic))
    }

    /// Whether a block may have such a log, by the bloom filter of its header (yellow paper, 4.3.1).
    pub fn may_be_in(&self, bloom: &Bloom) -> bool {
        let has = |hash: &B256| bloom.contains_input(BloomInput::Hash(*hash));
        !bloom.is_zero() && self.hashes.iter().all(|any| any.iter().any(has))
    }
}

/// One value or a list of them, sorted, each once; absent or `null` is the empty list.
fn alternatives<T: Arg + Ord>(value: Option<&Value>, what: &str) -> Result<Vec<T>, String> {
    let mut list: Vec<T> = match value {
        None | Some(Value::Null) => vec![],
        Some(list @ Value::Array(_)) => Vec::parse(list)?,
        Some(one) => vec![T::parse(one)?],
    };
    if list.len() > FILTER_ALTERNATIVES_MAX {
        return Err(format!("{} {what}, at most {FILTER_ALTERNATIVES_MAX}", list.len()));
    }
    list.sort_unstable();
    list.dedup();
    Ok(list)
}

impl Arg for LogFilter {
    fn parse(value: &Value) -> Result<Self, String> {
        let object = object(value)?;
        let (from, to) = (member(object, "fromBlock")?, member(object, "toBlock")?);
        let block = member(object, "blockHash")?;
        if block.is_some() && (from.is_some() || to.is_some()) {
            return Err(
                "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other"
                    .into(),
            );
        }
        let addresses = alternatives(object.get("address"), "addresses")
            .map_err(|why| format!("address: {why}"))?;
        let positions: &[Value] = match object.get("topics") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(positions)) => positions,
            Some(other) => return Err(format!("topics: want a list, got {}", kind(other))),
        };
        if positions.len() > TOPICS_MAX {
            return Err(format!("topics: {} positions, at most {TOPICS_MAX}", positions.len()));
        }
        let topics = positions.iter().map(|any| alternatives(Some(any), "topics"));
        let topics = topics.collect::<Result<_, _>>().map_err(|why| format!("topics: {why}"))?;
        Ok(Self { from, to, block, matcher: LogMatcher::new(addresses, topics) })
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Bytes, logs_bloom};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn address(n: u8) -> Address {
        Address::repeat_byte(n)
    }

    fn topic(n: u8) -> B256 {
        B256::repeat_byte(n)
    }

    fn log(at: u8, topics: &[u8]) -> Log {
        let topics = topics.iter().copied().map(topic).collect();
        Log::new_unchecked(address(at), topics, Bytes::new())
    }

    #[test]
    fn a_bloom_filter_has_an_address_and_a_topic_of_each_position() {
        let bloom = logs_bloom([&log(1, &[11, 12]), &log(2, &[13])]);
        #[expect(clippy::type_complexity, reason = "a table")]
        let table: [(&[u8], &[&[u8]], bool); 12] = [
            (&[], &[], true),
            (&[1], &[], true),
            (&[3], &[], false),
            (&[1, 3], &[], true),
            (&[], &[&[11]], true),
            (&[], &[&[14]], false),
            (&[], &[&[14, 13]], true),
            (&[], &[&[], &[12]], true),
            (&[], &[&[11], &[14]], false),
            (&[3], &[&[11]], false),
            (&[2], &[&[13], &[]], true),
            // The filter knows no positions, nor which log has which topic: the logs are looked at.
            (&[2], &[&[12]], true),
        ];
        for (addresses, topics, want) in table {
            let of = |any: &&[u8]| any.iter().copied().map(topic).collect();
            let addresses = addresses.iter().copied().map(address).collect();
            let matcher = LogMatcher::new(addresses, topics.iter().map(of).collect());
            assert_eq!(matcher.may_be_in(&bloom), want, "{matcher:?}");
        }
        assert!(!LogMatcher::default().may_be_in(&Bloom::ZERO), "a block without logs");
    }

    fn few() -> impl Strategy<Value = Vec<u8>> {
        vec(0..6_u8, 0..3)
    }

    proptest! {
        /// Nothing that a look at each log finds is left out.
        #[test]
        fn a_block_with_a_matching_log_is_never_passed_over(
            logs in vec((0..6_u8, vec(0..6_u8, 0..5)), 0..6),
            addresses in few(),
            topics in vec(few(), 0..5),
        ) {
            let logs: Vec<_> = logs.iter().map(|(at, topics)| log(*at, topics)).collect();
            let sorted = |any: Vec<u8>| {
                let mut any = any;
                any.sort_unstable();
                any
            };
            let addresses = sorted(addresses).into_iter().map(address).collect();
            let topics = topics.into_iter().map(|any| sorted(any).into_iter().map(topic).collect());
            let matcher = LogMatcher::new(addresses, topics.collect());
            if logs.iter().any(|log| matcher.matches(log)) {
                prop_assert!(matcher.may_be_in(&logs_bloom(&logs)));
            }
        }
    }
}
