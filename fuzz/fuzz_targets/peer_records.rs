//! A peer's answer about other nodes: refused, or records with one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trefoil_p2p::peer_record;
use trefoil_types::B256;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(records) = peer_record::decode_all(bytes) {
        assert!(records.len() <= peer_record::RECORDS_MAX);
        assert_eq!(peer_record::encode_all(&records), bytes);
        for record in records {
            // Whatever it is, judging it is safe.
            let _ = record.verify(&B256::ZERO);
        }
    }
});
