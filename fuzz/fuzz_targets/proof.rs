//! A part of a resource from a stranger, of a size that may lie: what is
//! verified is true, whatever else came.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use trefoil_content::{
    BYTES_MAX, GROUP_BYTES, groups,
    proof::{Verified, Verifier, What, hash},
};
use trefoil_types::{Disk as _, MemDisk};

static DATA: LazyLock<Vec<u8>> = LazyLock::new(|| (0..40_000u32).map(|at| at as u8).collect());
static ROOT: LazyLock<[u8; 32]> = LazyLock::new(|| {
    let file = MemDisk::default().open("hashes").expect("memory does not fail");
    hash(&DATA[..], DATA.len() as u64, &*file, 0).expect("it was read")
});

fuzz_target!(|input: (u64, u64, u64, &[u8])| {
    let (size, start, count, stream) = input;
    let (size, start) = (size % (BYTES_MAX + 1), start % groups(size % (BYTES_MAX + 1)));
    let end = start + 1 + count % (groups(size) - start);
    let mut verifier = Verifier::new(What::Groups, *ROOT, size, start..end).expect("of sane size");
    let _ = verifier.feed(stream, |step| {
        if let Verified::Group { group, bytes } = step {
            let from = (group * GROUP_BYTES) as usize;
            assert_eq!(bytes, &DATA[from..from + bytes.len()]);
        }
        Ok(())
    });
});
