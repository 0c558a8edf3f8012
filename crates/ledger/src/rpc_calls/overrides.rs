//! A state with a caller's overrides on it: the third and fourth parameters of `eth_call`,
//! and the blocks of a simulation.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Bytes, U256};
use alloy_rpc_types_eth::{
    BlockOverrides,
    state::{AccountOverride, StateOverride},
};
use revm::{
    context::BlockEnv,
    context_interface::block::BlobExcessGasAndPrice,
    primitives::{KECCAK_EMPTY, hardfork::SpecId},
    state::Bytecode,
};
use trefoil_types::{Address, B256, Height, keccak256};

use crate::{
    Account, AccountDiff, CallError, LedgerError, StateDiff, StateReader, code_cache,
    precompiles::Precompiles,
};

/// Reads the overrides first, then the state below.
#[derive(Debug)]
pub(crate) struct Overridden<'a, S> {
    state: &'a S,
    accounts: BTreeMap<Address, Option<Account>>,
    // Attack: a request of 8 MB overrides 50,000 slots and wipes 16,000 accounts: each wipe would look
    // at each slot.
    slots: BTreeMap<Address, BTreeMap<U256, U256>>,
    /// Accounts whose whole storage is overridden: the state below is not read for them.
    replaced: BTreeSet<Address>,
    codes: BTreeMap<B256, Bytes>,
    /// The hashes that BLOCKHASH finds besides those of the state below.
    pub(crate) hashes: BTreeMap<Height, B256>,
    pub(crate) precompiles: Precompiles,
    /// Places changed since they were last taken for a state root.
    pub(crate) news: Changes,
}

/// Places in a state whose values may differ.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Accounts whose storage as it was is gone.
    pub wiped: BTreeSet<Address>,
    pub slots: BTreeMap<Address, BTreeSet<U256>>,
}

impl<'a, S: StateReader> Overridden<'a, S> {
    pub(crate) fn new(state: &'a S, fork: SpecId) -> Self {
        Self {
            precompiles: Precompiles::new(fork),
            news: Changes::default(),
            state,
            accounts: BTreeMap::new(),
            slots: BTreeMap::new(),
            replaced: BTreeSet::new(),
            codes: BTreeMap::new(),
            hashes: BTreeMap::new(),
        }
    }

    /// Applies `overrides`.
    ///
    /// # Errors
    /// An override that contradicts itself or is not supported.
    pub(crate) fn apply(&mut self, overrides: &StateOverride) -> Result<(), CallError> {
        self.precompiles.apply(overrides).map_err(CallError::Invalid)?;
        overrides.iter().try_for_each(|(address, over)| self.apply_account(*address, over))
    }

    /// Applies the changes of a simulated block.
    pub(crate) fn absorb(&mut self, diff: StateDiff) {
        self.codes.extend(diff.codes);
        for (address, change) in diff.accounts {
            self.absorb_account(address, change);
        }
    }

    fn absorb_account(&mut self, address: Address, change: AccountDiff) {
        if change.wiped || change.after.is_none() {
            self.wipe(address);
        }
        let slots = self.news.slots.entry(address).or_default();
        let own = self.slots.entry(address).or_default();
        for (slot, (_, after)) in change.storage {
            slots.insert(slot);
            own.insert(slot, after);
        }
        self.accounts.insert(address, change.after);
    }

    fn wipe(&mut self, address: Address) {
        self.slots.remove(&address);
        self.replaced.insert(address);
        self.news.wiped.insert(address);
    }

    fn apply_account(&mut self, address: Address, over: &AccountOverride) -> Result<(), CallError> {
        let empty = Account { nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY };
        // An overridden account exists, even if it is empty.
        let mut account = self.account(&address)?.unwrap_or(empty);
        account.balance = over.balance.unwrap_or(account.balance);
        account.nonce = over.nonce.unwrap_or(account.nonce);
        if let Some(code) = &over.code {
            account.code_hash = keccak256(code);
            self.codes.insert(account.code_hash, code.clone());
        }
        let slots = match (&over.state, &over.state_diff) {
            // geth refuses it too: `state` replaces all slots, `stateDiff` some.
            (Some(_), Some(_)) => {
                let text = format!("account {address} has both 'state' and 'stateDiff'");
                return Err(CallError::Invalid(text));
            }
            (Some(state), None) => {
                self.wipe(address);
                Some(state)
            }
            (None, diff) => diff.as_ref(),
        };
        let says_something = over.balance.is_some() || over.nonce.is_some() || over.code.is_some();
        if says_something || slots.is_some_and(|slots| !slots.is_empty()) {
            self.accounts.insert(address, Some(account));
            self.news.slots.entry(address).or_default();
        }
        for (slot, value) in slots.into_iter().flatten() {
            let slot = U256::from_be_bytes(slot.0);
            self.news.slots.entry(address).or_default().insert(slot);
            self.slots.entry(address).or_default().insert(slot, U256::from_be_bytes(value.0));
        }
        Ok(())
    }

    /// Changes the block that a call sees.
    pub(crate) fn apply_block(&mut self, over: &BlockOverrides, env: &mut BlockEnv) {
        env.number = over.number.unwrap_or(env.number);
        env.difficulty = over.difficulty.unwrap_or(env.difficulty);
        env.timestamp = over.time.map_or(env.timestamp, U256::from);
        env.gas_limit = over.gas_limit.unwrap_or(env.gas_limit);
        env.beneficiary = over.coinbase.unwrap_or(env.beneficiary);
        env.prevrandao = over.random.or(env.prevrandao);
        env.basefee = over.base_fee.map_or(env.basefee, |fee| fee.saturating_to());
        if let Some(fee) = over.blob_base_fee {
            let blob_gasprice = fee.saturating_to();
            env.blob_excess_gas_and_price =
                Some(BlobExcessGasAndPrice { excess_blob_gas: 0, blob_gasprice });
        }
        if let Some(hashes) = &over.block_hash {
            self.hashes.extend(hashes.iter().map(|(height, hash)| (*height, *hash)));
        }
    }
}

impl<S: StateReader> StateReader for Overridden<'_, S> {
    fn account(&self, address: &Address) -> Result<Option<Account>, LedgerError> {
        match self.accounts.get(address) {
            Some(account) => Ok(*account),
            None => self.state.account(address),
        }
    }

    fn storage(&self, address: &Address, slot: U256) -> Result<U256, LedgerError> {
        match self.slots.get(address).and_then(|own| own.get(&slot)) {
            Some(value) => Ok(*value),
            None if self.replaced.contains(address) => Ok(U256::ZERO),
            None => self.state.storage(address, slot),
        }
    }

    fn code(&self, hash: &B256) -> Result<Option<Bytes>, LedgerError> {
        match self.codes.get(hash) {
            Some(code) => Ok(Some(code.clone())),
            None => self.state.code(hash),
        }
    }

    fn bytecode(&self, hash: &B256) -> Result<Option<Bytecode>, LedgerError> {
        match self.codes.get(hash) {
            Some(code) => Ok(Some(code_cache::analysed(code.clone()))),
            None => self.state.bytecode(hash),
        }
    }

    fn block_hash(&self, height: Height) -> Result<Option<B256>, LedgerError> {
        match self.hashes.get(&height) {
            Some(hash) => Ok(Some(*hash)),
            None => self.state.block_hash(height),
        }
    }

    fn has_storage(&self, address: &Address) -> Result<bool, LedgerError> {
        if self.replaced.contains(address) {
            let own = self.slots.get(address);
            return Ok(own.is_some_and(|own| own.values().any(|value| !value.is_zero())));
        }
        self.state.has_storage(address)
    }
}
