//! One connection, as the table has it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::swarm::ConnectionId;
use tokio::sync::{mpsc, oneshot};
use trefoil_crypto::{NodeCertificate, PublicKey};
use trefoil_types::{PeerId, Standing};

use crate::{
    connection::{
        budget::PeerBudget, hello::Hello, send_queue::SendQueue, session_end::SessionEnd,
        streams::Opened,
    },
    membership::trial::Trial,
    transport::kill_switch::KillSwitch,
};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// This node dials: nobody is there yet.
    Dialling,
    /// Accepted, and no identity is proven.
    HalfOpen,
    /// The peer has proven who it is, and both are at their hello.
    Greeting,
    /// Its messages pass, or are about to.
    Admitted,
    /// It lost its place, and its socket is being closed.
    Leaving,
}

/// What this node dialled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialReason {
    /// A configured peer, or a provider that a search found.
    Named,
    /// An address of the book.
    Candidate,
    /// A search, or a peer's word for who has something: it is left soon; `kept`: unless it turned
    /// out to be of other use.
    Search { since: Instant, kept: bool },
    /// Of such a dial, when it has stayed.
    Kept,
}

/// What the service answers a session that asks whether messages may pass: a queue if so,
/// nothing if it is to welcome the peer first.
pub(crate) type Verdict = Result<Option<Arc<SendQueue>>, SessionEnd>;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Where the peer is.
    pub address: SocketAddr,
    /// `None`: the peer dialled.
    pub dialled_for: Option<DialReason>,
    pub stage: Stage,
    /// Since when it is at its stage.
    pub since: Instant,
    /// It takes nobody's place: from where a favoured peer lives, or of one, once proven.
    pub favoured: bool,
    pub kill_switch: Arc<KillSwitch>,
    /// Its first byte has come.
    pub(super) spoke: bool,
    /// How long its handshake took: it cannot be shorter than its way.
    pub(super) took: Duration,
    /// When it last was the first to tell of something good.
    pub(super) useful: Option<Instant>,
    /// When something that it gave was last verified: blocks, or content.
    pub brought: Option<Instant>,
    /// As proven; of a dial, as expected before.
    pub peer: Option<PeerId>,
    /// As judged. Before, and in vain, a member is unjudged.
    pub standing: Standing,
    /// What the standing was judged by, and is again with each block.
    pub(super) certificate: Option<NodeCertificate>,
    /// The CA key that signed it, once a block was judged by it.
    pub(super) issuer: Option<PublicKey>,
    /// While it cannot be judged.
    pub(super) trial: Option<Trial>,
    /// As libp2p's swarm has it.
    pub swarm_id: Option<ConnectionId>,
    /// Its streams, until a session takes them.
    pub opened: Option<mpsc::Receiver<Opened>>,
    /// What the peer said of itself.
    pub hello: Option<Hello>,
    /// Whether the peer has welcomed us.
    pub welcomed: bool,
    /// Where its session waits for an answer.
    pub verdict: Option<oneshot::Sender<Verdict>>,
    /// Whether it takes its peer's place once the old session has ended.
    pub(super) successor: bool,
    /// What its peer may make the node hold, once there is a session.
    pub(super) budget: Option<Arc<PeerBudget>>,
    /// Once its messages pass.
    pub send_queue: Option<Arc<SendQueue>>,
    /// Whether its socket is open.
    pub(super) socket: bool,
    /// Whether the service dials it, or has a session of it.
    pub(super) owned: bool,
}

impl Connection {
    pub(super) fn new(address: SocketAddr, stage: Stage, standing: Standing, now: Instant) -> Self {
        Self {
            address,
            dialled_for: None,
            stage,
            since: now,
            favoured: false,
            kill_switch: Arc::default(),
            spoke: false,
            took: Duration::ZERO,
            useful: None,
            brought: None,
            peer: None,
            standing,
            certificate: None,
            issuer: None,
            trial: None,
            swarm_id: None,
            opened: None,
            hello: None,
            welcomed: false,
            verdict: None,
            successor: false,
            budget: None,
            send_queue: None,
            socket: false,
            owned: false,
        }
    }

    pub const fn is_inbound(&self) -> bool {
        self.dialled_for.is_none()
    }

    /// Whether the service has a session of it.
    pub fn has_session(&self) -> bool {
        self.owned && self.stage != Stage::Dialling
    }

    /// Whether this node dials the address, and has no socket yet.
    pub(super) fn waits_for_socket(&self, address: SocketAddr) -> bool {
        self.stage == Stage::Dialling && self.address == address && !self.socket
    }

    /// Whether it is there only until a search is over.
    pub fn is_search_only(&self) -> bool {
        matches!(self.dialled_for, Some(DialReason::Search { kept: false, .. }))
    }

    /// Where others can dial the peer, as far as it can be known.
    pub fn reach(&self) -> Option<SocketAddr> {
        match self.hello.as_ref().map_or(0, |hello| hello.listen_port) {
            _ if !self.is_inbound() => Some(self.address),
            0 => None,
            port => Some(SocketAddr::new(self.address.ip(), port)),
        }
    }
}
