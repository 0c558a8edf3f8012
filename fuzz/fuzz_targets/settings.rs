//! A `node.toml` that someone wrote: read or refused, and written as it was read.
#![no_main]

use std::{fs, iter, path::Path, process};

use libfuzzer_sys::fuzz_target;
use trefoil_host::settings::{Effective, Settings};

fuzz_target!(|text: &[u8]| {
    if let Some(settings) = load(text) {
        assert_eq!(load(settings.to_toml().as_bytes()), Some(settings));
    }
});

fn load(text: &[u8]) -> Option<Settings> {
    let file = format!("/dev/shm/trefoil-fuzz-settings-{}", process::id());
    fs::write(&file, text).expect("there is room for a file");
    let loaded = Effective::load(Path::new(&file), iter::empty(), &[]);
    loaded.ok().map(|effective| effective.settings)
}
