//! The id of a resource: its BLAKE3 root and its kind, printed as a CIDv1.
//!
//! Codes are those of <https://github.com/multiformats/multicodec> (table.csv).

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;

use crate::varint;

/// `blake3`, as a multihash, and its length.
const BLAKE3: u64 = 0x1e;
const DIGEST_BYTES: u64 = 32;
/// Multibase: base 32, lower case, no padding.
const BASE32_PREFIX: char = 'b';

/// By its codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// `raw`: plain bytes.
    File = 0x55,
    // The table has no code for a list of names and BLAKE3 roots.
    /// Of the range for private use (0x300000 to 0x3fffff): the bytes are a
    /// [`crate::Manifest`].
    Directory = 0x30_7466,
    /// Of the same range: an age file of a tar (ADR 23), a file or directory that only
    /// holders of some keys can read. To all others it is a file.
    Sealed = 0x30_7467,
}

impl ResourceKind {
    const ALL: [Self; 3] = [Self::File, Self::Directory, Self::Sealed];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId {
    pub kind: ResourceKind,
    pub root: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("a content id starts with 'b' and is base 32 in lower case")]
    NotBase32,
    #[error("this content id is not a CIDv1 of a BLAKE3 root: nothing here can verify it")]
    NotBlake3,
    #[error(
        "content of codec {0:#x}: only files (0x55), directories (0x307466) and what is sealed (0x307467) are known"
    )]
    UnknownCodec(u64),
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![1];
        for number in [self.kind as u64, BLAKE3, DIGEST_BYTES] {
            varint::put(&mut bytes, number);
        }
        bytes.extend(self.root);
        write!(f, "{BASE32_PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for ContentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix(BASE32_PREFIX).ok_or(IdError::NotBase32)?;
        // An id has 58 or 63 digits. Longer text is not decoded at all.
        if digits.len() > 80 || digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(IdError::NotBase32);
        }
        let bytes = BASE32_NOPAD.decode(digits.to_ascii_uppercase().as_bytes());
        let bytes = bytes.map_err(|_| IdError::NotBase32)?;
        let rest = &mut &bytes[..];
        if varint::take(rest) != Some(1) {
            return Err(IdError::NotBlake3);
        }
        let codec = varint::take(rest).ok_or(IdError::NotBlake3)?;
        if varint::take(rest) != Some(BLAKE3) || varint::take(rest) != Some(DIGEST_BYTES) {
            return Err(IdError::NotBlake3);
        }
        let root = <[u8; 32]>::try_from(*rest).map_err(|_| IdError::NotBlake3)?;
        let kind = ResourceKind::ALL.into_iter().find(|kind| *kind as u64 == codec);
        Ok(Self { kind: kind.ok_or(IdError::UnknownCodec(codec))?, root })
    }
}
