//! A raw transaction from a wallet or a peer.
#![no_main]

use alloy_eips::Encodable2718;
use libfuzzer_sys::fuzz_target;
use trefoil_types::decode_tx;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tx) = decode_tx(bytes) {
        assert_eq!(tx.encoded_2718(), bytes);
    }
});
