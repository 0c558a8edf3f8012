//! `/trefoil/clear/1`, the wire of public networks: anyone may read it, nobody
//! may alter it or pose as another.
//!
//! [`handshake`] agrees on keys and proves both identities. [`frames`] puts a tag on every
//! byte that follows, and [`stream`] makes a stream of that. This file puts them in order.
//! `docs/wire.md` states the bytes, `docs/adr/0012-authenticated-but-readable.md` the reasons.

pub mod frames;
pub mod handshake;
pub mod stream;

use std::{io, sync::Arc};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::core::Endpoint;
use trefoil_crypto::SecretKey;
use trefoil_types::PeerId;

pub use handshake::PROTOCOL;
use handshake::{
    FIRST_BYTES, HandshakeError, Initiator, Responder, SECOND_BYTES, SignedStaticKey, THIRD_BYTES,
};
use stream::ClearStream;

/// Turns a socket into an authenticated connection that anyone may read.
#[derive(Clone)]
pub struct Clear(Arc<SignedStaticKey>);

#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("lost during the key exchange: {0}")]
    Io(#[from] io::Error),
}

impl Clear {
    pub fn new(identity: &SecretKey) -> Self {
        Self(Arc::new(SignedStaticKey::new(identity)))
    }

    /// The key exchange, from either end.
    ///
    /// # Errors
    /// The socket is lost, or the peer does not prove its identity.
    pub async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut socket: S,
        end: Endpoint,
    ) -> Result<(PeerId, ClearStream<S>), ClearError> {
        let session = match end {
            Endpoint::Dialer => {
                let (initiator, first) = Initiator::new(&self.0);
                send(&mut socket, &first).await?;
                let mut second = [0; SECOND_BYTES];
                socket.read_exact(&mut second).await?;
                let (third, session) = initiator.finish(&self.0, &second)?;
                send(&mut socket, &third).await?;
                session
            }
            Endpoint::Listener => {
                let mut first = [0; FIRST_BYTES];
                socket.read_exact(&mut first).await?;
                let (responder, second) = Responder::new(&self.0, &first)?;
                send(&mut socket, &second).await?;
                let mut third = [0; THIRD_BYTES];
                socket.read_exact(&mut third).await?;
                responder.finish(&self.0, &third)?
            }
        };
        Ok((session.peer, ClearStream::new(socket, session)))
    }
}

async fn send(socket: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    socket.write_all(message).await?;
    socket.flush().await
}
