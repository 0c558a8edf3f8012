//! Which security protocols a node of a public network offers.
//!
//! Every node takes Noise. A node that must be encrypted takes nothing else; the others
//! offer `/trefoil/clear/1` first. Nobody signs what is offered, so a man in the middle may
//! strike an offer out. Two nodes that would have spoken in the clear then speak Noise or
//! not at all. A node that must be encrypted never speaks in the clear, whatever the offers.

use futures::{
    AsyncRead, AsyncWrite, FutureExt as _,
    future::{BoxFuture, Either},
};
use libp2p::{
    core::{
        Endpoint,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    },
    noise,
};
use trefoil_crypto::SecretKey;

use crate::transport::{
    clear::{self, Clear, ClearError, stream::ClearStream},
    libp2p_types,
};

const NOISE: &str = "/noise";

/// Agrees on one of the offered protocols.
#[derive(Clone)]
pub(crate) struct Public {
    clear: Clear,
    noise: noise::Config,
    offers: &'static [&'static str],
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PublicError {
    #[error(transparent)]
    Clear(#[from] ClearError),
    #[error(transparent)]
    Noise(#[from] noise::Error),
}

/// The peer that proved its identity, and the protected stream.
type AuthenticatedStream<S> = (libp2p::PeerId, Either<ClearStream<S>, noise::Output<S>>);

impl Public {
    /// `encrypt`: only Noise.
    pub fn new(identity: &SecretKey, encrypt: bool) -> Self {
        let keypair = libp2p_types::keypair(identity);
        Self {
            clear: Clear::new(identity),
            noise: noise::Config::new(&keypair).expect("an ed25519 key signs the static key"),
            offers: if encrypt { &[NOISE] } else { &[clear::PROTOCOL, NOISE] },
        }
    }

    async fn secure<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        socket: S,
        agreed: &'static str,
        end: Endpoint,
    ) -> Result<AuthenticatedStream<S>, PublicError> {
        if agreed == clear::PROTOCOL {
            let (peer, stream) = self.clear.secure(socket, end).await?;
            return Ok((libp2p_types::to_libp2p(peer), Either::Left(stream)));
        }
        let (peer, stream) = match end {
            Endpoint::Dialer => self.noise.upgrade_outbound(socket, agreed).await?,
            Endpoint::Listener => self.noise.upgrade_inbound(socket, agreed).await?,
        };
        Ok((peer, Either::Right(stream)))
    }
}

impl UpgradeInfo for Public {
    type Info = &'static str;
    type InfoIter = std::iter::Copied<std::slice::Iter<'static, &'static str>>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.offers.iter().copied()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<S> for Public {
    type Output = AuthenticatedStream<S>;
    type Error = PublicError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: S, agreed: Self::Info) -> Self::Future {
        self.secure(socket, agreed, Endpoint::Listener).boxed()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<S> for Public {
    type Output = AuthenticatedStream<S>;
    type Error = PublicError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: S, agreed: Self::Info) -> Self::Future {
        self.secure(socket, agreed, Endpoint::Dialer).boxed()
    }
}
