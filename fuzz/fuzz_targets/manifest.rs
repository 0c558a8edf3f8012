//! A directory from a stranger: read or refused, encoded as it was read, and
//! with no path that leaves the target.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trefoil_content::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::decode(bytes) else { return };
    assert_eq!(manifest.encode(), bytes);
    for entry in manifest.entries() {
        assert!(!entry.path.starts_with('/'));
        assert!(entry.path.split('/').all(|name| !matches!(name, "" | "." | "..")));
    }
    let layout = manifest.layout().expect("a manifest that decodes is not too large");
    let sum: u64 = (0..layout.pieces()).map(|piece| layout.piece_bytes(piece)).sum();
    assert_eq!(sum, layout.bytes());
});
