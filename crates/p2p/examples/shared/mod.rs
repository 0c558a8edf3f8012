//! What the examples do with a wire: listen, accept, dial, open a stream.

use std::{future::poll_fn, io, pin::Pin};

use futures::future::BoxFuture;
use libp2p::{
    Multiaddr, PeerId,
    core::{
        Endpoint, Transport as _,
        muxing::{StreamMuxer as _, StreamMuxerBox, SubstreamBox},
        transport::{Boxed, DialOpts, ListenerId, PortUse, TransportEvent},
    },
};

pub type Wire = Boxed<(PeerId, StreamMuxerBox)>;
pub type Connection = (PeerId, StreamMuxerBox);

/// Listens on a free loopback port.
pub async fn listen(wire: &mut Wire) -> Multiaddr {
    let any = "/ip4/127.0.0.1/tcp/0".parse().expect("an address");
    wire.listen_on(ListenerId::next(), any).expect("a free port");
    loop {
        if let TransportEvent::NewAddress { listen_addr, .. } = next(wire).await {
            return listen_addr;
        }
    }
}

/// Takes the next caller; what is returned ends when it is secured or refused.
pub async fn accept(wire: &mut Wire) -> BoxFuture<'static, io::Result<Connection>> {
    loop {
        if let TransportEvent::Incoming { upgrade, .. } = next(wire).await {
            return Box::pin(upgrade);
        }
    }
}

pub async fn dial(wire: &mut Wire, address: Multiaddr) -> io::Result<Connection> {
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    wire.dial(address, options).map_err(io::Error::other)?.await
}

async fn next(
    wire: &mut Wire,
) -> TransportEvent<BoxFuture<'static, io::Result<Connection>>, io::Error> {
    let event = poll_fn(|cx| Pin::new(&mut *wire).poll(cx)).await;
    event.map_upgrade(|upgrade| Box::pin(upgrade) as BoxFuture<'static, _>)
}

pub async fn open(mux: &mut StreamMuxerBox) -> io::Result<SubstreamBox> {
    poll_fn(|cx| Pin::new(&mut *mux).poll_outbound(cx)).await
}

pub async fn opened(mux: &mut StreamMuxerBox) -> io::Result<SubstreamBox> {
    poll_fn(|cx| Pin::new(&mut *mux).poll_inbound(cx)).await
}

/// Moves a connection's bytes until it ends.
pub async fn drive(mut mux: StreamMuxerBox) -> io::Error {
    loop {
        if let Err(error) = poll_fn(|cx| Pin::new(&mut mux).poll(cx)).await {
            return error;
        }
    }
}
