//! One connection's life: streams, hello, welcome, messages, end.
//!
//! Both sides say hello. Then the side with the larger peer id says welcome,
//! and last the one with the smaller, which so chooses among connections that
//! were dialled at the same time: a connection without its welcome carries no
//! message.

use std::{net::SocketAddr, sync::Arc};

use libp2p::swarm::ConnectionId;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use trefoil_types::{Offence, PeerId, Standing, message::Lane};

use crate::{
    config::{ContentFrom, Timing},
    connection::{
        behaviour::Opened,
        content_streams::ContentLink,
        frame::Control,
        hello::Hello,
        lane_reader::LaneReader,
        lanes::{LANES, LaneSender, StrangersRoom},
        send_queue::SendQueue,
        session_end::SessionEnd,
        streams::{Streams, unexpected},
        writer::write_lane,
    },
    discovery::finder::Finder,
    event::NetEvent,
    membership::admission::{AdmissionBasis, MemberConnection},
    peer_table::PeerTable,
};

/// Everything that one connection needs.
pub(crate) struct PeerSession {
    pub id: ConnectionId,
    pub peer: PeerId,
    pub address: String,
    pub inbound: bool,
    /// Whether the peer's id is the larger, so that ours is the last word.
    pub last_word: bool,
    pub hello: Arc<Hello>,
    pub timing: Timing,
    pub opened: mpsc::Receiver<Opened>,
    /// The service's order to end.
    pub stopped: watch::Receiver<Option<String>>,
    /// In a network of members.
    pub member: Option<MemberConnection>,
    /// Whose content is handed out.
    pub content_from: ContentFrom,
    pub requests: mpsc::Sender<AdmissionRequest>,
    /// To the node, by lane.
    pub outlets: [LaneSender; 3],
    /// To whoever moves content.
    pub content: mpsc::Sender<ContentLink>,
    pub peer_table: Arc<PeerTable>,
    /// Where its large frames wait, if it is a stranger that dialled us.
    pub strangers: Option<StrangersRoom>,
    pub finder: Option<Arc<Finder>>,
    /// Where the peer is.
    pub from: Option<SocketAddr>,
}

/// A session asks the service whether it may carry messages.
pub(crate) struct AdmissionRequest {
    pub connection: ConnectionId,
    pub hello: Hello,
    /// Whether the peer has welcomed us.
    pub welcomed: bool,
    pub verdict: oneshot::Sender<AdmissionVerdict>,
}

pub(crate) enum AdmissionVerdict {
    /// Nothing against it: say welcome and wait for the peer's.
    Await,
    /// Messages may pass.
    Admit(Arc<SendQueue>),
    Refuse(String),
    /// The peer is connected already.
    Duplicate,
}

impl PeerSession {
    /// Runs until the connection ends. Tells the node of `Connected` before
    /// and of `Disconnected` after everything else.
    pub async fn run(mut self) -> SessionEnd {
        let mut stopped = self.stopped.clone();
        let stop = async move {
            match stopped.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone().unwrap_or_default(),
                Err(_) => "shutting down".into(),
            }
        };
        tokio::pin!(stop);
        let (streams, send_queue) = tokio::select! {
            met = timeout(self.timing.hello, self.establish()) => match met {
                Ok(Ok(met)) => met,
                Ok(Err(end)) => return end,
                Err(_) => return SessionEnd::Closed(format!("no hello within {:?}", self.timing.hello)),
            },
            reason = &mut stop => return SessionEnd::Closed(reason),
        };
        let (peer, inbound, address) = (self.peer, self.inbound, self.address.clone());
        let node = self.outlets[Lane::Consensus as usize].clone();
        let connected = NetEvent::Connected { peer, address, inbound, standing: self.standing() };
        if node.send(connected).await.is_err() {
            return SessionEnd::Closed("the node has ended".into());
        }
        let trial = self.trial();
        let end = tokio::select! {
            end = self.exchange(streams, send_queue) => end,
            reason = stop => SessionEnd::Closed(reason),
            end = trial => end,
        };
        // When a socket is cut, several tasks fail at once, each with an error of its own: the
        // reason for the cut is what the operator needs.
        let cut = self.member.as_ref().and_then(|member| member.kill_switch.reason());
        let end = cut.map_or(end, |reason| SessionEnd::Closed(reason.into()));
        let _ = node.send(NetEvent::Disconnected { peer, reason: end.reason() }).await;
        end
    }

    pub fn standing(&self) -> Standing {
        self.member.as_ref().map_or(Standing::Public, |member| member.basis.standing())
    }

    /// Ends when the time of a peer on trial is over; never for others.
    fn trial(&self) -> impl Future<Output = SessionEnd> + use<> {
        let trial = match self.member.as_ref().map(|member| &member.basis) {
            Some(AdmissionBasis::OnTrial { trial, .. }) => Some(trial.clone()),
            Some(AdmissionBasis::Judged(_)) | None => None,
        };
        let patience = self.timing.patience;
        async move {
            match trial {
                Some(trial) => trial.is_over(patience).await,
                None => std::future::pending().await,
            }
            SessionEnd::Refused(format!(
                "its certificate cannot be judged by the blocks that are here, and it brought none within {patience:?}"
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
        let request =
            AdmissionRequest { connection: self.id, hello: theirs.clone(), welcomed, verdict };
        self.requests.send(request).await.map_err(|_| gone())?;
        match answer.await.map_err(|_| gone())? {
            AdmissionVerdict::Await => Ok(None),
            AdmissionVerdict::Admit(send_queue) => Ok(Some(send_queue)),
            AdmissionVerdict::Refuse(reason) => Err(SessionEnd::Refused(reason)),
            AdmissionVerdict::Duplicate => Err(SessionEnd::Duplicate),
        }
    }

    /// Six tasks, one a stream of a lane; the first to end ends all. Content has its own
    /// tasks elsewhere, and no part in when a session ends.
    // A task for each stream: a peer that reads gossip slowly holds up no vote.
    async fn exchange(&mut self, streams: Streams, send_queue: Arc<SendQueue>) -> SessionEnd {
        let mut tasks = JoinSet::new();
        let standing = self.standing();
        // Other peers' streams are dropped, and not kept open: what a peer sends on a stream that
        // nobody reads fills the muxer's window.
        let gives = standing != Standing::Unjudged || self.content_from == ContentFrom::All;
        let content = gives
            .then(|| ContentLink::new(self.peer, standing, streams.content, send_queue.clone()));
        // Without room nobody waits: votes need no content.
        content.into_iter().for_each(|content| _ = self.content.try_send(content));
        let lanes = LANES.into_iter().zip(streams.read).zip(streams.write);
        for ((lane, read), write) in lanes {
            let reader = LaneReader {
                peer: self.peer,
                standing,
                lane,
                share: self.outlets[lane as usize].share(
                    self.strangers.clone(),
                    self.member.as_ref().map(|member| member.kill_switch.clone()),
                ),
                send_queue: send_queue.clone(),
                peer_table: self.peer_table.clone(),
                timing: self.timing,
                finder: self.finder.clone().zip(self.from),
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
