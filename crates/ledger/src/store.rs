//! The database of the ledger: redb on a [`Disk`].
//!
//! Owns: the file `ledger.redb`, its tables, and views of it. What always holds: only
//! [`Store::write`] writes it, one durable transaction at a time; a [`Base`] shows the end
//! of one such transaction for as long as it lives.

use std::{fmt, ops::RangeInclusive, sync::Arc};

use alloy_primitives::Bytes;
use alloy_rlp::Decodable;
use redb::{
    Database, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};
use trefoil_types::{B256, Disk, DiskFile, Height, room_cure};

use crate::{LedgerError, codec};

macro_rules! tables {
    ($($(#[$content:meta])* $table:ident $name:literal,)*) => {
        // Big-endian, so that the order of keys is the order of the chain: ranges and "the newest
        // before" are single seeks.
        /// All tables map bytes to bytes. Heights are 8 bytes, big-endian.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Table {
            $($(#[$content])* $table,)*
        }

        const TABLES: &[(Table, Definition)] = &[$((Table::$table, Definition::new($name)),)*];
    };
}

tables! {
    /// `format`, `genesis`, `tip`, `blocks_from`, `restoring`.
    Meta "meta",
    /// Address: account.
    Accounts "accounts",
    /// Address, height: the account before that block changed it.
    AccountHistory "account_history",
    /// Address, slot: value.
    Storage "storage",
    /// Address, slot, height: the value before that block changed it.
    StorageHistory "storage_history",
    /// Height: the keys under which that block wrote history.
    Changed "changed",
    /// keccak256: code.
    Codes "codes",
    /// Trie, path: the content of a branch.
    Nodes "nodes",
    /// Height: the trie rows that the block changed, as they were before.
    Undo "undo",
    /// Height: header.
    Headers "headers",
    /// Height: transactions with senders, attached data.
    Bodies "bodies",
    /// Height: the bytes of its row in `bodies`, and how many transactions that has.
    BodySizes "body_sizes",
    /// Height: receipts.
    Receipts "receipts",
    /// Height: certificate.
    Certificates "certificates",
    /// Height from which it holds: validator set.
    Validators "validators",
    /// Height of the block before that: the proof of it.
    Handovers "handovers",
    /// Some heights: the priorities of the validators to propose.
    Turns "turns",
    /// Block hash: height.
    Heights "heights",
    /// Transaction hash: height, index.
    Transactions "transactions",
    /// Log item, height: nothing.
    Logs "logs",
}

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The name of the database's file on the [`Disk`].
pub const FILE: &str = "ledger.redb";

/// The version of the tables' layout: `format` in [`Table::Meta`].
pub(crate) const FORMAT: u8 = 4;

// Written first and removed last: a crash in between leaves a database that does not open,
// and never half a state that looks whole (ADR 18).
/// In [`Table::Meta`] while a restore is under way.
pub(crate) const RESTORING: &[u8] = b"restoring";

// Bounded, so that the node's memory does not grow with the state. The newest values are in
// memory anyway, up to two checkpoints of 32 MiB.
/// Memory for pages of the database, bytes (64 MiB).
const CACHE_BYTES: usize = 64 << 20;

// A larger one would make restarts slow: at the 500 MB/s of a SATA disk, 256 MiB take half a
// second.
/// A database up to this size (256 MiB) is read through when it is opened, so that damage
/// is an error at once. Damage of a larger one shows when it is read.
const CHECKED_BYTES_MAX: u64 = 256 << 20;

// A larger file with a zeroed head is damage, and must not be emptied. redb begins with less
// than 100 KiB (its `MIN_DESIRED_USABLE_BYTES` is 64 KiB).
/// The largest file that redb has only begun to make (1 MiB).
const UNFINISHED_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Store {
    db: Database,
}

impl Store {
    /// Opens the database, making it if the disk has none. After a crash it is
    /// as the last durable transaction left it.
    pub fn open(disk: &dyn Disk) -> Result<Self, LedgerError> {
        let unreadable = |error| unusable(FILE, &error);
        let file = disk.open(FILE).map_err(unreadable)?;
        drop_unfinished(&*file).map_err(unreadable)?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let small = file.len().map_err(unreadable)? <= CHECKED_BYTES_MAX;
        builder.set_check_integrity_on_open(small);
        let db = builder.create_with_backend(DiskFileBackend { file }).map_err(failed)?;
        let store = Self { db };
        let read = store.db.begin_read().map_err(failed)?;
        if read.list_tables().map_err(failed)?.count() < TABLES.len() {
            store.write(Batch::default())?;
        }
        Ok(store)
    }

    /// The database as it is now.
    pub fn base(&self) -> Result<Base, LedgerError> {
        let read = self.db.begin_read().map_err(failed)?;
        let open = |(_, definition): &(Table, Definition)| read.open_table(*definition);
        let tables = TABLES.iter().map(open).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mut base =
            Base { tables, genesis: None, tip: 0, blocks_from: 0, state_from: 0, proofs_from: 0 };
        base.read_meta()?;
        Ok(base)
    }

    /// Writes all of `batch` durably, or nothing of it.
    pub fn write(&self, batch: Batch) -> Result<(), LedgerError> {
        let mut write = self.db.begin_write().map_err(failed)?;
        // redb then stores its allocator state with each commit: a restart after a crash
        // needs no walk through the whole file.
        write.set_quick_repair(true);
        let mut rows = batch.rows;
        // In order of key: neighbouring rows share pages, which are then written once. The
        // sort is stable, so of two rows under one key the later still counts.
        rows.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for &(table, definition) in TABLES {
            let mut open = write.open_table(definition).map_err(failed)?;
            let from = rows.partition_point(|row| row.0 < table);
            let to = rows.partition_point(|row| row.0 <= table);
            for (_, key, value) in &rows[from..to] {
                match value {
                    Some(value) => _ = open.insert(&key[..], &value[..]).map_err(failed)?,
                    None => _ = open.remove(&key[..]).map_err(failed)?,
                }
            }
        }
        write.commit().map_err(failed)
    }
}

/// Rows that are written together. Of two under one key the later counts.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    rows: Vec<(Table, Vec<u8>, Option<Bytes>)>,
    bytes: usize,
}

impl Batch {
    pub fn put(&mut self, table: Table, key: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        self.set(table, key, Some(value.into()));
    }

    /// What it holds in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn remove(&mut self, table: Table, key: impl AsRef<[u8]>) {
        self.set(table, key, None);
    }

    /// `None`: the row is gone.
    pub fn set(&mut self, table: Table, key: impl AsRef<[u8]>, value: Option<Bytes>) {
        let key = key.as_ref().to_vec();
        let row = size_of::<(Table, Vec<u8>, Option<Bytes>)>();
        self.bytes += row + key.len() + value.as_ref().map_or(0, |bytes| bytes.len());
        self.rows.push((table, key, value));
    }
}

/// The database at the end of one transaction. It never changes.
pub(crate) struct Base {
    tables: Vec<ReadOnlyTable<&'static [u8], &'static [u8]>>,
    /// `None`: no chain is founded yet.
    pub genesis: Option<B256>,
    /// The newest block.
    pub tip: Height,
    /// The oldest block whose body and receipts are here.
    pub blocks_from: Height,
    /// The oldest block whose state can be read.
    pub state_from: Height,
    /// The oldest block whose trie can be read.
    pub proofs_from: Height,
}

/// A row's key and value.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

impl Base {
    fn read_meta(&mut self) -> Result<(), LedgerError> {
        let Some(format) = self.get(Table::Meta, b"format")? else { return Ok(()) };
        // Before any other row is interpreted.
        if format != [FORMAT] {
            return Err(LedgerError::Storage(format!(
                "{FILE} is of format {format:?}, this program reads format {FORMAT}; use the program that wrote it"
            )));
        }
        let meta = |key: &str| Ok(self.get(Table::Meta, key.as_bytes())?.unwrap_or_default());
        let damaged = || LedgerError::damaged("table `meta`");
        let genesis = B256::try_from(meta("genesis")?.as_slice()).map_err(|_| damaged())?;
        let tip = codec::decode_height(&meta("tip")?).ok_or_else(damaged)?;
        self.genesis = Some(genesis);
        self.tip = tip;
        self.blocks_from = match self.get(Table::Meta, b"blocks_from")? {
            Some(row) => codec::decode_height(&row).ok_or_else(damaged)?,
            None => 0,
        };
        // The oldest readable state is the one before the oldest block that can be undone.
        // It is derived, not stored, so it cannot disagree with the rows.
        let before_first = |table| {
            let first = self.first(table)?;
            let height = first.and_then(|(key, _)| codec::decode_height(&key));
            Ok(height.map_or(tip, |height| height.saturating_sub(1)))
        };
        (self.state_from, self.proofs_from) =
            (before_first(Table::Changed)?, before_first(Table::Undo)?);
        Ok(())
    }

    /// Whether a restore into this database was begun and not finished.
    pub fn is_restoring(&self) -> Result<bool, LedgerError> {
        Ok(self.get(Table::Meta, RESTORING)?.is_some())
    }

    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        let row = self.tables[table as usize].get(key).map_err(failed)?;
        Ok(row.map(|value| value.value().to_vec()))
    }

    /// A row, decoded. Bytes that no encoder wrote mean a damaged database.
    pub fn read<T>(
        &self,
        table: Table,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, LedgerError> {
        let Some(row) = self.tables[table as usize].get(key).map_err(failed)? else {
            return Ok(None);
        };
        let value = decode(row.value());
        value.map(Some).ok_or_else(|| LedgerError::damaged(format!("a row of table {table:?}")))
    }

    /// A row of RLP.
    pub fn rlp<T: Decodable>(&self, table: Table, key: &[u8]) -> Result<Option<T>, LedgerError> {
        self.read(table, key, |row| alloy_rlp::decode_exact(row).ok())
    }

    fn first(&self, table: Table) -> Result<Option<KeyValue>, LedgerError> {
        let row = self.tables[table as usize].first().map_err(failed)?;
        Ok(row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
    }

    /// Rows with keys in `range`, ascending or, from the back, descending.
    pub fn range(
        &self,
        table: Table,
        range: RangeInclusive<&[u8]>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<KeyValue, LedgerError>>, LedgerError> {
        let rows = self.tables[table as usize].range::<&[u8]>(range).map_err(failed)?;
        Ok(rows.map(|row| {
            let (key, value) = row.map_err(failed)?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        }))
    }

    /// The value under `key` as of `height`, if a later block in the database changed it.
    pub fn before(
        &self,
        history: Table,
        key: &[u8],
        height: Height,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        let from = codec::history_key(key, height.saturating_add(1));
        let to = codec::history_key(key, Height::MAX);
        let row = self.range(history, &from[..]..=&to[..])?.next().transpose()?;
        Ok(row.map(|(_, value)| value))
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base {{ tip: {} }}", self.tip)
    }
}

pub(crate) fn failed(error: impl Into<redb::Error>) -> LedgerError {
    match error.into() {
        redb::Error::Corrupted(what) => LedgerError::damaged(what),
        // redb reports wrong first bytes and a wrong version so. Only damage can change
        // either: this program writes one version.
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            LedgerError::damaged(error.to_string())
        }
        error @ redb::Error::UpgradeRequired(_) => LedgerError::damaged(error.to_string()),
        redb::Error::Io(error) => unusable(FILE, &error),
        error => LedgerError::Storage(format!("{FILE}: {error}")),
    }
}

/// A file that the system does not let be read or written.
pub(crate) fn unusable(file: &str, error: &std::io::Error) -> LedgerError {
    match room_cure(error) {
        Some(cure) => LedgerError::NoRoom(format!("{file}: {error}; {cure}")),
        None => LedgerError::Storage(format!("{file}: {error}")),
    }
}

/// Empties a file that a crash left while redb was making it. redb writes its magic last;
/// while it is still zeros, nothing was ever committed.
fn drop_unfinished(file: &dyn DiskFile) -> std::io::Result<()> {
    let len = file.len()?;
    let mut magic = [0; 9];
    if (9..=UNFINISHED_BYTES_MAX).contains(&len) {
        file.read_at(0, &mut magic)?;
    }
    if magic == [0; 9] && len <= UNFINISHED_BYTES_MAX {
        file.set_len(0)?;
    }
    Ok(())
}

/// A file as redb uses it. Through the [`Disk`] trait, the simulator tears its writes as it
/// does the journal's.
#[derive(Debug)]
pub(crate) struct DiskFileBackend {
    pub file: Arc<dyn DiskFile>,
}

impl StorageBackend for DiskFileBackend {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.file.write_at(offset, data)
    }
}
