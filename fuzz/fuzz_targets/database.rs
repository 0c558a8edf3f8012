//! A ledger's database after bit rot: an error, or a chain of which
//! everything may be asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trefoil_fuzz::{ask, open, sound};
use trefoil_types::DiskFile;

fuzz_target!(|changes: &[u8]| {
    let (disk, file) = sound();
    change(&*file, changes);
    if let Ok(ledger) = open(&disk) {
        ask(&ledger.snapshot());
    }
});

/// Five bytes each: where, and what changes there; nothing: the file ends there.
fn change(file: &dyn DiskFile, changes: &[u8]) {
    for [a, b, c, d, change] in changes.as_chunks().0.iter().copied() {
        let len = file.len().expect("memory does not fail").max(1);
        let at = u64::from(u32::from_le_bytes([a, b, c, d])) % len;
        let mut byte = [0];
        let there = file.read_at(at, &mut byte).is_ok();
        let done = match there && change != 0 {
            true => file.write_at(at, &[byte[0] ^ change]),
            false => file.set_len(at),
        };
        done.expect("memory does not fail");
    }
}
