//! The state snapshot: the whole state after one block, and everything else that a node
//! needs to continue from there.

use std::{collections::BTreeSet, io::Write};

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_primitives::{Bytes, U256};
use alloy_rlp::{Encodable, RlpDecodable, RlpEncodable};
use trefoil_types::{Address, B256, ChainSpec, Header, Height};

use super::{
    as_of::AsOf,
    error::JoinError,
    frames::{FileKind, FrameWriter},
    trail::Handover,
};
use crate::{Account, LedgerError, Snapshot, codec, store::Table};

pub(super) const STATE_FILE: FileKind =
    FileKind { magic: *b"trefoil-state\0\0\x02", name: "state snapshot", longest };

pub(super) mod kind {
    pub const HEAD: u8 = 1;
    pub const ANCESTORS: u8 = 2;
    pub const HANDOVER: u8 = 3;
    pub const ACCOUNTS: u8 = 4;
    pub const SLOTS: u8 = 5;
    pub const CODE: u8 = 6;
    pub const END: u8 = 7;
}

/// Headers before the snapshot's block: those that BLOCKHASH can reach in the block after it
/// (256 with the block itself).
pub(super) const ANCESTORS: u64 = 255;

// Part of the format: a frame ends with the row that reaches this size, so that all nodes
// make the same bytes. The checksum of a frame finds damage to within 64 KiB.
/// A frame of accounts or slots is full at this size (64 KiB).
const ROWS_BYTES: usize = 64 << 10;

// The row that fills a frame may be 1,024 slots of 68 bytes.
// Attack: a frame of 64 MiB with 13 million slots, which take 3 GB once they are decoded.
/// The longest frame of accounts or slots, bytes: twice the longest that is written.
const ROWS_BYTES_MAX: usize = 4 * ROWS_BYTES;

// A certificate of 128 validators takes 13 KB. A witness proves at most 1,153 slots (256 validators
// that are listed, with four slots each, and 128 organisations with one). Where the contract has 16
// million slots, the nodes of two levels are shared by most of them (273), and four of each slot are
// not: 2.6 MB of branches of 532 bytes.
/// The longest handover, bytes (4 MiB).
const HANDOVER_BYTES_MAX: usize = 4 << 20;

// A header of ours takes at most 660 bytes: `extra_data` is a hash.
/// The longest list of ancestors, bytes: 255 headers of 1 KiB.
const ANCESTORS_BYTES_MAX: usize = 256 << 10;

// A contract that was deployed has at most 24 KiB (EIP-170). Those of genesis may have more.
/// The longest code, bytes (1 MiB).
const CODE_BYTES_MAX: usize = 1 << 20;

/// Three numbers, with room to spare.
const END_BYTES_MAX: usize = 64;

fn longest(kind: u8) -> usize {
    match kind {
        kind::HEAD | kind::HANDOVER => HANDOVER_BYTES_MAX,
        kind::ANCESTORS => ANCESTORS_BYTES_MAX,
        kind::ACCOUNTS | kind::SLOTS => ROWS_BYTES_MAX,
        kind::CODE => CODE_BYTES_MAX,
        kind::END => END_BYTES_MAX,
        _ => 0,
    }
}

/// The first record of the file.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct StateFileHeader {
    pub genesis: B256,
    /// The block after which this was the state.
    pub block: Handover,
    /// The priorities of its validators to propose it, which it binds.
    pub turns: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct AccountRow {
    pub address: Address,
    pub nonce: u64,
    pub balance: U256,
    pub code_hash: B256,
}

/// Slots of one account. An account with many slots has several of these.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct SlotRows {
    pub address: Address,
    pub slots: Vec<SlotRow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct SlotRow {
    pub slot: U256,
    /// Never zero.
    pub value: U256,
}

/// The size of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct StateCounts {
    pub accounts: u64,
    pub slots: u64,
    pub codes: u64,
}

// Not the tip's: all nodes keep the certificate that a block's child binds (ADR 3), so they
// have the same bytes only once the child is final.
/// The newest height below `tip` of which every node keeps a snapshot, if there is one.
pub fn snapshot_height(spec: &ChainSpec, tip: Height) -> Option<Height> {
    let before = tip.checked_sub(1)?;
    let every = spec.snapshot_every;
    before.checked_div(every).map(|n| n * every).filter(|height| *height > 0)
}

/// Writes the state after the block at `height`, which must be below the tip: the same
/// bytes on every node. It reads a frozen view, so the chain may go on. Memory is taken for
/// the changes since `height` and for the hashes of codes.
///
/// # Errors
/// A state that this node no longer has, or a failed disk or writer.
pub fn write_state(
    snapshot: &Snapshot,
    height: Height,
    out: &mut dyn Write,
) -> Result<StateCounts, JoinError> {
    let tip = snapshot.tip().number;
    if height == 0 || height >= tip {
        return Err(LedgerError::Unknown { height, tip: tip.saturating_sub(1) }.into());
    }
    let state = AsOf::new(snapshot, height)?;
    let mut file = FrameWriter::begin(out, &STATE_FILE)?;
    write_way(snapshot, height, &mut file)?;
    let mut codes = BTreeSet::new();
    let mut counts = StateCounts::default();
    let mut rows = Vec::new();
    for account in state.accounts()? {
        let (address, Account { nonce, balance, code_hash }) = account?;
        if code_hash != KECCAK_EMPTY {
            codes.insert(code_hash);
        }
        AccountRow { address, nonce, balance, code_hash }.encode(&mut rows);
        counts.accounts += 1;
        flush(&mut file, kind::ACCOUNTS, &mut rows, ROWS_BYTES)?;
    }
    flush(&mut file, kind::ACCOUNTS, &mut rows, 1)?;
    counts.slots = write_slots(&state, &mut file)?;
    for hash in &codes {
        let code = snapshot.code(hash)?;
        let code = code.ok_or_else(|| LedgerError::damaged(format!("there is no code {hash}")))?;
        file.put(kind::CODE, &code)?;
        counts.codes += 1;
    }
    file.put(kind::END, &alloy_rlp::encode(counts))?;
    file.finish()?;
    Ok(counts)
}

fn flush(
    file: &mut FrameWriter<&mut dyn Write>,
    kind: u8,
    rows: &mut Vec<u8>,
    at_least: usize,
) -> Result<(), JoinError> {
    if rows.len() >= at_least {
        file.put(kind, rows)?;
        rows.clear();
    }
    Ok(())
}

/// Writes the way from genesis to the block: its ancestors, and every change of validators.
fn write_way(
    snapshot: &Snapshot,
    height: Height,
    file: &mut FrameWriter<&mut dyn Write>,
) -> Result<(), JoinError> {
    let block = handover(snapshot, height)?;
    let turns = snapshot.turns(height)?.ok_or_else(|| lost(height))?.priorities().into();
    let head = StateFileHeader { genesis: snapshot.genesis_hash(), block, turns };
    file.put(kind::HEAD, &alloy_rlp::encode(head))?;
    let first = height.saturating_sub(ANCESTORS);
    let ancestors: Result<Vec<Header>, _> = (first..height).map(|h| header(snapshot, h)).collect();
    file.put(kind::ANCESTORS, &alloy_rlp::encode(ancestors?))?;
    for change in snapshot.view.handovers()?.range(..height) {
        let handover = handover(snapshot, *change)?;
        file.put(kind::HANDOVER, &alloy_rlp::encode(handover))?;
    }
    Ok(())
}

fn handover(snapshot: &Snapshot, height: Height) -> Result<Handover, JoinError> {
    let certificate = snapshot.certificate(height)?;
    let certificate = certificate.ok_or_else(|| lost(height))?;
    let on_disk = || snapshot.view.base.rlp(Table::Handovers, &codec::height_key(height));
    let held = snapshot.view.memory(|g| g.handovers.get(&height).cloned());
    let witness = held.map_or_else(on_disk, |witness| Ok(Some(witness)))?.unwrap_or_default();
    Ok(Handover { header: header(snapshot, height)?, certificate, witness })
}

fn header(snapshot: &Snapshot, height: Height) -> Result<Header, JoinError> {
    Ok(snapshot.header(height)?.ok_or_else(|| lost(height))?.1)
}

fn lost(height: Height) -> JoinError {
    LedgerError::damaged(format!("the header or certificate of block {height} is missing")).into()
}

fn write_slots(state: &AsOf<'_>, file: &mut FrameWriter<&mut dyn Write>) -> Result<u64, JoinError> {
    let mut of = SlotRows { address: Address::ZERO, slots: Vec::new() };
    let (mut rows, mut count) = (Vec::new(), 0);
    for row in state.slots()? {
        let ((address, slot), value) = row?;
        let many = of.slots.len() * size_of::<SlotRow>() >= ROWS_BYTES;
        if (address != of.address || many) && !of.slots.is_empty() {
            of.encode(&mut rows);
            of.slots.clear();
            flush(file, kind::SLOTS, &mut rows, ROWS_BYTES)?;
        }
        of.address = address;
        of.slots.push(SlotRow { slot, value });
        count += 1;
    }
    if !of.slots.is_empty() {
        of.encode(&mut rows);
    }
    flush(file, kind::SLOTS, &mut rows, 1)?;
    Ok(count)
}
