//! `/trefoil/clear/1` from a peer that says what it likes: no bytes make an
//! exchange or an identity, and of frames only those that were sealed, in
//! their places, are handed out.
#![no_main]

use std::sync::LazyLock;

use futures::{AsyncReadExt as _, executor::block_on};
use libfuzzer_sys::fuzz_target;
use trefoil_crypto::{PeerId, SecretKey};
use trefoil_p2p::clear::{
    frames::{LENGTH_BYTES, Opener, Sealer, TAG_BYTES},
    handshake::{ClearSession, Initiator, Responder, SignedStaticKey, verify_identity},
    stream::ClearStream,
};

static ME: LazyLock<SignedStaticKey> = LazyLock::new(|| SignedStaticKey::new(&identity()));

fn identity() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => {
            let (first, rest) = padded(rest);
            if let Ok((responder, _)) = Responder::new(&ME, &first) {
                assert!(responder.finish(&ME, &padded(rest).0).is_err());
            }
        }
        1 => {
            let (initiator, _) = Initiator::new(&ME);
            assert!(initiator.finish(&ME, &padded(rest).0).is_err());
        }
        2 => {
            let (payload, rest) = padded(rest);
            assert!(verify_identity(&payload, rest).is_err());
        }
        _ => frames(rest),
    }
});

/// The next `N` bytes, zeros where there are no more, and the rest.
fn padded<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (taken, rest) = bytes.split_at(bytes.len().min(N));
    let mut array = [0; N];
    array[..taken.len()].copy_from_slice(taken);
    (array, rest)
}

/// Pieces of a wire, each after its length: every eighth length is of bytes
/// that nobody sealed, the others of payloads. No mutation finds a tag.
fn frames(mut pieces: &[u8]) {
    let key = [7; 32];
    let mut sealer = Sealer::new(&key);
    let (mut wire, mut sealed) = (Vec::<u8>::new(), Vec::<u8>::new());
    let (mut sound, mut closed) = (true, false);
    while let Some((length, rest)) = pieces.split_first() {
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        pieces = rest;
        if length % 8 == 7 {
            sound &= closed || piece.is_empty();
            wire.extend(piece);
            continue;
        }
        if sound && !closed {
            sealed.extend(piece);
            closed = piece.is_empty();
        }
        let mut frame = [&[0; LENGTH_BYTES], piece, &[0; TAG_BYTES]].concat();
        sealer.seal(&mut frame).expect("numbers are left");
        wire.extend(frame);
    }
    let peer = PeerId(identity().public());
    let session = ClearSession { peer, sealer: Sealer::new(&[8; 32]), opener: Opener::new(&key) };
    let mut heard = Vec::new();
    let end = block_on(ClearStream::new(wire.as_slice(), session).read_to_end(&mut heard));
    assert_eq!(heard, sealed);
    assert_eq!(end.is_ok(), closed);
}
