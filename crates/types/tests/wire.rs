//! Golden bytes: a change of any message's encoding is a change of the wire,
//! and must be seen (docs/wire.md; vectors/wire/).

mod samples;

use alloy_primitives::hex;
use trefoil_types::{Message, MessageError};

macro_rules! golden {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../vectors/wire/", $name, ".hex")))),*]
    };
}

/// One file a kind, two items in each list, 96 hex digits a line.
const GOLDEN: [(&str, &str); 15] = golden![
    "vote",
    "vote-nil",
    "proposal",
    "polka",
    "round",
    "tip",
    "get-blocks",
    "blocks",
    "get-bodies",
    "bodies",
    "tx-hashes",
    "get-txs",
    "txs",
    "evidence-votes",
    "evidence-proposals"
];

#[test]
fn every_message_has_the_bytes_that_are_checked_in() {
    let messages = samples::messages(2);
    assert_eq!(messages.len(), GOLDEN.len());
    for ((name, message), (file, text)) in messages.into_iter().zip(GOLDEN) {
        assert_eq!(name, file);
        let bytes = message.encode();
        let golden: String = text.split_whitespace().collect();
        assert_eq!(
            hex::encode(&bytes),
            golden,
            "vectors/wire/{name}.hex; if the wire is meant to change, raise net::hello::VERSION"
        );
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
}

/// Fuzzing found that a transaction inside a block decodes whatever length its
/// string header states, so that one block had many encodings.
#[test]
fn a_transaction_in_a_block_states_its_own_length() {
    let (_, message) = samples::messages(1).swap_remove(7);
    let mut bytes = message.encode();
    let header = [0xb8, 0x77, 0x02, 0xf8, 0x74];
    let at = bytes.windows(5).position(|window| window == header).expect("a type 2 transaction");
    bytes[at + 1] = 0x40;
    let refused = Message::decode(&bytes);
    assert!(
        matches!(refused, Err(MessageError::NotCanonical(18) | MessageError::Malformed { .. })),
        "{refused:?}"
    );
}
