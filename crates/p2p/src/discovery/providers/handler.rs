//! A connection's part in Kademlia: silent until the peer is admitted.

use std::task::{Context, Poll};

use libp2p::{
    kad,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol, THandler, THandlerInEvent,
        handler::ConnectionEvent,
    },
};

use super::records::Records;

pub(crate) type Kad = kad::Behaviour<Records>;
type KadHandler = THandler<Kad>;

/// A command to the handler of one connection.
#[derive(Debug)]
pub(crate) enum HandlerCommand {
    /// The peer sent a valid hello.
    Admitted,
    Kad(THandlerInEvent<Kad>),
}

/// Holds back libp2p's own handler until the peer is admitted: nothing is asked, and what the
/// peer asks is not read.
// By itself it serves any peer that proved an identity, and identities are free.
pub(crate) struct ProvidersHandler {
    kad: KadHandler,
    admitted: bool,
}

impl ProvidersHandler {
    pub fn new(kad: KadHandler) -> Self {
        Self { kad, admitted: false }
    }
}

impl ConnectionHandler for ProvidersHandler {
    type FromBehaviour = HandlerCommand;
    type ToBehaviour = <KadHandler as ConnectionHandler>::ToBehaviour;
    type InboundProtocol = <KadHandler as ConnectionHandler>::InboundProtocol;
    type OutboundProtocol = <KadHandler as ConnectionHandler>::OutboundProtocol;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        self.kad.listen_protocol()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        // The command that it is admitted makes the connection poll again.
        if self.admitted { self.kad.poll(cx) } else { Poll::Pending }
    }

    fn on_behaviour_event(&mut self, command: HandlerCommand) {
        match command {
            HandlerCommand::Admitted => self.admitted = true,
            HandlerCommand::Kad(event) => self.kad.on_behaviour_event(event),
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        self.kad.on_connection_event(event);
    }
}
