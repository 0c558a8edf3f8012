//! The border between execution and storage: state is read through [`StateReader`]; the
//! changes of a block leave as a [`StateDiff`].
//!
//! So the same code executes on the ledger and on a state in memory (the official fixtures).
//! It also executes on a state that a caller pretends, and on the few trie nodes of a proof.

use std::collections::BTreeMap;

use alloy_primitives::{Bytes, U256};
use revm::state::Bytecode;
use trefoil_types::{Address, B256, Height};

use crate::{LedgerError, code_cache};

/// An account without its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub nonce: u64,
    pub balance: U256,
    pub code_hash: B256,
}

/// State as of one block. An `Err` is a failed disk or pruned state.
pub trait StateReader {
    fn account(&self, address: &Address) -> Result<Option<Account>, LedgerError>;
    /// Zero for an empty slot.
    fn storage(&self, address: &Address, slot: U256) -> Result<U256, LedgerError>;
    /// `None` if no such code is known.
    fn code(&self, hash: &B256) -> Result<Option<Bytes>, LedgerError>;
    /// The code as it is run.
    fn bytecode(&self, hash: &B256) -> Result<Option<Bytecode>, LedgerError> {
        Ok(self.code(hash)?.map(code_cache::analysed))
    }
    /// The hash of the block at `height`, before this state (BLOCKHASH).
    fn block_hash(&self, height: Height) -> Result<Option<B256>, LedgerError>;
    /// Whether the account has any storage. It is called only for addresses at which a
    /// contract is to be created (EIP-7610). An account with storage and
    /// neither nonce nor code can only come from a genesis.
    fn has_storage(&self, _address: &Address) -> Result<bool, LedgerError> {
        Ok(false)
    }
}

/// The changes of a block by address and slot. Only what differs is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDiff {
    pub accounts: BTreeMap<Address, AccountDiff>,
    /// Code that the block deployed, by keccak256.
    pub codes: BTreeMap<B256, Bytes>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountDiff {
    pub before: Option<Account>,
    /// `None`: the account is gone.
    pub after: Option<Account>,
    /// All storage that the account had before the block is gone (self-destruct before
    /// EIP-6780). `storage` lists what was written after that.
    pub wiped: bool,
    /// Slot to its value before and after.
    pub storage: BTreeMap<U256, (U256, U256)>,
}

impl StateDiff {
    /// Adds the changes of a later diff, as if both were one.
    pub(crate) fn then(&mut self, later: Self) {
        for (address, change) in later.accounts {
            let Some(first) = self.accounts.get_mut(&address) else {
                self.accounts.insert(address, change);
                continue;
            };
            first.after = change.after;
            first.wiped |= change.wiped;
            for (slot, (before, after)) in change.storage {
                first.storage.entry(slot).or_insert((before, after)).1 = after;
            }
        }
        self.codes.extend(later.codes);
    }
}

/// A state with the changes of a block on it.
#[derive(Debug)]
pub(crate) struct After<'a, S> {
    pub state: &'a S,
    pub diff: &'a StateDiff,
}

impl<S: StateReader> StateReader for After<'_, S> {
    fn account(&self, address: &Address) -> Result<Option<Account>, LedgerError> {
        match self.diff.accounts.get(address) {
            Some(change) => Ok(change.after),
            None => self.state.account(address),
        }
    }

    fn storage(&self, address: &Address, slot: U256) -> Result<U256, LedgerError> {
        let Some(change) = self.diff.accounts.get(address) else {
            return self.state.storage(address, slot);
        };
        match change.storage.get(&slot) {
            Some((_, after)) => Ok(*after),
            None if change.wiped || change.after.is_none() => Ok(U256::ZERO),
            None => self.state.storage(address, slot),
        }
    }

    fn code(&self, hash: &B256) -> Result<Option<Bytes>, LedgerError> {
        match self.diff.codes.get(hash) {
            Some(code) => Ok(Some(code.clone())),
            None => self.state.code(hash),
        }
    }

    fn bytecode(&self, hash: &B256) -> Result<Option<Bytecode>, LedgerError> {
        match self.diff.codes.get(hash) {
            Some(code) => Ok(Some(code_cache::analysed(code.clone()))),
            None => self.state.bytecode(hash),
        }
    }

    fn block_hash(&self, height: Height) -> Result<Option<B256>, LedgerError> {
        self.state.block_hash(height)
    }
}
