//! A state with what a caller pretends laid over it (`eth_call`'s third and
//! fourth parameters).

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Bytes, U256};
use alloy_rpc_types_eth::{
    BlockOverrides,
    state::{AccountOverride, StateOverride},
};
use revm::{
    context::BlockEnv, context_interface::block::BlobExcessGasAndPrice, primitives::KECCAK_EMPTY,
};
use trefoil_types::{Address, B256, Height, keccak256};

use crate::{Account, CallError, LedgerError, StateReader};

/// Reads what is pretended first, then the state below.
#[derive(Debug)]
pub(crate) struct Overridden<'a, S> {
    state: &'a S,
    accounts: BTreeMap<Address, Account>,
    slots: BTreeMap<(Address, U256), U256>,
    /// All storage of these is pretended: the state below has none of it.
    replaced: BTreeSet<Address>,
    codes: BTreeMap<B256, Bytes>,
    hashes: BTreeMap<Height, B256>,
}

impl<'a, S: StateReader> Overridden<'a, S> {
    pub(crate) fn new(state: &'a S) -> Self {
        Self {
            state,
            accounts: BTreeMap::new(),
            slots: BTreeMap::new(),
            replaced: BTreeSet::new(),
            codes: BTreeMap::new(),
            hashes: BTreeMap::new(),
        }
    }

    /// Lays `overrides` over what is there.
    ///
    /// # Errors
    /// An override that contradicts itself or is not supported.
    pub(crate) fn apply(&mut self, overrides: &StateOverride) -> Result<(), CallError> {
        overrides.iter().try_for_each(|(address, over)| self.apply_account(*address, over))
    }

    fn apply_account(&mut self, address: Address, over: &AccountOverride) -> Result<(), CallError> {
        if over.move_precompile_to.is_some() {
            return Err(CallError::Invalid("movePrecompileToAddress is not supported".into()));
        }
        if over.balance.is_some() || over.nonce.is_some() || over.code.is_some() {
            let empty = Account { nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY };
            let mut account = self.account(&address)?.unwrap_or(empty);
            account.balance = over.balance.unwrap_or(account.balance);
            account.nonce = over.nonce.unwrap_or(account.nonce);
            if let Some(code) = &over.code {
                account.code_hash = keccak256(code);
                self.codes.insert(account.code_hash, code.clone());
            }
            self.accounts.insert(address, account);
        }
        let slots = match (&over.state, &over.state_diff) {
            (Some(_), Some(_)) => {
                let text = format!("account {address} has both 'state' and 'stateDiff'");
                return Err(CallError::Invalid(text));
            }
            (Some(state), None) => {
                self.slots.retain(|(of, _), _| *of != address);
                self.replaced.insert(address);
                state
            }
            (None, Some(diff)) => diff,
            (None, None) => return Ok(()),
        };
        let slots = slots.iter().map(|(slot, value)| (U256::from_be_bytes(slot.0), value));
        self.slots
            .extend(slots.map(|(slot, value)| ((address, slot), U256::from_be_bytes(value.0))));
        Ok(())
    }

    /// Changes what a call sees of its block.
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
            Some(account) => Ok(Some(*account)),
            None => self.state.account(address),
        }
    }

    fn storage(&self, address: &Address, slot: U256) -> Result<U256, LedgerError> {
        match self.slots.get(&(*address, slot)) {
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

    fn block_hash(&self, height: Height) -> Result<Option<B256>, LedgerError> {
        match self.hashes.get(&height) {
            Some(hash) => Ok(Some(*hash)),
            None => self.state.block_hash(height),
        }
    }

    fn has_storage(&self, address: &Address) -> Result<bool, LedgerError> {
        if self.replaced.contains(address) {
            return Ok(self.slots.keys().any(|(of, _)| of == address));
        }
        self.state.has_storage(address)
    }
}
