//! A state snapshot or a history archive that something else wrote: refused, or
//! the very chain of those whose files were changed.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use trefoil_fuzz::{JOINED_AT, SPEC, ask, history_file, open, state_file};
use trefoil_ledger::state_sync::{import_archive, restore};
use trefoil_types::MemDisk;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let disk = MemDisk::default();
    match kind % 4 {
        0 => try_state(&disk, &framed(state_file(), rest)),
        1 => try_state(&disk, &edited(state_file(), rest)),
        2 => try_history(&disk, &framed(history_file(), rest)),
        _ => try_history(&disk, &edited(history_file(), rest)),
    }
});

fn try_state(disk: &MemDisk, file: &[u8]) {
    let restored = restore(disk, &SPEC, file, None);
    match (restored, open(disk)) {
        (Ok(restored), Ok(ledger)) => {
            assert_eq!(ledger.tip().number, JOINED_AT);
            assert_eq!(ledger.tip().state_root, restored.state_root);
            ask(&ledger.snapshot());
        }
        (Ok(_), Err(error)) => panic!("restored, and does not open: {error}"),
        (Err(_), Ok(ledger)) => assert_eq!(ledger.tip().number, 0),
        (Err(_), Err(_)) => {}
    }
}

fn try_history(disk: &MemDisk, file: &[u8]) {
    restore(disk, &SPEC, state_file(), None).expect("a sound snapshot");
    let imported = import_archive(disk, &SPEC, &mut Cursor::new(file), &|_| true);
    let ledger = open(disk).expect("it was sound");
    let from = if imported.is_ok() { 0 } else { JOINED_AT + 1 };
    assert_eq!(ledger.snapshot().blocks_from(), from);
    ask(&ledger.snapshot());
}

/// The magic of `file`, then frames with these bodies, each after its length (2
/// bytes): no mutation finds a checksum.
fn framed(file: &[u8], mut bodies: &[u8]) -> Vec<u8> {
    let mut out = file[..16].to_vec();
    while let Some((len, rest)) = bodies.split_first_chunk() {
        let body = &rest[..rest.len().min(usize::from(u16::from_le_bytes(*len)))];
        put(body, &mut out);
        bodies = &rest[body.len()..];
    }
    out
}

/// `file` with some frames changed. Five bytes each: which frame, where in it
/// (3 bytes), and what changes there; nothing: it ends there.
fn edited(file: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bodies = Vec::new();
    let mut rest = &file[16..];
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        bodies.push(after[..len].to_vec());
        rest = &after[len..];
    }
    for [frame, a, b, c, change] in edits.as_chunks().0.iter().copied() {
        let count = bodies.len();
        let body = &mut bodies[usize::from(frame) % count];
        let at = u32::from_le_bytes([a, b, c, 0]) as usize % body.len().max(1);
        match body.get_mut(at) {
            Some(byte) if change != 0 => *byte ^= change,
            _ => body.truncate(at),
        }
    }
    let mut out = file[..16].to_vec();
    bodies.iter().for_each(|body| put(body, &mut out));
    out
}

fn put(body: &[u8], out: &mut Vec<u8>) {
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(crc32fast::hash(body).to_le_bytes());
    out.extend(body);
}
