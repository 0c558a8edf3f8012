//! Reads one lane of a session and passes on what comes.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use libp2p::Stream;
use tokio::time::sleep;
use trefoil_types::{
    Offence, PeerId, Standing,
    message::{Lane, Message},
    message_rule::BLOCKS,
};

use crate::{
    config::Timing,
    connection::{
        budget::PeerBudget,
        frame::{self, Control, LaneFrame},
        lane_limits::limits,
        lanes::LaneSender,
        send_queue::SendQueue,
        session_end::SessionEnd,
    },
    discovery::{finder::Finder, peer_record::PeerRecord},
    event::NetEvent,
    peer_table::PeerTable,
    transport::kill_switch::KillSwitch,
};

/// A peer that sends too much is not read for this long, and blamed.
// Once in a while a peer that was held up sends all that waited; only a flood that goes on, for
// five seconds, adds up to a ban.
const FLOOD_PAUSE: Duration = Duration::from_millis(100);

/// A message whose answers of a second may be larger is a request, which must wait.
// What help a tip calls for is small, and a peer that reads slowly needs it most.
const SMALL_ANSWERS: usize = 64 * 1024;

/// How long a request of a peer that does not read its answers may wait for that.
// Attack: a peer that asks and does not read. It is not read either while its budget is full.
// Not for ever: two honest nodes that both owe each other reading would wait for each other.
// Shorter than the 3 s for which who asks waits for its answer (`ANSWER_WAIT` in the node's block
// sync): a stale request is not answered.
const READING_WAIT: Duration = Duration::from_secs(2);

/// The reading end of a lane.
pub(crate) struct LaneReader {
    pub peer: PeerId,
    pub standing: Standing,
    pub lane: Lane,
    pub node: LaneSender,
    pub kill_switch: Arc<KillSwitch>,
    pub budget: Arc<PeerBudget>,
    pub send_queue: Arc<SendQueue>,
    pub peer_table: Arc<PeerTable>,
    pub timing: Timing,
    /// Learns of other nodes; with the address of this peer.
    pub finder: Option<(Arc<Finder>, SocketAddr)>,
    /// Whether the peer has asked for other nodes.
    pub asked: bool,
}

impl LaneReader {
    /// Reads for ever. Waits while the node is behind, so that the peer's
    /// sending stalls and not our memory grows.
    pub async fn run(mut self, mut stream: Stream) -> SessionEnd {
        // Pings keep the consensus lane from silence; the others may be idle.
        let silence =
            if self.lane == Lane::Consensus { self.timing.silence } else { Duration::MAX };
        loop {
            self.pause().await;
            if let Err(end) = self.read(&mut stream, silence).await {
                return end;
            }
            if let Err(early) = self.budget.rates.message(self.lane, Instant::now()) {
                self.peer_table.blame(self.peer, Offence::Flood);
                sleep(early.max(FLOOD_PAUSE)).await;
            }
        }
    }

    // Attack: a validator, which is not banned for what others may have made, sends bad votes and
    // certificates without end.
    /// Waits while the peer has made this node verify too much in vain.
    async fn pause(&self) {
        loop {
            let pause = self.budget.rates.pause(self.lane, Instant::now());
            if pause.is_zero() {
                return;
            }
            sleep(pause).await;
        }
    }

    /// Reads a frame and passes it on, or says why it ends the session.
    async fn read(&mut self, stream: &mut Stream, silence: Duration) -> Result<(), SessionEnd> {
        let head = frame::read_head(stream, limits(self.lane).frame_bytes_max, silence).await?;
        head.check()?;
        let mut room = self.budget.begin(self.lane, head.length).await;
        let bytes = frame::read_rest(stream, head, silence, Some(&mut room)).await?;
        let blocks = bytes.first() == Some(&BLOCKS.kind);
        let more = Message::unpacked_bytes(&bytes);
        let charge = room.unpack(self.lane, blocks, more, &self.budget).await;
        self.send_queue.bytes_in.fetch_add(bytes.len() as u64 + 4, Ordering::Relaxed);
        match LaneFrame::decode(&bytes)? {
            // The peer cannot know that it is not judged here: an honest one speaks as to any
            // member, so this is dropped and is no misdeed.
            LaneFrame::Message(message)
                if self.standing == Standing::Unjudged && !message.brings_blocks() =>
            {
                Ok(())
            }
            LaneFrame::Message(message) if message.lane() == self.lane => {
                // The decoded message holds its own memory; while it waits, the frame must not be
                // held as well.
                drop(bytes);
                if message.rule().answers.peer > SMALL_ANSWERS && !self.may_ask().await {
                    self.peer_table.count_dropped(self.lane, 1);
                    return Ok(());
                }
                let event = NetEvent::Message { peer: self.peer, message };
                let gone = |_| SessionEnd::Closed("the node has ended".into());
                self.node.send((event, charge, Some(self.kill_switch.clone()))).map_err(gone)
            }
            LaneFrame::Control(Control::Ping) if self.lane == Lane::Consensus => Ok(()),
            LaneFrame::Control(Control::Refusal(reason)) if self.lane == Lane::Consensus => {
                Err(SessionEnd::RefusedByPeer(reason))
            }
            LaneFrame::Control(Control::GetPeers) if self.lane == Lane::Gossip => {
                self.answer_get_peers();
                Ok(())
            }
            LaneFrame::Control(Control::Peers(records)) if self.lane == Lane::Gossip => {
                self.on_peers(records)
            }
            _ => {
                let lane = limits(self.lane).name;
                let what = format!("a frame that has no place on the {lane} lane");
                Err(SessionEnd::Offence(Offence::Malformed, what))
            }
        }
    }

    /// Whether the peer has read enough of its answers to have another.
    // On the consensus lane nothing waits: the votes behind the request must flow, also of an
    // honest peer that is slow. The request is dropped, and who asked asks another.
    async fn may_ask(&self) -> bool {
        match self.lane {
            Lane::Consensus => !self.budget.owes_reading(self.lane),
            Lane::CatchUp | Lane::Gossip => self.budget.has_read(self.lane, READING_WAIT).await,
        }
    }

    /// Answers the first question of a connection; more are too many.
    fn answer_get_peers(&mut self) {
        if std::mem::replace(&mut self.asked, true) {
            self.peer_table.blame(self.peer, Offence::Flood);
        } else if let Some((finder, from)) = &self.finder
            && self.standing != Standing::Unjudged
        {
            let answer = Control::Peers(finder.answer(*from)).encode();
            self.send_queue.push_own(Lane::Gossip, answer);
        }
    }

    /// Takes the one answer that was asked for.
    fn on_peers(&self, records: Vec<PeerRecord>) -> Result<(), SessionEnd> {
        match &self.finder {
            Some((finder, from)) if self.send_queue.answered() => {
                finder.on_records(records, *from).map_err(|offence| {
                    SessionEnd::Offence(offence, "a peer record that its peer did not sign".into())
                })
            }
            _ => {
                self.peer_table.blame(self.peer, Offence::Unsolicited);
                Ok(())
            }
        }
    }
}
