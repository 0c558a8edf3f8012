//! The transactions that wait in this node's pool.

use std::collections::BTreeMap;

use alloy_consensus::Transaction as _;
use alloy_primitives::Address;
use serde::Serialize;
use trefoil_node::{Call, Reply};
use trefoil_types::Transaction;

use crate::{Params, Rpc, RpcResult, convert, json};

/// Transactions by their sender, then by nonce (in decimal, as geth has it).
type BySender<T> = BTreeMap<Address, BTreeMap<String, T>>;

#[derive(Serialize)]
struct TxpoolJson<T> {
    /// May enter the next block.
    pending: T,
    /// Wait for a nonce before theirs.
    queued: T,
}

/// Asks for the pool's transactions, and answers with what `show` makes of each kind.
async fn shown<T: Serialize>(rpc: &Rpc, show: impl Fn(&[Transaction]) -> T) -> RpcResult {
    let (pending, queued) = match rpc.backend.call(Call::PoolContent).await? {
        Reply::PoolContent { pending, queued } => (pending, queued),
        _ => (vec![], vec![]),
    };
    json(&TxpoolJson { pending: show(&pending), queued: show(&queued) })
}

fn by_sender<T>(txs: &[Transaction], show: impl Fn(&Transaction) -> T) -> BySender<T> {
    let mut senders = BySender::new();
    for tx in txs {
        senders.entry(tx.signer()).or_default().insert(tx.nonce().to_string(), show(tx));
    }
    senders
}

pub fn status(rpc: &Rpc, _: &Params) -> RpcResult {
    let status = rpc.backend.status();
    json(&TxpoolJson {
        pending: convert::quantity(status.pool_pending as u64),
        queued: convert::quantity(status.pool_queued as u64),
    })
}

pub async fn content(rpc: &Rpc) -> RpcResult {
    shown(rpc, |txs| by_sender(txs, convert::pooled_tx)).await
}

pub async fn content_from(rpc: &Rpc, params: &Params) -> RpcResult {
    let sender: Address = params.get(0)?;
    let show = |txs: &[Transaction]| {
        let own = txs.iter().filter(|tx| tx.signer() == sender);
        own.map(|tx| (tx.nonce().to_string(), convert::pooled_tx(tx))).collect::<BTreeMap<_, _>>()
    };
    shown(rpc, show).await
}

/// One line for each transaction, as geth words it.
pub async fn inspect(rpc: &Rpc) -> RpcResult {
    let line = |tx: &Transaction| {
        let to = tx.to().map_or("contract creation".into(), |to| to.to_string());
        let (value, gas, price) = (tx.value(), tx.gas_limit(), tx.max_fee_per_gas());
        format!("{to}: {value} wei + {gas} gas × {price} wei")
    };
    shown(rpc, |txs| by_sender(txs, line)).await
}
