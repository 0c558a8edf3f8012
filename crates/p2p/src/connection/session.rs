//! One connection's life: streams, hello, welcome, messages, end.
//!
//! Both sides say hello. Then the side with the larger peer id says welcome,
//! and last the one with the smaller, which so chooses among connections that
//! were dialled at the same time: a connection without its welcome carries no
//! message.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep_until, timeout},
};
use trefoil_types::{Offence, PeerId, Standing, message::Lane};

use crate::{
    config::{ContentFrom, Timing},
    connection::{
        budget::{PeerBudget, SharedBudget},
        content_streams::ContentLink,
        frame::Control,
        hello::Hello,
        lane_limits::LANES,
        lane_reader::LaneReader,
        lanes::LaneSender,
        send_queue::SendQueue,
        session_end::SessionEnd,
        streams::{Opened, Streams, unexpected},
        writer::write_lane,
    },
    connection_table::lock,
    discovery::finder::Finder,
    event::NetEvent,
    inbound_limits::slots::SocketId,
    peer_table::PeerTable,
    transport::kill_switch::KillSwitch,
};

/// Everything that one connection needs.
pub(crate) struct PeerSession {
    pub id: SocketId,
    pub peer: PeerId,
    pub address: SocketAddr,
    pub inbound: bool,
    pub standing: Standing,
    pub kill_switch: Arc<KillSwitch>,
    /// Whether the peer's id is the larger, so that ours is the last word.
    pub last_word: bool,
    pub hello: Arc<Hello>,
    pub timing: Timing,
    pub opened: mpsc::Receiver<Opened>,
    /// Whose content is handed out.
    pub content_from: ContentFrom,
    /// Asks the service whether messages may pass: what for is in the table.
    pub requests: mpsc::Sender<SocketId>,
    /// To the node, by lane.
    pub outlets: [LaneSender; LANES.len()],
    /// To whoever moves content.
    pub content: mpsc::Sender<ContentLink>,
    pub peer_table: Arc<PeerTable>,
    /// What all peers of its kind may make the node hold, and what this one may.
    pub shared: SharedBudget,
    pub budget: Arc<PeerBudget>,
    pub finder: Option<Arc<Finder>>,
}

impl PeerSession {
    /// Runs until the connection ends. Tells the node of `Connected` before
    /// and of `Disconnected` after everything else.
    pub async fn run(mut self) -> (SocketId, SessionEnd) {
        let id = self.id;
        (id, self.run_to_end().await)
    }

    async fn run_to_end(&mut self) -> SessionEnd {
        let kill_switch = self.kill_switch.clone();
        let limit = self.timing.hello;
        let (streams, send_queue) = tokio::select! {
            met = timeout(limit, self.establish()) => match met {
                Ok(Ok(met)) => met,
                Ok(Err(end)) => return end,
                Err(_) => return SessionEnd::Closed(format!("no hello within {limit:?}")),
            },
            reason = kill_switch.ended() => return SessionEnd::Closed(reason),
        };
        let (peer, inbound, address) = (self.peer, self.inbound, self.address.to_string());
        let connected = NetEvent::Connected { peer, address, inbound, standing: self.standing };
        if !self.tell(connected).await {
            return SessionEnd::Closed("the node has ended".into());
        }
        let trial = self.trial();
        let end = tokio::select! {
            end = self.exchange(streams, send_queue) => end,
            reason = kill_switch.ended() => SessionEnd::Closed(reason),
            end = trial => end,
        };
        // When a socket is cut, several tasks fail at once, each with an error of its own: the
        // reason for the cut is what the operator needs.
        let cut = kill_switch.reason().filter(|_| kill_switch.is_cut());
        let end = cut.map_or(end, |reason| SessionEnd::Closed(reason.into()));
        self.tell(NetEvent::Disconnected { peer, reason: end.reason() }).await;
        end
    }

    /// Tells the node; waits for room. Whether the node is there.
    async fn tell(&self, event: NetEvent) -> bool {
        let charge = self.shared.event().await;
        self.outlets[Lane::Consensus as usize].send((event, charge, None)).is_ok()
    }

    /// Ends when the time of a peer on trial is over; never for others.
    fn trial(&self) -> impl Future<Output = SessionEnd> + use<> {
        let (peer_table, id, patience) = (self.peer_table.clone(), self.id, self.timing.patience);
        let (budget, mut heard) = (self.budget.clone(), 0);
        async move {
            loop {
                let steps = budget.block_steps.load(Ordering::Relaxed);
                if std::mem::replace(&mut heard, steps) != steps {
                    lock(&peer_table.connections).hear(id, Instant::now());
                }
                let end = lock(&peer_table.connections).trial_end(id, patience);
                match end {
                    Some(end) if end <= Instant::now() => break,
                    Some(end) => {
                        let look = Instant::now() + patience / 4;
                        sleep_until(end.min(look).into()).await;
                    }
                    None => std::future::pending().await,
                }
            }
            SessionEnd::Refused(format!(
                "its certificate cannot be judged by the blocks that are here, and it brought none within {patience:?}, or too few"
            ))
        }
    }

    /// Streams, hello and welcome. The refusal that an error calls for is sent.
    async fn establish(&mut self) -> Result<(Streams, Arc<SendQueue>), SessionEnd> {
        let mut streams = Streams::gather(&mut self.opened).await?;
        let met = self.exchange_hellos(&mut streams).await;
        if let Some(reason) = met.as_ref().err().and_then(SessionEnd::refusal) {
            let refusal = Control::Refusal(reason);
            // The connection ends either way.
            let _ = streams.send_control(&refusal, self.timing.hello).await;
        }
        met.map(|send_queue| (streams, send_queue))
    }

    async fn exchange_hellos(
        &mut self,
        streams: &mut Streams,
    ) -> Result<Arc<SendQueue>, SessionEnd> {
        let limit = self.timing.hello;
        streams.send_control(&Control::Hello((*self.hello).clone()), limit).await?;
        let Control::Hello(theirs) = streams.read_control(limit).await? else {
            return Err(SessionEnd::Offence(
                Offence::Malformed,
                "its first frame is no hello".into(),
            ));
        };
        if let Some(difference) = self.hello.network.difference(&theirs.network) {
            return Err(SessionEnd::Refused(difference.to_string()));
        }
        // The smaller id speaks last, at both ends alike: of two connections that crossed, both
        // sides so keep the same one.
        if self.last_word {
            streams.read_welcome(limit).await?;
            let send_queue = self.ask(&theirs, true).await?;
            streams.send_control(&Control::Welcome, limit).await?;
            return send_queue.ok_or_else(|| SessionEnd::Closed("not admitted".into()));
        }
        self.ask(&theirs, false).await?;
        streams.send_control(&Control::Welcome, limit).await?;
        streams.read_welcome(limit).await?;
        self.ask(&theirs, true).await?.ok_or_else(|| SessionEnd::Closed("not admitted".into()))
    }

    /// The service's verdict: a send queue if messages may pass.
    async fn ask(
        &self,
        theirs: &Hello,
        welcomed: bool,
    ) -> Result<Option<Arc<SendQueue>>, SessionEnd> {
        let gone = || SessionEnd::Closed("shutting down".into());
        let (verdict, answer) = oneshot::channel();
        if let Some(connection) = lock(&self.peer_table.connections).get_mut(self.id) {
            connection.hello = Some(theirs.clone());
            (connection.welcomed, connection.verdict) = (welcomed, Some(verdict));
        }
        self.requests.send(self.id).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Six tasks, one a stream of a lane; the first to end ends all. Content has its own
    /// tasks elsewhere, and no part in when a session ends.
    // A task for each stream: a peer that reads gossip slowly holds up no vote.
    async fn exchange(&mut self, streams: Streams, send_queue: Arc<SendQueue>) -> SessionEnd {
        let mut tasks = JoinSet::new();
        let standing = self.standing;
        // Other peers' streams are dropped, and not kept open: what a peer sends on a stream that
        // nobody reads fills the muxer's window.
        let gives = standing != Standing::Unjudged || self.content_from == ContentFrom::All;
        let content = gives.then(|| {
            let (send_queue, kill_switch) = (send_queue.clone(), self.kill_switch.clone());
            ContentLink::new(self.peer, standing, streams.content, send_queue, kill_switch)
        });
        // Without room nobody waits: votes need no content.
        content.into_iter().for_each(|content| _ = self.content.try_send(content));
        let lanes = LANES.into_iter().zip(streams.read).zip(streams.write);
        for ((lane, read), write) in lanes {
            let reader = LaneReader {
                peer: self.peer,
                standing,
                lane,
                node: self.outlets[lane as usize].clone(),
                kill_switch: self.kill_switch.clone(),
                budget: self.budget.clone(),
                send_queue: send_queue.clone(),
                peer_table: self.peer_table.clone(),
                timing: self.timing,
                finder: self.finder.clone().map(|finder| (finder, self.address)),
                asked: false,
            };
            tasks.spawn(reader.run(read));
            tasks.spawn(write_lane(lane, write, send_queue.clone(), self.timing));
        }
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(Ok(end)) => end,
                Some(Err(e)) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
                _ => SessionEnd::Closed("shutting down".into()),
            },
            other = self.opened.recv() => unexpected(other),
        }
    }
}
