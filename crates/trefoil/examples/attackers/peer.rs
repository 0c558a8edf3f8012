//! A peer behind its hello, which reads what it likes and writes any bytes on any lane.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use multistream_select::{Negotiated, Version, dialer_select_proto, listener_select_proto};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};
use trefoil_content::message::{ContentFrame, SwarmMessage};
use trefoil_crypto::SecretKey;
use trefoil_p2p::{
    NetworkId,
    frame::{Control, LaneFrame},
    hello::Hello,
};
use trefoil_types::{Height, Message, ProposedBlock, Round, Vote, message::Lane};

use crate::{
    arena::Arena,
    wire::{self, Secured, Wire},
};

/// What each side opens a stream for.
const USES: [&str; 4] =
    ["/trefoil/consensus/1", "/trefoil/catch-up/1", "/trefoil/gossip/1", "/trefoil/content/1"];
pub const CONSENSUS: usize = 0;
pub const CATCH_UP: usize = 1;
pub const GOSSIP: usize = 2;
pub const CONTENT: usize = 3;

/// The types of frames of the content stream, docs/wire.md.
const CONTENT_KINDS: [&str; 12] = [
    "?", "Find", "Offer", "News", "Choke", "Ask", "Unask", "Refuse", "Others", "Data", "Origins",
    "Snapshot",
];

/// A hello must be answered by then.
const GREETED_IN: Duration = Duration::from_secs(5);
/// A node lets a peer go that says nothing for 15 s.
const PING_EVERY: Duration = Duration::from_secs(4);
/// What is kept of what is heard: frames, and the bytes of one.
const FRAMES_KEPT: usize = 64;
const FRAME_KEPT_BYTES: usize = 1 << 20;

pub type Stream = Negotiated<yamux::Stream>;

/// What a peer has heard so far.
#[derive(Default)]
pub struct Heard {
    pub tip: Height,
    pub tip_at: Option<Instant>,
    pub round: Round,
    /// Of the height after the tip.
    pub votes: Vec<Vote>,
    pub proposal: Option<Box<ProposedBlock>>,
    /// The latest frames: the lane and the body.
    pub frames: VecDeque<(usize, Vec<u8>)>,
    pub swarm: VecDeque<SwarmMessage>,
    /// How often each kind of frame came.
    pub kinds: BTreeMap<String, usize>,
}

pub struct Peer {
    pub key: SecretKey,
    write: Vec<Stream>,
    read: Vec<Stream>,
    heard: Arc<Mutex<Heard>>,
    orders: mpsc::Sender<oneshot::Sender<yamux::Stream>>,
    deaf: Arc<AtomicBool>,
    pinged: Instant,
    /// The muxer's and the readers'; they end with the peer.
    tasks: JoinSet<()>,
}

impl Peer {
    /// A fresh identity at node `to`, which reads nothing yet.
    pub async fn join(arena: &Arc<Arena>, n: usize, to: usize) -> io::Result<Self> {
        let to = arena.target.nodes[to % arena.target.nodes.len()].p2p;
        Self::join_at(arena, n, to).await
    }

    /// The same at any node of the network.
    pub async fn join_at(arena: &Arc<Arena>, n: usize, to: SocketAddr) -> io::Result<Self> {
        let key = SecretKey::from_seed(&rand::random());
        let secured = wire::secure(arena, n, to, &key).await?;
        Self::greet(arena, key, secured).await
    }

    /// The same that keeps what it hears.
    pub async fn listening(arena: &Arc<Arena>, n: usize, to: usize) -> io::Result<Self> {
        let mut peer = Self::join(arena, n, to).await?;
        peer.listen();
        Ok(peer)
    }

    /// From a secured connection to messages.
    pub async fn greet(arena: &Arc<Arena>, key: SecretKey, secured: Secured) -> io::Result<Self> {
        let Secured { wire, deaf } = secured;
        let muxer = yamux::Connection::new(
            wire::muxed(wire).await?,
            yamux::Config::default(),
            yamux::Mode::Client,
        );
        let (orders, ordered) = mpsc::channel(1);
        let (arrived, mut arrivals) = mpsc::channel(8);
        let mut tasks = JoinSet::new();
        tasks.spawn(drive(muxer, ordered, arrived));
        let mut peer = Self {
            key,
            write: vec![],
            read: vec![],
            heard: Arc::default(),
            orders,
            deaf,
            pinged: Instant::now(),
            tasks,
        };
        timeout(GREETED_IN, peer.say_hello(arena, &mut arrivals)).await??;
        Ok(peer)
    }

    async fn say_hello(
        &mut self,
        arena: &Arena,
        arrivals: &mut mpsc::Receiver<yamux::Stream>,
    ) -> io::Result<()> {
        for lane in USES {
            let stream = self.open(lane).await?;
            self.write.push(stream);
        }
        let mut lanes = vec![];
        for _ in USES {
            let stream = arrivals.recv().await.ok_or(io::ErrorKind::UnexpectedEof)?;
            lanes.push(listener_select_proto(stream, USES).await?);
        }
        lanes.sort_by_key(|(lane, _)| USES.iter().position(|known| known == lane));
        self.read.extend(lanes.into_iter().map(|(_, stream)| stream));
        let target = &arena.target;
        let (kind, genesis, fork_id) = (target.kind, target.genesis, target.fork_id);
        let hello = Hello {
            network: NetworkId { kind, genesis, fork_id },
            instance: rand::random(),
            software: "attacker/1".into(),
            listen_port: 0,
        };
        self.control(CONSENSUS, &Control::Hello(hello)).await?;
        self.control(CONSENSUS, &Control::Welcome).await?;
        for _ in 0..2 {
            let body = read_frame(&mut self.read[CONSENSUS]).await?;
            match LaneFrame::decode(&body) {
                Ok(LaneFrame::Control(Control::Hello(_) | Control::Welcome)) => {}
                other => return Err(io::Error::other(format!("instead of a welcome: {other:?}"))),
            }
        }
        Ok(())
    }

    /// Opens one more stream for a protocol.
    pub async fn open(&mut self, protocol: &str) -> io::Result<Stream> {
        let (order, opened) = oneshot::channel();
        self.orders.send(order).await.map_err(|_| io::ErrorKind::ConnectionAborted)?;
        let stream = opened.await.map_err(|_| io::ErrorKind::ConnectionAborted)?;
        Ok(dialer_select_proto(stream, [protocol.to_owned()], Version::V1).await?.1)
    }

    /// Reads all lanes from now on.
    pub fn listen(&mut self) {
        for (lane, stream) in self.read.drain(..).enumerate() {
            self.tasks.spawn(hear(lane, stream, self.heard.clone()));
        }
    }

    /// Whether the connection is there still.
    pub fn is_connected(&self) -> bool {
        !self.orders.is_closed()
    }

    /// Reads nothing from the socket any more.
    pub fn go_deaf(&self) {
        self.deaf.store(true, Ordering::Release);
    }

    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no holder panics")
    }

    /// The height that the network decides, and its round.
    pub fn position(&self) -> (Height, Round) {
        let heard = self.heard();
        (heard.tip + 1, heard.round)
    }

    /// Sends a message on its lane.
    pub async fn tell(&mut self, message: &Message) -> io::Result<()> {
        let lane = match message.lane() {
            Lane::Consensus => CONSENSUS,
            Lane::CatchUp => CATCH_UP,
            Lane::Gossip => GOSSIP,
        };
        self.frame(lane, &message.encode()).await
    }

    pub async fn tell_swarm(&mut self, message: &SwarmMessage) -> io::Result<()> {
        self.frame(CONTENT, &message.encode()).await
    }

    pub async fn control(&mut self, lane: usize, control: &Control) -> io::Result<()> {
        self.bytes(lane, &control.encode()).await
    }

    /// Sends a body with its length, whatever it is.
    pub async fn frame(&mut self, lane: usize, body: &[u8]) -> io::Result<()> {
        let length = (body.len() as u32).to_be_bytes();
        self.bytes(lane, &[&length, body].concat()).await
    }

    pub async fn bytes(&mut self, lane: usize, bytes: &[u8]) -> io::Result<()> {
        let stream = &mut self.write[lane];
        stream.write_all(bytes).await?;
        stream.flush().await
    }

    /// Ends its own side of a lane.
    pub async fn close(&mut self, lane: usize) -> io::Result<()> {
        self.write[lane].close().await
    }

    /// Waits, and pings when it is time.
    pub async fn pause(&mut self, time: Duration) -> io::Result<()> {
        if self.pinged.elapsed() > PING_EVERY {
            self.pinged = Instant::now();
            self.control(CONSENSUS, &Control::Ping).await?;
        }
        sleep(time).await;
        if self.is_connected() { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }

    /// Does nothing more, until the node ends the connection.
    pub async fn stay(mut self) -> io::Result<()> {
        loop {
            self.pause(Duration::from_millis(500)).await?;
        }
    }
}

/// Moves a muxer's bytes and opens streams, until the connection ends.
async fn drive(
    mut muxer: yamux::Connection<Negotiated<Wire>>,
    mut orders: mpsc::Receiver<oneshot::Sender<yamux::Stream>>,
    arrived: mpsc::Sender<yamux::Stream>,
) {
    let mut order = None;
    loop {
        let next = poll_fn(|cx| {
            if order.is_none()
                && let Poll::Ready(Some(next)) = orders.poll_recv(cx)
            {
                order = Some(next);
            }
            if order.is_some()
                && let Poll::Ready(Ok(stream)) = muxer.poll_new_outbound(cx)
                && let Some(order) = order.take()
            {
                // Who asked may have given up.
                let _ = order.send(stream);
                cx.waker().wake_by_ref();
            }
            muxer.poll_next_inbound(cx)
        });
        match next.await {
            Some(Ok(stream)) => _ = arrived.try_send(stream),
            Some(Err(_)) | None => return,
        }
    }
}

pub async fn read_frame(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// Keeps what comes on a lane, until it ends.
async fn hear(lane: usize, mut stream: Stream, heard: Arc<Mutex<Heard>>) {
    while let Ok(body) = read_frame(&mut stream).await {
        let mut heard = heard.lock().expect("no holder panics");
        if lane == CONTENT {
            heard.content(&body);
        } else {
            heard.message(&body);
            if body.len() <= FRAME_KEPT_BYTES {
                heard.frames.push_back((lane, body));
            }
        }
        let surplus = heard.frames.len().saturating_sub(FRAMES_KEPT);
        heard.frames.drain(..surplus);
    }
}

impl Heard {
    fn content(&mut self, body: &[u8]) {
        let kind = body.first().copied().unwrap_or_default();
        let name = CONTENT_KINDS.get(usize::from(kind)).copied().unwrap_or("?");
        *self.kinds.entry(name.into()).or_default() += 1;
        if let Ok(ContentFrame::Message(message)) = ContentFrame::decode(body) {
            self.swarm.push_back(message);
            let surplus = self.swarm.len().saturating_sub(FRAMES_KEPT);
            self.swarm.drain(..surplus);
        }
    }

    fn message(&mut self, body: &[u8]) {
        let name = match LaneFrame::decode(body) {
            Ok(LaneFrame::Message(message)) => {
                let name = message.rule().name;
                self.learn(message);
                name.into()
            }
            Ok(LaneFrame::Control(control)) => first_word(&format!("{control:?}")),
            Err(error) => error.to_string(),
        };
        *self.kinds.entry(name).or_default() += 1;
    }

    fn learn(&mut self, message: Message) {
        match message {
            Message::Tip(tip) => {
                self.reach(tip.height);
                self.round = tip.round;
            }
            Message::Vote(vote) => {
                self.reach(vote.height.saturating_sub(1));
                if vote.height == self.tip + 1 && !self.votes.contains(&vote) {
                    self.round = self.round.max(vote.round);
                    self.votes.push(vote);
                }
            }
            Message::Proposal(proposal) => {
                self.reach(proposal.proposal.height.saturating_sub(1));
                self.proposal = Some(proposal);
            }
            _ => {}
        }
    }

    fn reach(&mut self, tip: Height) {
        if tip > self.tip {
            (self.tip, self.tip_at, self.round) = (tip, Some(Instant::now()), 0);
            self.votes.clear();
        }
    }
}

fn first_word(printed: &str) -> String {
    printed.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().into()
}
