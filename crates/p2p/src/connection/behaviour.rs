//! What libp2p's swarm asks us about each connection: whether to let it in,
//! and which streams it carries.
//!
//! Every connection opens one stream per [`Use`] and takes one per use; they
//! go to the connection's session through a channel of its own.
//! Beside them runs Kademlia, where providers are looked for.
//! (libp2p-stream is not used: it opens streams on any connection of a peer,
//! drops those that arrive while another waits, and never forgets a
//! connection.)

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, Stream, StreamProtocol,
    core::{Endpoint, InboundUpgrade, UpgradeInfo, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, ToSwarm,
        behaviour::toggle::Toggle,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};
use tokio::sync::mpsc;

use crate::{
    connection::streams::{Opened, USES, Use},
    connection_table::{self, SharedTable},
    discovery::providers::{self, Providers},
    transport::libp2p_types::{from_libp2p, to_socket},
};

/// Room for every stream each way and two reasons to end.
// A handler must not wait, and whatever comes beyond this ends the connection anyway.
const OPENED_MAX: usize = 2 * USES.len() + 2;

/// All that our swarm speaks.
#[derive(NetworkBehaviour)]
#[behaviour(to_swarm = "providers::ProvidersEvent")]
pub(crate) struct Protocols {
    /// First, since it may turn a connection away.
    pub streams: Behaviour,
    /// In public networks.
    pub providers: Toggle<Providers>,
}

/// The gate's second look, and the streams that every connection has.
pub(crate) struct Behaviour {
    table: SharedTable,
}

/// A connection whose socket has gone meanwhile, or that came over no TCP.
#[derive(Debug, thiserror::Error)]
#[error("connection lost")]
struct Lost;

impl Behaviour {
    pub fn new(table: SharedTable) -> Self {
        Self { table }
    }

    /// The streams of the connection wait in the table, until the service takes it up.
    fn handler(
        &self,
        id: ConnectionId,
        peer: &libp2p::PeerId,
        remote: &Multiaddr,
        inbound: bool,
    ) -> Result<StreamHandler, ConnectionDenied> {
        let (opened, receiver) = mpsc::channel(OPENED_MAX);
        let address = to_socket(remote).ok_or_else(|| ConnectionDenied::new(Lost))?;
        // Other identities than Ed25519 ones are turned away by the service, which can say why.
        let peer = from_libp2p(peer);
        connection_table::lock(&self.table)
            .established(id, peer, (address, inbound), receiver, Instant::now())
            .map_err(ConnectionDenied::new)?
            .ok_or_else(|| ConnectionDenied::new(Lost))?;
        Ok(StreamHandler { to_open: USES.to_vec(), inbound: Default::default(), opened })
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = StreamHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: libp2p::PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<StreamHandler, ConnectionDenied> {
        self.handler(id, &peer, remote, true)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: libp2p::PeerId,
        address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<StreamHandler, ConnectionDenied> {
        self.handler(id, &peer, address, false)
    }

    fn on_swarm_event(&mut self, _event: FromSwarm<'_>) {}

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
pub(crate) struct StreamHandler {
    // libp2p-swarm (0.48, `Connection::poll`) asks for all streams before it opens any, and opens
    // first whichever was asked for last.
    /// Streams that are not asked for yet; the last is the next.
    to_open: Vec<Use>,
    /// Which streams the peer opened.
    inbound: [bool; USES.len()],
    opened: mpsc::Sender<Opened>,
}

impl StreamHandler {
    /// Never waits: the channel has room for every stream that may come, and
    /// what comes beyond that ends the connection anyway.
    fn send_event(&self, opened: Opened) {
        let _ = self.opened.try_send(opened);
    }
}

impl ConnectionHandler for StreamHandler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = UseUpgrade;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Use;

    fn listen_protocol(&self) -> SubstreamProtocol<UseUpgrade> {
        SubstreamProtocol::new(UseUpgrade, ())
    }

    /// The session decides when a connection ends, not idleness.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Use, Infallible>> {
        match self.to_open.pop() {
            Some(for_what) => {
                let upgrade = ReadyUpgrade::new(StreamProtocol::new(for_what.protocol()));
                let protocol = SubstreamProtocol::new(upgrade, for_what);
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
        event: ConnectionEvent<'_, UseUpgrade, Self::OutboundProtocol, (), Use>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (for_what, stream),
                ..
            }) => {
                let before = std::mem::replace(&mut self.inbound[for_what.index()], true);
                let opened = if before {
                    Opened::Twice(for_what)
                } else {
                    Opened::Inbound(for_what, stream)
                };
                self.send_event(opened);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: for_what,
            }) => self.send_event(Opened::Outbound(for_what, stream)),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: for_what, error }) => {
                self.send_event(Opened::Failed(for_what, error.to_string()));
            }
            _ => {}
        }
    }
}

/// Agrees on what a stream that the peer opens is for.
#[derive(Debug)]
pub(crate) struct UseUpgrade;

impl UpgradeInfo for UseUpgrade {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; USES.len()];

    fn protocol_info(&self) -> Self::InfoIter {
        USES.map(|each| StreamProtocol::new(each.protocol()))
    }
}

impl InboundUpgrade<Stream> for UseUpgrade {
    type Output = (Use, Stream);
    type Error = Infallible;
    type Future = Ready<Result<(Use, Stream), Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        let agreed = USES.into_iter().find(|each| each.protocol() == protocol.as_ref());
        ready(Ok((agreed.expect("only protocols that we named are agreed on"), stream)))
    }
}
