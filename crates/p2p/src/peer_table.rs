//! What is known of peers, connected or not, shared by the handle, the service and the
//! sessions.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::{mpsc, watch};
use trefoil_types::{Offence, PeerId, Standing, message::Lane};

use crate::{
    connection::lane_limits::LANES,
    connection_table::{DialReason, SharedTable, lock},
    discovery::providers::Root,
    inbound_limits::peer_score::PeerScores,
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
    pub connections: SharedTable,
    /// The roots of what this node has for others, in a public network.
    pub provided: watch::Sender<BTreeSet<Root>>,
    pub commands: mpsc::Sender<NetCommand>,
    pub dropped: [AtomicU64; LANES.len()],
    state: Mutex<KnownPeers>,
}

/// What the service is asked to do.
#[derive(Debug)]
pub(crate) enum NetCommand {
    /// Dial a peer once, that another told of.
    Dial { peer: PeerId, address: SocketAddr, teller: Option<PeerId> },
    /// Look for providers of a resource and connect to them.
    Search(Root),
}

#[derive(Debug, Default)]
pub(crate) struct KnownPeers {
    pub scores: PeerScores<PeerId>,
    /// The oldest first.
    pub refusals: VecDeque<RefusedPeer>,
}

impl PeerTable {
    pub fn new(
        listen: SocketAddr,
        connections: SharedTable,
        commands: mpsc::Sender<NetCommand>,
    ) -> Self {
        Self {
            listen,
            stopping: watch::Sender::new(false),
            connections,
            provided: watch::Sender::default(),
            commands,
            dropped: Default::default(),
            state: Mutex::default(),
        }
    }

    /// Held only for look-ups and changes, never across a wait or together with the table's.
    pub fn lock(&self) -> MutexGuard<'_, KnownPeers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count_dropped(&self, lane: Lane, count: u64) {
        self.dropped[lane as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// The connection stays, though it was dialled for a search.
    pub fn keep(&self, peer: PeerId) {
        for connection in lock(&self.connections).values_mut().filter(|it| it.peer == Some(peer)) {
            if let Some(DialReason::Search { kept, .. }) = &mut connection.dialled_for {
                *kept = true;
            }
        }
    }

    /// Whether the peer is banned, or the chain will never let it in again, or it was tried in
    /// vain just now.
    pub fn is_unwanted(&self, peer: PeerId) -> bool {
        self.banned_for(peer).is_some() || lock(&self.connections).is_unwanted(peer, Instant::now())
    }

    pub fn blame(&self, peer: PeerId, offence: Offence) {
        let Some(ban) = self.lock().scores.blame(peer, offence, Instant::now()) else { return };
        tracing::warn!(%peer, ?offence, "banned for {ban:?}");
        if let Some(connection) = lock(&self.connections).admitted(peer) {
            connection.kill_switch.stop(format!("banned: {offence:?}"));
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
