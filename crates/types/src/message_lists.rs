//! The lists of a message, counted from their headers alone, before anything is decoded.
//!
//! What always holds: counting takes no memory. A list that is counted here has as many
//! items as the decoder then makes of it.

use alloy_rlp::Header;

use crate::{limits, message_rule as rules};

// Nine fields of a byte or more: the shortest kind, as Ethereum had it at first.
/// The shortest that a transaction can be, bytes, without the header of its list.
const TX_BYTES_MIN: usize = 9;

/// What an encoded transaction takes in memory beside its bytes.
const RAW_OVERHEAD: usize = 64;

/// What a decoded one takes beside them, at about the least.
const DECODED_TX: usize = 512;

// Attack: the shortest authorisations of EIP-7702 have 27 bytes, and 136 when they are decoded, in
// a list with as much room again; the entries of an access list (EIP-2930) 23, and 48.
/// About what a raw transaction (EIP-2718) takes when it is decoded, beside what all take, bytes.
/// That of what is no transaction is its length.
pub fn decoded_bytes(raw: &[u8]) -> usize {
    let (access, authorisations) = list_bytes(raw).unwrap_or_default();
    raw.len() + 4 * access + 9 * authorisations
}

/// About what a raw transaction takes when it is decoded, bytes.
pub fn unpacked_bytes(raw: &[u8]) -> usize {
    DECODED_TX + decoded_bytes(raw)
}

// A slot has 33 bytes and costs 1,900; an address 29 at most with its headers, and 2,400. The longest
// authorisation has 133, and costs 25,000. A refund is a fifth of all at most (EIP-3529).
/// So much gas or more a raw transaction uses in a block, whatever it does.
pub fn least_gas(raw: &[u8]) -> u64 {
    let (access, authorisations) = list_bytes(raw).unwrap_or_default();
    (21_000 + 57 * access as u64 + 187 * authorisations as u64) * 4 / 5
}

/// The bytes of a transaction's access list and of its authorisations.
fn list_bytes(raw: &[u8]) -> Result<(usize, usize), ListError> {
    let Some((kind @ 1..=4, body)) = raw.split_first() else { return Ok((0, 0)) };
    let mut fields = Items(body).enter()?;
    let before = if *kind == 1 { 7 } else { 8 };
    for _ in 0..before {
        fields.skip()?;
    }
    let access = fields.skip()?;
    Ok((access, if *kind == 4 { fields.skip()? } else { 0 }))
}

/// Why a message is not decoded.
#[derive(Debug)]
pub(crate) enum ListError {
    Malformed(alloy_rlp::Error),
    /// A list has more items than this.
    TooMany(usize),
}

impl From<alloy_rlp::Error> for ListError {
    fn from(error: alloy_rlp::Error) -> Self {
        Self::Malformed(error)
    }
}

// Attack: 9 MiB of empty transactions. An item may be one byte on the wire and some 500 in
// memory, so a count that comes after decoding comes 500 MB too late.
/// Checks the count of every list that a message of this type may make long, and what each
/// transaction at least takes; how many bytes its transactions take in memory beyond their own.
pub(crate) fn check(kind: u8, body: &[u8]) -> Result<usize, ListError> {
    let mut message = Items(body);
    if kind == rules::TX_HASHES.kind || kind == rules::GET_TXS.kind {
        message.count(limits::TX_HASHES_MAX, 0)?;
    } else if kind == rules::TXS.kind {
        let txs = message.count(limits::TX_HASHES_MAX, TX_BYTES_MIN)?;
        return Ok(txs * RAW_OVERHEAD);
    } else if kind == rules::GET_BODIES.kind || kind == rules::BODIES.kind {
        let mut fields = message.enter()?;
        fields.skip()?; // The block.
        if kind == rules::BODIES.kind {
            let txs = fields.count(limits::BLOCK_TXS_MAX, TX_BYTES_MIN)?;
            return Ok(txs * RAW_OVERHEAD);
        }
        fields.count(limits::BLOCK_TXS_MAX, 0)?;
    } else if kind == rules::POLKA.kind {
        message.certificate(limits::VALIDATORS_MAX)?;
    } else if kind == rules::ROUND.kind {
        // A prevote and a precommit of each validator.
        message.certificate(2 * limits::VALIDATORS_MAX)?;
    } else if kind == rules::PROPOSAL.kind {
        let mut fields = message.enter()?;
        fields.skip()?; // The proposal.
        fields.skip()?; // The header.
        fields.count(limits::BLOCK_TXS_MAX, 0)?;
        fields.attached()?;
    } else if kind == rules::BLOCKS.kind {
        let unpacked = message.blocks()?;
        if unpacked > limits::UNPACKED_BYTES_MAX {
            return Err(ListError::TooMany(limits::CATCH_UP_TXS_READ_MAX));
        }
        return Ok(unpacked);
    }
    // The others hold lists of none or one, and are short.
    Ok(0)
}

/// RLP items that follow each other, unread.
struct Items<'a>(&'a [u8]);

impl Items<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The items of the list that comes next.
    fn enter(&mut self) -> Result<Self, ListError> {
        Ok(Self(Header::decode_bytes(&mut self.0, true)?))
    }

    /// Passes over an item; how many bytes it holds.
    fn skip(&mut self) -> Result<usize, ListError> {
        // The header says no more than there is: its decoder compares.
        let Header { payload_length, .. } = Header::decode(&mut self.0)?;
        self.0 = &self.0[payload_length..];
        Ok(payload_length)
    }

    /// Passes over a list of at most `max` items, each of `bytes_min` at least; how many it has.
    fn count(&mut self, max: usize, bytes_min: usize) -> Result<usize, ListError> {
        let mut items = self.enter()?;
        for count in 0..max {
            if items.is_empty() {
                return Ok(count);
            }
            items.skip_at_least(bytes_min)?;
        }
        if items.is_empty() { Ok(max) } else { Err(ListError::TooMany(max)) }
    }

    // Attack: a million items of one byte, each of which takes an allocation.
    /// Passes over an item of `min` bytes at least; how many it holds.
    fn skip_at_least(&mut self, min: usize) -> Result<usize, ListError> {
        let bytes = self.skip()?;
        if bytes < min { Err(alloy_rlp::Error::InputTooShort.into()) } else { Ok(bytes) }
    }

    /// Passes over a certificate of any kind: three fields, then at most `max` signatures.
    fn certificate(&mut self, max: usize) -> Result<(), ListError> {
        let mut fields = self.enter()?;
        for _ in 0..3 {
            fields.skip()?;
        }
        fields.count(max, 0).map(drop)
    }

    /// Passes over what is attached to a block.
    fn attached(&mut self) -> Result<(), ListError> {
        let mut fields = self.enter()?;
        fields.count(limits::BLOCK_EVIDENCE_MAX, 0)?;
        if fields.is_empty() { Ok(()) } else { fields.certificate(limits::VALIDATORS_MAX) }
    }

    /// Passes over an answer of block sync; how many bytes its transactions take in memory beyond
    /// their own.
    fn blocks(&mut self) -> Result<usize, ListError> {
        let mut fields = self.enter()?;
        fields.skip()?; // The first height.
        let mut blocks = fields.enter()?;
        let (mut count, mut txs, mut unpacked) = (0, 0, 0);
        while !blocks.is_empty() {
            count += 1;
            if count > limits::CATCH_UP_BLOCKS_MAX {
                return Err(ListError::TooMany(limits::CATCH_UP_BLOCKS_MAX as usize));
            }
            let mut certified = blocks.enter()?;
            unpacked += certified.block(&mut txs)?;
            certified.certificate(limits::VALIDATORS_MAX)?;
            certified.attached()?;
        }
        Ok(unpacked)
    }

    /// Passes over a block, likewise; `txs` are those of the message before it.
    fn block(&mut self, txs: &mut usize) -> Result<usize, ListError> {
        let mut fields = self.enter()?;
        fields.skip()?; // The header.
        let mut transactions = fields.enter()?;
        let (txs_before, mut unpacked) = (*txs, 0);
        while !transactions.is_empty() {
            *txs += 1;
            if *txs - txs_before > limits::BLOCK_TXS_MAX {
                return Err(ListError::TooMany(limits::BLOCK_TXS_MAX));
            }
            // All blocks of an answer together: else 256 blocks bring 256 times as many.
            if *txs > limits::CATCH_UP_TXS_READ_MAX {
                return Err(ListError::TooMany(limits::CATCH_UP_TXS_READ_MAX));
            }
            unpacked += transactions.block_tx()?;
        }
        // Ommers and withdrawals: these chains have neither.
        while !fields.is_empty() {
            fields.count(0, 0)?;
        }
        Ok(unpacked)
    }

    /// Passes over a transaction of a block, likewise.
    fn block_tx(&mut self) -> Result<usize, ListError> {
        let before = self.0;
        let bytes = self.skip_at_least(TX_BYTES_MIN)?;
        if bytes > limits::TX_BYTES_MAX {
            return Err(ListError::TooMany(limits::TX_BYTES_MAX));
        }
        // A list is a legacy transaction, which has no lists of its own.
        let Header { list, .. } = Header::decode(&mut &before[..])?;
        let raw = &before[..before.len() - self.0.len()];
        let raw = if list { &[] } else { &raw[raw.len() - bytes..] };
        Ok(unpacked_bytes(raw) - raw.len())
    }
}
