//! The address book's file, whose checksum is made to fit: refused, or a book
//! that is sound, can be used, and is written as it is read.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use trefoil_p2p::address_book_file;
use trefoil_types::{Time, keccak256};

fuzz_target!(|body: &[u8]| {
    let mut bytes = [b"trefoil/peers/2\n", body].concat();
    let checksum = keccak256(&bytes);
    bytes.extend_from_slice(checksum.as_slice());
    let Ok(mut book) = address_book_file::decode(&bytes, [1; 32]) else { return };
    let written = address_book_file::encode(&book);
    let again = address_book_file::decode(&written, [1; 32]).expect("our own file");
    assert_eq!(address_book_file::encode(&again), written);
    if let Some(found) = book.pick(Time(u64::MAX / 2), &BTreeSet::new()) {
        book.dialled(found.address, Time(u64::MAX / 2));
        book.failed(found.address);
    }
    if let Some(found) = book.pick_old(Time(u64::MAX / 2), &BTreeSet::new()) {
        book.wrong_peer(found.address);
    }
});
