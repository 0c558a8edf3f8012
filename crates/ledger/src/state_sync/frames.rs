//! The frames of both files: a magic, then frames, each with a length, a checksum and a
//! body whose first byte is its kind. Read and written one frame at a time.

use std::io::{ErrorKind, Read, Write};

use alloy_rlp::Decodable;

use super::error::JoinError;

// Attack: a file whose length claims a frame of 4 GiB. A block takes at most 8 MiB of the 64.
// Receipts of 56 MiB take 470 million gas of nothing but log data (8 gas a byte).
/// The longest body of a frame, bytes (64 MiB): a block with its receipts.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Length and checksum, bytes.
const HEADER_BYTES: usize = 8;

/// The first bytes of a file: its name and the version of its layout.
pub(super) type Magic = [u8; 16];

#[derive(Debug)]
pub(super) struct FrameWriter<W> {
    to: W,
}

impl<W: Write> FrameWriter<W> {
    pub fn begin(mut to: W, magic: &Magic) -> Result<Self, JoinError> {
        to.write_all(magic)?;
        Ok(Self { to })
    }

    pub fn put(&mut self, kind: u8, rest: &[u8]) -> Result<(), JoinError> {
        let len = 1 + rest.len();
        if len > BODY_BYTES_MAX {
            return Err(JoinError::Missing(format!("a record of {len} bytes is too long")));
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&[kind]);
        crc.update(rest);
        self.to.write_all(&(len as u32).to_le_bytes())?;
        self.to.write_all(&crc.finalize().to_le_bytes())?;
        self.to.write_all(&[kind])?;
        Ok(self.to.write_all(rest)?)
    }

    pub fn finish(mut self) -> Result<(), JoinError> {
        Ok(self.to.flush()?)
    }
}

#[derive(Debug)]
pub(super) struct FrameReader<R> {
    from: R,
    /// Where the next frame begins.
    offset: u64,
    /// Where the frame in `body` begins.
    at: u64,
    body: Vec<u8>,
    /// The frame in `body` was only looked at.
    peeked: bool,
}

impl<R: Read> FrameReader<R> {
    /// `wanted` names the kind of file that is expected, for the error.
    pub fn begin(mut from: R, magic: &Magic, wanted: &'static str) -> Result<Self, JoinError> {
        let mut found = Magic::default();
        match from.read_exact(&mut found) {
            Err(e) if e.kind() != ErrorKind::UnexpectedEof => return Err(e.into()),
            Ok(()) if found == *magic => {}
            _ => return Err(JoinError::NotOurs { wanted }),
        }
        Ok(Self { from, offset: magic.len() as u64, at: 0, body: Vec::new(), peeked: false })
    }

    /// The next frame: its kind, and the rest of its body.
    pub fn next(&mut self) -> Result<(u8, &[u8]), JoinError> {
        if !std::mem::take(&mut self.peeked) {
            self.read()?;
        }
        Ok((self.body[0], self.body()))
    }

    /// The kind of the next frame.
    pub fn peek(&mut self) -> Result<u8, JoinError> {
        if !self.peeked {
            self.read()?;
            self.peeked = true;
        }
        Ok(self.body[0])
    }

    /// The rest of the body of the frame read last.
    pub fn body(&self) -> &[u8] {
        &self.body[1..]
    }

    fn read(&mut self) -> Result<(), JoinError> {
        self.at = self.offset;
        let mut header = [0; HEADER_BYTES];
        self.from.read_exact(&mut header).map_err(|e| self.ended(e))?;
        let [a, b, c, d, crc @ ..] = header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len == 0 || len > BODY_BYTES_MAX {
            return Err(self.damaged("a length"));
        }
        self.body.clear();
        // Takes memory for the bytes that arrive, not for those that the length claims.
        let read = self.from.by_ref().take(len as u64).read_to_end(&mut self.body)?;
        if read < len {
            return Err(JoinError::Truncated { offset: self.at });
        }
        // Against accidents only (a torn download, a bad disk): it names the place. A
        // forgery is refused by the proofs.
        if crc32fast::hash(&self.body) != u32::from_le_bytes(crc) {
            return Err(self.damaged("a checksum"));
        }
        self.offset += (HEADER_BYTES + len) as u64;
        Ok(())
    }

    /// The next frame, which must be of this kind.
    pub fn expect(&mut self, kind: u8) -> Result<&[u8], JoinError> {
        let found = self.next()?.0;
        match found == kind {
            true => Ok(self.body()),
            false => Err(self.damaged("a record out of order")),
        }
    }

    /// The next frame, of this kind, as one value.
    pub fn decode<T: Decodable>(&mut self, kind: u8) -> Result<T, JoinError> {
        let value = alloy_rlp::decode_exact(self.expect(kind)?);
        value.map_err(|_| self.damaged("a record that cannot be decoded"))
    }

    /// An error: the frame read last makes no sense.
    pub fn damaged(&self, why: &'static str) -> JoinError {
        JoinError::Damaged { offset: self.at, why }
    }

    // One state has one file: bytes after its end would give it another id.
    /// Checks that nothing follows.
    pub fn finish(mut self) -> Result<(), JoinError> {
        match self.from.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(JoinError::Damaged { offset: self.offset, why: "bytes after its end" }),
        }
    }

    fn ended(&self, error: std::io::Error) -> JoinError {
        match error.kind() {
            ErrorKind::UnexpectedEof => JoinError::Truncated { offset: self.at },
            _ => error.into(),
        }
    }
}
