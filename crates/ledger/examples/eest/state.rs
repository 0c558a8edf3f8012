//! A case's state: the accounts, and the ledger's own trie over them.

use alloy_primitives::{B256, U256};
use trefoil_ledger::{AccountDiff, MemoryTrie, StateDiff};

use crate::{fixture::Alloc, world::World};

#[derive(Clone, Debug)]
pub struct State {
    pub world: World,
    pub trie: MemoryTrie,
    pub root: B256,
}

impl State {
    pub fn new(alloc: &Alloc) -> Self {
        let (mut world, mut genesis) = (World::default(), StateDiff::default());
        for (address, account) in alloc {
            let storage = account.storage.iter().map(|(slot, value)| (*slot, *value));
            world.set(*address, account.nonce.to(), account.balance, &account.code, storage);
        }
        for (address, (account, storage)) in &world.accounts {
            let storage = storage.iter().map(|(slot, value)| (*slot, (U256::ZERO, *value)));
            let (after, storage) = (Some(*account), storage.collect());
            let change = AccountDiff { after, storage, ..Default::default() };
            genesis.accounts.insert(*address, change);
        }
        let mut trie = MemoryTrie::default();
        let root = trie.apply(&genesis).expect("starts from nothing");
        Self { world, trie, root }
    }

    /// # Errors
    /// When the diff does not start from this state.
    pub fn apply(&mut self, mut diff: StateDiff) -> Result<(), String> {
        for (address, change) in &mut diff.accounts {
            if !change.wiped && change.after.is_some() {
                continue;
            }
            // The trie wants what goes listed as zeros.
            let slots = self.world.accounts.get(address).map(|(_, slots)| slots);
            for (slot, before) in slots.into_iter().flatten() {
                let after = change.storage.get(slot).map_or(U256::ZERO, |(_, after)| *after);
                change.storage.insert(*slot, (*before, after));
            }
        }
        self.world.apply(&diff)?;
        self.root = self.trie.apply(&diff).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// # Errors
    /// The root is another one; with that of a full rebuild of the trie.
    pub fn check_root(&self, wanted: B256) -> Result<(), String> {
        if self.root != wanted {
            let (root, rebuilt) = (self.root, self.world.root());
            return Err(format!("state root is {root} ({rebuilt} rebuilt), should be {wanted}"));
        }
        Ok(())
    }

    /// The first account in which this is not the state `wanted`.
    pub fn difference(&self, wanted: &Self) -> Option<String> {
        let (got, want) = (&self.world.accounts, &wanted.world.accounts);
        let differs = |address: &&_| got.get(*address) != want.get(*address);
        got.keys().chain(want.keys()).find(differs).map(|address| {
            let (got, want) = (got.get(address), want.get(address));
            format!("account {address} is {got:?}, should be {want:?}")
        })
    }
}
