//! Frames: `u32 length ‖ bytes`, where the first byte is a message's type or a
//! control frame's.

use std::{
    io,
    time::{Duration, Instant},
};

use alloy_primitives::bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{timeout, timeout_at};
use trefoil_types::{Message, MessageError, message_rule};

use crate::{
    connection::{
        budget::FrameRoom,
        hello::{Hello, HelloError},
    },
    discovery::peer_record::{self, PeerRecord, RECORD_BYTES_MAX, RECORDS_MAX, RecordError},
};

/// Control frames are of this type or higher; messages are of lower ones.
const CONTROL_MIN: u8 = 0xF0;
const HELLO: u8 = 0xF0;
const WELCOME: u8 = 0xF1;
const REFUSAL: u8 = 0xF2;
const PING: u8 = 0xF3;
const GET_PEERS: u8 = 0xF4;
const PEERS: u8 = 0xF5;

/// The longest control frame, bytes: all that is read of a peer before it is
/// admitted.
// Whoever proved any identity comes so far, and identities are free: so it buys 512 bytes of
// memory and not 9 MiB.
pub const CONTROL_BYTES_MAX: usize = 512;

/// The longest reason of a refusal, bytes.
pub const REASON_BYTES_MAX: usize = 400;

/// Memory is taken in steps of this many bytes, as they arrive.
// Attack: a length of 9 MiB and then nothing. Claimed bytes cost the node no memory and no other
// peer its room, sent ones cost the attacker as much.
const READ_STEP_BYTES: usize = 64 * 1024;

/// A frame that has begun must be as far as [`SLOWEST_BYTES`] a second, but for this time.
// Attack: all of a large frame but its last byte, so that its memory is held for as long as
// the connection; or a large frame byte by byte, so that block sync waits for it.
pub(crate) const BODY_GRACE: Duration = Duration::from_secs(10);
const SLOWEST_BYTES: usize = 64 * 1024;

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneFrame {
    Control(Control),
    Message(Message),
}

/// What two nodes say about their connection, on the consensus lane; and about
/// other nodes, on the gossip lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    Hello(Hello),
    /// The sender takes this connection.
    Welcome,
    /// The sender does not, and why.
    Refusal(String),
    /// The sender is there.
    Ping,
    /// Who else is there? On the gossip lane, once.
    GetPeers,
    /// The answer: what others signed, as the sender knows it.
    Peers(Vec<PeerRecord>),
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {bytes} bytes where at most {max} are allowed")]
    TooLarge { bytes: usize, max: usize },
    #[error("an empty frame")]
    Empty,
    #[error("a control frame of unknown type {0:#x}")]
    UnknownControl(u8),
    #[error("a control frame of type {0:#x} with a wrong body")]
    ControlBody(u8),
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// Why reading a frame ended.
#[derive(Debug, thiserror::Error)]
pub enum FrameReadError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("closed by the peer")]
    Closed,
    #[error("nothing heard for {0:?}")]
    Silence(Duration),
    #[error("of a frame of {bytes} bytes only {read} came within {limit:?}")]
    Slow { bytes: usize, read: usize, limit: Duration },
    #[error("connection lost: {0}")]
    Io(io::Error),
}

impl LaneFrame {
    /// Decodes the bytes of one frame, without its length.
    ///
    /// # Errors
    /// When they are neither a control frame nor a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        match bytes.first() {
            None => Err(FrameError::Empty),
            Some(&kind) if kind >= CONTROL_MIN => {
                Control::decode(kind, &bytes[1..]).map(Self::Control)
            }
            Some(_) => Ok(Self::Message(Message::decode(bytes)?)),
        }
    }
}

impl Control {
    /// The whole frame, with its length.
    pub fn encode(&self) -> Bytes {
        let (kind, body) = match self {
            Self::Hello(hello) => (HELLO, hello.encode()),
            Self::Welcome => (WELCOME, vec![]),
            Self::Refusal(reason) => (REFUSAL, printable(reason).into_bytes()),
            Self::Ping => (PING, vec![]),
            Self::GetPeers => (GET_PEERS, vec![]),
            Self::Peers(records) => (PEERS, peer_record::encode_all(records)),
        };
        with_length(&[&[kind], body.as_slice()].concat())
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, FrameError> {
        match (kind, body) {
            (HELLO, body) => Ok(Self::Hello(Hello::decode(body)?)),
            (WELCOME, []) => Ok(Self::Welcome),
            (PING, []) => Ok(Self::Ping),
            (GET_PEERS, []) => Ok(Self::GetPeers),
            (PEERS, body) => Ok(Self::Peers(peer_record::decode_all(body)?)),
            (REFUSAL, body) if body.len() <= REASON_BYTES_MAX => {
                Ok(Self::Refusal(printable(&String::from_utf8_lossy(body))))
            }
            (WELCOME | PING | GET_PEERS | REFUSAL, _) => Err(FrameError::ControlBody(kind)),
            _ => Err(FrameError::UnknownControl(kind)),
        }
    }
}

/// A peer's words as they may go into a log and a terminal: printable ASCII, bounded.
// Attack: escape sequences that move the operator's cursor, and line breaks that forge entries.
fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(REASON_BYTES_MAX).map(clean).collect()
}

/// The whole frame of a message, with its length: encoded once, shared by all
/// whom it is for.
pub(crate) fn of_message(message: &Message) -> Bytes {
    with_length(&message.encode())
}

fn with_length(bytes: &[u8]) -> Bytes {
    let length = u32::try_from(bytes.len()).expect("our own frames are far below 4 GiB");
    [length.to_be_bytes().as_slice(), bytes].concat().into()
}

/// Reads one frame of at most `max` bytes and returns it without its length.
/// `silence` bounds the wait for each next byte.
///
/// # Errors
/// A length of 0 or over `max`, the end of the stream, silence, or a lost
/// connection.
pub async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    max: usize,
    silence: Duration,
) -> Result<Vec<u8>, FrameReadError> {
    let head = read_head(stream, max, silence).await?;
    read_rest(stream, head, silence, None).await
}

/// How a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// Without the length itself.
    pub length: usize,
    kind: u8,
}

impl FrameHead {
    /// Whether a frame of its type may have its length.
    // Attack: a length that no message of the type has, so that room is kept for it.
    ///
    /// # Errors
    /// When it may not, or the type is unknown.
    pub fn check(self) -> Result<(), FrameError> {
        let max = match message_rule::of_kind(self.kind) {
            Some(rule) => rule.bytes_max,
            None if self.kind == PEERS => 1 + RECORDS_MAX * (RECORD_BYTES_MAX + 3),
            None if self.kind >= CONTROL_MIN => CONTROL_BYTES_MAX,
            None => return Err(MessageError::UnknownType(self.kind).into()),
        };
        let bytes = self.length;
        if bytes > max { Err(FrameError::TooLarge { bytes, max }) } else { Ok(()) }
    }
}

/// Reads the length and the type of a frame of at most `max` bytes.
pub(crate) async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    max: usize,
    silence: Duration,
) -> Result<FrameHead, FrameReadError> {
    let mut length = [0; 4];
    fill(stream, &mut length, silence).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 {
        return Err(FrameError::Empty.into());
    }
    if length > max {
        return Err(FrameError::TooLarge { bytes: length, max }.into());
    }
    let mut kind = [0];
    fill(stream, &mut kind, silence.min(BODY_GRACE)).await?;
    Ok(FrameHead { length, kind: kind[0] })
}

/// By when more than `bytes` of what began at `begun` must have moved.
pub(crate) fn due(begun: Instant, bytes: usize, grace: Duration) -> Instant {
    begun + grace + Duration::from_secs((bytes / SLOWEST_BYTES) as u64)
}

/// Reads the rest of a frame. It must come at [`SLOWEST_BYTES`] a second or
/// faster, so that a byte now and then cannot hold the memory of a large frame.
pub(crate) async fn read_rest(
    stream: &mut (impl AsyncRead + Unpin),
    head: FrameHead,
    silence: Duration,
    mut room: Option<&mut FrameRoom>,
) -> Result<Vec<u8>, FrameReadError> {
    let FrameHead { length, kind } = head;
    let mut begun = Instant::now();
    let (mut bytes, mut read) = (Vec::new(), 0);
    while bytes.len() < length {
        let next = length.min(bytes.len() + READ_STEP_BYTES);
        if let Some(room) = &mut room {
            // The wait for others is no slowness of this peer.
            begun += room.grow(read, next - bytes.len()).await;
        }
        bytes.resize(next, 0);
        if read == 0 {
            (bytes[0], read) = (kind, 1);
        }
        let step = fill(stream, &mut bytes[read..], silence.min(BODY_GRACE));
        let slow = |_| {
            let limit = begun.elapsed();
            FrameReadError::Slow { bytes: length, read, limit }
        };
        timeout_at(due(begun, read, BODY_GRACE).into(), step).await.map_err(slow)??;
        read = next;
    }
    Ok(bytes)
}

async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    mut buf: &mut [u8],
    silence: Duration,
) -> Result<(), FrameReadError> {
    while !buf.is_empty() {
        match timeout(silence, stream.read(buf)).await {
            Err(_) => return Err(FrameReadError::Silence(silence)),
            Ok(Err(e)) => return Err(FrameReadError::Io(e)),
            Ok(Ok(0)) => return Err(FrameReadError::Closed),
            Ok(Ok(n)) => buf = &mut buf[n..],
        }
    }
    Ok(())
}

/// Writes a whole frame. `stall` bounds the wait for each next byte to leave.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when the peer does not read, or a lost connection.
pub(crate) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    mut frame: &[u8],
    stall: Duration,
) -> io::Result<()> {
    while !frame.is_empty() {
        match timeout(stall, stream.write(frame)).await.map_err(|_| io::ErrorKind::TimedOut)?? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => frame = &frame[n..],
        }
    }
    Ok(())
}

/// Pushes out what was written, under the same bound.
pub(crate) async fn flush(
    stream: &mut (impl AsyncWrite + Unpin),
    stall: Duration,
) -> io::Result<()> {
    timeout(stall, stream.flush()).await.map_err(|_| io::ErrorKind::TimedOut)?
}
