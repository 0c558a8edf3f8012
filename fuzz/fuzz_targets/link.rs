//! A link that someone passed on: read or refused, and written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trefoil_content::Link;

fuzz_target!(|text: &str| {
    if let Ok(link) = text.parse::<Link>() {
        assert_eq!(link.to_string(), text);
    }
});
