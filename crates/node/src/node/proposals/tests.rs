use std::cell::Cell;

use alloy_consensus::{SignableTransaction as _, TxEip1559, transaction::Recovered};
use alloy_primitives::{Signature, U256};
use trefoil_types::{Address, TxEnvelope};

use super::*;

/// A transaction of so many bytes and a few.
fn tx(bytes: usize) -> Transaction {
    let large = U256::from(1) << 255;
    let signature = Signature::new(large, large, false);
    let tx = TxEip1559 { input: vec![0; bytes].into(), ..TxEip1559::default() };
    Arc::new(Recovered::new_unchecked(TxEnvelope::from(tx.into_signed(signature)), Address::ZERO))
}

/// 3.9 GB were hashed before the list was found to be false.
#[test]
fn what_is_longer_than_a_block_is_no_body_and_is_not_hashed() {
    const EACH: usize = 120_000;
    let most = limits::BLOCK_BYTES_MAX / EACH;
    for (count, is_short) in [(0, true), (1, true), (most - 1, true), (most + 1, false)] {
        let txs = vec![tx(EACH); count];
        let (root, hashed) = (B256::repeat_byte(1), Cell::new(0));
        let header = Header { transactions_root: root, ..Header::default() };
        let of_root = |root| {
            is_body(
                &header,
                &txs,
                |tx| tx.encode_2718_len(),
                |txs| {
                    hashed.set(hashed.get() + txs.len());
                    root
                },
            )
        };
        assert_eq!(of_root(root), is_short, "{count}");
        assert!(!of_root(B256::repeat_byte(2)));
        assert_eq!(hashed.get(), if is_short { 2 * count } else { 0 });
    }
}
