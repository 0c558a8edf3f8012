//! One peer's streams: what reads, what takes up Finds, and what writes ([`PeerWriter`]).
//! Bulk bytes stay there: incoming bytes are verified and written to their
//! store where they are read from the socket, outgoing bytes are read from their store
//! where they are written to the socket. Only messages and progress reach the service. What
//! always holds: nothing is written that did not verify; a peer's queues are bounded.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::AsyncReadExt as _;
use tokio::{sync::mpsc, time::sleep};
use trefoil_content::{
    message::{ContentFrame, FRAME_BYTES_MAX, SwarmMessage},
    message_rule::{FIND, RULES},
    proof::{ProofError, Verified, Verifier},
    scheduler::{FetchFailure, RequestId, Source, Ticket},
};
use trefoil_p2p::{ContentLink, ContentReader};
use trefoil_types::{Offence, PeerId};

use crate::{
    events::TaskEvent,
    message_rates::MessageRates,
    peer_backlog::{AllBacklogs, HeldBytes, PeerBacklog},
    peer_writer::{BUFFER_BYTES_MAX, Ended, PeerWriter, StreamsEnd, WriterOrder, within_stall},
    store::OpenStore,
};

// A peer that was held up sends at once what waited; only a flood that goes on, for five
// seconds, adds up to a ban.
/// A peer that sends too much is not read for this long, and blamed.
const FLOOD_PAUSE: Duration = Duration::from_millis(100);

/// For how much of its own waiting a node allows at most.
// As long as a frame may take: after that the sender's own side ends the streams.
const HELD_UP_MAX: Duration = Duration::from_secs(30);

/// Bytes by which the buffer of a frame grows as they come.
const READ_BYTES: usize = 64 * 1024;

// Data that was under way when its request was cancelled is no offence (docs/wire.md), so
// cancelled tickets are remembered: eight times as many as can be open at one source, which may
// choke and unchoke while its bytes are under way. 64 KiB a peer.
/// Requests that were taken back and whose bytes may still come.
const CANCELLED_MAX: usize = 8 * 1_024;

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
    /// Tickets count up.
    cancelled: BTreeSet<Ticket>,
}

/// Handle to the streams of one peer.
#[derive(Debug)]
pub struct PeerStreams {
    /// Tells one connection of a peer from its next.
    pub connection: u64,
    orders: mpsc::UnboundedSender<WriterOrder>,
    backlog: Arc<PeerBacklog>,
    open: Arc<Mutex<RequestTable>>,
}

impl PeerStreams {
    /// Starts the task of a connection. It ends with it, or when this is dropped.
    pub fn start(
        link: ContentLink,
        connection: u64,
        events: mpsc::Sender<TaskEvent>,
        all: AllBacklogs,
    ) -> Self {
        // Bounded in bytes, by the backlog.
        let (orders, waiting) = mpsc::unbounded_channel();
        // Those that wait are as many as may come at once.
        let (find, finds) = mpsc::channel(RULES[FIND].burst as usize);
        let open = Arc::default();
        let backlog = Arc::new(PeerBacklog::new(all));
        let ContentLink { peer, read, write, connection: link_connection, .. } = link;
        let inlet = Inlet { peer, connection, events: events.clone(), backlog: backlog.clone() };
        let reader = PeerReader {
            inlet: inlet.clone(),
            open: Arc::clone(&open),
            rates: MessageRates::default(),
            held_up: Duration::ZERO,
            find,
        };
        let backlogged = backlog.clone();
        let writer = PeerWriter::new(peer, waiting, backlog.clone(), events);
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = reader.run(read) => ended,
                ended = inlet.take_up(finds) => ended,
                ended = writer.run(write) => ended,
                () = backlogged.overrun() => {
                    tracing::info!(%peer, "a peer does not read what it is sent of content");
                    Ok(StreamsEnd::Stalled)
                }
            };
            if ended == Ok(StreamsEnd::Stalled) {
                link_connection.hang_up("it does not read or write what it must of content");
            }
            inlet.send(TaskEvent::Gone { peer, connection, offence: ended.err() }).await;
        });
        Self { connection, orders, backlog, open }
    }

    /// A peer that reads too slowly for it is let go, which an event tells.
    pub fn order(&self, order: WriterOrder) {
        let bytes = order.bytes();
        // A peer that is gone has no queue any more.
        if self.backlog.add(bytes) && self.orders.send(order).is_err() {
            self.backlog.remove(bytes);
        }
    }

    /// Registers a request before it is sent.
    pub fn expect(&self, ticket: Ticket, incoming: Incoming) {
        lock(&self.open).coming.insert(ticket, incoming);
    }

    /// Forgets a request: its bytes are discarded from now on. `None`: nothing is open.
    pub fn forget(&self, ticket: Ticket) -> Option<Incoming> {
        let mut open = lock(&self.open);
        let incoming = open.coming.remove(&ticket)?;
        open.cancelled.insert(ticket);
        if open.cancelled.len() > CANCELLED_MAX {
            open.cancelled.pop_first();
        }
        Some(incoming)
    }

    /// The peer refuses a request. Once for each, since nothing more comes of it.
    pub fn refused(&self, ticket: Ticket) -> RefusedRequest {
        let mut open = lock(&self.open);
        if open.coming.remove(&ticket).is_some() {
            return RefusedRequest::Open;
        }
        match open.cancelled.remove(&ticket) {
            true => RefusedRequest::Cancelled,
            false => RefusedRequest::Unknown,
        }
    }

    /// Whether the peer reads its answers.
    pub fn reads(&self) -> bool {
        self.backlog.has_room()
    }

    /// Whether few enough messages wait for it that it may be asked for more.
    pub fn takes_finds(&self) -> bool {
        self.backlog.has_room_for_finds()
    }
}

/// A request that a peer refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedRequest {
    Open,
    /// It was cancelled meanwhile.
    Cancelled,
    Unknown,
}

fn lock(open: &Mutex<RequestTable>) -> MutexGuard<'_, RequestTable> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way of a peer's messages to the service.
#[derive(Clone)]
struct Inlet {
    peer: PeerId,
    connection: u64,
    events: mpsc::Sender<TaskEvent>,
    backlog: Arc<PeerBacklog>,
}

impl Inlet {
    /// `false`: the service has ended.
    async fn send(&self, event: TaskEvent) -> bool {
        self.events.send(event).await.is_ok()
    }

    async fn message(&self, message: SwarmMessage, held: HeldBytes) -> bool {
        let (peer, connection) = (self.peer, self.connection);
        self.send(TaskEvent::Message { peer, connection, message, held }).await
    }

    // Beside the reader, which goes on: two nodes that each wait until the other reads would
    // wait for ever.
    /// Hands on Finds while the peer reads their answers.
    async fn take_up(&self, mut finds: mpsc::Receiver<SwarmMessage>) -> Ended {
        while let Some(find) = finds.recv().await {
            self.backlog.reads().await;
            let held = self.backlog.hold(RULES[FIND].answer_bytes_max).await;
            if !self.message(find, held).await {
                break;
            }
        }
        Ok(StreamsEnd::Closed)
    }
}

struct PeerReader {
    inlet: Inlet,
    open: Arc<Mutex<RequestTable>>,
    rates: MessageRates,
    /// How long this node itself did not read, and has not yet allowed for. What an honest peer
    /// sent meanwhile comes at once then, and is no flood.
    held_up: Duration,
    /// Finds wait here; while it is full, the peer is not read.
    find: mpsc::Sender<SwarmMessage>,
}

impl PeerReader {
    async fn run(mut self, mut stream: ContentReader) -> Ended {
        let mut buffer = Vec::new();
        loop {
            let mut length = [0; 4];
            if stream.read_exact(&mut length).await.is_err() {
                return Ok(StreamsEnd::Closed);
            }
            let length = u32::from_be_bytes(length) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(Offence::Malformed);
            }
            if let Err(e) = within_stall(read_body(&mut stream, &mut buffer, length)).await {
                return Ok(e.into());
            }
            if !self.take(&buffer[..length]).await? {
                return Ok(StreamsEnd::Closed);
            }
            buffer.truncate(BUFFER_BYTES_MAX);
            buffer.shrink_to(BUFFER_BYTES_MAX);
        }
    }

    /// Takes the body of a frame. `false`: the streams have ended.
    async fn take(&mut self, body: &[u8]) -> Result<bool, Offence> {
        self.keep_rate(body).await;
        let frame = ContentFrame::decode(body).map_err(|_| Offence::Malformed)?;
        let began = Instant::now();
        let taken = match frame {
            ContentFrame::Data { ticket, bytes } => match self.receive(ticket, bytes)? {
                Some(event) => self.inlet.send(event).await,
                None => true,
            },
            ContentFrame::Message(find @ SwarmMessage::Find { .. }) => {
                self.find.send(find).await.is_ok()
            }
            ContentFrame::Message(message) => {
                let held = self.inlet.backlog.hold(body.len()).await;
                self.inlet.message(message, held).await
            }
        };
        self.held_up = HELD_UP_MAX.min(self.held_up + began.elapsed());
        Ok(taken)
    }

    /// Waits, if the peer sends more of this kind than it may; and blames it, unless this node
    /// did not read for as long.
    async fn keep_rate(&mut self, body: &[u8]) {
        // Again, since news that is not early any more still takes its place: all of it counts.
        while let Err(early) = self.rates.take(body, Instant::now()) {
            match self.held_up.checked_sub(early) {
                Some(left) => {
                    self.held_up = left;
                    sleep(early).await;
                }
                None => {
                    let (peer, offence) = (self.inlet.peer, Offence::Flood);
                    self.inlet.send(TaskEvent::Misdeed { peer, offence }).await;
                    sleep(early.max(FLOOD_PAUSE)).await;
                }
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
        let through = incoming.verifier.is_through();
        if verified.is_err() || through {
            open.coming.remove(&ticket);
        } else if groups == 0 {
            // Attack: frames of some bytes, each of which would be an event for the service.
            return Ok(None);
        }
        Ok(Some(match verified {
            Ok(()) => {
                let source = Source::Peer(self.inlet.peer);
                TaskEvent::Arrived { resource, request, source, groups, bytes: content }
            }
            Err(ProofError::Io(error)) => TaskEvent::Broken { opened, error },
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

/// Reads the body of a frame into the front of `buffer`, which grows as bytes come: a length
/// that is only claimed takes no memory.
async fn read_body(
    stream: &mut ContentReader,
    buffer: &mut Vec<u8>,
    length: usize,
) -> io::Result<()> {
    let mut read = 0;
    while read < length {
        let end = length.min(read + READ_BYTES);
        if buffer.len() < end {
            buffer.resize(end, 0);
        }
        stream.read_exact(&mut buffer[read..end]).await?;
        read = end;
    }
    Ok(())
}
