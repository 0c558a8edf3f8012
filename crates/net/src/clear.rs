//! `/trefoil/clear/1`, the wire of public networks: anyone may read it, nobody
//! may alter it or pose as another.
//!
//! [`handshake`] agrees on keys and proves both identities, [`frames`] puts a
//! tag on every byte that follows, [`stream`] makes a stream of that; this
//! file is what libp2p asks of a security protocol. `docs/wire.md` states the
//! bytes, `docs/adr/0012-authenticated-but-readable.md` the reasons.

pub mod frames;
pub mod handshake;
pub mod stream;

use std::{io, iter, sync::Arc};

use futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, FutureExt as _, future::BoxFuture,
};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use trefoil_crypto::SecretKey;

use crate::transport::to_libp2p;
use handshake::{
    Credentials, FIRST_BYTES, HandshakeError, Initiator, Responder, SECOND_BYTES, Session,
    THIRD_BYTES,
};
use stream::ClearStream;

pub const PROTOCOL: &str = "/trefoil/clear/1";

/// Turns a socket into an authenticated connection that anyone may read.
#[derive(Clone)]
pub struct Clear(Arc<Credentials>);

#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("lost during the key exchange: {0}")]
    Io(#[from] io::Error),
}

type Secured<S> = (libp2p::PeerId, ClearStream<S>);

impl Clear {
    pub fn new(identity: &SecretKey) -> Self {
        Self(Arc::new(Credentials::new(identity)))
    }
}

async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    credentials: &Credentials,
) -> Result<Session, ClearError> {
    let (initiator, first) = Initiator::new(credentials);
    send(socket, &first).await?;
    let mut second = [0; SECOND_BYTES];
    socket.read_exact(&mut second).await?;
    let (third, session) = initiator.finish(credentials, &second)?;
    send(socket, &third).await?;
    Ok(session)
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    credentials: &Credentials,
) -> Result<Session, ClearError> {
    let mut first = [0; FIRST_BYTES];
    socket.read_exact(&mut first).await?;
    let (responder, second) = Responder::new(credentials, &first)?;
    send(socket, &second).await?;
    let mut third = [0; THIRD_BYTES];
    socket.read_exact(&mut third).await?;
    Ok(responder.finish(credentials, &third)?)
}

async fn send(socket: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    socket.write_all(message).await?;
    socket.flush().await
}

fn secured<S>(socket: S, session: Session) -> Secured<S> {
    (to_libp2p(session.peer), ClearStream::new(socket, session))
}

impl UpgradeInfo for Clear {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once(PROTOCOL)
    }
}

impl<S> InboundConnectionUpgrade<S> for Clear
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Secured<S>;
    type Error = ClearError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, mut socket: S, _: Self::Info) -> Self::Future {
        async move {
            let session = answer(&mut socket, &self.0).await?;
            Ok(secured(socket, session))
        }
        .boxed()
    }
}

impl<S> OutboundConnectionUpgrade<S> for Clear
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Secured<S>;
    type Error = ClearError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, mut socket: S, _: Self::Info) -> Self::Future {
        async move {
            let session = dial(&mut socket, &self.0).await?;
            Ok(secured(socket, session))
        }
        .boxed()
    }
}
