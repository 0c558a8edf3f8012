//! What can be done to any wire by who only moves bytes.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use trefoil_p2p::libp2p_types;

use crate::{
    scene::{MALLORY, Scene},
    shared,
};

/// What Alice tells Bob.
const WORDS: usize = 4096;

/// What passed between Alice and Bob, from each, in a session that nobody disturbed.
struct Recording {
    alice: Vec<u8>,
    bob: Vec<u8>,
}

async fn record(scene: Scene) -> io::Result<Recording> {
    let (address, heard) = scene.hear().await?;
    let (to_alice, said) = between(scene, vec![1; WORDS]).await?;
    let to_bob = TcpStream::connect(address).await?;
    let (mut from_alice, mut at_alice) = to_alice.into_split();
    let (mut from_bob, mut at_bob) = to_bob.into_split();
    let alice = tokio::spawn(async move { keep(&mut from_alice, &mut at_bob).await });
    let bob = tokio::spawn(async move { keep(&mut from_bob, &mut at_alice).await });
    assert_eq!(heard.await?, vec![1; WORDS], "an undisturbed session carries words");
    said.abort();
    Ok(Recording { alice: alice.await?, bob: bob.await? })
}

/// Alice's call with `words`, at the attacker's.
async fn between(
    scene: Scene,
    words: Vec<u8>,
) -> io::Result<(TcpStream, JoinHandle<io::Result<()>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let said = scene.say(listener.local_addr()?, words);
    Ok((listener.accept().await?.0, said))
}

/// Passes bytes on until either end is gone, and keeps them.
async fn keep(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        kept.extend(&buffer[..count]);
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    kept
}

/// Nobody does anything: whether Alice finds Bob and Bob takes her for Alice.
/// Without this, no number of refusals would mean anything.
pub async fn undisturbed(scene: Scene) -> io::Result<bool> {
    let (address, called) = scene.listen().await?;
    let (mut alice, dialled) = scene.lure().await?;
    let mut bob = TcpStream::connect(address).await?;
    let relay = tokio::spawn(async move { copy_bidirectional(&mut alice, &mut bob).await });
    let taken = called.await? & dialled.await?;
    relay.abort();
    Ok(taken)
}

/// Says all of `words` to a victim, and leaves once it has answered or gone.
async fn play(mut victim: TcpStream, words: &[u8]) {
    let _ = victim.write_all(words).await;
    let _ = victim.shutdown().await;
    let _ = victim.read_to_end(&mut Vec::new()).await;
}

pub async fn replay_answers(scene: Scene) -> io::Result<bool> {
    let recording = record(scene).await?;
    let (victim, dialled) = scene.lure().await?;
    play(victim, &recording.bob).await;
    Ok(dialled.await?)
}

pub async fn replay_call(scene: Scene) -> io::Result<bool> {
    let recording = record(scene).await?;
    let (address, called) = scene.listen().await?;
    play(TcpStream::connect(address).await?, &recording.alice).await;
    Ok(called.await?)
}

/// Alice hears herself, as it comes.
pub async fn reflect(scene: Scene) -> io::Result<bool> {
    let (victim, dialled) = scene.lure().await?;
    let (mut from, mut to) = victim.into_split();
    let _ = copy(&mut from, &mut to).await;
    Ok(dialled.await?)
}

/// Two calls of Alice to two Bobs; each Bob's answers go to the other call.
pub async fn splice(scene: Scene) -> io::Result<bool> {
    let (first, second) = (scene.lure().await?, scene.lure().await?);
    let (one, other) = (scene.listen().await?, scene.listen().await?);
    let (mut from_first, mut to_first) = first.0.into_split();
    let (mut from_second, mut to_second) = second.0.into_split();
    let (mut from_one, mut to_one) = TcpStream::connect(one.0).await?.into_split();
    let (mut from_other, mut to_other) = TcpStream::connect(other.0).await?.into_split();
    let paths = tokio::spawn(async move {
        tokio::join!(
            keep(&mut from_first, &mut to_one),
            keep(&mut from_second, &mut to_other),
            keep(&mut from_one, &mut to_second),
            keep(&mut from_other, &mut to_first),
        )
    });
    let accepted = [first.1.await?, second.1.await?, one.1.await?, other.1.await?];
    paths.abort();
    Ok(accepted.contains(&true))
}

/// A line of multistream-select.
pub fn line(protocol: &str) -> Vec<u8> {
    [&[protocol.len() as u8 + 1], protocol.as_bytes(), b"\n"].concat()
}

pub const HEADER: &str = "/multistream/1.0.0";

/// Names that a hasty node might take.
const WEAKER: [&str; 6] = [
    "/plaintext/2.0.0",
    "/plaintext/1.0.0",
    "/trefoil/clear/0",
    "/secio/1.0.0",
    "",
    "/yamux/1.0.0",
];

pub async fn offer_weaker(scene: Scene) -> io::Result<bool> {
    let (address, called) = scene.listen().await?;
    let offers = WEAKER.iter().flat_map(|protocol| line(protocol));
    // What would come next if one of them were taken.
    let muxer = [line(HEADER), line("/yamux/1.0.0")].concat();
    let words: Vec<u8> = line(HEADER).into_iter().chain(offers).chain(muxer).collect();
    play(TcpStream::connect(address).await?, &words).await;
    Ok(called.await?)
}

/// Refuses all that Alice offers and names something else.
pub async fn answer_weaker(scene: Scene) -> io::Result<bool> {
    let (victim, dialled) = scene.lure().await?;
    let answers = WEAKER[rand::random_range(0..WEAKER.len())];
    let refusal = if rand::random() { line("na") } else { vec![] };
    let muxer = [line(HEADER), line("/yamux/1.0.0")].concat();
    let words = [line(HEADER), refusal, line(answers), muxer].concat();
    play(victim, &words).await;
    Ok(dialled.await?)
}

/// The attacker is a node with a name of its own, and says nothing else.
pub async fn pose(scene: Scene) -> io::Result<bool> {
    let (address, called) = scene.listen().await?;
    let mut wire = scene.wire(MALLORY);
    let _ = shared::dial(&mut wire, libp2p_types::to_multiaddr(address)).await;
    let mut wire = scene.wire(MALLORY);
    let own = shared::listen(&mut wire).await;
    let (victim, dialled) = scene.lure().await?;
    let server = tokio::spawn(async move { shared::accept(&mut wire).await.await });
    let own: SocketAddr = libp2p_types::to_socket(&own).expect("TCP");
    let (mut victim, mut server_end) = (victim, TcpStream::connect(own).await?);
    let relay = tokio::spawn(async move {
        let _ = copy_bidirectional(&mut victim, &mut server_end).await;
    });
    let accepted = [called.await?, dialled.await?];
    relay.abort();
    server.abort();
    Ok(accepted.contains(&true))
}

/// Alice calls Bob through the attacker, who does one thing to what she says.
pub async fn tamper(scene: Scene) -> io::Result<bool> {
    let words: Vec<u8> = (0..WORDS).map(|_| rand::random()).collect();
    let (address, heard) = scene.hear().await?;
    let (from_alice, said) = between(scene, words.clone()).await?;
    let (mut from_alice, mut to_alice) = from_alice.into_split();
    let (mut from_bob, mut to_bob) = TcpStream::connect(address).await?.into_split();
    let relay = tokio::spawn(async move {
        // Past the names of the protocols and into all that follows.
        let at = rand::random_range(38..WORDS);
        let forth = async {
            let mut seen = 0;
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = from_alice.read(&mut buffer).await {
                let mut bytes = buffer[..count].to_vec();
                if (seen..seen + count).contains(&at) {
                    misuse(&mut bytes, at - seen);
                }
                seen += count;
                if to_bob.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        };
        let back = async {
            let _ = copy(&mut from_bob, &mut to_alice).await;
        };
        tokio::join!(forth, back)
    });
    let heard = heard.await?;
    relay.abort();
    said.abort();
    Ok(!words.starts_with(&heard))
}

fn misuse(bytes: &mut Vec<u8>, at: usize) {
    let end = bytes.len().min(at + 20);
    match rand::random_range(0..4) {
        0 => bytes[at] ^= 1 << rand::random_range(0..8),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        _ => bytes[at..end].reverse(),
    }
}
