//! The streams of one connection, and the control frames on them before a peer is
//! admitted.

use std::time::Duration;

use libp2p::Stream;
use tokio::sync::mpsc;
use trefoil_types::{Offence, message::Lane};

use crate::connection::{
    frame::{self, CONTROL_BYTES_MAX, Control, LaneFrame},
    lane_limits::{LANES, limits},
    session_end::SessionEnd,
};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Messages to and from the node.
    Lane(Lane),
    /// The swarm: its messages and its bytes.
    Content,
}

/// Every use, the most urgent first.
// Streams are opened in this order, so that votes do not wait for the others' negotiation.
pub(crate) const USES: [Use; 4] =
    [Use::Lane(Lane::Consensus), Use::Lane(Lane::CatchUp), Use::Lane(Lane::Gossip), Use::Content];

impl Use {
    /// Its place in [`USES`].
    pub fn index(self) -> usize {
        match self {
            Self::Lane(lane) => lane as usize,
            Self::Content => LANES.len(),
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lane(lane) => limits(lane).name,
            Self::Content => "content",
        }
    }

    /// The libp2p protocol of its stream.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Lane(lane) => limits(lane).protocol,
            Self::Content => "/trefoil/content/1",
        }
    }
}

/// A connection's stream, or why there is none.
pub(crate) enum Opened {
    /// Ours to write.
    Outbound(Use, Stream),
    /// The peer's, ours to read.
    Inbound(Use, Stream),
    /// The peer does not take a stream.
    Failed(Use, String),
    /// The peer opened a stream twice.
    Twice(Use),
}

/// The streams of a session.
pub(crate) struct Streams {
    /// By lane.
    pub write: [Stream; 3],
    pub read: [Stream; 3],
    /// Ours to write, and the peer's.
    pub content: [Stream; 2],
}

impl Streams {
    /// Gathers a stream of each use each way.
    pub async fn gather(opened: &mut mpsc::Receiver<Opened>) -> Result<Self, SessionEnd> {
        let (mut write, mut read) = ([const { None }; 3], [const { None }; 3]);
        let mut content = [const { None }; 2];
        while write.iter().chain(&read).chain(&content).any(Option::is_none) {
            let (place, stream) = match opened.recv().await {
                Some(Opened::Outbound(Use::Lane(lane), it)) => (&mut write[lane as usize], it),
                Some(Opened::Inbound(Use::Lane(lane), it)) => (&mut read[lane as usize], it),
                Some(Opened::Outbound(Use::Content, it)) => (&mut content[0], it),
                Some(Opened::Inbound(Use::Content, it)) => (&mut content[1], it),
                other => return Err(unexpected(other)),
            };
            *place = Some(stream);
        }
        let all = "the loop ends when every stream is there";
        Ok(Self {
            write: write.map(|s| s.expect(all)),
            read: read.map(|s| s.expect(all)),
            content: content.map(|s| s.expect(all)),
        })
    }

    /// Writes a control frame on the consensus lane.
    pub async fn send_control(
        &mut self,
        control: &Control,
        limit: Duration,
    ) -> Result<(), SessionEnd> {
        let stream = &mut self.write[Lane::Consensus as usize];
        let lost = |e: std::io::Error| SessionEnd::Closed(format!("connection lost: {e}"));
        frame::write(stream, &control.encode(), limit).await.map_err(lost)?;
        frame::flush(stream, limit).await.map_err(lost)
    }

    /// Reads a control frame from the consensus lane; a refusal is an end.
    pub async fn read_control(&mut self, limit: Duration) -> Result<Control, SessionEnd> {
        let stream = &mut self.read[Lane::Consensus as usize];
        let bytes = frame::read(stream, CONTROL_BYTES_MAX, limit).await?;
        match LaneFrame::decode(&bytes)? {
            LaneFrame::Control(Control::Refusal(reason)) => Err(SessionEnd::RefusedByPeer(reason)),
            LaneFrame::Control(control) => Ok(control),
            LaneFrame::Message(_) => {
                Err(SessionEnd::Offence(Offence::Malformed, "a message before the hello".into()))
            }
        }
    }

    pub async fn read_welcome(&mut self, limit: Duration) -> Result<(), SessionEnd> {
        match self.read_control(limit).await? {
            Control::Welcome => Ok(()),
            _ => Err(SessionEnd::Offence(Offence::Malformed, "no welcome after its hello".into())),
        }
    }
}

/// The end that anything but an awaited stream brings about.
pub(crate) fn unexpected(opened: Option<Opened>) -> SessionEnd {
    match opened {
        None => SessionEnd::Closed("connection lost".into()),
        Some(Opened::Failed(which, reason)) => {
            SessionEnd::Closed(format!("no {} stream: {reason}", which.name()))
        }
        Some(Opened::Twice(which) | Opened::Inbound(which, _) | Opened::Outbound(which, _)) => {
            let which = which.name();
            SessionEnd::Offence(Offence::Malformed, format!("it opened the {which} stream twice"))
        }
    }
}
