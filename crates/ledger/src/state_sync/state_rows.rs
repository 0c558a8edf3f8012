//! The rows of a state file: read, checked and written to the database, in the one order in which
//! they come.

use std::io::Read;

use alloy_primitives::{Bytes, U256};
use alloy_rlp::Decodable;
use trefoil_types::{Address, B256, keccak256};

use super::{
    error::JoinError,
    frames::FrameReader,
    sorter::Sorter,
    state_file::{AccountRow, SlotRow, SlotRows, StateCounts, kind},
};
use crate::{
    Account, LedgerError, codec,
    store::{Batch, Store, Table},
};

// Attack: the file is a stranger's, and may be larger than the machine. Rows say nothing of the
// memory: a code may have the MiB of a frame.
/// Rows are written to the database in batches of about this size (32 MiB, as an archive's); a
/// frame that is under way comes on top.
pub(super) const BATCH_BYTES: usize = 32 << 20;

/// Reads the rows of the state, in the order in which they must come.
pub(super) struct StateRows<'a> {
    store: &'a Store,
    sorter: &'a mut Sorter,
    batch: Batch,
    counts: StateCounts,
    account: Option<Address>,
    slot: Option<(Address, U256)>,
    code: Option<B256>,
}

impl<'a> StateRows<'a> {
    pub fn new(store: &'a Store, sorter: &'a mut Sorter) -> Self {
        let (batch, counts) = (Batch::default(), StateCounts::default());
        Self { store, sorter, batch, counts, account: None, slot: None, code: None }
    }

    pub fn read(mut self, mut file: FrameReader<impl Read>) -> Result<StateCounts, JoinError> {
        let mut before = kind::ACCOUNTS;
        loop {
            let (kind, mut body) = file.next()?;
            let taken = match kind {
                // One order of kinds, as of keys: one state has one file, and every node
                // offers the same bytes to the swarm.
                kind if kind < before => Err(Bad::Record("a record out of order")),
                kind::ACCOUNTS => self.accounts(&mut body),
                kind::SLOTS => self.slots(&mut body),
                kind::CODE => self.code(body),
                kind::END => break,
                _ => Err(Bad::Record("a record of an unknown kind")),
            };
            before = kind;
            taken.map_err(|bad| match bad {
                Bad::Record(why) => file.damaged(why),
                Bad::Ledger(error) => error.into(),
            })?;
            self.flush()?;
        }
        // So a file that lost whole frames is damaged, not forged.
        if alloy_rlp::decode_exact(file.body()) != Ok(self.counts) {
            return Err(file.damaged("counts that are not so"));
        }
        file.finish()?;
        self.store.write(self.batch)?;
        Ok(self.counts)
    }

    fn flush(&mut self) -> Result<(), LedgerError> {
        match self.batch.bytes() {
            0..BATCH_BYTES => Ok(()),
            _ => self.store.write(std::mem::take(&mut self.batch)),
        }
    }

    fn accounts(&mut self, body: &mut &[u8]) -> Result<(), Bad> {
        while !body.is_empty() {
            let AccountRow { address, nonce, balance, code_hash } = row(body)?;
            rising(&mut self.account, address)?;
            let account = Account { nonce, balance, code_hash };
            self.batch.put(Table::Accounts, address, codec::encode_account(Some(&account)));
            self.sorter.account(&address, &account)?;
            self.counts.accounts += 1;
        }
        Ok(())
    }

    fn slots(&mut self, body: &mut &[u8]) -> Result<(), Bad> {
        while !body.is_empty() {
            let SlotRows { address, slots } = row(body)?;
            let owner = keccak256(address);
            for SlotRow { slot, value } in slots {
                rising(&mut self.slot, (address, slot))?;
                // Ethereum's state has no zero slots: with them, one state would have many
                // files.
                if value.is_zero() {
                    return Err(Bad::Record("a slot that is zero"));
                }
                let key = codec::storage_key(&address, &slot);
                self.batch.put(Table::Storage, key, codec::encode_slot(&value));
                self.sorter.slot(&owner, &slot, &value)?;
                self.counts.slots += 1;
            }
        }
        Ok(())
    }

    fn code(&mut self, body: &[u8]) -> Result<(), Bad> {
        let hash = keccak256(body);
        rising(&mut self.code, hash)?;
        self.batch.put(Table::Codes, hash, Bytes::copy_from_slice(body));
        self.counts.codes += 1;
        Ok(())
    }
}

/// Why a frame was refused.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("{0}")]
    Record(&'static str),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

fn row<T: Decodable>(body: &mut &[u8]) -> Result<T, Bad> {
    T::decode(body).map_err(|_| Bad::Record("a record that cannot be decoded"))
}

// A key that comes twice would be one row in the database and one leaf of the trie, so the
// root would be right although the file is another.
/// Every key comes once, in ascending order.
fn rising<K: Ord + Copy>(last: &mut Option<K>, key: K) -> Result<(), Bad> {
    match last.replace(key) {
        Some(before) if before >= key => Err(Bad::Record("a key out of order")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use trefoil_types::MemDisk;

    use super::*;

    #[test]
    fn rows_wait_in_memory_by_their_bytes() {
        let disk = MemDisk::default();
        let store = Store::open(&disk).unwrap();
        let mut sorter = Sorter::begin(&disk).unwrap();
        let mut rows = StateRows::new(&store, &mut sorter);
        // In the order of their hashes, as a file has them.
        let mut codes: Vec<Vec<u8>> = (0..10).map(|n| vec![n; 8 << 20]).collect();
        codes.sort_by_key(|code| keccak256(code.as_slice()));
        for code in &codes {
            rows.code(code).unwrap();
            rows.flush().unwrap();
            assert!(rows.batch.bytes() < BATCH_BYTES);
        }
        assert_eq!(rows.counts.codes, 10);
    }
}
