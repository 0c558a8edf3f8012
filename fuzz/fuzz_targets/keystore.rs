//! A key file from elsewhere: opened or refused, at a bounded cost.
#![no_main]

use std::{fs, process};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use trefoil_os::keystore;

fuzz_target!(|text: &[u8]| {
    let file = format!("/dev/shm/trefoil-fuzz-keystore-{}", process::id());
    fs::write(&file, text).expect("there is room for a file");
    let _ = keystore::describe(file.as_ref());
    if is_cheap(text) {
        let _ = keystore::open(file.as_ref(), "password");
    }
});

/// Allowed costs go up to seconds, which would be the end of the fuzzing.
fn is_cheap(text: &[u8]) -> bool {
    let Ok(json) = serde_json::from_slice::<Value>(text) else { return true };
    let params = &json["crypto"]["kdfparams"];
    let small = |key: &str, max| params[key].as_u64().is_none_or(|cost| cost <= max);
    let refused = |key: &str, max| params[key].as_u64().is_none_or(|cost| cost > max);
    small("n", 64) && small("c", 64) || refused("n", 1 << 20) && refused("c", 10_000_000)
}
