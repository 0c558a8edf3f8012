//! A ledger's database with rows that no encoder of ours wrote, and sound
//! checksums: an error, or a chain of which everything may be asked.
#![no_main]

use std::{io, sync::Arc};

use libfuzzer_sys::fuzz_target;
use redb::{
    Database, ReadableTable, StorageBackend, TableDefinition, TableHandle, WriteTransaction,
};
use trefoil_fuzz::{ask, open, sound};
use trefoil_types::DiskFile;

fuzz_target!(|changes: &[u8]| {
    let (disk, file) = sound();
    let database = Database::builder().create_with_backend(File(file)).expect("it is sound");
    let write = database.begin_write().expect("nobody else writes");
    change(&write, changes).expect("memory does not fail");
    write.commit().expect("memory does not fail");
    drop(database);
    if let Ok(ledger) = open(&disk) {
        ask(&ledger.snapshot());
    }
});

/// Four bytes each: table, row, where in it, and what changes there; nothing:
/// the row ends there.
fn change(write: &WriteTransaction, changes: &[u8]) -> Result<(), redb::Error> {
    let mut names: Vec<String> =
        write.list_tables()?.map(|table| table.name().to_owned()).collect();
    names.sort();
    for [table, row, at, change] in changes.as_chunks().0 {
        let name = &names[usize::from(*table) % names.len()];
        let mut table = write.open_table(TableDefinition::<&[u8], &[u8]>::new(name))?;
        let Some((key, mut value)) = nth(&table, *row)? else { continue };
        let at = usize::from(*at) % (value.len() + 1);
        match value.get_mut(at) {
            Some(byte) if *change != 0 => *byte ^= change,
            Some(_) => value.truncate(at),
            None => value.push(*change),
        }
        table.insert(&key[..], &value[..])?;
    }
    Ok(())
}

/// A row's key and value; `None`: the table is empty.
type Row = Option<(Vec<u8>, Vec<u8>)>;

fn nth(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    row: u8,
) -> Result<Row, redb::Error> {
    let len = table.len()?.max(1) as usize;
    let row = table.iter()?.nth(usize::from(row) % len).transpose()?;
    Ok(row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
}

#[derive(Debug)]
struct File(Arc<dyn DiskFile>);

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}
