//! TLS as libp2p's upgrade does not make it: with a weaker key exchange, or with
//! a certificate that poses as another's.

use std::{net::SocketAddr, sync::Arc};

use futures_rustls::{TlsConnector, client};
use libp2p::{identity::Keypair, tcp::tokio::TcpStream, tls::certificate};
use multistream_select::{Negotiated, Version, dialer_select_proto};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use trefoil_crypto::SecretKey;

use super::peer::{self, PROTOCOL};

/// Dials and offers one key exchange, showing the certificate of `identity`, in
/// which `posing` stands for its own key.
///
/// # Errors
/// When TLS cannot be agreed on.
pub async fn dial(
    to: SocketAddr,
    identity: &SecretKey,
    posing: Option<[u8; 32]>,
    key_exchange: &'static dyn SupportedKxGroup,
) -> std::io::Result<client::TlsStream<Negotiated<TcpStream>>> {
    let keypair = Keypair::ed25519_from_bytes(*identity.seed()).expect("32 bytes");
    let (mut shown, secret) = certificate::generate(&keypair).expect("an ed25519 key signs");
    if let Some(other) = posing {
        shown = exchange(&shown, identity.public().0.0, other).into();
    }
    let socket = peer::connect(to).await?;
    let selected = dialer_select_proto(socket, [PROTOCOL], Version::V1).await;
    let (_, socket) = selected.map_err(std::io::Error::other)?;
    let name = ServerName::try_from("0.0.0.0").expect("an address");
    TlsConnector::from(Arc::new(config(shown, secret, key_exchange))).connect(name, socket).await
}

fn config(
    shown: CertificateDer<'static>,
    secret: PrivateKeyDer<'static>,
    key_exchange: &'static dyn SupportedKxGroup,
) -> ClientConfig {
    let signer = aws_lc_rs::sign::any_ecdsa_type(&secret).expect("a P-256 key");
    let key = CertifiedKey::new(vec![shown], signer);
    let provider = aws_lc_rs::default_provider();
    let provider = Arc::new(CryptoProvider { kx_groups: vec![key_exchange], ..provider });
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 with this key exchange")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_cert_resolver(Arc::new(Shown(Arc::new(key))))
}

/// Shows a certificate without looking at it.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The bytes with one 32-byte string put in place of another.
fn exchange(bytes: &[u8], from: [u8; 32], to: [u8; 32]) -> Vec<u8> {
    let at = bytes.windows(32).position(|window| window == from).expect("the key is in it");
    [&bytes[..at], &to, &bytes[at + 32..]].concat()
}

/// Takes any server.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}
