//! The encoding of blocks and receipts on disk: RLP, shared by the journal and the tables.
//! A decoder returns `None` for bytes that no encoder wrote.

use std::sync::Arc;

use alloy_consensus::{Eip658Value, Receipt as Bare, TxType, Typed2718, transaction::Recovered};
use alloy_primitives::{Bytes, Log, U256};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use trefoil_types::{
    Address, Attached, B256, Block, Header, Height, Receipt, RecoveredBlock, TxEnvelope,
    block::ethereum_block,
};

use crate::{Account, StateDiff, trie::TrieChange};

/// Header and body, one after the other.
pub(crate) fn encode_block(block: &RecoveredBlock) -> Vec<u8> {
    let mut out = alloy_rlp::encode(&block.header);
    encode_body(block, &mut out);
    out
}

pub(crate) fn decode_block(mut bytes: &[u8]) -> Option<RecoveredBlock> {
    let header = Header::decode(&mut bytes).ok()?;
    decode_body(header, bytes)
}

// Senders are stored, so that a restart does not recover them again at 40 µs each.
/// Transactions, their senders, and the attached data, one after the other.
pub(crate) fn encode_body(block: &RecoveredBlock, out: &mut Vec<u8>) {
    let txs: Vec<&TxEnvelope> = block.transactions.iter().map(|tx| tx.inner()).collect();
    alloy_rlp::encode_list::<&TxEnvelope, TxEnvelope>(&txs, out);
    let senders: Vec<Address> = block.transactions.iter().map(|tx| tx.signer()).collect();
    senders.encode(out);
    block.attached.encode(out);
}

/// The size of a block's body as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodySize {
    /// Transactions with their senders, and the attached data.
    pub bytes: usize,
    pub txs: usize,
}

impl BodySize {
    /// Bytes without the senders: block sync does not send them.
    pub fn without_senders(&self) -> usize {
        self.bytes.saturating_sub(self.txs * Address::ZERO.length())
    }

    /// That of a body which is not encoded yet.
    pub(crate) fn of(block: &RecoveredBlock) -> Self {
        let list = |payload: usize| payload + alloy_rlp::length_of_length(payload);
        let txs = list(block.transactions.iter().map(|tx| tx.inner().length()).sum());
        let senders = list(block.transactions.iter().map(|tx| tx.signer().length()).sum());
        let bytes = txs + senders + block.attached.length();
        Self { bytes, txs: block.transactions.len() }
    }
}

/// Bytes, then transactions, 4 bytes each.
pub(crate) fn encode_body_size(size: BodySize) -> Vec<u8> {
    [size.bytes, size.txs].iter().flat_map(|n| (*n as u32).to_be_bytes()).collect()
}

pub(crate) fn decode_body_size(bytes: &[u8]) -> Option<BodySize> {
    let (bytes, txs) = bytes.split_first_chunk()?;
    let number = |bytes: [u8; 4]| u32::from_be_bytes(bytes) as usize;
    Some(BodySize { bytes: number(*bytes), txs: number(txs.try_into().ok()?) })
}

pub(crate) fn decode_body(header: Header, bytes: &[u8]) -> Option<RecoveredBlock> {
    let (txs, senders, attached) = decode_body_parts(bytes)?;
    let known = txs.into_iter().zip(senders);
    let transactions = known.map(|(tx, sender)| Arc::new(Recovered::new_unchecked(tx, sender)));
    Some(RecoveredBlock::new(header, transactions.collect(), attached))
}

/// A body without the senders, as block sync sends it.
pub(crate) fn decode_sent_body(header: Header, bytes: &[u8]) -> Option<(Block, Attached)> {
    let (txs, _, attached) = decode_body_parts(bytes)?;
    Some((ethereum_block(header, txs), attached))
}

/// Transactions, their senders, and the attached data.
fn decode_body_parts(mut bytes: &[u8]) -> Option<(Vec<TxEnvelope>, Vec<Address>, Attached)> {
    let rest = &mut bytes;
    let txs = Vec::<TxEnvelope>::decode(rest).ok()?;
    let senders = Vec::<Address>::decode(rest).ok()?;
    let attached = Attached::decode(rest).ok()?;
    (rest.is_empty() && txs.len() == senders.len()).then_some((txs, senders, attached))
}

// A bloom has 256 bytes, most of them zero, and follows from the logs.
/// A receipt without its bloom, which is computed again from its logs.
#[derive(RlpEncodable, RlpDecodable)]
struct ReceiptRow {
    kind: u8,
    success: bool,
    cumulative_gas_used: u64,
    logs: Vec<Log>,
}

pub(crate) fn encode_receipts(receipts: &[Receipt]) -> Vec<u8> {
    let row = |receipt: &Receipt| ReceiptRow {
        kind: receipt.ty(),
        success: receipt.status(),
        cumulative_gas_used: receipt.cumulative_gas_used(),
        logs: receipt.logs().to_vec(),
    };
    alloy_rlp::encode(receipts.iter().map(row).collect::<Vec<_>>())
}

pub(crate) fn decode_receipts(bytes: &[u8]) -> Option<Vec<Receipt>> {
    let rows: Vec<ReceiptRow> = alloy_rlp::decode_exact(bytes).ok()?;
    let receipt = |row: ReceiptRow| {
        let bare = Bare {
            status: Eip658Value::Eip658(row.success),
            cumulative_gas_used: row.cumulative_gas_used,
            logs: row.logs,
        };
        Some(Receipt::from_typed(TxType::try_from(row.kind).ok()?, bare))
    };
    rows.into_iter().map(receipt).collect()
}

/// How many transactions an encoded block has. It takes no memory.
pub(crate) fn count_transactions(mut block: &[u8]) -> Option<usize> {
    skip(&mut block)?; // The header.
    count(&mut block)
}

/// How many items encoded receipts have.
pub(crate) struct ReceiptCounts {
    pub receipts: usize,
    /// Those of all receipts.
    pub logs: usize,
}

/// Counts the items of encoded receipts. It takes no memory.
pub(crate) fn count_receipts(bytes: &[u8]) -> Option<ReceiptCounts> {
    let mut counts = ReceiptCounts { receipts: 0, logs: 0 };
    let add = |logs| {
        counts.receipts += 1;
        counts.logs += logs;
    };
    for_each_log(bytes, |_, _| (), add)?;
    Some(counts)
}

/// The gas used up to the end of each transaction, by encoded receipts. Their logs are passed over.
pub(crate) fn cumulative_gas(bytes: &[u8]) -> Option<Vec<u64>> {
    let mut gas = Vec::new();
    each_receipt(bytes, |used, _| {
        gas.push(used);
        Some(())
    })?;
    Some(gas)
}

/// Calls `each` with the number of topics and the bytes of data of each log of encoded receipts,
/// and `end` with the number of logs of each receipt. It takes no memory.
pub(crate) fn for_each_log(
    bytes: &[u8],
    mut each: impl FnMut(usize, usize),
    mut end: impl FnMut(usize),
) -> Option<()> {
    each_receipt(bytes, |_, mut row| {
        let mut logs = alloy_rlp::Header::decode_bytes(&mut row, true).ok()?;
        let mut number = 0;
        while !logs.is_empty() {
            let mut log = alloy_rlp::Header::decode_bytes(&mut logs, true).ok()?;
            skip(&mut log)?; // The address.
            let topics = count(&mut log)?;
            each(topics, alloy_rlp::Header::decode_bytes(&mut log, false).ok()?.len());
            number += 1;
        }
        end(number);
        Some(())
    })
}

/// Calls `each` with the gas used up to the end of each of encoded receipts, and its encoded logs.
fn each_receipt(mut bytes: &[u8], mut each: impl FnMut(u64, &[u8]) -> Option<()>) -> Option<()> {
    let mut rows = alloy_rlp::Header::decode_bytes(&mut bytes, true).ok()?;
    while !rows.is_empty() {
        let mut row = alloy_rlp::Header::decode_bytes(&mut rows, true).ok()?;
        // Kind, success.
        skip(&mut row)?;
        skip(&mut row)?;
        let gas = u64::decode(&mut row).ok()?;
        each(gas, row)?;
    }
    Some(())
}

/// Passes over a list; how many items it has.
fn count(bytes: &mut &[u8]) -> Option<usize> {
    let mut items = alloy_rlp::Header::decode_bytes(bytes, true).ok()?;
    let mut count = 0;
    while !items.is_empty() {
        skip(&mut items)?;
        count += 1;
    }
    Some(count)
}

/// Passes over an item.
fn skip(bytes: &mut &[u8]) -> Option<()> {
    let header = alloy_rlp::Header::decode(bytes).ok()?;
    *bytes = bytes.get(header.payload_length..)?;
    Some(())
}

/// Nonce, balance and code hash, one after the other; nothing for no account.
pub(crate) fn encode_account(account: Option<&Account>) -> Bytes {
    let mut out = Vec::new();
    if let Some(Account { nonce, balance, code_hash }) = account {
        nonce.encode(&mut out);
        balance.encode(&mut out);
        code_hash.encode(&mut out);
    }
    out.into()
}

pub(crate) fn decode_account(mut bytes: &[u8]) -> Option<Option<Account>> {
    if bytes.is_empty() {
        return Some(None);
    }
    let rest = &mut bytes;
    let nonce = u64::decode(rest).ok()?;
    let balance = U256::decode(rest).ok()?;
    let code_hash = B256::decode(rest).ok()?;
    rest.is_empty().then_some(Some(Account { nonce, balance, code_hash }))
}

/// A slot's value without leading zero bytes; nothing for zero.
pub(crate) fn encode_slot(value: &U256) -> Bytes {
    value.to_be_bytes_trimmed_vec().into()
}

pub(crate) fn decode_slot(bytes: &[u8]) -> Option<U256> {
    U256::try_from_be_slice(bytes)
}

pub(crate) fn height_key(height: Height) -> Vec<u8> {
    height.to_be_bytes().to_vec()
}

pub(crate) fn storage_key(address: &Address, slot: &U256) -> Vec<u8> {
    [address.as_slice(), &slot.to_be_bytes::<32>()].concat()
}

// The height last: the versions of one key are neighbours, in the order of the chain.
/// `key`, then the height of the block that changed the value under it.
pub(crate) fn history_key(key: &[u8], height: Height) -> Vec<u8> {
    [key, &height.to_be_bytes()].concat()
}

/// The keys of the accounts and slots that a block changed, each after its length.
pub(crate) fn encode_changed(diff: &StateDiff) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |key: &[u8]| {
        out.push(key.len() as u8);
        out.extend(key);
    };
    for (address, change) in &diff.accounts {
        put(address.as_slice());
        change.storage.keys().for_each(|slot| put(&storage_key(address, slot)));
    }
    out
}

pub(crate) fn decode_changed(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut keys = Vec::new();
    while let Some((len, rest)) = bytes.split_first() {
        let (key, rest) = rest.split_at_checked(usize::from(*len))?;
        keys.push(key);
        bytes = rest;
    }
    Some(keys)
}

/// The trie rows that a block changed, in their earlier form. Each is the length of the key
/// (1 byte), the key, the length of the row (4 bytes, little-endian) and the row. Length 0:
/// there was none.
pub(crate) fn encode_undo(change: &TrieChange) -> Vec<u8> {
    let mut out = Vec::new();
    for node in change {
        let key = node.key.to_bytes();
        let before = node.before.as_ref().map_or(&[][..], |row| &row[..]);
        out.push(key.len() as u8);
        out.extend(key);
        out.extend((before.len() as u32).to_le_bytes());
        out.extend(before);
    }
    out
}

/// Calls `each` with the key of each changed trie row, and the row before the change.
pub(crate) fn each_undo(
    mut bytes: &[u8],
    mut each: impl FnMut(&[u8], Option<&[u8]>),
) -> Option<()> {
    while let Some((len, rest)) = bytes.split_first() {
        let (key, rest) = rest.split_at_checked(usize::from(*len))?;
        let (len, rest) = rest.split_first_chunk()?;
        let (before, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        each(key, (!before.is_empty()).then_some(before));
        bytes = rest;
    }
    Some(())
}

/// The place of a transaction: height and index.
pub(crate) fn encode_place(height: Height, index: u32) -> Vec<u8> {
    [height.to_be_bytes().as_slice(), &index.to_be_bytes()].concat()
}

pub(crate) fn decode_place(bytes: &[u8]) -> Option<(Height, u32)> {
    let (height, index) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*height), u32::from_be_bytes(index.try_into().ok()?)))
}

pub(crate) fn decode_height(bytes: &[u8]) -> Option<Height> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}
