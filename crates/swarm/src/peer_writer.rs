//! What writes to a peer: messages as they may go, and the content that it asked for.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::AsyncWriteExt as _;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use trefoil_content::{
    Part,
    message::{ContentFrame, DATA_BYTES, SwarmMessage},
    proof::{ProofError, Verifier},
    scheduler::{RejectReason, Ticket},
};
use trefoil_p2p::ContentWriter;
use trefoil_types::{Offence, PeerId};

use crate::{
    events::TaskEvent,
    outbox::Outbox,
    peer_backlog::{DrainRate, PeerBacklog},
    store::OpenStore,
};

// Attack: a peer that keeps the connection and reads nothing would hold its queue, and the
// stores in it, for ever; one that sends half a frame, its buffer.
/// A frame that is not written or read whole after so long ends the streams: 4 KiB a second.
const STALL: Duration = Duration::from_secs(30);

/// A longer buffer is given back after its frame: 128 peers with one longest frame each would
/// keep 64 MiB.
pub const BUFFER_BYTES_MAX: usize = 2 * DATA_BYTES;

/// Why a peer's streams end, if it did no wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamsEnd {
    /// The peer closed them, or the connection, or this node has no use for them.
    Closed,
    /// The peer does not read or write what it must.
    Stalled,
}

pub type Ended = Result<StreamsEnd, Offence>;

impl From<io::Error> for StreamsEnd {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut { Self::Stalled } else { Self::Closed }
    }
}

/// An order to a peer's writer.
#[derive(Debug)]
pub enum WriterOrder {
    /// The body of a frame.
    Send(Vec<u8>),
    Serve(Serving),
    /// The peer does not want the rest of this part.
    Stop(Ticket),
}

impl WriterOrder {
    /// Bytes that it holds while it waits.
    pub fn bytes(&self) -> usize {
        let body = match self {
            Self::Send(body) => body.len(),
            Self::Serve(_) | Self::Stop(_) => 0,
        };
        size_of::<Self>() + body
    }
}

/// A part on its way to a peer.
#[derive(Debug)]
pub struct Serving {
    pub ticket: Ticket,
    pub opened: Arc<OpenStore>,
    pub part: Part,
}

pub struct PeerWriter {
    peer: PeerId,
    waiting: mpsc::UnboundedReceiver<WriterOrder>,
    backlog: Arc<PeerBacklog>,
    outbox: Outbox,
    drain: DrainRate,
    serving: VecDeque<(Serving, Option<Verifier>)>,
    events: mpsc::Sender<TaskEvent>,
}

impl PeerWriter {
    pub fn new(
        peer: PeerId,
        waiting: mpsc::UnboundedReceiver<WriterOrder>,
        backlog: Arc<PeerBacklog>,
        events: mpsc::Sender<TaskEvent>,
    ) -> Self {
        let (outbox, drain, serving) = Default::default();
        Self { peer, waiting, backlog, outbox, drain, serving, events }
    }

    // A choke or a cancel must not wait behind bulk data.
    /// Messages go before content, which goes a frame at a time.
    pub async fn run(mut self, mut stream: ContentWriter) -> Ended {
        let mut frame = Vec::with_capacity(BUFFER_BYTES_MAX);
        loop {
            while let Ok(order) = self.waiting.try_recv() {
                self.take(order).await;
            }
            frame.clear();
            frame.shrink_to(BUFFER_BYTES_MAX);
            frame.extend([0; 4]);
            let bytes = match self.outbox.next(Instant::now()) {
                Ok((body, bytes)) => {
                    frame.extend(body);
                    bytes
                }
                Err(_) if !self.serving.is_empty() => {
                    self.next_data(&mut frame).await;
                    0
                }
                Err(early) => {
                    if let Err(end) = self.within_rate(0, stream.flush()).await {
                        return end;
                    }
                    // With nothing that waits for its time, until the next order.
                    let early = early.unwrap_or(Duration::MAX);
                    tokio::select! {
                        order = self.waiting.recv() => match order {
                            Some(order) => self.take(order).await,
                            None => return Ok(StreamsEnd::Closed),
                        },
                        () = stream.speaks() => return Err(Offence::Malformed),
                        () = sleep(early) => {}
                    }
                    continue;
                }
            };
            let length = (frame.len() - 4) as u32;
            frame[..4].copy_from_slice(&length.to_be_bytes());
            if let Err(end) = self.within_rate(frame.len(), stream.write_all(&frame)).await {
                return end;
            }
            // Now only: what is being written waits too.
            self.backlog.remove(bytes);
        }
    }

    async fn take(&mut self, order: WriterOrder) {
        let bytes = order.bytes();
        match order {
            WriterOrder::Send(body) => {
                let saved = self.outbox.push(body, bytes);
                self.backlog.remove(saved);
            }
            WriterOrder::Serve(serving) => {
                self.serving.push_back((serving, None));
                self.backlog.remove(bytes);
            }
            WriterOrder::Stop(ticket) => {
                self.stop(ticket).await;
                self.backlog.remove(bytes);
            }
        }
    }

    /// Writes so many bytes.
    ///
    /// # Errors
    /// The peer does not take them, is too slow, or writes where only we write.
    async fn within_rate(
        &mut self,
        bytes: usize,
        write: impl Future<Output = io::Result<()>>,
    ) -> Result<(), Ended> {
        let began = Instant::now();
        let written = within_stall(write).await;
        let drains = self.drain.wrote(bytes, began.elapsed());
        if !drains {
            tracing::info!(peer = %self.peer, "a peer reads too slowly what it is sent of content");
        }
        match written {
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(Err(Offence::Malformed)),
            Err(e) => Err(Ok(e.into())),
            Ok(()) if !drains => Err(Ok(StreamsEnd::Stalled)),
            Ok(()) => Ok(()),
        }
    }

    async fn stop(&mut self, ticket: Ticket) {
        let at = self.serving.iter().position(|(serving, _)| serving.ticket == ticket);
        if let Some((serving, _)) = at.and_then(|at| self.serving.remove(at)) {
            self.served(serving).await;
        }
    }

    /// Appends the next data of the part that is served, or a refusal.
    async fn next_data(&mut self, frame: &mut Vec<u8>) {
        let Some((serving, encoder)) = self.serving.front_mut() else { return };
        let start = frame.len();
        frame.extend(ContentFrame::data(serving.ticket));
        let store = &serving.opened.store;
        let mut fill = || {
            if encoder.is_none() {
                *encoder = Some(store.encoder(&serving.part)?);
            }
            let encoder = encoder.as_mut().expect("made above");
            store.encode(serving.part.file, encoder, frame, DATA_BYTES)?;
            Ok::<_, ProofError>(encoder.is_through())
        };
        let filled = fill();
        if let Err(error) = &filled {
            match error {
                ProofError::Damaged { group, .. } => {
                    let (opened, file) = (serving.opened.clone(), serving.part.file);
                    let part = Part { file, groups: *group..group + 1 };
                    // The service may have ended.
                    let _ = self.events.send(TaskEvent::Damaged { opened, part }).await;
                }
                error => {
                    let (opened, why) = (serving.opened.clone(), error.to_string());
                    let _ = self.events.send(TaskEvent::Unreadable { opened, why }).await;
                }
            }
            // An answer, not silence: the peer then asks another source at once, and not
            // only after it has stalled.
            let (resource, ticket) = (serving.opened.resource, serving.ticket);
            frame.truncate(start);
            frame.extend(
                SwarmMessage::Refuse { resource, ticket, why: RejectReason::Missing }.encode(),
            );
        }
        if filled.unwrap_or(true)
            && let Some((serving, _)) = self.serving.pop_front()
        {
            self.served(serving).await;
        }
    }

    async fn served(&self, serving: Serving) {
        let (resource, ticket) = (serving.opened.resource, serving.ticket);
        // The service may have ended.
        let _ = self.events.send(TaskEvent::Served { resource, peer: self.peer, ticket }).await;
    }
}
/// A read or write of a frame, until it stalls.
pub async fn within_stall(moves: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(STALL, moves).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
