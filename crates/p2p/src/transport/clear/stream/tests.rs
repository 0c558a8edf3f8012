use futures::{AsyncReadExt as _, AsyncWriteExt as _, executor::block_on};
use proptest::{collection::vec, prelude::*, sample::Index};
use trefoil_crypto::{PeerId, SecretKey};

use super::*;
use crate::transport::clear::frames::{Opener, Sealer};

const OVERHEAD: usize = LENGTH_BYTES + TAG_BYTES;

/// A socket in memory: `input` comes, `output` has left, at most `step` bytes
/// at a time; after `input` the other side is gone.
struct Pipe {
    input: Vec<u8>,
    at: usize,
    output: Vec<u8>,
    step: usize,
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = out.len().min(self.step).min(self.input.len() - self.at);
        out[..count].copy_from_slice(&self.input[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.step);
        self.output.extend(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A stream whose peer sends `input`; `seal` and `open` are the seeds of its keys.
fn stream(input: Vec<u8>, step: usize, seal: u8, open: u8) -> ClearStream<Pipe> {
    let peer = PeerId(SecretKey::from_seed(&[1; 32]).public());
    let (sealer, opener) = (Sealer::new(&[seal; 32]), Opener::new(&[open; 32]));
    let pipe = Pipe { input, at: 0, output: Vec::new(), step };
    ClearStream::new(pipe, ClearSession { peer, sealer, opener })
}

/// The bytes that leave when each of `writes` is written and flushed, then closed.
fn said(writes: &[Vec<u8>], step: usize) -> Vec<u8> {
    let mut stream = stream(vec![], step, 1, 2);
    block_on(async {
        for write in writes {
            stream.write_all(write).await.unwrap();
            stream.flush().await.unwrap();
        }
        stream.close().await.unwrap();
    });
    stream.socket.output
}

/// The bytes that are handed out of `input`, and how it ends.
fn heard(input: Vec<u8>, step: usize) -> (Vec<u8>, io::Result<()>) {
    let (mut stream, mut out) = (stream(input, step, 2, 1), Vec::new());
    let mut buffer = [0; 777];
    block_on(async {
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => return (out, Ok(())),
                Ok(count) => out.extend(&buffer[..count]),
                Err(error) => {
                    assert!(stream.read(&mut buffer).await.is_err(), "it goes on after an error");
                    assert!(stream.write(&buffer).await.is_err(), "it is still written to");
                    assert!(stream.flush().await.is_err());
                    return (out, Err(error));
                }
            }
        }
    })
}

/// The frames in `bytes`.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(length) = bytes.first_chunk() {
        let (frame, rest) = bytes.split_at(frame_bytes(*length));
        frames.push(frame.to_vec());
        bytes = rest;
    }
    frames
}

#[test]
fn a_flush_makes_one_frame_and_a_long_write_frames_of_the_longest() {
    let said = said(&[b"marker".to_vec(), vec![], vec![3; PAYLOAD_MAX + 5]], usize::MAX);
    let lengths: Vec<_> = frames(&said).iter().map(|frame| frame.len() - OVERHEAD).collect();
    assert_eq!(lengths, [6, PAYLOAD_MAX, 5, 0]);
    assert_eq!(&said[LENGTH_BYTES..LENGTH_BYTES + 6], b"marker", "anyone may read it");
}

#[test]
fn nothing_is_read_or_written_after_the_close_frame() {
    let mut said = said(&[b"all".to_vec()], 9);
    said.extend(b"what an attacker appends");
    let (out, end) = heard(said, 9);
    assert_eq!((out.as_slice(), end.is_ok()), (b"all".as_slice(), true));
    let mut stream = stream(vec![], 9, 1, 2);
    block_on(async {
        stream.close().await.unwrap();
        let refused = stream.write(b"more").await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_connection_cut_anywhere_never_looks_finished() {
    let whole = said(&[b"one".to_vec(), b"two".to_vec()], usize::MAX);
    for cut in 0..whole.len() {
        let (out, end) = heard(whole[..cut].to_vec(), usize::MAX);
        assert!(b"onetwo".starts_with(&out));
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
    }
    assert!(heard(whole, usize::MAX).1.is_ok());
}

#[test]
fn what_we_said_ourselves_is_no_answer() {
    let mine = said(&[b"hello".to_vec()], usize::MAX);
    let mut reflected = stream(mine, usize::MAX, 1, 2);
    let error = block_on(reflected.read(&mut [0; 9])).unwrap_err();
    assert!(error.to_string().contains("frame 0 has a wrong tag"), "{error}");
}

/// The attacks of a man in the middle on frames.
#[derive(Clone, Copy, Debug)]
enum Misdeed {
    Flip,
    Drop,
    Repeat,
    Swap,
    Insert,
}

fn misdeed() -> impl Strategy<Value = Misdeed> {
    use Misdeed::*;
    prop_oneof![Just(Flip), Just(Drop), Just(Repeat), Just(Swap), Just(Insert)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_goes_in_comes_out_however_it_is_cut(
        writes in vec(vec(any::<u8>(), 0..3000), 0..20),
        long in 0usize..200_000,
        write_step in 1usize..5000,
        read_step in 1usize..200_000,
    ) {
        let writes = [writes, vec![vec![5; long]]].concat();
        let (out, end) = heard(said(&writes, write_step), read_step);
        prop_assert!(end.is_ok(), "{:?}", end);
        prop_assert_eq!(out, writes.concat());
    }

    #[test]
    fn after_any_misdeed_only_what_came_before_it_is_handed_out(
        writes in vec(vec(any::<u8>(), 1..300), 2..8),
        at in any::<Index>(),
        bit in any::<Index>(),
        what in misdeed(),
    ) {
        let mut frames = frames(&said(&writes, usize::MAX));
        // The last is the close frame.
        let at = at.index(frames.len() - 1);
        match what {
            Misdeed::Flip => {
                let bit = bit.index(frames[at].len() * 8);
                frames[at][bit / 8] ^= 1 << (bit % 8);
            }
            Misdeed::Drop => drop(frames.remove(at)),
            Misdeed::Repeat => frames.insert(at + 1, frames[at].clone()),
            Misdeed::Swap => frames.swap(at, at + 1),
            Misdeed::Insert => frames.insert(at, vec![0; OVERHEAD]),
        }
        let (out, end) = heard(frames.concat(), usize::MAX);
        prop_assert!(end.is_err(), "{what:?} passed");
        let before = if matches!(what, Misdeed::Repeat) { at + 1 } else { at };
        prop_assert_eq!(out, writes[..before].concat());
    }

    #[test]
    fn any_bytes_end_in_an_error(bytes in vec(any::<u8>(), 0..70_000), step in 1usize..5000) {
        let (out, end) = heard(bytes, step);
        prop_assert!(out.is_empty() && end.is_err());
    }
}
