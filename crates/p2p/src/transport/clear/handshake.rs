//! The key exchange of `/trefoil/clear/1`: Noise XX whose static keys are
//! signed by the nodes' identities. Bytes in, bytes out; touches no socket.
//!
//! What always holds:
//! - A [`ClearSession`] exists only with a peer that signed the static key whose secret it
//!   holds.
//! - Each of the three messages has one length, so there is nothing in them to bound.
//! - Nothing of an exchange is of use in another, or under another protocol's name.

use snow::{
    Builder, HandshakeState,
    params::DHChoice,
    resolvers::{CryptoResolver as _, DefaultResolver},
};
use trefoil_crypto::{B256, Domain, PeerId, PublicKey, SecretKey, Signature};
use zeroize::Zeroizing;

use super::frames::{Opener, Sealer};

pub const PROTOCOL: &str = "/trefoil/clear/1";

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_SHA256";

/// Hashed before the first message.
// Attack: a downgrade, or messages of one protocol replayed in another. An exchange that was
// begun under another name (libp2p's `/noise` has no prologue) ends in other keys.
const PROLOGUE: &[u8] = PROTOCOL.as_bytes();

/// The payload that each side sends under encryption: its identity key ‖ the signature.
pub const PAYLOAD_BYTES: usize = 32 + 64;

/// `e`; then `e, ee, s, es` and the payload; then `s, se` and the payload.
pub const FIRST_BYTES: usize = 32;
pub const SECOND_BYTES: usize = 32 + (32 + 16) + (PAYLOAD_BYTES + 16);
pub const THIRD_BYTES: usize = (32 + 16) + (PAYLOAD_BYTES + 16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    #[error(
        "the key exchange failed: the peer speaks something else, or it was altered on the way"
    )]
    Exchange,
    #[error("its identity {0} did not sign the key that it used")]
    Signature(PeerId),
    #[error("it has this node's own identity: give each node its own key")]
    OwnIdentity,
}

/// A node's static key, made afresh when it starts, and its identity's
/// signature on it.
// Signed once and not for each connection: otherwise strangers could make the node sign
// (ADR 12).
pub struct SignedStaticKey {
    me: PeerId,
    secret: Zeroizing<[u8; 32]>,
    payload: [u8; PAYLOAD_BYTES],
}

/// A finished exchange: the peer, and the keys of the frames each way.
pub struct ClearSession {
    pub peer: PeerId,
    pub sealer: Sealer,
    pub opener: Opener,
}

/// The side that dialled, waiting for the second message.
pub struct Initiator(HandshakeState);

/// The side that was dialled, waiting for the third message.
pub struct Responder(HandshakeState);

impl SignedStaticKey {
    pub fn new(identity: &SecretKey) -> Self {
        Self::with_static(identity, Zeroizing::new(rand::random()))
    }

    fn with_static(identity: &SecretKey, secret: Zeroizing<[u8; 32]>) -> Self {
        let me = PeerId(identity.public());
        let signature = identity.sign(Domain::ClearKey, &B256::ZERO, &public_of(&secret));
        let mut payload = [0; PAYLOAD_BYTES];
        payload[..32].copy_from_slice(me.0.0.as_slice());
        payload[32..].copy_from_slice(&signature.0);
        Self { me, secret, payload }
    }
}

impl Initiator {
    /// Begins, and returns the first message.
    pub fn new(static_key: &SignedStaticKey) -> (Self, [u8; FIRST_BYTES]) {
        Self::begin(noise(true, PROLOGUE, &static_key.secret, None))
    }

    fn begin(mut state: HandshakeState) -> (Self, [u8; FIRST_BYTES]) {
        let first = write_message(&mut state, &[]).expect("the first message takes no secret");
        (Self(state), first)
    }

    /// Receives the second message; returns the third, and the session.
    ///
    /// # Errors
    /// A message that does not follow ours, or an identity that did not sign.
    pub fn finish(
        mut self,
        static_key: &SignedStaticKey,
        second: &[u8; SECOND_BYTES],
    ) -> Result<([u8; THIRD_BYTES], ClearSession), HandshakeError> {
        let peer = read_identity(&mut self.0, static_key.me, second)?;
        let third = write_message(&mut self.0, &static_key.payload)?;
        let (sealer, opener) = split(&mut self.0);
        Ok((third, ClearSession { peer, sealer, opener }))
    }
}

impl Responder {
    /// Receives the first message, and returns the second.
    ///
    /// # Errors
    /// Never for bytes of this length, as snow is now.
    pub fn new(
        static_key: &SignedStaticKey,
        first: &[u8; FIRST_BYTES],
    ) -> Result<(Self, [u8; SECOND_BYTES]), HandshakeError> {
        Self::begin(noise(false, PROLOGUE, &static_key.secret, None), static_key, first)
    }

    fn begin(
        mut state: HandshakeState,
        static_key: &SignedStaticKey,
        first: &[u8; FIRST_BYTES],
    ) -> Result<(Self, [u8; SECOND_BYTES]), HandshakeError> {
        state.read_message(first, &mut []).map_err(|_| HandshakeError::Exchange)?;
        let second = write_message(&mut state, &static_key.payload)?;
        Ok((Self(state), second))
    }

    /// Receives the third message.
    ///
    /// # Errors
    /// A message that does not follow ours, or an identity that did not sign.
    pub fn finish(
        mut self,
        static_key: &SignedStaticKey,
        third: &[u8; THIRD_BYTES],
    ) -> Result<ClearSession, HandshakeError> {
        let peer = read_identity(&mut self.0, static_key.me, third)?;
        let (sealer, opener) = split(&mut self.0);
        Ok(ClearSession { peer, sealer, opener })
    }
}

/// An exchange with all that enters it. `ephemeral` is drawn unless a vector
/// states it.
fn noise(
    initiator: bool,
    prologue: &[u8],
    secret: &[u8; 32],
    ephemeral: Option<&[u8; 32]>,
) -> HandshakeState {
    let mut builder = Builder::new(PATTERN.parse().expect("a pattern that snow knows"))
        .prologue(prologue)
        .and_then(|builder| builder.local_private_key(secret))
        .expect("each is set once");
    if let Some(ephemeral) = ephemeral {
        builder = builder.fixed_ephemeral_key_for_testing_only(ephemeral);
    }
    let state = if initiator { builder.build_initiator() } else { builder.build_responder() };
    state.expect("XX needs nothing else")
}

/// The next message, whose length is known.
fn write_message<const N: usize>(
    state: &mut HandshakeState,
    payload: &[u8],
) -> Result<[u8; N], HandshakeError> {
    // snow asks for room for a tag even where there is none.
    let mut message = [0; SECOND_BYTES + 16];
    match state.write_message(payload, &mut message) {
        Ok(bytes) if bytes == N => Ok(*message.first_chunk().expect("N is at most SECOND_BYTES")),
        _ => Err(HandshakeError::Exchange),
    }
}

/// The sender of a message. The exchange then proves its static key, and its signature on
/// that key proves the identity.
fn read_identity(
    state: &mut HandshakeState,
    me: PeerId,
    message: &[u8],
) -> Result<PeerId, HandshakeError> {
    let mut payload = [0; PAYLOAD_BYTES];
    match state.read_message(message, &mut payload) {
        Ok(PAYLOAD_BYTES) => {}
        _ => return Err(HandshakeError::Exchange),
    }
    let static_key = state.get_remote_static().ok_or(HandshakeError::Exchange)?;
    let peer = verify_identity(&payload, static_key)?;
    if peer == me { Err(HandshakeError::OwnIdentity) } else { Ok(peer) }
}

/// The identity in a payload, if it signed `static_key`.
///
/// # Errors
/// [`HandshakeError::Signature`] otherwise.
pub fn verify_identity(
    payload: &[u8; PAYLOAD_BYTES],
    static_key: &[u8],
) -> Result<PeerId, HandshakeError> {
    let (identity, signature) = payload.split_at(32);
    let identity = PublicKey(B256::from_slice(identity));
    let signature = Signature(signature.try_into().expect("64 bytes are left"));
    if identity.verify(Domain::ClearKey, &B256::ZERO, static_key, &signature) {
        Ok(PeerId(identity))
    } else {
        Err(HandshakeError::Signature(PeerId(identity)))
    }
}

/// The keys of the frames: the first is the initiator's to seal with.
fn split(state: &mut HandshakeState) -> (Sealer, Opener) {
    let (initiators, responders) = state.dangerously_get_raw_split();
    let (initiators, responders) = (Zeroizing::new(initiators), Zeroizing::new(responders));
    if state.is_initiator() {
        (Sealer::new(&initiators), Opener::new(&responders))
    } else {
        (Sealer::new(&responders), Opener::new(&initiators))
    }
}

fn public_of(secret: &[u8; 32]) -> [u8; 32] {
    let mut pair = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("it is compiled in");
    pair.set(secret);
    pair.pubkey().try_into().expect("32 bytes")
}

#[cfg(test)]
mod tests;
