//! The hand on the network: orders that never wait, and what can be seen.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use alloy_primitives::bytes::Bytes;
use tokio::sync::{mpsc, watch};
use trefoil_crypto::NodeCertificate;
use trefoil_types::{Admission, Message, Offence, PeerId, Standing, message::Lane};

use crate::{
    board::{Board, Place},
    frame,
    guard::Door,
    lane::{LANES, limits},
    link::Stop,
    outbox::Outbox,
    providers::Root,
    reputation::{Record, Reputation},
};

/// The most refusals that are remembered.
const REFUSALS_MAX: usize = 64;

/// The hand that gives orders to the network; clone freely. Never blocks: a
/// full lane drops as its kind allows and counts it.
#[derive(Clone, Debug)]
pub struct NetHandle(pub(crate) Arc<Shared>);

/// A connected peer.
#[derive(Clone, Debug)]
pub struct NetPeer {
    pub peer: PeerId,
    pub address: String,
    pub inbound: bool,
    pub standing: Standing,
    /// What its program calls itself.
    pub software: String,
    /// What its misdeeds amount to; at 100 it is banned.
    pub score: u32,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// What is remembered against a peer, or the source of failed handshakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misdeeds {
    /// A peer id, an IPv4 address or an IPv6 /64.
    pub who: String,
    /// At 100 it is banned.
    pub score: u32,
    pub banned_for: Option<Duration>,
    /// Each kind, how often, and how long ago it last was.
    pub offences: Vec<(Offence, u32, Duration)>,
}

impl Misdeeds {
    pub(crate) fn of(who: String, record: &Record, now: Instant) -> Self {
        let offences = record.tallies.iter().map(|(offence, tally)| {
            (*offence, tally.times, now.saturating_duration_since(tally.last))
        });
        Self {
            who,
            score: record.score(now),
            banned_for: record.banned_for(now),
            offences: offences.collect(),
        }
    }
}

/// A connection that was not made, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub peer: Option<PeerId>,
    pub address: String,
    pub reason: String,
    /// When it last happened.
    pub at: SystemTime,
    /// How often it happened, the same way.
    pub times: u64,
}

/// What the handle and the engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub listen: SocketAddr,
    pub stopping: watch::Sender<bool>,
    /// Of a network of members.
    pub board: Option<Arc<Board>>,
    /// The roots of what this node has for others, in a public network.
    pub provided: watch::Sender<BTreeSet<Root>>,
    door: Door,
    orders: mpsc::Sender<Order>,
    dropped: [AtomicU64; 3],
    state: Mutex<State>,
}

/// What the engine is asked to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Dial a peer once.
    Dial(PeerId, SocketAddr),
    /// Look for providers of a resource and connect to them.
    Search(Root),
}

#[derive(Debug, Default)]
struct State {
    peers: BTreeMap<PeerId, Admitted>,
    reputation: Reputation<PeerId>,
    /// The oldest first.
    refusals: VecDeque<Refusal>,
}

/// A peer whose messages pass.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub outbox: Arc<Outbox>,
    pub stop: Stop,
    pub place: Place,
    pub standing: Standing,
    pub software: String,
    /// Where others can dial it.
    pub reach: Option<SocketAddr>,
    /// Dialled for a search only, and to be left soon.
    pub errand: bool,
}

impl Admitted {
    /// The one choke of what leaves for a peer: one that is not judged yet is asked for
    /// blocks, and learns nothing of a chain that may not be its own.
    fn may_hear(&self, message: &Message) -> bool {
        self.standing != Standing::Unjudged || matches!(message, Message::GetBlocks(_))
    }
}

impl NetHandle {
    /// To every connected peer but `except`, and but those that are not judged yet.
    pub fn broadcast(&self, message: &Arc<Message>, except: Option<PeerId>) {
        let Some((lane, frame)) = self.encode(message) else { return };
        for (peer, admitted) in &self.0.lock().peers {
            if Some(*peer) != except && admitted.standing != Standing::Unjudged {
                self.0.count_dropped(lane, admitted.outbox.push(lane, frame.clone()));
            }
        }
    }

    /// To one peer, if it is connected.
    pub fn send(&self, peer: PeerId, message: &Arc<Message>) {
        let Some((lane, frame)) = self.encode(message) else { return };
        let state = self.0.lock();
        if let Some(admitted) = state.peers.get(&peer).filter(|it| it.may_hear(message)) {
            self.0.count_dropped(lane, admitted.outbox.push_own(lane, frame));
        }
    }

    /// Dials a peer once, if it is not connected. Of many at a time some are
    /// dropped.
    pub fn dial(&self, peer: PeerId, address: SocketAddr) {
        let _ = self.0.orders.try_send(Order::Dial(peer, address));
    }

    /// Looks for nodes that have the resource of this BLAKE3 root, besides the
    /// connected peers, and connects to those it finds: public networks only. Of
    /// many searches at a time some are dropped.
    pub fn search(&self, root: [u8; 32]) {
        let _ = self.0.orders.try_send(Order::Search(root));
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
        self.0.lock().peers.get(&peer)?.reach
    }

    /// Adds to a peer's misdeeds; at 100 it is disconnected and banned a while.
    pub fn blame(&self, peer: PeerId, offence: Offence) {
        self.0.blame(peer, offence);
    }

    /// A peer was the first to tell of something that cost its maker: a
    /// stranger that did so of late is not displaced by newcomers.
    pub fn credit(&self, peer: PeerId) {
        self.0.door.useful(peer);
    }

    /// Something that the peer gave was verified and brought this node forward: one
    /// that cannot be judged yet has time anew, others need none.
    pub fn brought(&self, peer: PeerId) {
        if let Some(board) = &self.0.board {
            board.brought(peer);
        }
    }

    /// Keeps places for these peers besides the configured: the validators.
    pub fn favour(&self, validators: impl IntoIterator<Item = PeerId>) {
        self.0.door.favour(validators);
    }

    /// Whether a place is kept for the peer: a validator, or configured.
    pub fn is_favoured(&self, peer: PeerId) -> bool {
        self.0.door.is_favoured(peer)
    }

    /// Who belongs to a network of members from now on. Whoever does not any
    /// more is cut before this returns: nothing is sent to it, and what waits
    /// of it is not delivered. Places are kept for the validators.
    pub fn set_admission(&self, admission: Admission) {
        let Some(board) = &self.0.board else { return };
        self.favour(admission.validators());
        for (peer, place, reason) in board.renew(admission) {
            self.0.cut(peer, &place, reason);
        }
    }

    /// What this node shows of itself from now on, in a network of members.
    pub fn set_certificate(&self, certificate: NodeCertificate) {
        if let Some(board) = &self.0.board {
            board.set_certificate(certificate);
        }
    }

    /// Connections that were closed as soon as they were accepted, since the
    /// start: there was no room for where they came from.
    pub fn turned_away(&self) -> u64 {
        self.0.door.turned_away()
    }

    /// Connected peers, in order of peer id.
    pub fn peers(&self) -> Vec<NetPeer> {
        let (state, now) = (self.0.lock(), Instant::now());
        let seen = |(peer, admitted): (&PeerId, &Admitted)| NetPeer {
            peer: *peer,
            address: admitted.place.address.clone(),
            inbound: admitted.place.inbound,
            standing: admitted.standing,
            software: admitted.software.clone(),
            score: state.reputation.score(*peer, now),
            bytes_in: admitted.outbox.bytes_in.load(Ordering::Relaxed),
            bytes_out: admitted.outbox.bytes_out.load(Ordering::Relaxed),
        };
        state.peers.iter().map(seen).collect()
    }

    /// Who did what wrong, as far as it is remembered: peers, connected or not,
    /// then sources whose handshakes failed.
    pub fn misdeeds(&self) -> Vec<Misdeeds> {
        let (state, now) = (self.0.lock(), Instant::now());
        let peers = state.reputation.records();
        let peers = peers.map(|(peer, record)| Misdeeds::of(peer.to_string(), record, now));
        let mut misdeeds: Vec<_> = peers.collect();
        drop(state);
        misdeeds.extend(self.0.door.failed());
        misdeeds
    }

    /// The latest refusals, the newest last.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.0.lock().refusals.iter().cloned().collect()
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

impl Shared {
    pub fn new(
        listen: SocketAddr,
        board: Option<Arc<Board>>,
        door: Door,
        orders: mpsc::Sender<Order>,
    ) -> Self {
        Self {
            listen,
            stopping: watch::Sender::new(false),
            board,
            provided: watch::Sender::default(),
            door,
            orders,
            dropped: Default::default(),
            state: Mutex::default(),
        }
    }

    /// Held only for look-ups and pushes, never across a wait.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_dropped(&self, lane: Lane, count: u64) {
        self.dropped[lane as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub fn admit(&self, peer: PeerId, admitted: Admitted) {
        self.lock().peers.insert(peer, admitted);
    }

    pub fn dismiss(&self, peer: PeerId) {
        self.lock().peers.remove(&peer);
    }

    /// See [`NetHandle::keep`].
    pub fn keep(&self, peer: PeerId) {
        if let Some(admitted) = self.lock().peers.get_mut(&peer) {
            admitted.errand = false;
        }
    }

    /// Ends a connection that was dialled for a search, unless it is of other use.
    pub fn end_errand(&self, peer: PeerId) {
        if let Some(admitted) = self.lock().peers.get(&peer).filter(|admitted| admitted.errand) {
            admitted.stop.now("the search is over");
        }
    }

    /// Lets nothing pass to or from a peer over the connection at `place`.
    fn cut(&self, peer: PeerId, place: &Place, reason: String) {
        let mut state = self.lock();
        if let Some(admitted) = state.peers.get(&peer).filter(|a| a.place == *place) {
            admitted.stop.now(reason);
            state.peers.remove(&peer);
        }
    }

    /// Whether the chain will never let the peer in again, or it was tried in vain just
    /// now.
    pub fn is_unwanted(&self, peer: PeerId) -> bool {
        let board = self.board.as_ref();
        board.is_some_and(|board| board.is_revoked(peer) || board.is_doubted(peer))
    }

    pub fn blame(&self, peer: PeerId, offence: Offence) {
        let mut state = self.lock();
        let Some(ban) = state.reputation.blame(peer, offence, Instant::now()) else { return };
        tracing::warn!(%peer, ?offence, "banned for {ban:?}");
        if let Some(admitted) = state.peers.get(&peer) {
            admitted.stop.now(format!("banned: {offence:?}"));
        }
    }

    /// How long a peer stays banned, if it is.
    pub fn banned_for(&self, peer: PeerId) -> Option<Duration> {
        self.lock().reputation.banned_for(peer, Instant::now())
    }

    /// Remembers a refusal; `true` if it is not a repetition.
    pub fn note_refusal(&self, peer: Option<PeerId>, address: &str, reason: &str) -> bool {
        let refusals = &mut self.lock().refusals;
        // Of a peer without a name each address is another; of a named peer the
        // port from which it dialled means nothing.
        let same = |r: &Refusal| {
            r.reason == reason && r.peer == peer && (peer.is_some() || r.address == address)
        };
        let before = refusals.iter().position(same).and_then(|i| refusals.remove(i));
        let times = before.as_ref().map_or(0, |r| r.times) + 1;
        if refusals.len() >= REFUSALS_MAX {
            refusals.pop_front();
        }
        refusals.push_back(Refusal {
            peer,
            address: address.into(),
            reason: reason.into(),
            at: SystemTime::now(),
            times,
        });
        before.is_none()
    }
}
