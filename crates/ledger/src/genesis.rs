//! The genesis block that a [`ChainSpec`] founds.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH,
    constants::{EMPTY_WITHDRAWALS, KECCAK_EMPTY},
};
use alloy_eips::{eip2935, eip4788, eip7002, eip7251, eip7685::EMPTY_REQUESTS_HASH};
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Bytes, U256};
use trefoil_types::{
    Address, Attached, B256, ChainSpec, Header, RecoveredBlock, keccak256, spec::Fork,
};

use crate::{
    Account, AccountDiff, Governed, LedgerError, MemoryTrie, StateDiff,
    governance::founding,
    overlay::Outcome,
    state::After,
    trie::{self, witness::Proven},
};

/// The genesis block of a chain with its whole state: the accounts of the specification,
/// and the governing contract with the founders in it.
///
/// # Errors
/// [`LedgerError::Founding`]: the contract refuses the founders.
pub(crate) fn genesis(spec: &ChainSpec) -> Result<Outcome, LedgerError> {
    let mut diff = state(spec);
    let draft = header(spec, B256::ZERO);
    // The state before genesis is empty, which its root proves without a node.
    let codes = BTreeMap::new();
    let empty = Proven::new(EMPTY_ROOT_HASH, &[], &codes);
    diff.then(founding::found(spec, &draft, &After { state: &empty, diff: &diff })?);
    let governed = Governed::read(spec, &draft, &After { state: &empty, diff: &diff })?;
    let (state_root, trie) = trie::state_root(&MemoryTrie::default(), &diff)?;
    let block =
        Arc::new(RecoveredBlock::new(header(spec, state_root), vec![], Attached::default()));
    let governed = Some(Arc::new(governed));
    Ok(Outcome { block, receipts: Arc::default(), diff, trie, governed })
}

/// The hash of the genesis block that a specification founds.
///
/// # Errors
/// [`LedgerError::Founding`] if the governing contract refuses the founders.
pub fn genesis_hash(spec: &ChainSpec) -> Result<B256, LedgerError> {
    genesis(spec).map(|founded| founded.block.hash)
}

fn header(spec: &ChainSpec, state_root: B256) -> Header {
    let prague = spec.fork_at(0) >= Fork::Prague;
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        state_root,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        gas_limit: spec.gas_limit,
        timestamp: spec.genesis_time,
        // The state root covers accounts and founders. The rest of the specification is
        // bound here, so that two networks that differ in anything have two genesis hashes.
        extra_data: spec.hash().into(),
        base_fee_per_gas: Some(spec.base_fee),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: prague.then_some(EMPTY_REQUESTS_HASH),
        ..Default::default()
    }
}

fn state(spec: &ChainSpec) -> StateDiff {
    let mut alloc = spec.alloc.clone();
    for (address, account) in system_contracts() {
        // An account of the specification at such an address counts.
        alloc.entry(address).or_insert(account);
    }
    alloc.extend(founding::contracts(spec));
    let mut diff = StateDiff::default();
    for (address, account) in alloc {
        let code = account.code.unwrap_or_default();
        let code_hash = if code.is_empty() { KECCAK_EMPTY } else { keccak256(&code) };
        if !code.is_empty() {
            diff.codes.insert(code_hash, code);
        }
        let slots = account.storage.unwrap_or_default().into_iter();
        let slots = slots.filter(|(_, value)| !value.is_zero());
        let nonce = account.nonce.unwrap_or_default();
        let change = AccountDiff {
            after: Some(Account { nonce, balance: account.balance, code_hash }),
            storage: slots.map(|(slot, value)| (slot.into(), (U256::ZERO, value.into()))).collect(),
            ..Default::default()
        };
        diff.accounts.insert(address, change);
    }
    diff
}

/// The contracts that the rules of Cancun and Prague call, as their EIPs deploy them. Those
/// of EIP-7002 and EIP-7251 begin with an excess of 2^256 − 1, which refuses requests until
/// the first system call.
fn system_contracts() -> BTreeMap<Address, GenesisAccount> {
    let contract = |code: &Bytes| GenesisAccount {
        nonce: Some(1),
        code: Some(code.clone()),
        ..Default::default()
    };
    let inhibited = |code: &Bytes| GenesisAccount {
        storage: Some([(B256::ZERO, B256::repeat_byte(0xff))].into()),
        ..contract(code)
    };
    [
        (eip4788::BEACON_ROOTS_ADDRESS, contract(&eip4788::BEACON_ROOTS_CODE)),
        (eip2935::HISTORY_STORAGE_ADDRESS, contract(&eip2935::HISTORY_STORAGE_CODE)),
        (
            eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
            inhibited(&eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE),
        ),
        (
            eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
            inhibited(&eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE),
        ),
    ]
    .into()
}
