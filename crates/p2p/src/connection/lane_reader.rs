//! Reads one lane of a session and passes on what comes.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use libp2p::Stream;
use tokio::time::sleep;
use trefoil_types::{Offence, PeerId, Standing, message::Lane};

use crate::{
    config::Timing,
    connection::{
        frame::{self, Control, LaneFrame},
        lanes::{LaneShare, limits},
        send_queue::SendQueue,
        session_end::SessionEnd,
    },
    discovery::{finder::Finder, peer_record::PeerRecord},
    event::NetEvent,
    inbound_limits::rate_limit::RateLimiter,
    peer_table::PeerTable,
};

/// A peer that sends too much is not read for this long, and blamed.
// Once in a while a peer that was held up sends all that waited; only a flood that goes on, for
// five seconds, adds up to a ban.
const FLOOD_PAUSE: Duration = Duration::from_millis(100);

/// The reading end of a lane.
pub(crate) struct LaneReader {
    pub peer: PeerId,
    pub standing: Standing,
    pub lane: Lane,
    pub share: LaneShare,
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
        let limits = limits(self.lane);
        let mut rate_limiter = RateLimiter::new(limits.in_rate, limits.in_burst);
        // Pings keep the consensus lane from silence; the others may be idle.
        let silence =
            if self.lane == Lane::Consensus { self.timing.silence } else { Duration::MAX };
        loop {
            if let Err(end) = self.read(&mut stream, silence).await {
                return end;
            }
            if let Err(early) = rate_limiter.take(Instant::now()) {
                self.peer_table.blame(self.peer, Offence::Flood);
                sleep(early.max(FLOOD_PAUSE)).await;
            }
        }
    }

    /// Reads a frame and passes it on, or says why it ends the session.
    async fn read(&mut self, stream: &mut Stream, silence: Duration) -> Result<(), SessionEnd> {
        let length = frame::read_length(stream, limits(self.lane).frame_bytes_max, silence).await?;
        let full = |_| SessionEnd::Closed("no room for its large frame".into());
        let _room = self.share.room(length).await.map_err(full)?;
        let bytes = frame::read_body(stream, length, silence).await?;
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
                // The decoded message holds its own memory; while it waits for room, the frame
                // must not be held as well.
                let size = bytes.len();
                drop(bytes);
                let event = NetEvent::Message { peer: self.peer, message };
                let gone = |_| SessionEnd::Closed("the node has ended".into());
                self.share.deliver(event, size).await.map_err(gone)
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

    /// Answers the first question of a connection; more are too many.
    fn answer_get_peers(&mut self) {
        if std::mem::replace(&mut self.asked, true) {
            self.peer_table.blame(self.peer, Offence::Flood);
        } else if let Some((finder, _)) = &self.finder
            && self.standing != Standing::Unjudged
        {
            let answer = Control::Peers(finder.answer()).encode();
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
