//! The log index: for an address or a topic, the blocks that logged it.
//!
//! What always holds: it may name a block that does not match (the caller filters), and
//! leaves out none that does.

use std::{
    collections::BTreeSet,
    ops::{Bound, RangeInclusive},
};

use alloy_primitives::{BloomInput, FixedBytes};
use trefoil_types::{Address, B256, Header, Height, Receipt};

use crate::{
    LedgerError, codec,
    overlay::Generation,
    store::{Base, Table},
};

/// An item of a block's logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// Any log at all: a query without a filter must not read every empty block.
    Any,
    Address(Address),
    // Twelve bytes less in each row. A topic that is an address has its bytes last, and a
    // false hit only costs a look.
    /// The last 20 bytes of a topic, at any position.
    Topic(FixedBytes<20>),
}

impl Item {
    pub fn topic(topic: &B256) -> Self {
        Self::Topic(FixedBytes::from_slice(&topic[12..]))
    }

    pub fn of_receipts(receipts: &[Receipt]) -> BTreeSet<Self> {
        let mut items = BTreeSet::new();
        for log in receipts.iter().flat_map(|receipt| receipt.logs()) {
            items.extend([Self::Any, Self::Address(log.address)]);
            items.extend(log.topics().iter().map(Self::topic));
        }
        items
    }

    /// Its row's key in [`Table::Logs`].
    pub fn key(&self, height: Height) -> Vec<u8> {
        let (tag, bytes) = match self {
            Self::Any => (0, &[][..]),
            Self::Address(address) => (1, address.as_slice()),
            Self::Topic(topic) => (2, topic.as_slice()),
        };
        [&[tag], bytes, &height.to_be_bytes()].concat()
    }
}

/// A filter: the logs of a block must hold an item of each list.
pub(crate) struct Wanted<'a> {
    pub addresses: &'a [Address],
    pub topics: &'a [Vec<B256>],
}

impl Wanted<'_> {
    /// Whether the header's bloom filter allows a match.
    pub fn may_be_in(&self, header: &Header) -> bool {
        let bloom = &header.logs_bloom;
        let has = |raw: &[u8]| bloom.contains_input(BloomInput::Raw(raw));
        let address = self.addresses.is_empty() || self.addresses.iter().any(|a| has(a.as_slice()));
        let topic = |any: &Vec<B256>| any.is_empty() || any.iter().any(|t| has(t.as_slice()));
        !bloom.is_zero() && address && self.topics.iter().all(topic)
    }

    /// The lists as items; never empty.
    fn lists(&self) -> Vec<Vec<Item>> {
        let mut lists = vec![self.addresses.iter().copied().map(Item::Address).collect()];
        lists.extend(self.topics.iter().map(|any| any.iter().map(Item::topic).collect()));
        lists.retain(|list: &Vec<Item>| !list.is_empty());
        if lists.is_empty() {
            lists.push(vec![Item::Any]);
        }
        lists
    }

    /// Heights in `range` that the index on disk names.
    pub fn on_disk(
        &self,
        base: &Base,
        range: &RangeInclusive<Height>,
    ) -> Result<BTreeSet<Height>, LedgerError> {
        let mut found: Option<BTreeSet<Height>> = None;
        for list in self.lists() {
            let mut heights = BTreeSet::new();
            for item in list {
                let (from, to) = (item.key(*range.start()), item.key(*range.end()));
                for row in base.range(Table::Logs, &from[..]..=&to[..])? {
                    let (key, _) = row?;
                    let height = codec::decode_height(&key[key.len().saturating_sub(8)..]);
                    heights.insert(height.ok_or_else(|| LedgerError::damaged("table `logs`"))?);
                }
            }
            found = Some(match found {
                None => heights,
                Some(found) => &found & &heights,
            });
        }
        Ok(found.unwrap_or_default())
    }

    // Few blocks, whose headers are at hand: their blooms do without an index.
    /// Heights in `range` of matching blocks in memory.
    pub fn in_memory(
        &self,
        generation: &Generation,
        range: &RangeInclusive<Height>,
    ) -> Vec<Height> {
        let bounds = (Bound::Included(*range.start()), Bound::Included(*range.end()));
        let blocks = generation.blocks.range(bounds);
        let may = blocks.filter(|(_, committed)| self.may_be_in(&committed.block.header));
        may.map(|(height, _)| *height).collect()
    }
}
