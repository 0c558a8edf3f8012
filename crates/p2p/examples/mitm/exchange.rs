//! What can be done within the key exchange of `/trefoil/clear/1` by who knows
//! all of it and of his victims only what they tell everyone.

use std::io;

use snow::{Builder, HandshakeState};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use trefoil_crypto::{B256, Domain, PublicKey};
use trefoil_p2p::{
    clear::{
        PROTOCOL,
        frames::{LENGTH_BYTES, Sealer, TAG_BYTES},
        handshake::{FIRST_BYTES, PAYLOAD_BYTES, SECOND_BYTES, THIRD_BYTES},
    },
    libp2p_types,
};

use crate::{
    attacks::{HEADER, line},
    scene::{ALICE, BOB, MALLORY, Scene},
    shared,
    support::key,
};

/// What a victim tells whoever calls: its payload, and the key that it signed.
struct Told {
    payload: Vec<u8>,
    static_key: Vec<u8>,
}

/// The attacker's side of an exchange, honest but for what is said in it.
struct Mallory {
    state: HandshakeState,
    static_key: Vec<u8>,
}

fn noise(initiator: bool) -> Mallory {
    let pattern = "Noise_XX_25519_ChaChaPoly_SHA256".parse().expect("a pattern");
    let builder = Builder::new(pattern).prologue(PROTOCOL.as_bytes()).expect("once");
    let pair = builder.generate_keypair().expect("there is randomness");
    let builder = builder.local_private_key(&pair.private).expect("once");
    let state = if initiator { builder.build_initiator() } else { builder.build_responder() };
    Mallory { state: state.expect("XX needs nothing else"), static_key: pair.public }
}

/// Names both protocols and hears them named.
async fn agree(victim: &mut TcpStream) -> io::Result<()> {
    let words = [line(HEADER), line(PROTOCOL)].concat();
    victim.write_all(&words).await?;
    victim.read_exact(&mut vec![0; words.len()]).await?;
    Ok(())
}

/// Calls a victim up to the second message.
async fn call(victim: &mut TcpStream) -> io::Result<(Mallory, Told)> {
    agree(victim).await?;
    let (mut mallory, mut message) = (noise(true), [0; 512]);
    let state = &mut mallory.state;
    state.write_message(&[], &mut message).map_err(io::Error::other)?;
    victim.write_all(&message[..FIRST_BYTES]).await?;
    victim.read_exact(&mut message[..SECOND_BYTES]).await?;
    let mut payload = vec![0; 512];
    let told = state.read_message(&message[..SECOND_BYTES], &mut payload);
    payload.truncate(told.map_err(io::Error::other)?);
    let static_key = state.get_remote_static().expect("it was just told").to_vec();
    Ok((mallory, Told { payload, static_key }))
}

/// The frame that names the muxer: a victim that believed the exchange takes it.
fn muxer(state: &mut HandshakeState) -> Vec<u8> {
    let (initiators, responders) = state.dangerously_get_raw_split();
    let key = if state.is_initiator() { initiators } else { responders };
    let words = [line(HEADER), line("/yamux/1.0.0")].concat();
    let mut frame = [&[0; LENGTH_BYTES], words.as_slice(), &[0; TAG_BYTES]].concat();
    Sealer::new(&key).seal(&mut frame).expect("the first frame");
    frame
}

/// What a victim tells a caller.
async fn told_by(scene: Scene, n: u8) -> io::Result<Told> {
    let mut wire = scene.wire(n);
    let address = shared::listen(&mut wire).await;
    let address = libp2p_types::to_socket(&address).expect("TCP");
    let listening = tokio::spawn(async move {
        let _ = shared::accept(&mut wire).await.await;
    });
    let (_, told) = call(&mut TcpStream::connect(address).await?).await?;
    listening.abort();
    Ok(told)
}

/// Calls Bob and says `payload` where one's identity belongs.
async fn call_saying(scene: Scene, payload: &[u8]) -> io::Result<bool> {
    let (address, called) = scene.listen().await?;
    let mut victim = TcpStream::connect(address).await?;
    let (mut mallory, _) = call(&mut victim).await?;
    let mut message = [0; 512];
    mallory.state.write_message(payload, &mut message).map_err(io::Error::other)?;
    let words = [&message[..THIRD_BYTES], &muxer(&mut mallory.state)].concat();
    victim.write_all(&words).await?;
    Ok(called.await?)
}

/// Alice's public key is all that is known.
pub async fn forged(scene: Scene) -> io::Result<bool> {
    let mut payload = [0; PAYLOAD_BYTES];
    payload[..32].copy_from_slice(key(ALICE).public().0.as_slice());
    match rand::random() {
        true => rand::fill(&mut payload[32..]),
        false => {
            // A good signature of someone else.
            let mallory = key(MALLORY);
            let signature =
                mallory.sign(Domain::ClearKey, &B256::ZERO, &rand::random::<[u8; 32]>());
            payload[32..].copy_from_slice(&signature.0);
        }
    }
    call_saying(scene, &payload).await
}

pub async fn stolen(scene: Scene) -> io::Result<bool> {
    let told = told_by(scene, ALICE).await?;
    assert_eq!(PublicKey(B256::from_slice(&told.payload[..32])), key(ALICE).public());
    call_saying(scene, &told.payload).await
}

/// Alice calls; the answer is Bob's payload over another static key.
pub async fn stolen_answering(scene: Scene) -> io::Result<bool> {
    let told = told_by(scene, BOB).await?;
    let (mut victim, dialled) = scene.lure().await?;
    agree(&mut victim).await?;
    let (mut state, mut first, mut message) = (noise(false).state, [0; FIRST_BYTES], [0; 512]);
    victim.read_exact(&mut first).await?;
    state.read_message(&first, &mut []).map_err(io::Error::other)?;
    state.write_message(&told.payload, &mut message).map_err(io::Error::other)?;
    victim.write_all(&message[..SECOND_BYTES]).await?;
    // Alice goes on only if she believes it.
    let mut third = [0; THIRD_BYTES];
    if victim.read_exact(&mut third).await.is_ok() {
        state.read_message(&third, &mut message).map_err(io::Error::other)?;
        victim.write_all(&muxer(&mut state)).await?;
    }
    Ok(dialled.await?)
}

/// Says that his static key is Alice's, and has to make up what only its
/// secret computes.
pub async fn claimed(scene: Scene) -> io::Result<bool> {
    let told = told_by(scene, ALICE).await?;
    let (address, called) = scene.listen().await?;
    let mut victim = TcpStream::connect(address).await?;
    let (mut mallory, _) = call(&mut victim).await?;
    let mut message = [0; 512];
    mallory.state.write_message(&told.payload, &mut message).map_err(io::Error::other)?;
    // The key is encrypted as a stream: the difference of the two is known.
    let keys = mallory.static_key.iter().zip(&told.static_key);
    for (byte, (own, theirs)) in message.iter_mut().zip(keys) {
        *byte ^= own ^ theirs;
    }
    let words = [&message[..THIRD_BYTES], &muxer(&mut mallory.state)].concat();
    victim.write_all(&words).await?;
    Ok(called.await?)
}

/// Bob speaks only Noise, and is asked to speak in the clear.
pub async fn offered_clear(scene: Scene) -> io::Result<bool> {
    let (address, called) = Scene { encrypt: true, ..scene }.listen().await?;
    let mut victim = TcpStream::connect(address).await?;
    victim.write_all(&[line(HEADER), line(PROTOCOL)].concat()).await?;
    victim.shutdown().await?;
    let mut answers = Vec::new();
    victim.read_to_end(&mut answers).await?;
    called.await?;
    Ok(answers != [line(HEADER), line("na")].concat())
}
