//! Calls that run code without changing the chain.

use alloy_eips::eip7702::SignedAuthorization;
use alloy_primitives::{Address, Bytes, TxKind, U64};
use alloy_rpc_types_eth::{
    AccessList, AccessListItem, BlockOverrides, TransactionRequest, state::StateOverride,
};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;
use trefoil_ledger::{CallError, CallMemory, CallOptions, CallOutcome, CallSite, Estimate};

use crate::{
    MemoryAccount, Params, Rpc, RpcError, RpcResult, convert, json, limits,
    params::{Arg, BlockRef, member, object},
};

impl From<CallError> for RpcError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Ledger(error) => error.into(),
            CallError::Invalid(_) | CallError::NoBlock(_) => Self::Rejected(error.to_string()),
        }
    }
}

/// Where a call runs: after a block, or in the one after the tip.
fn site(rpc: &Rpc, block: Option<BlockRef>) -> RpcResult<CallSite<'_>> {
    let (snapshot, height) = rpc.at(block)?;
    let spec = &rpc.backend.spec;
    Ok(match block {
        Some(BlockRef::Pending) => CallSite::pending(spec, &snapshot)?,
        _ => CallSite::at(spec, &snapshot, height)?,
    })
}

/// Overrides of state (argument `at`) and block (the one after it).
fn options(params: &Params, at: usize) -> RpcResult<CallOptions> {
    let state: Option<StateOverride> = params.shaped(
        at,
        "want {address: {balance, nonce, code, state, stateDiff, movePrecompileToAddress}}",
    )?;
    let block: Option<BlockOverrides> = params.shaped(
        at + 1,
        "want {number, time, gasLimit, feeRecipient, prevRandao, baseFeePerGas, blobBaseFee}",
    )?;
    Ok(CallOptions { state, block, gas_cap: limits::CALL_GAS_MAX })
}

/// Runs calls; what they hold is claimed as it grows, until they are done.
pub fn claimed<T>(
    account: &MemoryAccount,
    run: impl FnOnce(&CallMemory<'_>) -> RpcResult<T>,
) -> RpcResult<T> {
    account.while_growing(|reserve| run(&CallMemory::new(limits::CALL_BYTES_MAX, reserve)))
}

pub fn call(rpc: &Rpc, params: &Params) -> RpcResult {
    let request: TransactionRequest = params.get(0)?;
    let (site, options) = (site(rpc, params.opt(1)?)?, options(params, 2)?);
    let outcome = claimed(&rpc.memory, |memory| {
        Ok(site.simulation(&options)?.within(memory).call(&request)?)
    })?;
    json(&output(outcome)?)
}

/// The output of a call, or the reason why it failed.
fn output(outcome: CallOutcome) -> RpcResult<Bytes> {
    match outcome {
        CallOutcome::Success { output, .. } => Ok(output),
        CallOutcome::Revert { output, .. } => Err(RpcError::Reverted(output)),
        CallOutcome::Halt { reason, .. } => Err(RpcError::Rejected(reason)),
    }
}

// The pending block lacks the calls that open it: there the governing contract does not know yet who
// missed the tip.
/// Without a block it runs on the latest, as geth does.
pub fn estimate_gas(rpc: &Rpc, params: &Params) -> RpcResult {
    let request: TransactionRequest = params.get(0)?;
    let site = site(rpc, params.opt(1)?)?;
    let options = options(params, 2)?;
    let estimate = claimed(&rpc.memory, |memory| {
        Ok(site.simulation(&options)?.within(memory).estimate_gas(&request)?)
    })?;
    match estimate {
        Estimate::Gas(gas) => json(&convert::quantity(gas)),
        Estimate::Fails(outcome) => json(&output(outcome)?),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccessListJson {
    access_list: AccessList,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    gas_used: U64,
}

pub fn create_access_list(rpc: &Rpc, params: &Params) -> RpcResult {
    let request: TransactionRequest = params.get(0)?;
    let site = site(rpc, params.opt(1)?)?;
    let options = CallOptions { block: None, ..options(params, 2)? };
    let outcome = claimed(&rpc.memory, |memory| {
        Ok(site.simulation(&options)?.within(memory).create_access_list(&request)?)
    })?;
    json(&AccessListJson {
        access_list: outcome.access_list,
        error: outcome.error,
        gas_used: convert::quantity(outcome.gas_used),
    })
}

/// A transaction as a caller describes it, unsigned and perhaps incomplete.
impl Arg for TransactionRequest {
    fn parse(value: &Value) -> Result<Self, String> {
        let object = object(value)?;
        let (input, data) = (member::<Bytes>(object, "input")?, member::<Bytes>(object, "data")?);
        // geth's rule and words: `data` is the old name of `input`.
        if let (Some(input), Some(data)) = (&input, &data)
            && input != data
        {
            return Err("both \"data\" and \"input\" are set and not equal. Please use \"input\" to pass transaction call data".into());
        }
        let to = member::<Address>(object, "to")?;
        Ok(Self {
            from: member(object, "from")?,
            to: Some(to.map_or(TxKind::Create, TxKind::Call)),
            gas_price: member(object, "gasPrice")?,
            max_fee_per_gas: member(object, "maxFeePerGas")?,
            max_priority_fee_per_gas: member(object, "maxPriorityFeePerGas")?,
            max_fee_per_blob_gas: member(object, "maxFeePerBlobGas")?,
            gas: member(object, "gas")?,
            value: member(object, "value")?,
            input: input.or(data).map(Into::into).unwrap_or_default(),
            nonce: member(object, "nonce")?,
            chain_id: member(object, "chainId")?,
            access_list: member(object, "accessList")?.map(AccessList),
            transaction_type: member::<u64>(object, "type")?
                .map(|kind| u8::try_from(kind).map_err(|_| "type: no such transaction type"))
                .transpose()?,
            blob_versioned_hashes: member(object, "blobVersionedHashes")?,
            sidecar: None,
            authorization_list: member(object, "authorizationList")?,
        })
    }
}

impl Arg for AccessListItem {
    fn parse(value: &Value) -> Result<Self, String> {
        let object = object(value)?;
        let address = member(object, "address")?.ok_or("want an address")?;
        let storage_keys = member(object, "storageKeys")?.unwrap_or_default();
        Ok(Self { address, storage_keys })
    }
}

impl Arg for SignedAuthorization {
    fn parse(value: &Value) -> Result<Self, String> {
        let wants = "want {chainId, address, nonce, yParity, r, s}";
        Self::deserialize(value).map_err(|_| wants.into())
    }
}
