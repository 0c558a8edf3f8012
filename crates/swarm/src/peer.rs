//! One peer's streams: a task that reads and one that writes.
//! Bulk bytes stay in these two tasks: incoming bytes are verified and written to their
//! store where they are read from the socket, outgoing bytes are read from their store
//! where they are written to the socket. Only messages and progress reach the service. What
//! always holds: nothing is written that did not verify; a peer's queues are bounded.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::{sync::mpsc, time::timeout};
use trefoil_content::{
    Part,
    message::{ContentFrame, DATA_BYTES, FRAME_BYTES_MAX, SwarmMessage},
    proof::{ProofError, Verified, Verifier},
    scheduler::{FetchFailure, RejectReason, RequestId, Source, Ticket},
};
use trefoil_p2p::{ContentLink, ContentReader, ContentWriter};
use trefoil_types::{Offence, PeerId};

use crate::{events::TaskEvent, store::OpenStore};

// Attack: a peer that asks and does not read would fill the memory with answers. The
// service cannot wait for it either, since it serves all peers.
/// Orders that wait for a peer's writer. A peer that reads so slowly that more
/// would wait is left.
const ORDERS_MAX: usize = 8_192;

// Attack: a peer that keeps the connection and reads nothing would hold its queue, and the
// stores in it, for ever.
/// A write that moves nothing for so long ends the streams.
const STALL: Duration = Duration::from_secs(30);

// Data that was under way when its request was cancelled is no offence (docs/wire.md), so
// cancelled tickets are remembered: as many as can be open at one source.
/// Requests that were taken back and whose bytes may still come.
const CANCELLED_MAX: usize = 1_024;

/// An order to a peer's writer.
#[derive(Debug)]
pub enum WriterOrder {
    Send(SwarmMessage),
    Serve(Serving),
    /// The peer does not want the rest of this part.
    Stop(Ticket),
}

/// A part on its way to a peer.
#[derive(Debug)]
pub struct Serving {
    pub ticket: Ticket,
    pub opened: Arc<OpenStore>,
    pub part: Part,
}

/// A part that was asked of a peer.
#[derive(Debug)]
pub struct Incoming {
    pub opened: Arc<OpenStore>,
    pub file: u32,
    pub verifier: Verifier,
}

/// Requests at one peer, by ticket.
#[derive(Debug, Default)]
struct RequestTable {
    coming: BTreeMap<Ticket, Incoming>,
    /// The oldest first.
    cancelled: VecDeque<Ticket>,
}

/// Handle to the two tasks of one peer.
#[derive(Debug)]
pub struct PeerStreams {
    /// Tells one connection of a peer from its next.
    pub connection: u64,
    orders: mpsc::Sender<WriterOrder>,
    open: Arc<Mutex<RequestTable>>,
}

impl PeerStreams {
    /// Starts the tasks of a connection. They end with it, or when this is
    /// dropped.
    pub fn start(link: ContentLink, connection: u64, events: mpsc::Sender<TaskEvent>) -> Self {
        let (orders, waiting) = mpsc::channel(ORDERS_MAX);
        let open = Arc::default();
        let ContentLink { peer, read, write, .. } = link;
        let reader =
            PeerReader { peer, connection, open: Arc::clone(&open), events: events.clone() };
        let writer = PeerWriter { peer, waiting, serving: VecDeque::new(), events };
        tokio::spawn(async move {
            let events = reader.events.clone();
            let ended = tokio::select! {
                ended = reader.run(read) => ended,
                ended = writer.run(write) => ended,
            };
            let offence = ended.err();
            // The service may have ended.
            let _ = events.send(TaskEvent::Gone { peer, connection, offence }).await;
        });
        Self { connection, orders, open }
    }

    /// `false`: the peer's queue is full, or the peer is gone.
    #[must_use]
    pub fn order(&self, order: WriterOrder) -> bool {
        self.orders.try_send(order).is_ok()
    }

    /// Registers a request before it is sent.
    pub fn expect(&self, ticket: Ticket, incoming: Incoming) {
        lock(&self.open).coming.insert(ticket, incoming);
    }

    /// Cancels a request: its bytes are discarded from now on. `None`: nothing is open.
    pub fn forget(&self, ticket: Ticket) -> Option<Incoming> {
        let mut open = lock(&self.open);
        let incoming = open.coming.remove(&ticket)?;
        open.cancelled.push_back(ticket);
        if open.cancelled.len() > CANCELLED_MAX {
            open.cancelled.pop_front();
        }
        Some(incoming)
    }
}

fn lock(open: &Mutex<RequestTable>) -> MutexGuard<'_, RequestTable> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a peer's streams end: it did wrong, or they just ended.
type Ended = Result<(), Offence>;

struct PeerReader {
    peer: PeerId,
    connection: u64,
    open: Arc<Mutex<RequestTable>>,
    events: mpsc::Sender<TaskEvent>,
}

impl PeerReader {
    async fn run(&self, mut stream: ContentReader) -> Ended {
        let mut body = Vec::new();
        loop {
            let mut length = [0; 4];
            if stream.read_exact(&mut length).await.is_err() {
                return Ok(());
            }
            let length = u32::from_be_bytes(length) as usize;
            // Before the buffer grows: a length that is only claimed allocates nothing.
            if length > FRAME_BYTES_MAX {
                return Err(Offence::Malformed);
            }
            body.resize(length, 0);
            if stream.read_exact(&mut body).await.is_err() {
                return Ok(());
            }
            let event = match ContentFrame::decode(&body).map_err(|_| Offence::Malformed)? {
                ContentFrame::Data { ticket, bytes } => self.receive(ticket, bytes)?,
                ContentFrame::Message(message) => Some(TaskEvent::Message {
                    peer: self.peer,
                    connection: self.connection,
                    message,
                }),
            };
            if let Some(event) = event
                && self.events.send(event).await.is_err()
            {
                return Ok(());
            }
        }
    }

    /// Verifies and writes data that came.
    fn receive(&self, ticket: Ticket, bytes: &[u8]) -> Result<Option<TaskEvent>, Offence> {
        let mut open = lock(&self.open);
        let Some(incoming) = open.coming.get_mut(&ticket) else {
            // Data that nobody requested takes bandwidth from data that was requested.
            let late = open.cancelled.contains(&ticket);
            return if late { Ok(None) } else { Err(Offence::Unsolicited) };
        };
        let (mut groups, mut content) = (0, 0);
        let (opened, file) = (incoming.opened.clone(), incoming.file);
        let verified = incoming.verifier.feed(bytes, |step| {
            opened.store.write(file, step)?;
            if let Verified::Group { bytes, .. } = step {
                groups += 1;
                content += bytes.len() as u64;
            }
            Ok(())
        });
        let (resource, request) = (opened.resource, RequestId(ticket.0));
        if verified.is_err() || incoming.verifier.is_through() {
            open.coming.remove(&ticket);
        }
        Ok(Some(match verified {
            Ok(()) => {
                let source = Source::Peer(self.peer);
                TaskEvent::Arrived { resource, request, source, groups, bytes: content }
            }
            Err(ProofError::Io(error)) => TaskEvent::Broken { resource, error },
            Err(error) => {
                let group = match error {
                    ProofError::Corrupt { group } | ProofError::Short { group } => group,
                    _ => 0,
                };
                TaskEvent::Failed { resource, request, failure: FetchFailure::Corrupt { group } }
            }
        }))
    }
}

struct PeerWriter {
    peer: PeerId,
    waiting: mpsc::Receiver<WriterOrder>,
    serving: VecDeque<(Serving, Option<Verifier>)>,
    events: mpsc::Sender<TaskEvent>,
}

impl PeerWriter {
    // A choke or a cancel must not wait behind bulk data.
    /// Messages go before content, which goes a frame at a time.
    async fn run(mut self, mut stream: ContentWriter) -> Ended {
        let mut frame = Vec::with_capacity(2 * DATA_BYTES);
        loop {
            let order = match self.waiting.try_recv() {
                Ok(order) => Some(order),
                Err(_) if self.serving.is_empty() => {
                    if within_stall(stream.flush()).await.is_err() {
                        return Ok(());
                    }
                    let Some(order) = self.waiting.recv().await else { return Ok(()) };
                    Some(order)
                }
                Err(_) => None,
            };
            frame.clear();
            frame.extend([0; 4]);
            match order {
                Some(WriterOrder::Serve(serving)) => {
                    self.serving.push_back((serving, None));
                    continue;
                }
                Some(WriterOrder::Stop(ticket)) => {
                    self.stop(ticket).await;
                    continue;
                }
                Some(WriterOrder::Send(message)) => frame.extend(message.encode()),
                None => self.next_data(&mut frame).await,
            }
            let length = (frame.len() - 4) as u32;
            frame[..4].copy_from_slice(&length.to_be_bytes());
            if within_stall(stream.write_all(&frame)).await.is_err() {
                return Ok(());
            }
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
                error => tracing::warn!(%error, "cannot serve what was here"),
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

async fn within_stall(write: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(STALL, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
