//! The wire after the key exchange: each frame in the clear, with a tag over it.
//!
//! A frame is a Noise transport message whose plaintext is empty and whose associated data
//! is the frame itself. It is sealed with ChaCha20-Poly1305 under the direction's key. The
//! nonce is the frame's number.
//!
//! What always holds:
//! - No nonce is used twice under a key.
//! - A key serves [`FRAMES_PER_KEY`] frames, then Noise's `REKEY` makes the next.
//! - A payload is handed out only after its tag was checked. After a tag that fails nothing
//!   is handed out any more.

use std::ops::Range;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Before the payload: its length, big endian. Every length fits in the
/// receiver's one buffer, so none can make it take memory.
pub const LENGTH_BYTES: usize = 2;

/// After the payload.
pub const TAG_BYTES: usize = 16;

/// The longest payload: the largest number in [`LENGTH_BYTES`].
pub const PAYLOAD_MAX: usize = u16::MAX as usize;

/// The longest frame.
pub const FRAME_MAX: usize = LENGTH_BYTES + PAYLOAD_MAX + TAG_BYTES;

/// Frames under one key: at most 4 GiB.
// A rekey encrypts 32 bytes: one in so many frames costs nothing beside their tags.
pub const FRAMES_PER_KEY: u64 = 1 << 16;

/// The number that no frame has: Noise uses it to make the next key.
const REKEY_NUMBER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClearFrameError {
    #[error(
        "frame {0} has a wrong tag: it was altered, lost, repeated or moved on the way; dial again"
    )]
    Forged(u64),
    #[error("the numbers of frames are used up; dial again")]
    Exhausted,
}

/// A direction's key and the number of its next frame.
struct Chain {
    key: LessSafeKey,
    number: u64,
}

/// Closes frames of one direction.
pub struct Sealer(Chain);

/// Opens frames of the other.
pub struct Opener(Chain);

impl Chain {
    fn new(key: &[u8; 32]) -> Self {
        Self { key: keyed(key), number: 0 }
    }

    /// The nonce of the next frame, under the key that it belongs to.
    fn advance(&mut self) -> Result<Nonce, ClearFrameError> {
        let number = self.number;
        let next = number.checked_add(1).ok_or(ClearFrameError::Exhausted)?;
        if number > 0 && number.is_multiple_of(FRAMES_PER_KEY) {
            self.rekey();
        }
        self.number = next;
        Ok(nonce(number))
    }

    /// Noise's `REKEY`: the first 32 bytes of zeros encrypted under the number
    /// that no frame has. An attacker who learns a key learns none of those before it.
    fn rekey(&mut self) {
        let mut next = [0; 32];
        let _tag = self
            .key
            .seal_in_place_separate_tag(nonce(REKEY_NUMBER), Aad::empty(), &mut next)
            .expect("32 bytes are not too long");
        self.key = keyed(&next);
    }
}

impl Sealer {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Chain::new(key))
    }

    /// Completes a frame whose payload is in place: writes the length before
    /// it and the tag after it.
    ///
    /// # Errors
    /// [`ClearFrameError::Exhausted`].
    ///
    /// # Panics
    /// If `frame` is shorter than [`frame_bytes`] of an empty payload or
    /// longer than [`FRAME_MAX`]: the caller's mistake.
    pub fn seal(&mut self, frame: &mut [u8]) -> Result<(), ClearFrameError> {
        let (signed, tag) = frame.split_at_mut(frame.len() - TAG_BYTES);
        let length = u16::try_from(signed.len() - LENGTH_BYTES).expect("at most FRAME_MAX");
        signed[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        let nonce = self.0.advance()?;
        let sealed = self.0.key.seal_in_place_separate_tag(nonce, Aad::from(&*signed), &mut []);
        tag.copy_from_slice(sealed.expect("a frame is not too long").as_ref());
        Ok(())
    }
}

impl Opener {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Chain::new(key))
    }

    /// Checks one whole frame, as long as its length says ([`frame_bytes`]),
    /// and returns where its payload is.
    ///
    /// # Errors
    /// A wrong tag. The frame's number is spent: no other can follow.
    ///
    /// # Panics
    /// If `frame` is shorter than [`frame_bytes`] of an empty payload.
    pub fn open(&mut self, frame: &[u8]) -> Result<Range<usize>, ClearFrameError> {
        let end = frame.len() - TAG_BYTES;
        let mut tag: [u8; TAG_BYTES] = frame[end..].try_into().expect("the rest is a tag");
        let number = self.0.number;
        let nonce = self.0.advance()?;
        match self.0.key.open_in_place(nonce, Aad::from(&frame[..end]), &mut tag) {
            Ok(_) => Ok(LENGTH_BYTES..end),
            Err(_) => Err(ClearFrameError::Forged(number)),
        }
    }
}

/// How long a frame is that begins with `length`.
pub fn frame_bytes(length: [u8; LENGTH_BYTES]) -> usize {
    LENGTH_BYTES + usize::from(u16::from_be_bytes(length)) + TAG_BYTES
}

fn keyed(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes are a key"))
}

/// Noise's form of a number as ChaCha20-Poly1305's nonce.
fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests;
