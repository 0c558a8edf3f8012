//! Frames of yamux, as far as a row of bytes shows where one ends and the next begins.

use std::io;

const HEADER_BYTES: usize = 12;
const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
/// The flag of a stream's first frame.
const SYN: u16 = 1;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MuxFrame {
    pub stream: u32,
    /// Whether it opens its stream.
    pub opens: bool,
    /// Bytes of its body, which only data has.
    pub body: usize,
}

/// Where one frame ends and the next begins in a row of bytes.
#[derive(Debug, Default)]
pub(crate) struct FrameBoundaries {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that are here.
    have: usize,
    /// Bytes of the body that are still to come, and its stream.
    left: usize,
    stream: u32,
}

impl FrameBoundaries {
    /// Whether the next byte begins a frame.
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Passes over bytes. `begin` sees each header, `body` how many bytes of a stream's body passed.
    ///
    /// # Errors
    /// Those of `begin`.
    pub fn pass(
        &mut self,
        mut bytes: &[u8],
        mut begin: impl FnMut(MuxFrame) -> io::Result<()>,
        mut body: impl FnMut(u32, usize),
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let step = match self.left {
                0 => bytes.len().min(HEADER_BYTES - self.have),
                left => bytes.len().min(left),
            };
            let (now, rest) = bytes.split_at(step);
            bytes = rest;
            if self.left > 0 {
                self.left -= step;
                body(self.stream, step);
                continue;
            }
            self.header[self.have..self.have + step].copy_from_slice(now);
            self.have += step;
            if self.have == HEADER_BYTES {
                self.have = 0;
                let frame = MuxFrame::decode(&self.header);
                begin(frame)?;
                (self.left, self.stream) = (frame.body, frame.stream);
            }
        }
        Ok(())
    }
}

impl MuxFrame {
    fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [_, kind, flags @ .., a, b, c, d, e, f, g, h] = *bytes;
        let length = u32::from_be_bytes([e, f, g, h]) as usize;
        Self {
            stream: u32::from_be_bytes([a, b, c, d]),
            opens: u16::from_be_bytes(flags) & SYN != 0 && matches!(kind, DATA | WINDOW_UPDATE),
            // Of other frames it is a credit or a number.
            body: if kind == DATA { length } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with a body of `length` bytes, if it has one.
    fn frame(kind: u8, flags: u8, stream: u32, length: u32) -> Vec<u8> {
        let mut bytes = vec![0, kind, 0, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.resize(12 + if kind == DATA { length as usize } else { 0 }, 7);
        bytes
    }

    #[test]
    fn frames_are_told_apart_however_their_bytes_come() {
        let all = [
            frame(WINDOW_UPDATE, 1, 3, 70_000),
            frame(DATA, 1, 5, 0),
            frame(DATA, 0, 3, 100),
            frame(2, 1, 0, 9),
            frame(DATA, 4, 5, 33),
        ];
        let seen = |stream, opens, body| MuxFrame { stream, opens, body };
        let wanted = [
            seen(3, true, 0),
            seen(5, true, 0),
            seen(3, false, 100),
            seen(0, false, 0),
            seen(5, false, 33),
        ];
        let all = all.concat();
        for step in 1..=all.len() {
            let (mut boundaries, mut found) = (FrameBoundaries::default(), vec![]);
            let mut bodies = [0; 6];
            for bytes in all.chunks(step) {
                let begin = |frame| {
                    found.push(frame);
                    Ok(())
                };
                let body = |stream: u32, bytes| bodies[stream as usize] += bytes;
                boundaries.pass(bytes, begin, body).unwrap();
            }
            assert_eq!((&found[..], bodies), (&wanted[..], [0, 0, 0, 100, 0, 33]), "{step}");
            assert!(boundaries.is_between());
        }
    }
}
