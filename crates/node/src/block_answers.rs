//! Final blocks for peers that lack them, within the bytes that an answer may have.

use alloy_rlp::Encodable;
use trefoil_ledger::BodySize;
use trefoil_types::{
    CertifiedBlock, Height, limits,
    message::{Blocks, GetBlocks},
};

// Small blocks cost their reading and their certificate.
/// What a block counts at least in the budget of answers, and a look for one.
pub(crate) const BLOCK_COST_MIN: usize = 4 * 1024;

/// The bytes that an answer may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerRoom {
    pub all: usize,
    /// The first block goes though it is larger than `all`, up to this.
    pub first: usize,
}

// Attack: 32 bytes ask for an old block of 8 MiB for which there is no room. It was read before
// that was known, in each step anew and on the node's thread, and nobody was charged for it. So
// its size is looked at, and no block is read that is not sent.
/// Final blocks for a peer, up to the tip and as many as there is room for, and what they cost;
/// none if there is no room for the first.
pub(crate) fn blocks_for(
    ask: GetBlocks,
    tip: Height,
    room: AnswerRoom,
    size_of: impl Fn(Height) -> Option<BodySize>,
    read: impl Fn(Height) -> Option<CertifiedBlock>,
) -> Option<(Blocks, usize)> {
    let bytes_max = room.all.min(limits::CATCH_UP_BYTES_MAX);
    // The request itself, even if there is no block for it.
    let (mut blocks, mut bytes, mut txs, mut cost) = (Vec::new(), 0, 0, BLOCK_COST_MIN);
    let count = ask.count.min(limits::CATCH_UP_BLOCKS_MAX);
    let end = ask.from.saturating_add(count).min(tip + 1);
    for height in ask.from.max(1)..end {
        let Some(size) = size_of(height) else { break };
        let block_cost = size.without_senders().max(BLOCK_COST_MIN);
        txs += size.txs;
        let is_over = bytes + size.without_senders() > bytes_max
            || txs > limits::CATCH_UP_TXS_MAX
            || cost + block_cost > bytes_max;
        if is_over && !blocks.is_empty() {
            break;
        }
        if blocks.is_empty() && block_cost > room.first {
            return None;
        }
        let Some(block) = read(height) else { break };
        // With its header and certificate. The senders were read, too.
        let length = block.length();
        bytes += length;
        cost += length.max(size.bytes).max(BLOCK_COST_MIN);
        blocks.push(block);
    }
    Some((Blocks { from: ask.from, blocks }, cost))
}

#[cfg(test)]
mod tests;
