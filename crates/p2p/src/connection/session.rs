//! One connection's life: streams, hello, welcome, messages, end.
//!
//! Both sides say hello. Then the side with the larger peer id says welcome,
//! and last the one with the smaller, which so chooses among connections that
//! were dialled at the same time: a connection without its welcome carries no
//! message.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{Stream, swarm::ConnectionId};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use trefoil_types::{Offence, PeerId, Standing, message::Lane};

use crate::{
    Givers, NetEvent, Timing,
    behaviour::{Opened, Use},
    board::{Entry, Pass},
    content::ContentLink,
    discovery::Finder,
    frame::{self, CONTROL_BYTES_MAX, Control, Frame, FrameError, ReadError},
    handle::Shared,
    hello::{Hello, HelloError},
    lane::{LANES, Outlet, Share, StrangersRoom, limits},
    outbox::{Outbox, Waiting},
    pace::Pace,
    record::PeerRecord,
};

/// A peer that sends too much is not read for this long, and blamed: a flood
/// that goes on is banned after five seconds.
const FLOOD_PAUSE: Duration = Duration::from_millis(100);

/// Everything that one connection needs.
pub(crate) struct Link {
    pub id: ConnectionId,
    pub peer: PeerId,
    pub address: String,
    pub inbound: bool,
    /// Whether the peer's id is the larger, so that ours is the last word.
    pub last_word: bool,
    pub hello: Arc<Hello>,
    pub timing: Timing,
    pub opened: mpsc::Receiver<Opened>,
    /// The engine's order to end.
    pub stopped: watch::Receiver<Option<String>>,
    /// The board's, in a network of members.
    pub entry: Option<Entry>,
    /// Whose content is handed out.
    pub givers: Givers,
    pub reports: mpsc::Sender<Report>,
    /// To the node, by lane.
    pub outlets: [Outlet; 3],
    /// To whoever moves content.
    pub content: mpsc::Sender<ContentLink>,
    pub shared: Arc<Shared>,
    /// Where its large frames wait, if it is a stranger that dialled us.
    pub strangers: Option<StrangersRoom>,
    pub finder: Option<Arc<Finder>>,
    /// Where the peer is.
    pub from: Option<SocketAddr>,
}

/// Ends a link from elsewhere. The first reason counts.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Sender<Option<String>>);

impl Stop {
    pub fn new() -> (Self, watch::Receiver<Option<String>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), receiver)
    }

    pub fn now(&self, reason: impl Into<String>) {
        self.0.send_if_modified(|stop| {
            let first = stop.is_none();
            if first {
                *stop = Some(reason.into());
            }
            first
        });
    }
}

/// A link asks the engine what becomes of it.
pub(crate) struct Report {
    pub link: ConnectionId,
    pub hello: Hello,
    /// Whether the peer has welcomed us.
    pub welcomed: bool,
    pub verdict: oneshot::Sender<Verdict>,
}

pub(crate) enum Verdict {
    /// Nothing against it: say welcome and wait for the peer's.
    Await,
    /// Messages may pass.
    Admit(Arc<Outbox>),
    Refuse(String),
    /// The peer is connected already.
    Duplicate,
}

/// How a link ended.
#[derive(Debug)]
pub(crate) enum End {
    Closed(String),
    /// We do not want the peer.
    Refused(String),
    /// The peer does not want us.
    RefusedByPeer(String),
    Duplicate,
    Offence(Offence, String),
}

impl End {
    /// Why the connection ended, for people.
    pub fn reason(&self) -> String {
        match self {
            Self::Closed(reason) | Self::Refused(reason) => reason.clone(),
            Self::RefusedByPeer(reason) => format!("the peer refuses us: {reason}"),
            Self::Duplicate => "connected already".into(),
            Self::Offence(offence, detail) => format!("{offence:?}: {detail}"),
        }
    }
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        match error {
            // Another version is no misdeed.
            ReadError::Frame(FrameError::Hello(e @ HelloError::Version { .. })) => {
                Self::Refused(e.to_string())
            }
            ReadError::Frame(e) => Self::Offence(Offence::Malformed, e.to_string()),
            e => Self::Closed(e.to_string()),
        }
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        ReadError::Frame(error).into()
    }
}

/// The streams of a link.
pub(crate) struct Streams {
    /// By lane.
    pub write: [Stream; 3],
    pub read: [Stream; 3],
    /// Ours to write, and the peer's.
    pub content: [Stream; 2],
}

impl Streams {
    /// Gathers a stream of each use each way.
    pub async fn gather(opened: &mut mpsc::Receiver<Opened>) -> Result<Self, End> {
        let (mut write, mut read) = ([const { None }; 3], [const { None }; 3]);
        let mut content = [const { None }; 2];
        while write.iter().chain(&read).chain(&content).any(Option::is_none) {
            let (place, stream) = match opened.recv().await {
                Some(Opened::Outbound(Use::Lane(lane), it)) => (&mut write[lane as usize], it),
                Some(Opened::Inbound(Use::Lane(lane), it)) => (&mut read[lane as usize], it),
                Some(Opened::Outbound(Use::Content, it)) => (&mut content[0], it),
                Some(Opened::Inbound(Use::Content, it)) => (&mut content[1], it),
                other => return Err(opened_wrongly(other)),
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
}

impl Link {
    /// Runs until the connection ends. Tells the node of `Connected` before
    /// and of `Disconnected` after everything else.
    pub async fn run(mut self) -> End {
        let mut stopped = self.stopped.clone();
        let stop = async move {
            match stopped.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone().unwrap_or_default(),
                Err(_) => "shutting down".into(),
            }
        };
        tokio::pin!(stop);
        let (streams, outbox) = tokio::select! {
            met = timeout(self.timing.hello, self.meet()) => match met {
                Ok(Ok(met)) => met,
                Ok(Err(end)) => return end,
                Err(_) => return End::Closed(format!("no hello within {:?}", self.timing.hello)),
            },
            reason = &mut stop => return End::Closed(reason),
        };
        let (peer, inbound, address) = (self.peer, self.inbound, self.address.clone());
        let node = self.outlets[Lane::Consensus as usize].clone();
        let connected = NetEvent::Connected { peer, address, inbound, standing: self.standing() };
        if node.tell(connected).await.is_err() {
            return End::Closed("the node has ended".into());
        }
        let trial = self.trial();
        let end = tokio::select! {
            end = self.speak(streams, outbox) => end,
            reason = stop => End::Closed(reason),
            end = trial => end,
        };
        // Of a socket that was cut, whoever noticed first.
        let cut = self.entry.as_ref().and_then(|entry| entry.switch.reason());
        let end = cut.map_or(end, |reason| End::Closed(reason.into()));
        let _ = node.tell(NetEvent::Disconnected { peer, reason: end.reason() }).await;
        end
    }

    pub fn standing(&self) -> Standing {
        self.entry.as_ref().map_or(Standing::Public, |entry| entry.pass.standing())
    }

    /// Ends when the time of a peer on trial is over; never for others.
    fn trial(&self) -> impl Future<Output = End> + use<> {
        let trial = match self.entry.as_ref().map(|entry| &entry.pass) {
            Some(Pass::OnTrial { trial, .. }) => Some(trial.clone()),
            Some(Pass::Judged(_)) | None => None,
        };
        let patience = self.timing.patience;
        async move {
            match trial {
                Some(trial) => trial.is_over(patience).await,
                None => std::future::pending().await,
            }
            End::Refused(format!(
                "its certificate cannot be judged by the blocks that are here, and it brought none within {patience:?}"
            ))
        }
    }

    /// Streams, hello and welcome. The refusal that an error calls for is sent.
    async fn meet(&mut self) -> Result<(Streams, Arc<Outbox>), End> {
        let mut streams = Streams::gather(&mut self.opened).await?;
        let met = self.greet(&mut streams).await;
        if let Err(End::Refused(reason) | End::Offence(_, reason)) = &met {
            let refusal = Control::Refusal(reason.clone());
            // The connection ends either way.
            let _ = say(&mut streams, &refusal, self.timing.hello).await;
        }
        met.map(|outbox| (streams, outbox))
    }

    async fn greet(&mut self, streams: &mut Streams) -> Result<Arc<Outbox>, End> {
        let limit = self.timing.hello;
        say(streams, &Control::Hello((*self.hello).clone()), limit).await?;
        let Control::Hello(theirs) = hear(streams, limit).await? else {
            return Err(End::Offence(Offence::Malformed, "its first frame is no hello".into()));
        };
        if let Some(difference) = self.hello.network.difference(&theirs.network) {
            return Err(End::Refused(difference.to_string()));
        }
        if self.last_word {
            hear_welcome(streams, limit).await?;
            let outbox = self.ask(&theirs, true).await?;
            say(streams, &Control::Welcome, limit).await?;
            return outbox.ok_or_else(|| End::Closed("not admitted".into()));
        }
        self.ask(&theirs, false).await?;
        say(streams, &Control::Welcome, limit).await?;
        hear_welcome(streams, limit).await?;
        self.ask(&theirs, true).await?.ok_or_else(|| End::Closed("not admitted".into()))
    }

    /// The engine's verdict: an outbox if messages may pass.
    async fn ask(&self, theirs: &Hello, welcomed: bool) -> Result<Option<Arc<Outbox>>, End> {
        let gone = || End::Closed("shutting down".into());
        let (verdict, answer) = oneshot::channel();
        let report = Report { link: self.id, hello: theirs.clone(), welcomed, verdict };
        self.reports.send(report).await.map_err(|_| gone())?;
        match answer.await.map_err(|_| gone())? {
            Verdict::Await => Ok(None),
            Verdict::Admit(outbox) => Ok(Some(outbox)),
            Verdict::Refuse(reason) => Err(End::Refused(reason)),
            Verdict::Duplicate => Err(End::Duplicate),
        }
    }

    /// Six tasks, one a stream of a lane; the first to end ends all. Content
    /// has its own tasks elsewhere, and no part in when a link ends.
    async fn speak(&mut self, streams: Streams, outbox: Arc<Outbox>) -> End {
        let mut tasks = JoinSet::new();
        let standing = self.standing();
        // The streams of others are dropped, and not kept for them to fill.
        let gives = standing != Standing::Unjudged || self.givers == Givers::All;
        let content =
            gives.then(|| ContentLink::new(self.peer, standing, streams.content, outbox.clone()));
        // Where nobody moves content, or too many links came at once, it has none.
        content.into_iter().for_each(|content| _ = self.content.try_send(content));
        let lanes = LANES.into_iter().zip(streams.read).zip(streams.write);
        for ((lane, read), write) in lanes {
            let ear = Ear {
                peer: self.peer,
                standing,
                lane,
                share: self.outlets[lane as usize].share(
                    self.strangers.clone(),
                    self.entry.as_ref().map(|entry| entry.switch.clone()),
                ),
                outbox: outbox.clone(),
                shared: self.shared.clone(),
                timing: self.timing,
                finder: self.finder.clone().zip(self.from),
                asked: false,
            };
            tasks.spawn(ear.listen(read));
            tasks.spawn(talk(lane, write, outbox.clone(), self.timing));
        }
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(Ok(end)) => end,
                Some(Err(e)) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
                _ => End::Closed("shutting down".into()),
            },
            other = self.opened.recv() => opened_wrongly(other),
        }
    }
}

/// What else than a stream we wait for may come of a connection.
fn opened_wrongly(opened: Option<Opened>) -> End {
    match opened {
        None => End::Closed("connection lost".into()),
        Some(Opened::Failed(which, reason)) => {
            End::Closed(format!("no {} stream: {reason}", which.name()))
        }
        Some(Opened::Twice(which) | Opened::Inbound(which, _) | Opened::Outbound(which, _)) => {
            let which = which.name();
            End::Offence(Offence::Malformed, format!("it opened the {which} stream twice"))
        }
    }
}

/// Writes a control frame on the consensus lane.
async fn say(streams: &mut Streams, control: &Control, limit: Duration) -> Result<(), End> {
    let stream = &mut streams.write[Lane::Consensus as usize];
    let lost = |e: std::io::Error| End::Closed(format!("connection lost: {e}"));
    frame::write(stream, &control.encode(), limit).await.map_err(lost)?;
    frame::flush(stream, limit).await.map_err(lost)
}

/// Reads a control frame from the consensus lane; a refusal is an end.
async fn hear(streams: &mut Streams, limit: Duration) -> Result<Control, End> {
    let stream = &mut streams.read[Lane::Consensus as usize];
    let bytes = frame::read(stream, CONTROL_BYTES_MAX, limit).await?;
    match Frame::decode(&bytes)? {
        Frame::Control(Control::Refusal(reason)) => Err(End::RefusedByPeer(reason)),
        Frame::Control(control) => Ok(control),
        Frame::Message(_) => {
            Err(End::Offence(Offence::Malformed, "a message before the hello".into()))
        }
    }
}

async fn hear_welcome(streams: &mut Streams, limit: Duration) -> Result<(), End> {
    match hear(streams, limit).await? {
        Control::Welcome => Ok(()),
        _ => Err(End::Offence(Offence::Malformed, "no welcome after its hello".into())),
    }
}

/// The reading end of a lane.
struct Ear {
    peer: PeerId,
    standing: Standing,
    lane: Lane,
    share: Share,
    outbox: Arc<Outbox>,
    shared: Arc<Shared>,
    timing: Timing,
    /// What hears of other nodes, and where this peer is.
    finder: Option<(Arc<Finder>, SocketAddr)>,
    /// Whether the peer has asked for other nodes.
    asked: bool,
}

impl Ear {
    /// Reads for ever. Waits while the node is behind, so that the peer's
    /// sending stalls and not our memory grows.
    async fn listen(mut self, mut stream: Stream) -> End {
        let limits = limits(self.lane);
        let mut pace = Pace::new(limits.in_rate, limits.in_burst);
        // Pings keep the consensus lane from silence; the others may be idle.
        let silence =
            if self.lane == Lane::Consensus { self.timing.silence } else { Duration::MAX };
        loop {
            match frame::read_length(&mut stream, limits.frame_bytes_max, silence).await {
                Ok(length) => {
                    let Ok(_room) = self.share.room(length).await else {
                        return End::Closed("no room for its large frame".into());
                    };
                    let body = frame::read_body(&mut stream, length, silence).await;
                    let taken = match body {
                        Ok(bytes) => self.take(bytes).await,
                        Err(error) => Err(error.into()),
                    };
                    if let Err(end) = taken {
                        return end;
                    }
                }
                Err(error) => return error.into(),
            }
            if let Err(early) = pace.take(Instant::now()) {
                self.shared.blame(self.peer, Offence::Flood);
                sleep(early.max(FLOOD_PAUSE)).await;
            }
        }
    }

    /// Passes a frame on, or says why it ends the link.
    async fn take(&mut self, bytes: Vec<u8>) -> Result<(), End> {
        self.outbox.count_in(bytes.len() + 4);
        match Frame::decode(&bytes) {
            // An honest one speaks to us as to any member, so that this is no misdeed.
            Ok(Frame::Message(message))
                if self.standing == Standing::Unjudged && !message.brings_blocks() =>
            {
                Ok(())
            }
            Ok(Frame::Message(message)) if message.lane() == self.lane => {
                let size = bytes.len();
                drop(bytes);
                let event = NetEvent::Message { peer: self.peer, message };
                let gone = |_| End::Closed("the node has ended".into());
                self.share.deliver(event, size).await.map_err(gone)
            }
            Ok(Frame::Control(Control::Ping)) if self.lane == Lane::Consensus => Ok(()),
            Ok(Frame::Control(Control::Refusal(reason))) if self.lane == Lane::Consensus => {
                Err(End::RefusedByPeer(reason))
            }
            Ok(Frame::Control(Control::GetPeers)) if self.lane == Lane::Gossip => {
                self.tell_peers();
                Ok(())
            }
            Ok(Frame::Control(Control::Peers(records))) if self.lane == Lane::Gossip => {
                self.hear_peers(records)
            }
            Ok(_) => {
                let lane = limits(self.lane).name;
                let what = format!("a frame that has no place on the {lane} lane");
                Err(End::Offence(Offence::Malformed, what))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Ear {
    /// Answers the first question of a connection; more are too many.
    fn tell_peers(&mut self) {
        if std::mem::replace(&mut self.asked, true) {
            self.shared.blame(self.peer, Offence::Flood);
        } else if let Some((finder, _)) = &self.finder
            && self.standing != Standing::Unjudged
        {
            let answer = Control::Peers(finder.answer()).encode();
            self.outbox.push_own(Lane::Gossip, answer);
        }
    }

    /// Takes the one answer that was asked for.
    fn hear_peers(&self, records: Vec<PeerRecord>) -> Result<(), End> {
        match &self.finder {
            Some((finder, from)) if self.outbox.answered() => {
                finder.heard(records, *from).map_err(|offence| {
                    End::Offence(offence, "a peer record that its peer did not sign".into())
                })
            }
            _ => {
                self.shared.blame(self.peer, Offence::Unsolicited);
                Ok(())
            }
        }
    }
}

/// Writes a lane for ever; pings on an idle consensus lane.
async fn talk(lane: Lane, mut stream: Stream, outbox: Arc<Outbox>, timing: Timing) -> End {
    let ping = Control::Ping.encode();
    loop {
        let mut frame = match lane {
            Lane::Consensus => timeout(timing.ping, outbox.next(lane))
                .await
                .unwrap_or_else(|_| Waiting::shared(ping.clone())),
            Lane::CatchUp | Lane::Gossip => outbox.next(lane).await,
        };
        let sent = async {
            loop {
                frame::write(&mut stream, &frame.bytes, timing.stall).await?;
                outbox.count_out(frame.bytes.len());
                match outbox.try_next(lane) {
                    Some(next) => frame = next,
                    None => return frame::flush(&mut stream, timing.stall).await,
                }
            }
        };
        match sent.await {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::TimedOut => {
                return End::Closed(format!("the peer read nothing for {:?}", timing.stall));
            }
            Err(e) => return End::Closed(format!("connection lost: {e}")),
        }
    }
}
