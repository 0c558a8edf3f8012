//! Parts of a block, for readers that need no more of it, and the memory that parts take when they
//! are decoded.
//!
//! What always holds: nothing here decodes a log. A block of 200 million gas may have half a million
//! of them, which take 60 MiB and a second of a core.

use alloy_consensus::transaction::Recovered;
use alloy_primitives::Log;
use trefoil_types::{Height, Receipt, TxEnvelope};

use crate::{LedgerError, Snapshot, codec, store::Table};

// A list that is decoded grows to twice its length.
/// What a transaction takes besides its bytes: its place in a list, itself, and its places in
/// others.
const TX_BYTES: usize = 2 * size_of::<TxEnvelope>() + size_of::<Recovered<TxEnvelope>>() + 96;
/// What a receipt takes besides its logs: its row, and itself, each in a list.
const RECEIPT_BYTES: usize = 2 * (size_of::<Receipt>() + 64);
/// The list of a log's topics: it begins with four places.
const TOPICS_BYTES: usize = 4 * 32 + 16;
/// What a log's data takes besides its bytes.
const DATA_BYTES: usize = 32;

impl Snapshot {
    /// Whether a block is in memory: there [`Snapshot::block`] reads and decodes nothing.
    pub fn is_in_memory(&self, height: Height) -> bool {
        self.view.committed(height).is_some()
    }

    /// How many transactions a block has. `None` where [`Snapshot::block`] has none.
    pub fn transaction_count(&self, height: Height) -> Result<Option<usize>, LedgerError> {
        match self.view.committed(height) {
            Some(committed) => Ok(Some(committed.block.transactions.len())),
            None => Ok(self.body_size(height)?.map(|size| size.txs)),
        }
    }

    /// The gas that a block had used at the end of each of its transactions. `None` where
    /// [`Snapshot::block`] has none.
    pub fn cumulative_gas(&self, height: Height) -> Result<Option<Vec<u64>>, LedgerError> {
        match self.view.committed(height) {
            Some(committed) => {
                let gas = committed.receipts.iter().map(|receipt| receipt.cumulative_gas_used());
                Ok(Some(gas.collect()))
            }
            None => {
                let key = codec::height_key(height);
                self.view.base.read(Table::Receipts, &key, codec::cumulative_gas)
            }
        }
    }

    // Lists of accessed slots take four times their bytes, at 2,400 gas for 22: what that adds is
    // little beside what the rest is counted for.
    /// About the memory that [`Snapshot::body`] takes, bytes; 0 if the block is in memory.
    pub fn body_memory(&self, height: Height) -> Result<usize, LedgerError> {
        if self.is_in_memory(height) {
            return Ok(0);
        }
        let size = self.body_size(height)?;
        Ok(size.map_or(0, |size| 2 * size.bytes + TX_BYTES * size.txs))
    }

    /// About the memory that a block's receipts take in [`Snapshot::block`], bytes; 0 if the block
    /// is in memory.
    pub fn receipts_memory(&self, height: Height) -> Result<usize, LedgerError> {
        if self.is_in_memory(height) {
            return Ok(0);
        }
        let key = codec::height_key(height);
        Ok(self.view.base.read(Table::Receipts, &key, receipts_memory)?.unwrap_or_default())
    }
}

/// About the memory that encoded receipts take when they are decoded.
fn receipts_memory(row: &[u8]) -> Option<usize> {
    let (mut logs, mut lists) = (0, 0);
    let log = |topics: usize, data: usize| {
        logs += if topics > 0 { TOPICS_BYTES } else { 0 };
        logs += if data > 0 { data + DATA_BYTES } else { 0 };
    };
    let receipt = |count: usize| {
        let places = if count > 0 { count.next_power_of_two().max(4) } else { 0 };
        lists += RECEIPT_BYTES + places * size_of::<Log>();
    };
    codec::for_each_log(row, log, receipt)?;
    Some(logs + lists)
}

#[cfg(test)]
mod tests {
    use alloy_consensus::TxType;
    use alloy_primitives::{Address, B256, Bytes};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn receipts(all: &[Vec<(usize, usize)>]) -> Vec<Receipt> {
        let receipt = |(number, logs): (usize, &Vec<(usize, usize)>)| {
            let log = |(topics, data): &(usize, usize)| {
                let topics = vec![B256::repeat_byte(7); *topics];
                Log::new_unchecked(Address::ZERO, topics, Bytes::from(vec![200; *data]))
            };
            let bare = alloy_consensus::Receipt {
                status: true.into(),
                cumulative_gas_used: 21_000 * (number as u64 + 1),
                logs: logs.iter().map(log).collect(),
            };
            Receipt::from_typed(TxType::Eip1559, bare)
        };
        all.iter().enumerate().map(receipt).collect()
    }

    /// What receipts take that are as long as they need be.
    fn least(receipts: &[Receipt]) -> usize {
        let log = |log: &Log| size_of::<Log>() + 32 * log.topics().len() + log.data.data.len();
        let receipt =
            |one: &Receipt| size_of::<Receipt>() + one.logs().iter().map(log).sum::<usize>();
        receipts.iter().map(receipt).sum()
    }

    proptest! {
        #[test]
        fn what_receipts_take_and_their_gas_are_known_before_they_are_decoded(
            all in vec(vec((0..5_usize, 0..200_usize), 0..20), 0..20),
        ) {
            let receipts = receipts(&all);
            let row = codec::encode_receipts(&receipts);
            let (least, counted) = (least(&receipts), receipts_memory(&row).unwrap());
            let slack = receipts.len() * RECEIPT_BYTES;
            prop_assert!((least..=4 * least + slack).contains(&counted), "{counted} for {least}");
            let gas: Vec<_> = receipts.iter().map(|one| one.cumulative_gas_used()).collect();
            prop_assert_eq!(codec::cumulative_gas(&row).unwrap(), gas);
            // Bytes that no encoder wrote end it, and take nothing.
            for cut in 0..row.len().min(40) {
                prop_assert!(receipts_memory(&row[..cut]).is_none());
                prop_assert!(codec::cumulative_gas(&row[..cut]).is_none());
            }
        }
    }
}
