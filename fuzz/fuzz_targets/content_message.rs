//! A frame of the swarm from a stranger: what decodes is encoded the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trefoil_content::message::ContentFrame;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(ContentFrame::Message(message)) = ContentFrame::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
});
