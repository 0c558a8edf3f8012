//! Bytes from a peer as a message: decoded or refused, and one value has one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trefoil_types::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
});
