//! An invite that someone sent: read or refused, and written as it was read.
#![no_main]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use trefoil::genesis::invite::Invite;

fuzz_target!(|text: &str| {
    // The text itself, and what it would be as the TOML within.
    let within = format!("trefoil-invite:{}", URL_SAFE_NO_PAD.encode(text));
    for text in [text, &within] {
        if let Ok(invite) = text.parse::<Invite>() {
            assert_eq!(invite.to_string().parse(), Ok(invite));
        }
    }
});
