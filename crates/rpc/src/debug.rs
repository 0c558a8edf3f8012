//! The chain's own bytes, as Ethereum encodes them.

use std::sync::Arc;

use alloy_eips::Encodable2718 as _;
use alloy_primitives::{B256, Bytes};
use serde::{Serialize, Serializer};
use trefoil_node::{Call, Reply};
use trefoil_types::{Receipt, RecoveredBlock, Transaction};

use crate::{
    Params, Rpc, RpcError, RpcResult,
    answer::json_within,
    json,
    lookup::{lost, mined, stored, stored_body},
};

pub fn raw_header(rpc: &Rpc, params: &Params) -> RpcResult {
    let (snapshot, height) = rpc.at(Some(params.get(0)?))?;
    // A header may be here without its block: then none of it is kept.
    let is_kept = snapshot.transaction_count(height)?.is_some();
    let header = snapshot.header(height)?.filter(|_| is_kept);
    let (_, header) = header.ok_or_else(|| lost(height))?;
    json(&Bytes::from(alloy_rlp::encode(header)))
}

pub fn raw_block(rpc: &Rpc, params: &Params) -> RpcResult {
    let block = stored_body(rpc, params)?;
    let bytes = Bytes::from(alloy_rlp::encode(block.to_block()));
    json_within(&rpc.memory, block.bytes(), &bytes)
}

pub fn raw_receipts(rpc: &Rpc, params: &Params) -> RpcResult {
    let stored = stored(rpc, params)?;
    json_within(&rpc.memory, stored.bytes(), &RawReceipts(&stored.receipts))
}

/// Encoded one after the other as they are written.
struct RawReceipts<'a>(&'a [Receipt]);

impl Serialize for RawReceipts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|receipt| Bytes::from(receipt.encoded_2718())))
    }
}

/// In a block or in the pool; an unknown one is an error as geth has it.
pub async fn raw_transaction(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    let hash: B256 = params.get(0)?;
    let show = |block: &RecoveredBlock, index: usize| raw(&block.transactions[index]);
    if let Some(shown) = mined(rpc, &hash, params, show).await? {
        return Ok(shown);
    }
    match rpc.backend.call(Call::PooledTransaction(hash)).await? {
        Reply::PooledTransaction(Some(tx)) => raw(&tx),
        _ => Err(RpcError::Rejected(format!("transaction {hash} not found"))),
    }
}

fn raw(tx: &Transaction) -> RpcResult {
    json(&Bytes::from(tx.encoded_2718()))
}
