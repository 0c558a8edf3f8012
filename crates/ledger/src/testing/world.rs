//! A state in memory, for tests, benches and the official fixtures.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::{
    TrieAccount,
    root::{state_root_unhashed, storage_root_unhashed},
};
use trefoil_ledger::{Account, LedgerError, StateDiff, StateReader};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Each account with its slots; none of them zero.
    pub accounts: BTreeMap<Address, (Account, BTreeMap<U256, U256>)>,
    codes: BTreeMap<B256, Bytes>,
    /// Hashes of the blocks so far.
    pub blocks: BTreeMap<u64, B256>,
}

impl World {
    /// Sets an account; slots of value zero are no storage.
    pub fn set(
        &mut self,
        address: Address,
        nonce: u64,
        balance: U256,
        code: &Bytes,
        storage: impl IntoIterator<Item = (U256, U256)>,
    ) {
        let code_hash = keccak256(code);
        let storage = storage.into_iter().filter(|(_, value)| !value.is_zero()).collect();
        self.codes.insert(code_hash, code.clone());
        self.accounts.insert(address, (Account { nonce, balance, code_hash }, storage));
    }

    /// # Errors
    /// The diff's values before are not those of this state.
    pub fn apply(&mut self, diff: &StateDiff) -> Result<(), String> {
        for (address, change) in &diff.accounts {
            let (account, mut storage) = match self.accounts.remove(address) {
                Some((account, storage)) => (Some(account), storage),
                None => (None, BTreeMap::new()),
            };
            if account != change.before {
                let before = change.before;
                return Err(format!("diff of {address}: before is {before:?}, was {account:?}"));
            }
            if change.wiped || change.after.is_none() {
                storage.clear();
            }
            for (slot, (before, after)) in &change.storage {
                let was = storage.remove(slot).unwrap_or_default();
                if was != *before && !change.wiped {
                    return Err(format!(
                        "diff of {address}[{slot}]: before is {before}, was {was}"
                    ));
                }
                if !after.is_zero() {
                    storage.insert(*slot, *after);
                }
            }
            if let Some(account) = change.after {
                self.accounts.insert(*address, (account, storage));
            }
        }
        self.codes.extend(diff.codes.clone());
        Ok(())
    }

    /// By a full rebuild of the trie.
    pub fn root(&self) -> B256 {
        state_root_unhashed(self.accounts.iter().map(|(address, (account, storage))| {
            let storage = storage.iter().map(|(slot, value)| (B256::from(*slot), *value));
            let account = TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root: storage_root_unhashed(storage),
                code_hash: account.code_hash,
            };
            (*address, account)
        }))
    }
}

impl StateReader for World {
    fn account(&self, address: &Address) -> Result<Option<Account>, LedgerError> {
        Ok(self.accounts.get(address).map(|(account, _)| *account))
    }

    fn storage(&self, address: &Address, slot: U256) -> Result<U256, LedgerError> {
        let account = self.accounts.get(address);
        Ok(account.and_then(|(_, storage)| storage.get(&slot)).copied().unwrap_or_default())
    }

    fn code(&self, hash: &B256) -> Result<Option<Bytes>, LedgerError> {
        Ok(self.codes.get(hash).cloned())
    }

    fn block_hash(&self, height: u64) -> Result<Option<B256>, LedgerError> {
        Ok(self.blocks.get(&height).copied())
    }

    fn has_storage(&self, address: &Address) -> Result<bool, LedgerError> {
        Ok(self.accounts.get(address).is_some_and(|(_, storage)| !storage.is_empty()))
    }
}
