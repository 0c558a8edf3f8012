//! A `chain.toml` that someone sent: read or refused, and written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trefoil_types::ChainSpec;

fuzz_target!(|text: &str| {
    if let Ok(spec) = ChainSpec::from_toml(text) {
        assert_eq!(ChainSpec::from_toml(&spec.to_toml()), Ok(spec));
    }
});
