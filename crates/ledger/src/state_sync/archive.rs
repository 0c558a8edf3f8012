//! The history archive: consecutive blocks with their receipts, for a node that joined by a
//! state snapshot and has no blocks before it.

use std::io::{Read, Seek, SeekFrom, Write};

use alloy_eips::Encodable2718 as _;
use alloy_primitives::Bytes;
use alloy_rlp::{RlpDecodable, RlpEncodable};
use alloy_trie::root::ordered_trie_root_with_encoder;
use trefoil_types::{B256, ChainSpec, Disk, Header, Height, Receipt, RecoveredBlock, limits};

use super::{
    error::{JoinError, unproven},
    frames::{FileKind, FrameReader, FrameWriter},
};
use crate::{
    LedgerError, Snapshot, checkpoint, codec, genesis, header,
    store::{Base, Batch, Store, Table},
};

pub(super) const ARCHIVE: FileKind =
    FileKind { magic: *b"trefoil-blocks\0\x01", name: "history archive", longest };

pub(super) mod kind {
    pub const HEAD: u8 = 1;
    pub const BLOCK: u8 = 2;
}

// Both the chain specification and the governing contract refuse a higher limit.
/// The most gas that a block may use.
pub(super) const GAS_LIMIT_MAX: u64 = 600_000_000;

// A byte of a log's data costs 8 gas, and everything else of a receipt more: a log and a topic
// 375 each, for at most 33 bytes; a transaction 21,000, for some 20 bytes. Refunds come from
// writes that cost more than they give back.
/// The most receipts that a block can have, bytes (75 MB).
pub(super) const RECEIPTS_BYTES_MAX: usize = GAS_LIMIT_MAX as usize / 8;

/// The most logs that a block can have: 375 gas for each (yellow paper, appendix G).
const LOGS_MAX: usize = GAS_LIMIT_MAX as usize / 375;

// A block and what is attached to it fit in one message; a sender takes 21 bytes.
/// The longest block with its senders, bytes (9.6 MiB).
const BLOCK_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX + 21 * limits::BLOCK_TXS_MAX;

/// The hash of genesis and two heights, with room to spare.
const HEAD_BYTES_MAX: usize = 64;

fn longest(kind: u8) -> usize {
    match kind {
        kind::HEAD => HEAD_BYTES_MAX,
        // The kind, and the lengths of a list and of two strings.
        kind::BLOCK => BLOCK_BYTES_MAX + RECEIPTS_BYTES_MAX + 16,
        _ => 0,
    }
}

// Memory stays bounded, whatever the archive's length.
/// Blocks are written to the database in batches of about this size (32 MiB, as a
/// checkpoint's).
const BATCH_BYTES: usize = 32 << 20;

// Recovery is the most expensive check (40 µs each), and the ledger has no threads of its
// own.
/// Whether each transaction of a block was signed by the sender beside it. The caller
/// provides the threads.
pub type Recover<'a> = &'a dyn Fn(&RecoveredBlock) -> bool;

/// The blocks of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archived {
    pub first: Height,
    pub last: Height,
}

#[derive(RlpEncodable, RlpDecodable)]
pub(super) struct ArchiveHeader {
    pub genesis: B256,
    pub first: Height,
    pub last: Height,
}

/// A block as the database stores it.
#[derive(RlpEncodable)]
pub(super) struct BlockRow {
    pub block: Bytes,
    pub receipts: Bytes,
}

// Attack: an archive is proven at its end only, and a transaction or a receipt of 5 to 10 bytes
// takes some 500 in memory. The lists are counted first.
/// The block and its receipts in a row; `None`: bytes that no node writes.
fn decode_row(mut row: &[u8]) -> Option<(RecoveredBlock, Vec<Receipt>)> {
    let fields = &mut alloy_rlp::Header::decode_bytes(&mut row, true).ok()?;
    let block = alloy_rlp::Header::decode_bytes(fields, false).ok()?;
    let receipts = alloy_rlp::Header::decode_bytes(fields, false).ok()?;
    let whole = row.is_empty() && fields.is_empty();
    if !whole || block.len() > BLOCK_BYTES_MAX || receipts.len() > RECEIPTS_BYTES_MAX {
        return None;
    }
    let txs = codec::count_transactions(block)?;
    let counts = codec::count_receipts(receipts)?;
    if txs > limits::BLOCK_TXS_MAX || counts.receipts != txs || counts.logs > LOGS_MAX {
        return None;
    }
    Some((codec::decode_block(block)?, codec::decode_receipts(receipts)?))
}

/// Writes the blocks of `archived`, all below the tip: the same bytes on every node. A
/// block carries what its header binds: its parent's certificate, evidence.
///
/// # Errors
/// Blocks that are not here, or a failed disk or writer.
pub fn write_archive(
    snapshot: &Snapshot,
    archived: Archived,
    out: &mut dyn Write,
) -> Result<(), JoinError> {
    let Archived { first, last } = archived;
    let (oldest, tip) = (snapshot.blocks_from().max(1), snapshot.tip().number);
    // Not the tip: which certificate of it all nodes will keep is decided by its child (ADR
    // 3).
    if first < oldest || last < first || last >= tip {
        let why = format!("it has blocks {oldest} to {tip}, the last of them not yet settled");
        return Err(JoinError::Missing(why));
    }
    let mut file = FrameWriter::begin(out, &ARCHIVE)?;
    let head = ArchiveHeader { genesis: snapshot.genesis_hash(), first, last };
    file.put(kind::HEAD, &alloy_rlp::encode(head))?;
    for height in first..=last {
        let stored = snapshot.block(height)?;
        let stored =
            stored.ok_or_else(|| LedgerError::damaged(format!("block {height} is missing")))?;
        let row = BlockRow {
            block: codec::encode_block(&stored.block).into(),
            receipts: codec::encode_receipts(&stored.receipts).into(),
        };
        file.put(kind::BLOCK, &alloy_rlp::encode(row))?;
    }
    file.finish()
}

/// Imports an archive into the ledger on a disk that nothing else uses. It must end where
/// the blocks that are here begin, so that their hashes prove it.
///
/// # Errors
/// An archive that is damaged, of another chain, not the next or not proven: then nothing
/// is written. A failed disk.
pub fn import_archive(
    disk: &dyn Disk,
    spec: &ChainSpec,
    file: &mut (impl Read + Seek),
    senders: Recover<'_>,
) -> Result<Archived, JoinError> {
    let store = Store::open(disk)?;
    let base = store.base()?;
    let gap = HistoryGap::of(&base, genesis::genesis_hash(spec)?)?;
    // The archive is read twice. Its blocks are proven by the hash at its end, so nothing
    // may be written before the end was seen.
    let archived = gap.read(&mut *file, |block, _| match senders(block) {
        true => Ok(()),
        false => Err(unproven(format!("block {} names a wrong sender", block.header.number))),
    })?;
    file.seek(SeekFrom::Start(0))?;
    let mut batch = Batch::default();
    gap.read(&mut *file, |block, receipts| {
        put(&mut batch, block, receipts);
        if batch.bytes() >= BATCH_BYTES {
            store.write(std::mem::take(&mut batch))?;
        }
        Ok(())
    })?;
    // Last: until it is written, the blocks count as absent. A crash in between only leaves
    // rows that no reader looks for.
    let from = if archived.first == 1 { 0 } else { archived.first };
    batch.put(Table::Meta, "blocks_from", codec::height_key(from));
    store.write(batch)?;
    Ok(archived)
}

fn put(batch: &mut Batch, block: &RecoveredBlock, receipts: &[Receipt]) {
    checkpoint::put_block(batch, block, receipts);
    if let Some(parent) = &block.attached.parent_certificate {
        let key = codec::height_key(parent.height);
        batch.put(Table::Certificates, key, alloy_rlp::encode(parent));
    }
}

/// The gap that an archive must fill: the end of the blocks that this node lacks.
struct HistoryGap {
    genesis: B256,
    /// The newest block that is not here whole.
    last: Height,
    hash: B256,
}

impl HistoryGap {
    fn of(base: &Base, genesis: B256) -> Result<Self, JoinError> {
        if base.is_restoring()? {
            return Err(LedgerError::Unfinished.into());
        }
        match base.genesis {
            Some(found) if found == genesis => {}
            Some(found) => return Err(JoinError::OtherChain { found, wanted: genesis }),
            None => return Err(JoinError::Missing("restore a state snapshot first".into())),
        }
        let last = base.blocks_from.saturating_sub(1);
        if last == 0 {
            return Err(JoinError::Missing("all blocks are here already".into()));
        }
        let header = |height| {
            let header = base.rlp::<Header>(Table::Headers, &codec::height_key(height))?;
            header.ok_or_else(|| LedgerError::damaged(format!("header {height} is missing")))
        };
        let hash = match last == base.tip {
            true => header(last)?.hash_slow(),
            false => header(base.blocks_from)?.parent_hash,
        };
        Ok(Self { genesis, last, hash })
    }

    /// Reads a whole archive. Checks that each block follows from the one before, and that
    /// the last one is known.
    fn read(
        &self,
        file: impl Read,
        mut take: impl FnMut(&RecoveredBlock, &[Receipt]) -> Result<(), JoinError>,
    ) -> Result<Archived, JoinError> {
        let mut file = FrameReader::begin(file, &ARCHIVE)?;
        let ArchiveHeader { genesis: found, first, last } = file.decode(kind::HEAD)?;
        let wanted = self.genesis;
        if found != wanted {
            return Err(JoinError::OtherChain { found, wanted });
        }
        if last != self.last || first == 0 || first > last {
            return Err(JoinError::NotNext { last, wanted: self.last });
        }
        let mut parent = (first == 1).then_some(self.genesis);
        for height in first..=last {
            let Some((block, receipts)) = decode_row(file.expect(kind::BLOCK)?) else {
                return Err(file.damaged("a block that cannot be decoded"));
            };
            let wrong = |why| unproven(format!("block {height}: {why}"));
            check(&block, &receipts, height, parent).map_err(wrong)?;
            take(&block, &receipts)?;
            parent = Some(block.hash);
        }
        file.finish()?;
        match parent == Some(self.hash) {
            true => Ok(Archived { first, last }),
            false => Err(unproven(format!("block {last} is not the {} of this chain", self.hash))),
        }
    }
}

/// The first fault of a block: it does not fit its header, or its header its parent.
fn check(
    block: &RecoveredBlock,
    receipts: &[Receipt],
    height: Height,
    parent: Option<B256>,
) -> Result<(), &'static str> {
    let header = &block.header;
    let root = ordered_trie_root_with_encoder(receipts, |r, out| r.encode_2718(out));
    let bound = block.attached.parent_certificate.as_ref();
    let fits = [
        (header.number == height, "it is of another height"),
        (parent.is_none_or(|hash| header.parent_hash == hash), "it does not follow"),
        (header.transactions_root == header::transactions_root(&block.transactions), "its body"),
        (header.receipts_root == root, "its receipts are not those of its header"),
        (block.attached.is_bound_by(header), "what is attached is not what it binds"),
        (bound.is_none_or(|c| c.height + 1 == height), "a certificate of another height"),
    ];
    fits.iter().find(|(fits, _)| !fits).map_or(Ok(()), |(_, why)| Err(why))
}
