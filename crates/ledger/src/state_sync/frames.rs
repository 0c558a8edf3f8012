//! The frames of both files: a magic, then frames, each with a length, a checksum and a
//! body whose first byte is its kind. Read and written one frame at a time.

use std::io::{ErrorKind, Read, Write};

use alloy_rlp::Decodable;

use super::error::JoinError;

/// Length and checksum, bytes.
const HEADER_BYTES: usize = 8;

/// A kind of file.
#[derive(Debug)]
pub(super) struct FileKind {
    /// The first bytes of a file: its name and the version of its layout.
    pub magic: [u8; 16],
    /// Its name in an error.
    pub name: &'static str,
    // Attack: a frame of gigabytes, of a kind that takes kilobytes in an honest file. A frame is
    // read into memory whole before anything of it is verified.
    /// The longest body of a frame of a kind, bytes; 0: there is no such kind.
    pub longest: fn(u8) -> usize,
}

#[derive(Debug)]
pub(super) struct FrameWriter<W> {
    to: W,
    of: &'static FileKind,
}

impl<W: Write> FrameWriter<W> {
    pub fn begin(mut to: W, of: &'static FileKind) -> Result<Self, JoinError> {
        to.write_all(&of.magic)?;
        Ok(Self { to, of })
    }

    pub fn put(&mut self, kind: u8, rest: &[u8]) -> Result<(), JoinError> {
        let len = 1 + rest.len();
        if len > (self.of.longest)(kind) {
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
    of: &'static FileKind,
    /// Where the next frame begins.
    offset: u64,
    /// Where the frame in `body` begins.
    at: u64,
    body: Vec<u8>,
    /// The frame in `body` was only looked at.
    peeked: bool,
}

impl<R: Read> FrameReader<R> {
    pub fn begin(mut from: R, of: &'static FileKind) -> Result<Self, JoinError> {
        let mut found = [0; 16];
        match from.read_exact(&mut found) {
            Err(e) if e.kind() != ErrorKind::UnexpectedEof => return Err(e.into()),
            Ok(()) if found == of.magic => {}
            _ => return Err(JoinError::NotOurs { wanted: of.name }),
        }
        Ok(Self { from, of, offset: found.len() as u64, at: 0, body: Vec::new(), peeked: false })
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
        let mut header = [0; HEADER_BYTES + 1];
        self.from.read_exact(&mut header).map_err(|e| self.ended(e))?;
        let [a, b, c, d, crc @ .., kind] = header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let longest = (self.of.longest)(kind);
        if longest == 0 {
            return Err(self.damaged("a record of an unknown kind"));
        }
        if len == 0 || len > longest {
            return Err(self.damaged("a record longer than any node writes"));
        }
        self.body.clear();
        self.body.push(kind);
        // Takes memory for the bytes that arrive, not for those that the length claims.
        self.from.by_ref().take(len as u64 - 1).read_to_end(&mut self.body)?;
        if self.body.len() < len {
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
