//! The whole state after one block, in order of key, while the chain goes on: a reader's
//! view never changes.

use std::{collections::BTreeMap, iter::Peekable};

use alloy_primitives::U256;
use trefoil_types::{Address, Height};

use crate::{
    Account, LedgerError, Snapshot,
    chain_view::ChainView,
    codec,
    store::{Base, KeyValue, Table},
};

/// The state after a block: a view of a later state, and the values that later blocks
/// replaced.
pub(super) struct AsOf<'a> {
    view: &'a ChainView,
    accounts: BTreeMap<Address, Option<Account>>,
    slots: BTreeMap<(Address, U256), U256>,
}

impl<'a> AsOf<'a> {
    /// # Errors
    /// As [`Snapshot::state`].
    pub fn new(snapshot: &'a Snapshot, height: Height) -> Result<Self, LedgerError> {
        snapshot.state(height)?;
        let view = &*snapshot.view;
        let mut state = Self { view, accounts: BTreeMap::new(), slots: BTreeMap::new() };
        state.undo_in_base(height)?;
        state.undo_in_memory(height);
        Ok(state)
    }

    fn undo_in_base(&mut self, height: Height) -> Result<(), LedgerError> {
        let base = &self.view.base;
        for later in height.saturating_add(1)..=base.tip {
            let keys = base.get(Table::Changed, &codec::height_key(later))?.unwrap_or_default();
            let keys = codec::decode_changed(&keys);
            for key in keys.ok_or_else(|| LedgerError::damaged("table `changed`"))? {
                self.undo_key(key, height)?;
            }
        }
        Ok(())
    }

    fn undo_key(&mut self, key: &[u8], height: Height) -> Result<(), LedgerError> {
        let damaged = || LedgerError::damaged("the state's history");
        let (address, slot) = key.split_at_checked(Address::len_bytes()).ok_or_else(damaged)?;
        let (base, address) = (&self.view.base, Address::from_slice(address));
        if slot.is_empty() {
            let row = base.before(Table::AccountHistory, key, height)?.ok_or_else(damaged)?;
            let account = codec::decode_account(&row).ok_or_else(damaged)?;
            self.accounts.insert(address, account);
        } else {
            let row = base.before(Table::StorageHistory, key, height)?.ok_or_else(damaged)?;
            let slot = U256::try_from_be_slice(slot).ok_or_else(damaged)?;
            self.slots.insert((address, slot), codec::decode_slot(&row).ok_or_else(damaged)?);
        }
        Ok(())
    }

    // The blocks in memory come after those in the database, and the oldest replaced value
    // is the one at `height`; so values that are noted already stay.
    /// Undoes the blocks that are in memory.
    fn undo_in_memory(&mut self, height: Height) {
        for committed in self.view.blocks_after(height) {
            for (address, change) in &committed.diff.accounts {
                self.accounts.entry(*address).or_insert(change.before);
                for (slot, (before, _)) in &change.storage {
                    self.slots.entry((*address, *slot)).or_insert(*before);
                }
            }
        }
    }

    pub fn accounts(&self) -> Result<Layers<'_, Address, Account>, LedgerError> {
        let mut layers: Vec<Layer<'_, Address, Account>> =
            vec![Box::new(self.accounts.iter().map(|(k, v)| Ok((*k, *v))))];
        for generation in self.view.generations() {
            layers.push(Box::new(generation.accounts.iter().map(|(k, v)| Ok((*k, *v)))));
        }
        layers.push(Box::new(rows(&self.view.base, Table::Accounts)?.map(|row| {
            let (key, value) = row?;
            let damaged = || LedgerError::damaged("table `accounts`");
            let address = Address::try_from(key.as_slice()).map_err(|_| damaged())?;
            Ok((address, codec::decode_account(&value).ok_or_else(damaged)?))
        })));
        Ok(Layers::new(layers))
    }

    pub fn slots(&self) -> Result<Layers<'_, (Address, U256), U256>, LedgerError> {
        let there = |value: U256| (!value.is_zero()).then_some(value);
        let mut layers: Vec<Layer<'_, (Address, U256), U256>> =
            vec![Box::new(self.slots.iter().map(move |(k, v)| Ok((*k, there(*v)))))];
        for generation in self.view.generations() {
            layers.push(Box::new(generation.storage.iter().map(move |(k, v)| Ok((*k, there(*v))))));
        }
        layers.push(Box::new(rows(&self.view.base, Table::Storage)?.map(|row| {
            let (key, value) = row?;
            let damaged = || LedgerError::damaged("table `storage`");
            let (address, slot) = key.split_at_checked(20).ok_or_else(damaged)?;
            let slot = U256::try_from_be_slice(slot).ok_or_else(damaged)?;
            let value = codec::decode_slot(&value).ok_or_else(damaged)?;
            Ok(((Address::from_slice(address), slot), Some(value)))
        })));
        Ok(Layers::new(layers))
    }
}

/// All rows of a table. No key is longer than 64 bytes.
fn rows(
    base: &Base,
    table: Table,
) -> Result<impl Iterator<Item = Result<KeyValue, LedgerError>>, LedgerError> {
    base.range(table, &[][..]..=&[0xff; 64][..])
}

/// Ascending. `None`: nothing is there, whatever the layers below have.
type Layer<'a, K, V> = Box<dyn Iterator<Item = Result<(K, Option<V>), LedgerError>> + 'a>;

/// Layers over each other. Of a key in several layers, the uppermost counts.
pub(super) struct Layers<'a, K, V>(Vec<Peekable<Layer<'a, K, V>>>);

impl<'a, K: Ord + Copy, V> Layers<'a, K, V> {
    fn new(layers: Vec<Layer<'a, K, V>>) -> Self {
        Self(layers.into_iter().map(Iterator::peekable).collect())
    }

    /// The value of the next key, in the uppermost layer that has it.
    fn step(&mut self) -> Option<Result<(K, Option<V>), LedgerError>> {
        let mut least: Option<K> = None;
        for layer in &mut self.0 {
            match layer.peek() {
                Some(Ok((key, _))) => least = Some(least.map_or(*key, |least| least.min(*key))),
                Some(Err(_)) => return layer.next(),
                None => {}
            }
        }
        let least = least?;
        let same = |row: &Result<(K, Option<V>), _>| row.as_ref().is_ok_and(|(k, _)| *k == least);
        let found = self.0.iter_mut().map(|layer| layer.next_if(same));
        found.fold(None, |first, row| first.or(row))
    }
}

impl<K: Ord + Copy, V> Iterator for Layers<'_, K, V> {
    type Item = Result<(K, V), LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step()? {
                Ok((key, Some(value))) => return Some(Ok((key, value))),
                Ok((_, None)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
