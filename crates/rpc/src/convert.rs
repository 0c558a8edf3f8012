//! The chain's types as JSON: our own structures where the execution-apis
//! schema allows no other member, alloy's where they match it.

use alloy_consensus::{
    Transaction as _, constants::EMPTY_OMMER_ROOT_HASH, transaction::TransactionInfo,
};
use alloy_eips::{eip2718::Typed2718 as _, eip4895::Withdrawals};
use alloy_primitives::{Address, B256, Bloom, Bytes, TxKind, U64, U128, U256};
use alloy_rlp::Encodable as _;
use alloy_rpc_types_eth::BlockTransactions;
use serde::{Serialize, Serializer};
use trefoil_ledger::{StoredBlock, rpc_calls::simulate_v1::SimulatedBlock};
use trefoil_types::{Header, RecoveredBlock, Transaction};

/// A number as JSON-RPC writes it: hex without leading zeros.
pub fn quantity(number: u64) -> U64 {
    U64::from(number)
}

pub type TxJson = alloy_rpc_types_eth::Transaction<trefoil_types::TxEnvelope>;

/// A transaction in a block.
pub fn mined_tx(block: &RecoveredBlock, index: usize) -> TxJson {
    let tx = &block.transactions[index];
    TxJson {
        inner: (**tx).clone(),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        transaction_index: Some(index as u64),
        effective_gas_price: Some(gas_price_paid(tx, &block.header)),
        block_timestamp: Some(block.header.timestamp),
    }
}

/// The price that a mined transaction paid for a gas, in wei: 0 on a gas-free
/// network, whatever it offered. Its base fee is 0 for ever; elsewhere it never
/// falls to 0 (EIP-1559 takes off an eighth, rounded down).
pub fn gas_price_paid(tx: &Transaction, header: &Header) -> u128 {
    match header.base_fee_per_gas {
        Some(0) => 0,
        base_fee => tx.effective_gas_price(base_fee),
    }
}

/// A transaction that waits in the pool.
pub fn pooled_tx(tx: &Transaction) -> TxJson {
    TxJson::from_transaction((**tx).clone(), TransactionInfo::default())
}

/// A log as JSON with four topics, without its data.
pub const LOG_BYTES: usize = 800;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogJson<'a> {
    address: Address,
    topics: &'a [B256],
    data: &'a Bytes,
    block_number: U64,
    transaction_hash: B256,
    transaction_index: U64,
    block_hash: B256,
    block_timestamp: U64,
    log_index: U64,
    /// Always false: a final block is never taken back.
    removed: bool,
}

/// The logs of a block in order, each with its place.
pub fn logs(stored: &StoredBlock) -> impl Iterator<Item = (&alloy_primitives::Log, LogJson<'_>)> {
    let all = stored
        .receipts
        .iter()
        .enumerate()
        .flat_map(|(at, receipt)| receipt.logs().iter().map(move |log| (at, log)));
    all.enumerate().map(|(index, (at, log))| (log, log_json(&stored.block, at, index, log)))
}

/// A log of the block's transaction `tx_index`.
pub fn log_json<'a>(
    block: &RecoveredBlock,
    tx_index: usize,
    log_index: usize,
    log: &'a alloy_primitives::Log,
) -> LogJson<'a> {
    LogJson {
        address: log.address,
        topics: log.data.topics(),
        data: &log.data.data,
        block_number: quantity(block.header.number),
        transaction_hash: *block.transactions[tx_index].tx_hash(),
        transaction_index: quantity(tx_index as u64),
        block_hash: block.hash,
        block_timestamp: quantity(block.header.timestamp),
        log_index: quantity(log_index as u64),
        removed: false,
    }
}

// A block may have half a million of them: a list of what is shown would take 80 MB.
/// The logs of the block's transaction `index`, shown one after the other as they are written.
struct TxLogsJson<'a> {
    stored: &'a StoredBlock,
    index: usize,
    /// The number in the block of the first of them.
    first: usize,
}

impl Serialize for TxLogsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { stored, index, first } = *self;
        let logs = stored.receipts[index].logs().iter().enumerate();
        serializer
            .collect_seq(logs.map(|(at, log)| log_json(&stored.block, index, first + at, log)))
    }
}

/// A receipt as the schema has it: no member besides these.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptJson<'a> {
    #[serde(rename = "type")]
    kind: U64,
    status: U64,
    transaction_hash: B256,
    transaction_index: U64,
    block_hash: B256,
    block_number: U64,
    from: Address,
    to: Option<Address>,
    cumulative_gas_used: U64,
    gas_used: U64,
    contract_address: Option<Address>,
    logs: TxLogsJson<'a>,
    logs_bloom: &'a Bloom,
    effective_gas_price: U128,
}

/// The receipt of the block's transaction `index`, whose first log is the
/// block's log `first_log`.
fn receipt_json(stored: &StoredBlock, index: usize, first_log: usize) -> ReceiptJson<'_> {
    let StoredBlock { block, receipts } = stored;
    let (tx, receipt) = (&block.transactions[index], &receipts[index]);
    let before = index.checked_sub(1).map_or(0, |i| receipts[i].cumulative_gas_used());
    let created = match tx.kind() {
        TxKind::Create => Some(tx.signer().create(tx.nonce())),
        TxKind::Call(_) => None,
    };
    ReceiptJson {
        kind: quantity(tx.ty().into()),
        status: quantity(receipt.status().into()),
        transaction_hash: *tx.tx_hash(),
        transaction_index: quantity(index as u64),
        block_hash: block.hash,
        block_number: quantity(block.header.number),
        from: tx.signer(),
        to: tx.to(),
        cumulative_gas_used: quantity(receipt.cumulative_gas_used()),
        gas_used: quantity(receipt.cumulative_gas_used().saturating_sub(before)),
        contract_address: created,
        logs: TxLogsJson { stored, index, first: first_log },
        logs_bloom: receipt.logs_bloom(),
        effective_gas_price: U128::from(gas_price_paid(tx, &block.header)),
    }
}

pub fn receipt(stored: &StoredBlock, index: usize) -> ReceiptJson<'_> {
    let before = stored.receipts[..index].iter().map(|r| r.logs().len()).sum();
    receipt_json(stored, index, before)
}

/// All receipts of a block, shown one after the other as they are written.
pub struct ReceiptsJson<'a>(pub &'a StoredBlock);

impl Serialize for ReceiptsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut first_log = 0;
        let shown = self.0.receipts.iter().enumerate().map(|(index, receipt)| {
            let json = receipt_json(self.0, index, first_log);
            first_log += receipt.logs().len();
            json
        });
        serializer.collect_seq(shown)
    }
}

/// A header as `newHeads` pushes it, and as a block begins.
pub type HeaderJson<'a> = alloy_rpc_types_eth::Header<&'a Header>;

pub fn header(hash: B256, header: &Header) -> HeaderJson<'_> {
    HeaderJson { hash, inner: header, total_difficulty: None, size: None }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockJson<'a> {
    #[serde(flatten)]
    header: HeaderJson<'a>,
    transactions: BlockTransactions<TxJson>,
    uncles: [B256; 0],
    withdrawals: Withdrawals,
}

/// Whole transactions as `show` has them, or their hashes only.
fn transactions(
    block: &RecoveredBlock,
    whole: bool,
    show: impl Fn(usize) -> TxJson,
) -> BlockTransactions<TxJson> {
    if whole {
        BlockTransactions::Full((0..block.transactions.len()).map(show).collect())
    } else {
        BlockTransactions::Hashes(block.transactions.iter().map(|tx| *tx.tx_hash()).collect())
    }
}

fn sized(block: &RecoveredBlock, bytes: usize) -> HeaderJson<'_> {
    HeaderJson { size: Some(U256::from(bytes)), ..header(block.hash, &block.header) }
}

pub fn block(block: &RecoveredBlock, whole: bool) -> BlockJson<'_> {
    debug_assert_eq!(block.header.ommers_hash, EMPTY_OMMER_ROOT_HASH);
    BlockJson {
        header: sized(block, block.to_block().length()),
        transactions: transactions(block, whole, |index| mined_tx(block, index)),
        uncles: [],
        withdrawals: Withdrawals::default(),
    }
}

/// A block of a simulation, where the base fee may be 0 on any network.
pub fn simulated_block(simulated: &SimulatedBlock, whole: bool, gas_free: bool) -> BlockJson<'_> {
    let SimulatedBlock { block, withdrawals, bytes, .. } = simulated;
    let tx = |index: usize| {
        let price = block.transactions[index].effective_gas_price(block.header.base_fee_per_gas);
        let paid = if gas_free { 0 } else { price };
        TxJson { effective_gas_price: Some(paid), ..mined_tx(block, index) }
    };
    BlockJson {
        header: sized(block, *bytes),
        transactions: transactions(block, whole, tx),
        uncles: [],
        withdrawals: Withdrawals::new(withdrawals.clone()),
    }
}
