//! The chain's own bytes, as Ethereum encodes them.

use alloy_eips::Encodable2718 as _;
use alloy_primitives::{B256, Bytes};
use trefoil_node::{Call, Reply};
use trefoil_types::Transaction;

use crate::{
    Params, Rpc, RpcError, RpcResult,
    answer::json_within,
    json,
    lookup::{mined, stored},
};

pub fn raw_header(rpc: &Rpc, params: &Params) -> RpcResult {
    json(&Bytes::from(alloy_rlp::encode(&stored(rpc, params)?.block.header)))
}

pub fn raw_block(rpc: &Rpc, params: &Params) -> RpcResult {
    let bytes = Bytes::from(alloy_rlp::encode(stored(rpc, params)?.block.to_block()));
    json_within(&rpc.memory, &bytes)
}

pub fn raw_receipts(rpc: &Rpc, params: &Params) -> RpcResult {
    let stored = stored(rpc, params)?;
    let receipts = stored.receipts.iter().map(|receipt| Bytes::from(receipt.encoded_2718()));
    json_within(&rpc.memory, &receipts.collect::<Vec<_>>())
}

/// In a block or in the pool; an unknown one is an error as geth has it.
pub async fn raw_transaction(rpc: &Rpc, params: &Params) -> RpcResult {
    let hash: B256 = params.get(0)?;
    let raw = |tx: &Transaction| json(&Bytes::from(tx.encoded_2718()));
    if let Some((stored, index)) = mined(rpc, &hash)? {
        return raw(&stored.block.transactions[index]);
    }
    match rpc.backend.call(Call::PooledTransaction(hash)).await? {
        Reply::PooledTransaction(Some(tx)) => raw(&tx),
        _ => Err(RpcError::Rejected(format!("transaction {hash} not found"))),
    }
}
