use alloy_primitives::hex;
use proptest::prelude::*;

use super::*;
use crate::transport::clear::frames::{FRAMES_PER_KEY, LENGTH_BYTES, TAG_BYTES};

fn identity(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn static_key(n: u8) -> SignedStaticKey {
    SignedStaticKey::new(&identity(n))
}

fn frame(sealer: &mut Sealer, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&[0; LENGTH_BYTES], payload, &[0; TAG_BYTES]].concat();
    sealer.seal(&mut frame).unwrap();
    frame
}

/// Two sides after an exchange that nobody disturbed: the dialler's, the listener's.
fn sessions(one: &SignedStaticKey, other: &SignedStaticKey) -> (ClearSession, ClearSession) {
    let (initiator, first) = Initiator::new(one);
    let (responder, second) = Responder::new(other, &first).unwrap();
    let (third, dialled) = initiator.finish(one, &second).unwrap();
    (dialled, responder.finish(other, &third).unwrap())
}

#[test]
fn each_side_learns_who_the_other_is_and_their_keys_meet() {
    let (mut a, mut b) = sessions(&static_key(1), &static_key(2));
    assert_eq!(a.peer, PeerId(identity(2).public()));
    assert_eq!(b.peer, PeerId(identity(1).public()));
    for n in 0..3u8 {
        assert_eq!(b.opener.open(&frame(&mut a.sealer, &[n])), Ok(2..3));
        assert_eq!(a.opener.open(&frame(&mut b.sealer, &[n, n])), Ok(2..4));
    }
}

/// The vector `Noise_XX_25519_ChaChaPoly_SHA256` of the cacophony test suite,
/// without its tail of transport messages with an empty associated data but the
/// first of each side.
#[test]
fn the_exchange_is_noise_xx_as_others_have_it() {
    let key = |text| -> [u8; 32] { hex::decode_to_array(text).unwrap() };
    let pair = |initiator, secret, ephemeral| {
        noise(initiator, b"John Galt", &key(secret), Some(&key(ephemeral)))
    };
    let mut states = [
        pair(
            true,
            "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
            "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
        ),
        pair(
            false,
            "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
            "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
        ),
    ];
    let exchange = [
        (
            "Ludwig von Mises",
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444c756477696720766f6e204d69736573",
        ),
        (
            "Murray Rothbard",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f14480884381cbad1f276e038c48378ffce2b65285e08d6b68aaa3629a5a8639392490e5b9bd5269c2f1e4f488ed8831161f19b7815528f8982ffe09be9b5c412f8a0db50f8814c7194e83f23dbd8d162c9326ad",
        ),
        (
            "F. A. Hayek",
            "c7195ffacac1307ff99046f219750fc47693e23c3cb08b89c2af808b444850a80ae475b9df0f169ae80a89be0865b57f58c9fea0d4ec82a286427402f113e4b6ae769a1d95941d49b25030",
        ),
    ];
    for (at, (payload, expected)) in exchange.into_iter().enumerate() {
        let (mut message, mut heard) = ([0; 256], [0; 256]);
        let bytes = states[at % 2].write_message(payload.as_bytes(), &mut message).unwrap();
        assert_eq!(hex::encode(&message[..bytes]), expected);
        let told = states[1 - at % 2].read_message(&message[..bytes], &mut heard).unwrap();
        assert_eq!(&heard[..told], payload.as_bytes());
    }
    let hash = "c8e5f64e846193be2a834104c2a009868d6c9f3bd3c186299888b488b2f1f58e";
    assert_eq!(hex::encode(states[0].get_handshake_hash()), hash);
    // The next message is the responder's, its first: our key and nonce open it.
    let said = [
        ("Carl Menger", "96763ed773f8e47bb3712f0e29b3060ffc956ffc146cee53d5e1df"),
        ("Jean-Baptiste Say", "3e40f15f6f3a46ae446b253bf8b1d9ffb6ed9b174d272328ff91a7e2e5c79c07f5"),
    ];
    for (at, (payload, ciphertext)) in said.into_iter().enumerate() {
        let (_, mut opener) = split(&mut states[at]);
        let mut bytes = hex::decode(ciphertext).unwrap();
        assert_eq!(opener.decrypt(&mut bytes), payload.as_bytes());
    }
}

/// Of the session in `docs/wire.md`: a name in `vectors/wire`, and its bytes.
macro_rules! golden {
    ($name:literal, $bytes:expr) => {
        let text = include_str!(concat!("../../../../../../vectors/wire/clear-", $name, ".hex"));
        let golden: String = text.split_whitespace().collect();
        assert_eq!(hex::encode(&$bytes), golden, "vectors/wire/clear-{}.hex", $name);
    };
}

#[test]
fn a_session_has_the_bytes_that_are_checked_in() {
    let with = |n, secret| SignedStaticKey::with_static(&identity(n), Zeroizing::new([secret; 32]));
    let (one, other) = (with(1, 3), with(2, 4));
    let state = |initiator, static_key: &SignedStaticKey, ephemeral| {
        noise(initiator, PROLOGUE, &static_key.secret, Some(&[ephemeral; 32]))
    };
    let (initiator, first) = Initiator::begin(state(true, &one, 5));
    let (responder, second) = Responder::begin(state(false, &other, 6), &other, &first).unwrap();
    let (third, mut a) = initiator.finish(&one, &second).unwrap();
    let mut b = responder.finish(&other, &third).unwrap();
    golden!("first", first);
    golden!("second", second);
    golden!("third", third);
    golden!("frame-0", frame(&mut a.sealer, b"trefoil"));
    golden!("frame-0-back", frame(&mut b.sealer, b"trefoil"));
    for _ in 1..FRAMES_PER_KEY {
        frame(&mut a.sealer, b"");
    }
    golden!("frame-65536", frame(&mut a.sealer, b"trefoil"));
    golden!("close-65537", frame(&mut a.sealer, b""));
}

#[test]
fn a_message_that_was_altered_in_any_bit_is_refused() {
    let (one, other) = (static_key(1), static_key(2));
    for bit in 0..FIRST_BYTES * 8 {
        let (initiator, mut first) = Initiator::new(&one);
        first[bit / 8] ^= 1 << (bit % 8);
        let (responder, second) = Responder::new(&other, &first).unwrap();
        let answered = initiator.finish(&one, &second);
        // X25519 ignores the highest bit of a key; the transcript does not.
        assert_eq!(answered.err(), Some(HandshakeError::Exchange), "bit {bit}");
        drop(responder);
    }
    for bit in 0..SECOND_BYTES * 8 {
        let (initiator, first) = Initiator::new(&one);
        let (_, mut second) = Responder::new(&other, &first).unwrap();
        second[bit / 8] ^= 1 << (bit % 8);
        let refused = initiator.finish(&one, &second).err();
        assert_eq!(refused, Some(HandshakeError::Exchange), "bit {bit}");
    }
    for bit in 0..THIRD_BYTES * 8 {
        let (initiator, first) = Initiator::new(&one);
        let (responder, second) = Responder::new(&other, &first).unwrap();
        let (mut third, _) = initiator.finish(&one, &second).unwrap();
        third[bit / 8] ^= 1 << (bit % 8);
        let refused = responder.finish(&other, &third).err();
        assert_eq!(refused, Some(HandshakeError::Exchange), "bit {bit}");
    }
}

#[test]
fn a_message_of_another_exchange_is_refused() {
    let (one, other) = (static_key(1), static_key(2));
    let (initiator, first) = Initiator::new(&one);
    let (responder, second) = Responder::new(&other, &first).unwrap();
    let (third, _) = initiator.finish(&one, &second).unwrap();
    // Replayed to both sides while each keeps its part.
    let (initiator, _) = Initiator::new(&one);
    assert_eq!(initiator.finish(&one, &second).err(), Some(HandshakeError::Exchange));
    let (again, _) = Responder::new(&other, &first).unwrap();
    assert_eq!(again.finish(&other, &third).err(), Some(HandshakeError::Exchange));
    assert!(responder.finish(&other, &third).is_ok());
}

/// A peer that knows the exchange and sends any payload within.
fn said_by(rogue: &SignedStaticKey, prologue: &[u8], victim: &SignedStaticKey) -> HandshakeError {
    let mut state = noise(true, prologue, &rogue.secret, None);
    let first = write_message(&mut state, &[]).unwrap();
    let (responder, second) = Responder::new(victim, &first).unwrap();
    let mut told = [0; 256];
    if state.read_message(&second, &mut told).is_err() {
        return HandshakeError::Exchange;
    }
    let third = write_message(&mut state, &rogue.payload).unwrap();
    responder.finish(victim, &third).err().expect("it is refused")
}

#[test]
fn nobody_passes_for_whom_he_knows_only_by_name() {
    let (honest, me) = (static_key(1), static_key(2));
    let mallory = static_key(3);
    let named = HandshakeError::Signature(PeerId(identity(1).public()));
    // The victim's payload, as it sends it to any peer that asks: it signs another
    // static key.
    let stolen = SignedStaticKey { payload: honest.payload, ..static_key(3) };
    assert_eq!(said_by(&stolen, PROLOGUE, &me), named);
    // The victim's name over one's own signature.
    let mut payload = mallory.payload;
    payload[..32].copy_from_slice(&honest.payload[..32]);
    let posing = SignedStaticKey { payload, ..static_key(3) };
    assert_eq!(said_by(&posing, PROLOGUE, &me), named);
    // libp2p's Noise signs the same key under another name.
    let (secret, public) = (mallory.secret.clone(), public_of(&mallory.secret));
    let keypair = crate::transport::libp2p_types::keypair(&identity(3));
    let domain: [&[u8]; 2] = [b"noise-libp2p-static-key:", &public];
    let mut payload = mallory.payload;
    payload[32..].copy_from_slice(&keypair.sign(&domain.concat()).unwrap());
    let borrowed = SignedStaticKey { payload, secret, me: mallory.me };
    let refused = said_by(&borrowed, PROLOGUE, &me);
    assert_eq!(refused, HandshakeError::Signature(PeerId(identity(3).public())));
    // Another protocol's exchange.
    assert_eq!(said_by(&mallory, b"", &me), HandshakeError::Exchange);
    // Our own key, wherever it comes from: reflection.
    assert_eq!(said_by(&static_key(2), PROLOGUE, &me), HandshakeError::OwnIdentity);
}

#[test]
fn a_key_of_small_order_gives_nobody_a_session() {
    let me = static_key(2);
    for first in [[0; FIRST_BYTES], hex::decode_to_array(SMALL_ORDER).unwrap()] {
        let (responder, _) = Responder::new(&me, &first).unwrap();
        let refused = responder.finish(&me, &[0; THIRD_BYTES]).err();
        assert_eq!(refused, Some(HandshakeError::Exchange));
    }
}

const SMALL_ORDER: &str = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";

proptest! {
    #[test]
    fn no_bytes_are_taken_for_an_exchange(
        first in any::<[u8; FIRST_BYTES]>(),
        rest in proptest::collection::vec(any::<u8>(), SECOND_BYTES + THIRD_BYTES),
    ) {
        let me = static_key(2);
        let (second, third) = rest.split_first_chunk().unwrap();
        let (initiator, _) = Initiator::new(&me);
        prop_assert!(initiator.finish(&me, second).is_err());
        if let Ok((responder, _)) = Responder::new(&me, &first) {
            prop_assert!(responder.finish(&me, third.try_into().unwrap()).is_err());
        }
        let payload = *rest.first_chunk().unwrap();
        prop_assert!(verify_identity(&payload, &first).is_err());
    }
}
