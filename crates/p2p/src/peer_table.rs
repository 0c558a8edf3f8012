//! The connected peers and what is known of them, shared by the handle, the service and
//! the sessions.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::{mpsc, watch};
use trefoil_types::{Message, Offence, PeerId, Standing, message::Lane};

use crate::{
    connection::{send_queue::SendQueue, stop::Stop},
    discovery::providers::Root,
    inbound_limits::{peer_score::PeerScores, socket::InboundGate},
    membership::admission::{AdmissionTable, RemoteEndpoint},
    network::VersionMismatch,
};

/// The most refusals that are remembered.
// Attack: strangers under ever new identities, which are free.
const REFUSALS_MAX: usize = 64;

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

/// A connection that was not made, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPeer {
    pub peer: Option<PeerId>,
    pub address: String,
    pub reason: String,
    /// If two versions of a protocol are the reason.
    pub versions: Option<VersionMismatch>,
    /// When it last happened.
    pub at: SystemTime,
    /// How often it happened, the same way.
    pub times: u64,
}

/// What the handle, the service and the sessions share.
#[derive(Debug)]
pub(crate) struct PeerTable {
    pub listen: SocketAddr,
    pub stopping: watch::Sender<bool>,
    /// Of a network of members.
    pub admissions: Option<Arc<AdmissionTable>>,
    /// The roots of what this node has for others, in a public network.
    pub provided: watch::Sender<BTreeSet<Root>>,
    pub gate: InboundGate,
    pub commands: mpsc::Sender<NetCommand>,
    pub dropped: [AtomicU64; 3],
    state: Mutex<KnownPeers>,
}

/// What the service is asked to do.
#[derive(Debug)]
pub(crate) enum NetCommand {
    /// Dial a peer once.
    Dial(PeerId, SocketAddr),
    /// Look for providers of a resource and connect to them.
    Search(Root),
}

#[derive(Debug, Default)]
pub(crate) struct KnownPeers {
    pub peers: BTreeMap<PeerId, Admitted>,
    pub scores: PeerScores<PeerId>,
    /// The oldest first.
    pub refusals: VecDeque<RefusedPeer>,
}

/// A peer whose messages pass.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub send_queue: Arc<SendQueue>,
    pub stop: Stop,
    pub endpoint: RemoteEndpoint,
    pub standing: Standing,
    pub software: String,
    /// Where others can dial it.
    pub reach: Option<SocketAddr>,
    /// Dialled for a search only, and to be left soon.
    pub search_only: bool,
}

impl Admitted {
    /// Whether a message may leave for the peer: one that is not judged yet is asked for
    /// blocks, and is sent nothing of a chain that may not be its own.
    // The one place that decides it for all that is sent to one peer.
    pub fn may_hear(&self, message: &Message) -> bool {
        self.standing != Standing::Unjudged || matches!(message, Message::GetBlocks(_))
    }
}

impl PeerTable {
    pub fn new(
        listen: SocketAddr,
        admissions: Option<Arc<AdmissionTable>>,
        gate: InboundGate,
        commands: mpsc::Sender<NetCommand>,
    ) -> Self {
        Self {
            listen,
            stopping: watch::Sender::new(false),
            admissions,
            provided: watch::Sender::default(),
            gate,
            commands,
            dropped: Default::default(),
            state: Mutex::default(),
        }
    }

    /// Held only for look-ups and pushes, never across a wait.
    pub fn lock(&self) -> MutexGuard<'_, KnownPeers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count_dropped(&self, lane: Lane, count: u64) {
        self.dropped[lane as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// The connection stays, though it was dialled for a search.
    pub fn keep(&self, peer: PeerId) {
        if let Some(admitted) = self.lock().peers.get_mut(&peer) {
            admitted.search_only = false;
        }
    }

    /// Ends a connection that was dialled for a search, unless it is of other use.
    pub fn end_search_dial(&self, peer: PeerId) {
        if let Some(admitted) = self.lock().peers.get(&peer).filter(|admitted| admitted.search_only)
        {
            admitted.stop.now("the search is over");
        }
    }

    /// Lets nothing pass to or from a peer over the connection at `endpoint`.
    pub fn cut(&self, peer: PeerId, endpoint: &RemoteEndpoint, reason: String) {
        let mut state = self.lock();
        if let Some(admitted) = state.peers.get(&peer).filter(|a| a.endpoint == *endpoint) {
            admitted.stop.now(reason);
            state.peers.remove(&peer);
        }
    }

    /// Whether the peer is banned, or the chain will never let it in again, or it was tried in
    /// vain just now.
    pub fn is_unwanted(&self, peer: PeerId) -> bool {
        let admissions = self.admissions.as_ref();
        self.banned_for(peer).is_some() || admissions.is_some_and(|it| it.is_unwanted(peer))
    }

    pub fn blame(&self, peer: PeerId, offence: Offence) {
        let mut state = self.lock();
        let Some(ban) = state.scores.blame(peer, offence, Instant::now()) else { return };
        tracing::warn!(%peer, ?offence, "banned for {ban:?}");
        if let Some(admitted) = state.peers.get(&peer) {
            admitted.stop.now(format!("banned: {offence:?}"));
        }
    }

    /// How long a peer stays banned, if it is.
    pub fn banned_for(&self, peer: PeerId) -> Option<Duration> {
        self.lock().scores.banned_for(peer, Instant::now())
    }

    /// Remembers a refusal; `true` if it is not a repetition.
    pub fn note_refusal(
        &self,
        peer: Option<PeerId>,
        address: &str,
        reason: &str,
        versions: Option<VersionMismatch>,
    ) -> bool {
        let refusals = &mut self.lock().refusals;
        // A peer without an identity is known by its address. The address of a peer with one
        // has another port each time it dials, so that it tells nothing.
        let same = |r: &RefusedPeer| {
            r.reason == reason && r.peer == peer && (peer.is_some() || r.address == address)
        };
        let before = refusals.iter().position(same).and_then(|i| refusals.remove(i));
        let times = before.as_ref().map_or(0, |r| r.times) + 1;
        if refusals.len() >= REFUSALS_MAX {
            refusals.pop_front();
        }
        refusals.push_back(RefusedPeer {
            peer,
            address: address.into(),
            reason: reason.into(),
            versions,
            at: SystemTime::now(),
            times,
        });
        before.is_none()
    }
}
