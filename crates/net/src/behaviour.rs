//! What libp2p's swarm asks us about each connection: whether to let it in,
//! and which streams it carries.
//!
//! Every connection opens one stream per lane and takes one per lane; they
//! go to the connection's [`link`](crate::link) through a channel of its own.
//! (libp2p-stream is not used: it opens streams on any connection of a peer,
//! drops those that arrive while another waits, and never forgets a
//! connection.)

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, Stream, StreamProtocol,
    core::{Endpoint, InboundUpgrade, OutboundUpgrade, UpgradeInfo, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, ToSwarm,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};
use tokio::sync::mpsc;
use trefoil_types::message::Lane;

use crate::{
    guard::Door,
    lane::{LANES, limits},
    transport::{from_libp2p, to_socket},
};

/// A connection's stream, or why there is none.
pub(crate) enum Opened {
    /// Ours to write.
    Outbound(Lane, Stream),
    /// The peer's, ours to read.
    Inbound(Lane, Stream),
    /// The peer does not take a lane.
    Failed(Lane, String),
    /// The peer opened a lane twice.
    Twice(Lane),
}

/// Room for three lanes each way and one reason to end.
const OPENED_MAX: usize = 8;

/// The behaviour of our swarm: the gate's second look, and the streams.
pub(crate) struct Behaviour {
    door: Door,
    /// Streams of connections that the engine has not taken up yet.
    opened: BTreeMap<ConnectionId, mpsc::Receiver<Opened>>,
}

impl Behaviour {
    pub fn new(door: Door) -> Self {
        Self { door, opened: BTreeMap::new() }
    }

    /// The streams of a connection that was just established.
    pub fn take(&mut self, id: ConnectionId) -> Option<mpsc::Receiver<Opened>> {
        self.opened.remove(&id)
    }

    fn handler(&mut self, id: ConnectionId) -> Handler {
        let (opened, receiver) = mpsc::channel(OPENED_MAX);
        self.opened.insert(id, receiver);
        Handler { to_open: LANES.iter().rev().copied().collect(), inbound: [false; 3], opened }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: libp2p::PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        // Others than Ed25519 identities are turned away by the engine.
        if let (Some(peer), Some(address)) = (from_libp2p(&peer), to_socket(remote)) {
            self.door.authenticated(address, peer).map_err(ConnectionDenied::new)?;
        }
        Ok(self.handler(id))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        _peer: libp2p::PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(id))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let ended = match event {
            FromSwarm::ConnectionClosed(event) => event.connection_id,
            FromSwarm::ListenFailure(event) => event.connection_id,
            _ => return,
        };
        self.opened.remove(&ended);
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: libp2p::PeerId,
        _id: ConnectionId,
        event: Infallible,
    ) {
        match event {}
    }

    fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, Infallible>> {
        Poll::Pending
    }
}

/// One connection's streams as they come to be.
pub(crate) struct Handler {
    /// Lanes whose stream is not asked for yet, the most urgent last.
    to_open: Vec<Lane>,
    /// Lanes that the peer opened.
    inbound: [bool; 3],
    opened: mpsc::Sender<Opened>,
}

impl Handler {
    /// Never waits: the channel has room for every stream that may come, and
    /// what comes beyond that ends the connection anyway.
    fn tell(&self, opened: Opened) {
        let _ = self.opened.try_send(opened);
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = LaneUpgrade;
    type OutboundProtocol = LaneUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Lane;

    fn listen_protocol(&self) -> SubstreamProtocol<LaneUpgrade> {
        SubstreamProtocol::new(LaneUpgrade(LANES.to_vec()), ())
    }

    /// The link decides when a connection ends, not idleness.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<LaneUpgrade, Lane, Infallible>> {
        match self.to_open.pop() {
            Some(lane) => {
                let protocol = SubstreamProtocol::new(LaneUpgrade(vec![lane]), lane);
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
            }
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, LaneUpgrade, LaneUpgrade, (), Lane>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (lane, stream),
                ..
            }) => {
                let before = std::mem::replace(&mut self.inbound[lane as usize], true);
                self.tell(if before { Opened::Twice(lane) } else { Opened::Inbound(lane, stream) });
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (lane, stream),
                ..
            }) => self.tell(Opened::Outbound(lane, stream)),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: lane, error }) => {
                self.tell(Opened::Failed(lane, error.to_string()));
            }
            _ => {}
        }
    }
}

/// Agrees on which lane a stream is for.
#[derive(Debug)]
pub(crate) struct LaneUpgrade(Vec<Lane>);

impl LaneUpgrade {
    fn lane(protocol: &StreamProtocol) -> Lane {
        let is = |lane: &&Lane| limits(**lane).protocol == protocol.as_ref();
        *LANES.iter().find(is).expect("only protocols that we named are agreed on")
    }
}

impl UpgradeInfo for LaneUpgrade {
    type Info = StreamProtocol;
    type InfoIter = Vec<StreamProtocol>;

    fn protocol_info(&self) -> Vec<StreamProtocol> {
        self.0.iter().map(|lane| StreamProtocol::new(limits(*lane).protocol)).collect()
    }
}

impl InboundUpgrade<Stream> for LaneUpgrade {
    type Output = (Lane, Stream);
    type Error = Infallible;
    type Future = Ready<Result<(Lane, Stream), Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((Self::lane(&protocol), stream)))
    }
}

impl OutboundUpgrade<Stream> for LaneUpgrade {
    type Output = (Lane, Stream);
    type Error = Infallible;
    type Future = Ready<Result<(Lane, Stream), Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((Self::lane(&protocol), stream)))
    }
}
