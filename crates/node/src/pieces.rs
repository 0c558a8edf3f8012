//! Cuts transactions into pieces that fit in a message.

use alloy_primitives::Bytes;

/// Transactions cut into pieces of at most so many bytes, or one transaction.
pub(crate) fn pieces(
    txs: impl IntoIterator<Item = Bytes>,
    bytes_max: usize,
) -> impl Iterator<Item = Vec<Bytes>> {
    let mut txs = txs.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut piece = vec![txs.next()?];
        let mut bytes = piece[0].len();
        while let Some(raw) = txs.next_if(|raw| bytes + raw.len() <= bytes_max) {
            bytes += raw.len();
            piece.push(raw);
        }
        Some(piece)
    })
}
