use proptest::{collection::vec, prelude::*};

use super::*;

const KEY: [u8; 32] = [7; 32];

impl Opener {
    /// A whole Noise transport message, for vectors that encrypt.
    pub(crate) fn decrypt<'a>(&mut self, message: &'a mut [u8]) -> &'a [u8] {
        let nonce = self.0.advance().unwrap();
        self.0.key.open_in_place(nonce, Aad::empty(), message).expect("a good tag")
    }
}

fn sealed(sealer: &mut Sealer, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&[0; LENGTH_BYTES], payload, &[0; TAG_BYTES]].concat();
    sealer.seal(&mut frame).unwrap();
    frame
}

#[test]
fn a_payload_is_readable_between_its_length_and_its_tag() {
    let frame = sealed(&mut Sealer::new(&KEY), b"marker");
    assert_eq!(&frame[..8], b"\x00\x06marker");
    assert_eq!(frame_bytes([0, 6]), frame.len());
    assert_eq!(Opener::new(&KEY).open(&frame), Ok(2..8));
    let longest = sealed(&mut Sealer::new(&KEY), &vec![1; PAYLOAD_MAX]);
    assert_eq!((longest.len(), frame_bytes([0xff; 2])), (FRAME_MAX, FRAME_MAX));
    assert_eq!(Opener::new(&KEY).open(&longest), Ok(2..2 + PAYLOAD_MAX));
}

/// The tag, from RFC 8439's own construction with an empty plaintext.
#[test]
fn the_tag_is_an_aead_tag_under_the_frames_number() {
    let mut sealer = Sealer::new(&KEY);
    sealed(&mut sealer, b"first");
    let frame = sealed(&mut sealer, b"second");
    let mut nonce = [0; 12];
    nonce[4] = 1;
    let tag = keyed(&KEY)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(b"\x00\x06second"),
            &mut [],
        )
        .unwrap();
    assert_eq!(&frame[8..], tag.as_ref());
}

#[test]
fn each_key_serves_its_frames_and_both_sides_change_it_together() {
    let (mut sealer, mut opener) = (Sealer::new(&KEY), Opener::new(&KEY));
    for number in 0..FRAMES_PER_KEY {
        assert!(opener.open(&sealed(&mut sealer, &[])).is_ok(), "frame {number}");
    }
    let first = sealed(&mut sealer, &[]);
    // The same number under the old key is another tag.
    let nonce = nonce(FRAMES_PER_KEY);
    let tag = keyed(&KEY).seal_in_place_separate_tag(nonce, Aad::from(&[0, 0]), &mut []).unwrap();
    assert_ne!(&first[LENGTH_BYTES..], tag.as_ref());
    assert_eq!(opener.open(&first), Ok(2..2));
    assert_eq!(opener.open(&sealed(&mut sealer, b"on")), Ok(2..4));
}

#[test]
fn no_frame_has_the_number_that_makes_keys() {
    let mut sealer = Sealer::new(&KEY);
    sealer.0.number = u64::MAX - 1;
    let mut frame = [0; LENGTH_BYTES + TAG_BYTES];
    assert_eq!(sealer.seal(&mut frame), Ok(()));
    assert_eq!(sealer.seal(&mut frame), Err(ClearFrameError::Exhausted));
    assert_eq!(sealer.seal(&mut frame), Err(ClearFrameError::Exhausted));
    let mut opener = Opener::new(&KEY);
    opener.0.number = u64::MAX;
    assert_eq!(opener.open(&frame), Err(ClearFrameError::Exhausted));
}

#[test]
fn a_frame_passes_once_in_its_place_and_its_direction() {
    let mut sealer = Sealer::new(&KEY);
    let frames: Vec<_> = (0..3).map(|n| sealed(&mut sealer, &[n])).collect();
    let heard = |order: &[usize]| {
        let mut opener = Opener::new(&KEY);
        order.iter().map(|at| opener.open(&frames[*at]).map(|_| ())).collect::<Result<Vec<_>, _>>()
    };
    assert!(heard(&[0, 1, 2]).is_ok());
    assert_eq!(heard(&[1]), Err(ClearFrameError::Forged(0)), "dropped");
    assert_eq!(heard(&[0, 0]), Err(ClearFrameError::Forged(1)), "repeated");
    assert_eq!(heard(&[0, 2, 1]), Err(ClearFrameError::Forged(1)), "moved");
    assert_eq!(heard(&[0, 1, 2, 0]), Err(ClearFrameError::Forged(3)), "replayed");
    let mut other = Opener::new(&[8; 32]);
    assert_eq!(other.open(&frames[0]), Err(ClearFrameError::Forged(0)), "reflected");
}

proptest! {
    #[test]
    fn any_flipped_bit_is_noticed(payload in vec(any::<u8>(), 0..300), bit in any::<usize>()) {
        let mut frame = sealed(&mut Sealer::new(&KEY), &payload);
        let bit = bit % (frame.len() * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Opener::new(&KEY).open(&frame), Err(ClearFrameError::Forged(0)));
    }

    #[test]
    fn no_bytes_are_taken_for_a_frame(bytes in vec(any::<u8>(), LENGTH_BYTES + TAG_BYTES..400)) {
        prop_assert_eq!(Opener::new(&KEY).open(&bytes), Err(ClearFrameError::Forged(0)));
    }
}
