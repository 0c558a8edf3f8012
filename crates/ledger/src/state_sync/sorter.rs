//! Sorts accounts and slots by their hashed keys, for the trie, in a database of its own
//! that is thrown away.
//!
//! The file has plain keys, since flat tables and `eth_call` need them and a hash does not
//! lead back to its key (ADR 18). The trie wants hashed order, and a state may be larger
//! than memory.

use alloy_primitives::{Bytes, U256};
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use trefoil_types::{Address, B256, Disk, keccak256};

use super::error::JoinError;
use crate::{Account, LedgerError, codec, store};

/// The file's name on the [`Disk`].
pub(super) const FILE: &str = "sorting.redb";

const ROWS: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("rows");

/// Memory for its pages, bytes (64 MiB): bounded, whatever the size of the state.
const CACHE_BYTES: usize = 64 << 20;

// Hashed keys are spread evenly, so single inserts would touch a page each. 100,000 rows take
// about 16 MB.
/// The rows that are sorted in memory before they are inserted together.
const ROWS_MAX: usize = 100_000;

pub(super) struct Sorter {
    db: Database,
    /// keccak256 of the address, and of the slot if it is one.
    rows: Vec<(Vec<u8>, Bytes)>,
}

/// In order of hash: an account, then its slots.
pub(super) enum Sorted {
    Account(B256, Account),
    Slot(B256, B256, U256),
}

impl Sorter {
    /// Begins an empty sorter. A file that an earlier crash left is removed.
    pub fn begin(disk: &dyn Disk) -> Result<Self, LedgerError> {
        let unusable = |error| store::unusable(FILE, &error);
        disk.remove(FILE).map_err(unusable)?;
        let file = disk.open(FILE).map_err(unusable)?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let db =
            builder.create_with_backend(store::DiskFileBackend { file }).map_err(store::failed)?;
        Ok(Self { db, rows: Vec::new() })
    }

    pub fn account(&mut self, address: &Address, account: &Account) -> Result<(), LedgerError> {
        let key = keccak256(address).to_vec();
        self.put(key, codec::encode_account(Some(account)))
    }

    pub fn slot(&mut self, owner: &B256, slot: &U256, value: &U256) -> Result<(), LedgerError> {
        let slot = keccak256(slot.to_be_bytes::<32>());
        self.put([owner.as_slice(), slot.as_slice()].concat(), codec::encode_slot(value))
    }

    fn put(&mut self, key: Vec<u8>, value: Bytes) -> Result<(), LedgerError> {
        self.rows.push((key, value));
        if self.rows.len() >= ROWS_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), LedgerError> {
        self.rows.sort_unstable();
        let mut write = self.db.begin_write().map_err(store::failed)?;
        // Nothing here must survive: after a crash the restore begins again. So no fsync.
        write.set_durability(Durability::None).map_err(store::failed)?;
        {
            let mut table = write.open_table(ROWS).map_err(store::failed)?;
            for (key, value) in self.rows.drain(..) {
                table.insert(&key[..], &value[..]).map_err(store::failed)?;
            }
        }
        write.commit().map_err(store::failed)
    }

    /// Passes all rows to `take` in order, and removes the file.
    pub fn drain(
        mut self,
        disk: &dyn Disk,
        mut take: impl FnMut(Sorted) -> Result<(), JoinError>,
    ) -> Result<(), JoinError> {
        self.flush()?;
        let read = self.db.begin_read().map_err(store::failed)?;
        let table = read.open_table(ROWS).map_err(store::failed)?;
        for row in table.iter().map_err(store::failed)? {
            let (key, value) = row.map_err(store::failed)?;
            let damaged = || LedgerError::Storage(format!("{FILE} has changed"));
            let (owner, slot) = key.value().split_at_checked(32).ok_or_else(damaged)?;
            let owner = B256::from_slice(owner);
            take(if slot.is_empty() {
                let account = codec::decode_account(value.value()).flatten();
                Sorted::Account(owner, account.ok_or_else(damaged)?)
            } else {
                let slot = B256::try_from(slot).map_err(|_| damaged())?;
                Sorted::Slot(owner, slot, codec::decode_slot(value.value()).ok_or_else(damaged)?)
            })?;
        }
        drop((table, read, self));
        Ok(disk.remove(FILE)?)
    }
}
