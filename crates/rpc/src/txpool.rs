//! The transactions that wait in this node's pool.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::Transaction as _;
use alloy_primitives::Address;
use serde::Serialize;
use trefoil_types::Transaction;

use crate::{
    Json, Params, Rpc, RpcError, RpcResult, convert, heavy::heavy, json, limits, memory::Claim,
};

/// Transactions by their sender, then by nonce (in decimal, as geth has it).
type BySender = BTreeMap<Address, ByNonce>;
type ByNonce = BTreeMap<String, Json>;

#[derive(Serialize)]
struct TxpoolJson<T> {
    /// May enter the next block.
    pending: T,
    /// Wait for a nonce before theirs.
    queued: T,
}

/// An answer that is gathered from many transactions: it stays below its bound and is claimed.
struct Gathering {
    claim: Claim,
    bytes: usize,
}

impl Gathering {
    fn begin(rpc: &Rpc) -> Self {
        Self { claim: rpc.memory.claim_anyway(0), bytes: 0 }
    }

    fn show(&mut self, shown: impl Serialize) -> RpcResult {
        let shown = json(&shown)?;
        let bytes = shown.get().len();
        self.bytes += bytes;
        let max = limits::ANSWER_BYTES_MAX;
        if self.bytes > max {
            let text = format!(
                "the pool's transactions are over {max} bytes; use txpool_contentFrom, txpool_inspect or txpool_status"
            );
            return Err(RpcError::Rejected(text));
        }
        // Each by itself, and once more in the whole.
        self.claim.grow(2 * bytes)?;
        Ok(shown)
    }

    fn by_sender<T: Serialize>(
        &mut self,
        txs: &[Transaction],
        show: impl Fn(&Transaction) -> T,
    ) -> RpcResult<BySender> {
        let mut senders = BySender::new();
        for tx in txs {
            let shown = self.show(show(tx))?;
            senders.entry(tx.signer()).or_default().insert(tx.nonce().to_string(), shown);
        }
        Ok(senders)
    }
}

/// The pool's transactions, all by their sender.
async fn all<T: Serialize>(
    rpc: &Arc<Rpc>,
    params: &Params,
    show: impl Fn(&Transaction) -> T + Send + 'static,
) -> RpcResult {
    let pool = rpc.pool_content().await?;
    let gather = move |rpc: &Rpc, _: &Params| {
        let mut gathering = Gathering::begin(rpc);
        let pending = gathering.by_sender(&pool.pending, &show)?;
        json(&TxpoolJson { pending, queued: gathering.by_sender(&pool.queued, &show)? })
    };
    heavy(rpc, gather, params.clone()).await
}

pub fn status(rpc: &Rpc, _: &Params) -> RpcResult {
    let status = rpc.backend.status();
    json(&TxpoolJson {
        pending: convert::quantity(status.pool_pending as u64),
        queued: convert::quantity(status.pool_queued as u64),
    })
}

pub async fn content(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    all(rpc, params, convert::pooled_tx).await
}

pub async fn content_from(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    let sender: Address = params.get(0)?;
    let pool = rpc.pool_content().await?;
    let gather = move |rpc: &Rpc, _: &Params| {
        let mut gathering = Gathering::begin(rpc);
        let mut own = |txs: &[Transaction]| {
            let own = txs.iter().filter(|tx| tx.signer() == sender);
            own.map(|tx| Ok((tx.nonce().to_string(), gathering.show(convert::pooled_tx(tx))?)))
                .collect::<RpcResult<ByNonce>>()
        };
        json(&TxpoolJson { pending: own(&pool.pending)?, queued: own(&pool.queued)? })
    };
    heavy(rpc, gather, params.clone()).await
}

/// One line for each transaction, as geth words it.
pub async fn inspect(rpc: &Arc<Rpc>, params: &Params) -> RpcResult {
    let line = |tx: &Transaction| {
        let to = tx.to().map_or("contract creation".into(), |to| to.to_string());
        let (value, gas, price) = (tx.value(), tx.gas_limit(), tx.max_fee_per_gas());
        format!("{to}: {value} wei + {gas} gas × {price} wei")
    };
    all(rpc, params, line).await
}
