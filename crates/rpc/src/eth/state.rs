//! Accounts: balances, nonces, code, storage and proofs of them.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U64, U256};
use serde::Serialize;
use serde_json::{Map, Value};
use trefoil_ledger::{Account, Snapshot, StateReader as _};
use trefoil_node::{Call, Reply};
use trefoil_types::Height;

use crate::{
    Params, Rpc, RpcError, RpcResult,
    answer::json_within,
    convert, json,
    params::{Arg as _, BlockRef, StorageKey},
};

// Each is a walk down the trie, and a proof of one node for each of its levels. geth has the
// same limit for `eth_getStorageValues`.
/// Slots in one request.
const SLOTS_MAX: usize = 1_024;

fn account(rpc: &Rpc, params: &Params) -> RpcResult<(Snapshot, Option<Account>)> {
    let address = params.get(0)?;
    let (snapshot, height) = rpc.at(params.opt(1)?)?;
    let account = snapshot.state(height)?.account(&address)?;
    Ok((snapshot, account))
}

pub fn balance(rpc: &Rpc, params: &Params) -> RpcResult {
    let (_, account) = account(rpc, params)?;
    json(&account.map_or(U256::ZERO, |account| account.balance))
}

/// The nonce as of a block; for `pending` with the pool's transactions.
pub async fn nonce(rpc: &Rpc, params: &Params) -> RpcResult {
    if params.opt(1)? == Some(BlockRef::Pending) {
        let address: Address = params.get(0)?;
        if let Reply::PendingNonce(nonce) = rpc.backend.call(Call::PendingNonce(address)).await? {
            return json(&convert::quantity(nonce));
        }
    }
    let (_, account) = account(rpc, params)?;
    json(&convert::quantity(account.map_or(0, |account| account.nonce)))
}

pub fn code(rpc: &Rpc, params: &Params) -> RpcResult {
    let (snapshot, account) = account(rpc, params)?;
    let hash = account.map_or(KECCAK256_EMPTY, |account| account.code_hash);
    if hash == KECCAK256_EMPTY {
        return json(&Bytes::new());
    }
    json(&snapshot.code(&hash)?.unwrap_or_default())
}

fn slot(
    snapshot: &Snapshot,
    height: Height,
    address: &Address,
    slot: StorageKey,
) -> RpcResult<B256> {
    Ok(snapshot.state(height)?.storage(address, slot.key.into())?.into())
}

pub fn storage_at(rpc: &Rpc, params: &Params) -> RpcResult {
    let (address, key) = (params.get(0)?, params.get(1)?);
    let (snapshot, height) = rpc.at(params.opt(2)?)?;
    json(&slot(&snapshot, height, &address, key)?)
}

/// Many slots of many accounts: `{address: [slot, …]}`.
pub fn storage_values(rpc: &Rpc, params: &Params) -> RpcResult {
    let wanted: Map<String, Value> = params.get(0)?;
    let (snapshot, height) = rpc.at(params.opt(1)?)?;
    let wrong = |why| RpcError::InvalidParams(format!("invalid argument 0: {why}"));
    if wanted.is_empty() {
        return Err(RpcError::InvalidParams("empty request".into()));
    }
    let (mut values, mut count) = (BTreeMap::new(), 0);
    for (address, slots) in &wanted {
        let at = Address::parse(&Value::from(address.as_str())).map_err(wrong)?;
        let slots = Vec::<StorageKey>::parse(slots).map_err(wrong)?;
        count += slots.len();
        check_slots(count)?;
        let read = slots.into_iter().map(|key| slot(&snapshot, height, &at, key));
        values.insert(address, read.collect::<RpcResult<Vec<B256>>>()?);
    }
    json(&values)
}

fn check_slots(count: usize) -> RpcResult<()> {
    if count > SLOTS_MAX {
        let text = format!("too many slots (max {SLOTS_MAX})");
        return Err(RpcError::InvalidParams(text));
    }
    Ok(())
}

/// EIP-1186.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProofJson {
    address: Address,
    account_proof: Vec<Bytes>,
    balance: U256,
    code_hash: B256,
    nonce: U64,
    storage_hash: B256,
    storage_proof: Vec<SlotProofJson>,
}

#[derive(Serialize)]
struct SlotProofJson {
    key: String,
    value: U256,
    proof: Vec<Bytes>,
}

pub fn proof(rpc: &Rpc, params: &Params) -> RpcResult {
    let address = params.get(0)?;
    let slots: Vec<StorageKey> = params.opt(1)?.unwrap_or_default();
    check_slots(slots.len())?;
    let (snapshot, height) = rpc.at(params.opt(2)?)?;
    let keys: Vec<B256> = slots.iter().map(|slot| slot.key).collect();
    let proof = snapshot.proof(height, &address, &keys)?;
    // A key is returned as the caller wrote it: whole, or as a number.
    let key = |slot: &StorageKey| match slot.whole {
        true => slot.key.to_string(),
        false => format!("{:#x}", U256::from_be_bytes(slot.key.0)),
    };
    let slots = slots.iter().zip(proof.slots);
    let storage_proof = slots
        .map(|(slot, (_, value, proof))| SlotProofJson { key: key(slot), value, proof })
        .collect();
    let account = proof.account;
    let shown = ProofJson {
        address,
        account_proof: proof.proof,
        balance: account.map_or(U256::ZERO, |a| a.balance),
        code_hash: account.map_or(KECCAK256_EMPTY, |a| a.code_hash),
        nonce: convert::quantity(account.map_or(0, |a| a.nonce)),
        storage_hash: proof.storage_root,
        storage_proof,
    };
    json_within(&rpc.memory, 0, &shown)
}
