//! What the cheapest transactions of the newest blocks paid, from which a tip is suggested.
//!
//! What always holds: a block is looked at once, when it is committed; those from before the start,
//! when somebody first asks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use trefoil_types::{Height, RecoveredBlock};

use crate::convert;

// The figures and the method are those of geth's gas price oracle: a wallet suggests the same
// here as elsewhere.
/// The suggestion when recent blocks have no transaction, wei: 1 gwei.
const TIP_DEFAULT: u128 = 1_000_000_000;
// A few transactions that overpay would otherwise raise the price for all callers (geth:
// `--gpo.maxprice`).
/// The highest suggestion, wei: 500 gwei.
const TIP_MAX: u128 = 500_000_000_000;
// geth: `--gpo.blocks`.
/// Blocks that a suggestion looks back over.
const TIP_BLOCKS: u64 = 20;
// The cheapest tips that were included show what suffices; the high ones show what somebody
// was willing to pay.
/// The cheapest transactions of a block that count.
const TIP_SAMPLES: usize = 3;
// More than half, so that the suggestion beats most of the samples (geth:
// `--gpo.percentile`).
/// Of the samples, this share is cheaper than the suggestion, percent.
const TIP_PERCENTILE: usize = 60;

/// Samples of the newest blocks. A final block never changes, so its height names it.
#[derive(Default)]
pub struct RecentTips(Mutex<BTreeMap<Height, Vec<u128>>>);

/// The price that each transaction of a block paid above the base fee, wei per gas.
pub fn tips(block: &RecoveredBlock) -> impl Iterator<Item = u128> {
    let base_fee = u128::from(block.header.base_fee_per_gas.unwrap_or(0));
    let paid = block.transactions.iter().map(|tx| convert::gas_price_paid(tx, &block.header));
    paid.map(move |price| price.saturating_sub(base_fee))
}

impl RecentTips {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Height, Vec<u128>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a block; `None`: it is not kept by this node.
    pub fn add(&self, height: Height, block: Option<&RecoveredBlock>) {
        let mut samples: Vec<u128> = block.map_or_else(Vec::new, |block| tips(block).collect());
        samples.sort_unstable();
        samples.truncate(TIP_SAMPLES);
        let mut blocks = self.lock();
        blocks.insert(height, samples);
        // Those who ask as of a tip that is no longer the newest find theirs, too.
        while blocks.len() as u64 > 2 * TIP_BLOCKS {
            blocks.pop_first();
        }
    }

    /// The heights that a suggestion as of a tip lacks.
    pub fn missing(&self, tip: Height) -> Vec<Height> {
        let blocks = self.lock();
        let heights = tip.saturating_sub(TIP_BLOCKS - 1)..=tip;
        heights.filter(|height| !blocks.contains_key(height)).collect()
    }

    /// A tip with which a transaction is soon in a block after this one, wei.
    pub fn suggested(&self, tip: Height) -> u128 {
        let blocks = self.lock();
        let newest = blocks.range(tip.saturating_sub(TIP_BLOCKS - 1)..=tip);
        let mut samples: Vec<u128> = newest.flat_map(|(_, tips)| tips.iter().copied()).collect();
        samples.sort_unstable();
        let at = samples.len() * TIP_PERCENTILE / 100;
        samples.get(at).map_or(TIP_DEFAULT, |tip| (*tip).min(TIP_MAX))
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Bytes, TxKind};
    use trefoil_types::{Attached, Header};

    use super::*;
    use crate::{
        backend::recover,
        tests::{SENDER, tx},
    };

    /// Each transaction offers a tip of 2 gwei and 10 gwei in all.
    fn block(height: Height, base_fee: u64, txs: u64) -> RecoveredBlock {
        let header =
            Header { number: height, base_fee_per_gas: Some(base_fee), ..Default::default() };
        let tx = |nonce| recover(&tx(nonce, TxKind::Call(SENDER), 0, Bytes::new())).unwrap();
        RecoveredBlock::new(header, (0..txs).map(tx).collect(), Attached::default())
    }

    #[test]
    fn a_suggestion_is_of_the_newest_blocks_and_needs_each_once() {
        let recent = RecentTips::default();
        assert_eq!(recent.missing(30), (11..=30).collect::<Vec<_>>());
        assert_eq!((recent.missing(1), recent.suggested(30)), (vec![0, 1], TIP_DEFAULT));
        recent.add(11, None);
        for height in 12..=30 {
            let base_fee = if height < 20 { 9_000_000_000 } else { 1_000_000_000 };
            recent.add(height, Some(&block(height, base_fee, height % 7)));
        }
        assert!(recent.missing(30).is_empty());
        assert_eq!(recent.missing(31), [31]);
        // Above 9 gwei there was room for 1 only.
        assert_eq!((recent.suggested(16), recent.suggested(30)), (1_000_000_000, 2_000_000_000));
        for height in 31..200 {
            recent.add(height, Some(&block(height, 0, 1)));
        }
        assert!(recent.lock().len() as u64 <= 2 * TIP_BLOCKS);
        assert!(recent.missing(190).is_empty() && recent.missing(199).is_empty());
    }
}
