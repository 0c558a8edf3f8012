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

/// What a decoded one takes, at about the least.
const DECODED_TX: usize = 512;

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
/// transaction at least takes; what its transactions take in memory, bytes.
pub(crate) fn check(kind: u8, body: &[u8]) -> Result<usize, ListError> {
    let mut message = Items(body);
    if kind == rules::TX_HASHES.kind || kind == rules::GET_TXS.kind {
        message.count(limits::TX_HASHES_MAX, 0)?;
    } else if kind == rules::TXS.kind {
        let txs = message.count(limits::TX_HASHES_MAX, TX_BYTES_MIN)?;
        return Ok(body.len() + txs * RAW_OVERHEAD);
    } else if kind == rules::GET_BODIES.kind || kind == rules::BODIES.kind {
        let mut fields = message.enter()?;
        fields.skip()?; // The block.
        if kind == rules::BODIES.kind {
            let txs = fields.count(limits::BLOCK_TXS_MAX, TX_BYTES_MIN)?;
            return Ok(body.len() + txs * RAW_OVERHEAD);
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
        return Ok(body.len() + message.blocks()? * DECODED_TX);
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
            items.skip_tx(bytes_min)?;
        }
        if items.is_empty() { Ok(max) } else { Err(ListError::TooMany(max)) }
    }

    // Attack: a million items of one byte, each of which takes an allocation.
    /// Passes over an item of `min` bytes at least; how many it holds.
    fn skip_tx(&mut self, min: usize) -> Result<usize, ListError> {
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

    /// Passes over an answer of block sync; how many transactions it has.
    fn blocks(&mut self) -> Result<usize, ListError> {
        let mut fields = self.enter()?;
        fields.skip()?; // The first height.
        let mut blocks = fields.enter()?;
        let (mut count, mut txs) = (0, 0);
        while !blocks.is_empty() {
            count += 1;
            if count > limits::CATCH_UP_BLOCKS_MAX {
                return Err(ListError::TooMany(limits::CATCH_UP_BLOCKS_MAX as usize));
            }
            let mut certified = blocks.enter()?;
            certified.block(&mut txs)?;
            certified.certificate(limits::VALIDATORS_MAX)?;
            certified.attached()?;
        }
        Ok(txs)
    }

    /// Passes over a block; `txs` are those of the message before it.
    fn block(&mut self, txs: &mut usize) -> Result<(), ListError> {
        let mut fields = self.enter()?;
        fields.skip()?; // The header.
        let mut transactions = fields.enter()?;
        let txs_before = *txs;
        while !transactions.is_empty() {
            *txs += 1;
            if *txs - txs_before > limits::BLOCK_TXS_MAX {
                return Err(ListError::TooMany(limits::BLOCK_TXS_MAX));
            }
            // All blocks of an answer together: else 256 blocks bring 256 times as many.
            if *txs > limits::CATCH_UP_TXS_READ_MAX {
                return Err(ListError::TooMany(limits::CATCH_UP_TXS_READ_MAX));
            }
            // A transaction has lists of its own, whose items are larger in memory too.
            if transactions.skip_tx(TX_BYTES_MIN)? > limits::TX_BYTES_MAX {
                return Err(ListError::TooMany(limits::TX_BYTES_MAX));
            }
        }
        // Ommers and withdrawals: these chains have neither.
        while !fields.is_empty() {
            fields.count(0, 0)?;
        }
        Ok(())
    }
}
