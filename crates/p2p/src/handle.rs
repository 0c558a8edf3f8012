//! Handle to the p2p service: non-blocking commands, and read-only views of its state.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use alloy_primitives::bytes::Bytes;
use tokio::sync::mpsc;
use trefoil_crypto::NodeCertificate;
use trefoil_types::{Admission, Message, Offence, PeerId, Standing, message::Lane};

use crate::{
    connection::{
        content_streams::ContentLink,
        frame,
        lane_limits::{LANES, limits},
        lanes::LaneReceiver,
    },
    connection_table::{Connection, lock},
    inbound_limits::peer_score::Misdeeds,
    peer_table::{NetCommand, NetPeer, PeerTable, RefusedPeer},
};

/// Handle to the p2p service; clone freely. Never blocks: a full lane drops as its kind
/// allows, and counts what it drops.
#[derive(Clone, Debug)]
pub struct NetHandle(pub(crate) Arc<PeerTable>);

/// Events in, most urgent first: the shell drains them in this order. All end
/// (`None`) once the network is shut down.
#[derive(Debug)]
pub struct LaneReceivers {
    /// Connections and consensus messages.
    pub consensus: LaneReceiver,
    pub catch_up: LaneReceiver,
    pub gossip: LaneReceiver,
    /// Admitted connections' streams of content.
    pub content: mpsc::Receiver<ContentLink>,
}

impl NetHandle {
    /// To every connected peer but `except`, and but those that are not judged yet.
    pub fn broadcast(&self, message: &Arc<Message>, except: Option<PeerId>) {
        let Some((lane, bytes)) = self.encode(message) else { return };
        let dropped = lock(&self.0.connections).broadcast(lane, bytes, except);
        self.0.count_dropped(lane, dropped);
    }

    /// To one peer, if it is connected.
    pub fn send(&self, peer: PeerId, message: &Arc<Message>) {
        let Some((lane, bytes)) = self.encode(message) else { return };
        let table = lock(&self.0.connections);
        if let Some(connection) = table.admitted(peer).filter(|it| may_hear(it, message))
            && let Some(send_queue) = &connection.send_queue
        {
            self.0.count_dropped(lane, send_queue.push_own(lane, bytes));
        }
    }

    /// Dials a peer once, if it is not connected; `teller` is the peer that told of it, if one did.
    /// Unless it is [kept](Self::keep), it is left soon. Of many at a time some are dropped.
    pub fn dial(&self, peer: PeerId, address: SocketAddr, teller: Option<PeerId>) {
        let _ = self.0.commands.try_send(NetCommand::Dial { peer, address, teller });
    }

    /// Looks for nodes that have the resource of this BLAKE3 root, besides the
    /// connected peers, and connects to those it finds: public networks only. Of
    /// many searches at a time some are dropped.
    pub fn search(&self, root: [u8; 32]) {
        let _ = self.0.commands.try_send(NetCommand::Search(root));
    }

    /// Announces from now on that this node has these resources and no others, by
    /// their BLAKE3 roots: public networks only. Of more than [`PROVIDED_MAX`] the
    /// rest is not announced.
    ///
    /// [`PROVIDED_MAX`]: crate::PROVIDED_MAX
    pub fn provide(&self, roots: BTreeSet<[u8; 32]>) {
        self.0.provided.send_if_modified(|provided| {
            let changed = *provided != roots;
            *provided = roots;
            changed
        });
    }

    /// A peer is of use: the connection stays, though it was dialled for a search.
    pub fn keep(&self, peer: PeerId) {
        self.0.keep(peer);
    }

    /// Where others can dial a connected peer, as far as it can be known.
    pub fn reach(&self, peer: PeerId) -> Option<SocketAddr> {
        lock(&self.0.connections).admitted(peer)?.reach()
    }

    /// Adds to a peer's misdeeds; at 100 it is disconnected and banned a while.
    pub fn blame(&self, peer: PeerId, offence: Offence) {
        self.0.blame(peer, offence);
    }

    /// A peer was the first to tell of something that cost its maker: a
    /// stranger that did so of late is not displaced by newcomers.
    pub fn credit(&self, peer: PeerId) {
        lock(&self.0.connections).useful(peer, Instant::now());
    }

    /// A peer was the first to bring a valid proposal, or brought a final block: a few such
    /// peers' next proposals wait for nobody else's frames.
    pub fn credit_block(&self, peer: PeerId) {
        lock(&self.0.connections).brought_block(peer, Instant::now());
    }

    /// A peer, which is not banned for it, made this node verify so many signatures in vain by
    /// what it sent on a lane. If that goes on, the lane is not read for a while.
    pub fn slow(&self, peer: PeerId, lane: Lane, signatures: usize) {
        lock(&self.0.connections).slow(peer, lane, signatures, Instant::now());
    }

    /// Something that the peer gave was verified and brought this node forward: one
    /// that cannot be judged yet has time anew, others need none.
    pub fn brought(&self, peer: PeerId) {
        lock(&self.0.connections).brought(peer, Instant::now());
    }

    /// Keeps places for these peers besides the configured: the validators.
    pub fn favour(&self, validators: impl IntoIterator<Item = PeerId>) {
        lock(&self.0.connections).favour(validators);
    }

    /// Whether a place is kept for the peer: a validator, or configured.
    pub fn is_favoured(&self, peer: PeerId) -> bool {
        lock(&self.0.connections).is_favoured(peer)
    }

    /// Who belongs to a network of members from now on. Whoever does not any
    /// more is cut before this returns: nothing is sent to it, and what waits
    /// of it is not delivered. Places are kept for the validators.
    pub fn set_admission(&self, admission: Admission) {
        lock(&self.0.connections).renew(admission);
    }

    /// What this node shows of itself from now on, in a network of members.
    pub fn set_certificate(&self, certificate: NodeCertificate) {
        lock(&self.0.connections).set_certificate(certificate);
    }

    /// Connections that were closed as soon as they were accepted, since the
    /// start: there was no room for where they came from.
    pub fn turned_away(&self) -> u64 {
        lock(&self.0.connections).turned_away
    }

    /// Connected peers, in order of peer id.
    pub fn peers(&self) -> Vec<NetPeer> {
        let seen = |(peer, connection): (PeerId, &Connection)| {
            let send_queue = connection.send_queue.as_ref()?;
            let software = connection.hello.as_ref().map(|hello| hello.software.clone());
            Some(NetPeer {
                peer,
                address: connection.address.to_string(),
                inbound: connection.is_inbound(),
                standing: connection.standing,
                software: software.unwrap_or_default(),
                score: 0,
                bytes_in: send_queue.bytes_in.load(Ordering::Relaxed),
                bytes_out: send_queue.bytes_out.load(Ordering::Relaxed),
            })
        };
        let mut peers: Vec<_> = lock(&self.0.connections).all_admitted().filter_map(seen).collect();
        let (state, now) = (self.0.lock(), Instant::now());
        peers.iter_mut().for_each(|it| it.score = state.scores.score(it.peer, now));
        peers
    }

    /// Who did what wrong, as far as it is remembered: peers, connected or not,
    /// then sources whose handshakes failed.
    pub fn misdeeds(&self) -> Vec<Misdeeds> {
        let (state, now) = (self.0.lock(), Instant::now());
        let peers = state.scores.records();
        let peers = peers.map(|(peer, record)| Misdeeds::of(peer.to_string(), record, now));
        let mut misdeeds: Vec<_> = peers.collect();
        drop(state);
        let table = lock(&self.0.connections);
        let sources = table.failed.records();
        misdeeds.extend(sources.map(|(from, it)| Misdeeds::of(from.to_string(), it, now)));
        misdeeds
    }

    /// The latest refusals, the newest last.
    pub fn refusals(&self) -> Vec<RefusedPeer> {
        self.0.lock().refusals.iter().cloned().collect()
    }

    /// The latest refusals for another version of a protocol, the newest last: peers that
    /// an upgrade here or there would bring back.
    pub fn other_versions(&self) -> Vec<RefusedPeer> {
        let mut refusals = self.refusals();
        refusals.retain(|refusal| refusal.versions.is_some());
        refusals
    }

    /// The address that is listened on, with the port that was free if the
    /// configured one was 0.
    pub fn listen_address(&self) -> SocketAddr {
        self.0.listen
    }

    /// Messages dropped per lane since the start, by lane name.
    pub fn dropped(&self) -> BTreeMap<&'static str, u64> {
        let count = |lane: Lane| self.0.dropped[lane as usize].load(Ordering::Relaxed);
        LANES.iter().map(|lane| (limits(*lane).name, count(*lane))).collect()
    }

    /// Closes every connection and the port. The lanes end when that is done.
    pub fn shutdown(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Encodes once, however many it goes to. A message over its lane's limit
    /// would make peers ban us, so it goes nowhere.
    fn encode(&self, message: &Message) -> Option<(Lane, Bytes)> {
        let (lane, frame) = (message.lane(), frame::of_message(message));
        if frame.len() - 4 > limits(lane).frame_bytes_max {
            tracing::error!(
                lane = limits(lane).name,
                bytes = frame.len(),
                "message over its limit, not sent"
            );
            self.0.count_dropped(lane, 1);
            return None;
        }
        Some((lane, frame))
    }
}

/// Whether a message may leave for the peer: one that is not judged yet is asked for
/// blocks, and is sent nothing of a chain that may not be its own.
// The one place that decides it for all that is sent to one peer.
fn may_hear(connection: &Connection, message: &Message) -> bool {
    connection.standing != Standing::Unjudged || matches!(message, Message::GetBlocks(_))
}
