//! Names, manifests, proofs and stores, each by itself.

mod claims;
mod messages;
mod names;
mod proofs;
mod reading;
mod stores;

use std::sync::Arc;

use trefoil_types::{Disk, DiskFile, MemDisk};

/// An empty file in memory.
fn file() -> Arc<dyn DiskFile> {
    MemDisk::default().open("file").expect("memory does not fail")
}

/// Bytes that differ from group to group.
fn sample(size: u64) -> Vec<u8> {
    (0..size).map(|at| (at / 251 + at * 7) as u8).collect()
}
