//! Below the messages: sockets, handshakes, frames, and the muxer.

use std::{io, sync::Arc, time::Duration};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;
use trefoil_crypto::{B256, SecretKey};
use trefoil_p2p::frame::Control;
use trefoil_types::{
    Message,
    message::{GetBlocks, Tip},
};

use crate::{
    arena::Arena,
    manners,
    peer::{CATCH_UP, CONSENSUS, CONTENT, GOSSIP, Peer},
    wire,
};

const PAUSE: Duration = Duration::from_millis(10);
/// The longest frames of the lanes and of content, docs/wire.md.
const LONGEST: [usize; 4] = [9 << 20, 9 << 20, 4 << 20, 512 << 10];

/// yamux, its specification: types and flags.
const DATA: u8 = 0;
const WINDOW: u8 = 1;
const PING: u8 = 2;
const GO_AWAY: u8 = 3;
const SYN: u16 = 1;
const RST: u16 = 8;

manners! {
    "sockets-half-open" "-" "sockets that say nothing, opened anew when they are closed" {crowd: 256}
        half_open;
    "handshakes-slow" "-" "a byte of a handshake now and then" {crowd: 128} slow_handshake;
    "hellos-missing" "-" "an identity, and no hello" {crowd: 64} no_hello;
    "frames-without-end" "-" "all but the last byte of the longest frame on every lane" {} lacking;
    "frames-too-long" "-" "lengths of 0, one over the limit, and 2^32 - 1" {} too_long;
    "frames-in-bytes" "-" "sound messages, each byte in a packet of its own" {} in_bytes;
    "controls-repeated" "-" "pings, hellos, welcomes, refusals and GetPeers, again and again" {}
        controls;
    "lanes-ended" "-" "a lane's stream ended while the connection lives" {} ended_lanes;
    "peers-deaf" "-" "joins, asks on all lanes, and reads nothing from its socket" {crowd: 64} deaf;
    "peers-that-come-and-go" "-" "joins and leaves, as fast as it can" {crowd: 32} come_and_go;
    "muxer-windows" "-" "windows of 2^32 - 1 bytes on every stream, and asks" {} windows;
    "muxer-streams" "-" "a thousand streams, opened and reset again and again" {} streams;
    "muxer-pings" "-" "pings, as fast as they go" {}
        |arena, n| muxer(arena, n, |turn| yamux(PING, SYN, 0, turn));
    "muxer-data-of-no-stream" "-" "data for streams that nobody opened" {}
        |arena, n| muxer(arena, n, |turn| [yamux(DATA, 0, turn | 1, 4), vec![7; 4]].concat());
    "muxer-data-beyond-window" "-" "a stream's data that its window has no room for" {} beyond;
    "muxer-frames-of-4-GiB" "-" "a frame of data whose length is 2^32 - 1" {}
        |arena, n| muxer(arena, n, |turn| yamux(DATA, SYN, 2 * turn + 1, u32::MAX));
    "muxer-empty-data" "-" "frames of data without data" {}
        |arena, n| muxer(arena, n, |_| yamux(DATA, SYN, 1, 0));
    "muxer-go-away" "-" "goes away, and stays" {}
        |arena, n| muxer(arena, n, |turn| yamux(GO_AWAY, 0, 0, turn % 4));
    "muxer-noise" "-" "random frames" {}
        |arena, n| muxer(arena, n, |_| rand::random::<[u8; 12]>().to_vec());
    "muxer-other-parity" "-" "streams with the other side's numbers" {}
        |arena, n| muxer(arena, n, |turn| yamux(WINDOW, SYN, 2 * turn, 0));
}

async fn half_open(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let mut socket = wire::connect(&arena, arena.target.victim().p2p).await?;
    while socket.read(&mut [0; 64]).await? > 0 {}
    Ok(())
}

async fn slow_handshake(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let mut socket = wire::connect(&arena, arena.target.victim().p2p).await?;
    for byte in b"\x13/multistream/1.0.0\n" {
        socket.write_all(&[*byte]).await?;
        sleep(Duration::from_millis(900)).await;
    }
    Ok(())
}

async fn no_hello(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let key = SecretKey::from_seed(&rand::random());
    let secured = wire::secure(&arena, n, arena.target.victim().p2p, &key).await?;
    let mut wire = wire::muxed(secured.wire).await?;
    while wire.read(&mut [0; 256]).await? > 0 {}
    Ok(())
}

async fn lacking(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::join(&arena, n, 0).await?;
    for lane in [CATCH_UP, GOSSIP, CONTENT, CONSENSUS] {
        let mut bytes = (LONGEST[lane] as u32).to_be_bytes().to_vec();
        bytes.push(32);
        bytes.resize(LONGEST[lane] + 3, 0);
        // More than its window ends the wait for the other lanes.
        let _ = tokio::time::timeout(Duration::from_secs(2), peer.bytes(lane, &bytes)).await;
    }
    peer.stay().await
}

async fn too_long(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let lane = n % 4;
    for length in [0, LONGEST[lane] as u32 + 1, u32::MAX] {
        let mut peer = Peer::join(&arena, n, 0).await?;
        peer.bytes(lane, &length.to_be_bytes()).await?;
        peer.bytes(lane, &[32; 1_000]).await?;
        let _ = peer.pause(PAUSE).await;
    }
    Ok(())
}

async fn in_bytes(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    let body = Message::Tip(Tip { height: 1, hash: B256::ZERO, round: 0 }).encode();
    let frame = [(body.len() as u32).to_be_bytes().as_slice(), &body].concat();
    loop {
        for byte in &frame {
            peer.bytes(CONSENSUS, &[*byte]).await?;
        }
        peer.pause(Duration::from_millis(1)).await?;
    }
}

async fn controls(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    let all = [Control::Ping, Control::GetPeers, Control::Welcome, Control::Refusal("x".into())];
    // Each attacker one kind: a welcome or a refusal ends the connection.
    let control = &all[n % all.len()];
    loop {
        for _ in 0..100 {
            let lane = if *control == Control::GetPeers { GOSSIP } else { CONSENSUS };
            peer.control(lane, control).await?;
        }
        peer.pause(PAUSE).await?;
    }
}

async fn ended_lanes(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    peer.close(n % 4).await?;
    peer.stay().await
}

async fn deaf(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::join(&arena, n, 0).await?;
    peer.go_deaf();
    loop {
        peer.tell(&Message::GetBlocks(GetBlocks { from: 1, count: 256 })).await?;
        peer.control(GOSSIP, &Control::GetPeers).await?;
        peer.pause(PAUSE).await?;
    }
}

async fn come_and_go(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::join(&arena, n, 0).await?;
    peer.tell(&Message::Tip(Tip { height: u64::MAX, hash: B256::ZERO, round: 0 })).await
}

/// A frame's header: version 0, a type, flags, a stream, and a length or credit.
fn yamux(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let (flags, stream) = (flags.to_be_bytes(), stream.to_be_bytes());
    [&[0, kind], flags.as_slice(), &stream, &length.to_be_bytes()].concat()
}

/// Writes frames where the muxer should be, until the node has enough.
async fn muxer(arena: Arc<Arena>, n: usize, frame: fn(u32) -> Vec<u8>) -> io::Result<()> {
    let key = SecretKey::from_seed(&rand::random());
    let secured = wire::secure(&arena, n, arena.target.victim().p2p, &key).await?;
    let mut wire = wire::muxed(secured.wire).await?;
    for turn in 0.. {
        for part in 0..64 {
            wire.write_all(&frame(turn * 64 + part)).await?;
        }
        wire.flush().await?;
        sleep(PAUSE).await;
    }
    Ok(())
}

async fn beyond(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let key = SecretKey::from_seed(&rand::random());
    let secured = wire::secure(&arena, n, arena.target.victim().p2p, &key).await?;
    let mut wire = wire::muxed(secured.wire).await?;
    wire.write_all(&yamux(WINDOW, SYN, 1, 0)).await?;
    for _ in 0..1_024 {
        wire.write_all(&yamux(DATA, 0, 1, 64 << 10)).await?;
        wire.write_all(&[0; 64 << 10]).await?;
    }
    wire.flush().await?;
    while wire.read(&mut [0; 256]).await? > 0 {}
    Ok(())
}

async fn windows(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let key = SecretKey::from_seed(&rand::random());
    let secured = wire::secure(&arena, n, arena.target.victim().p2p, &key).await?;
    let mut wire = wire::muxed(secured.wire).await?;
    for stream in [2, 4, 6, 8] {
        wire.write_all(&yamux(WINDOW, 0, stream, u32::MAX)).await?;
        wire.write_all(&yamux(WINDOW, SYN, stream - 1, u32::MAX)).await?;
    }
    wire.flush().await?;
    while wire.read(&mut [0; 256]).await? > 0 {}
    Ok(())
}

async fn streams(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let key = SecretKey::from_seed(&rand::random());
    let secured = wire::secure(&arena, n, arena.target.victim().p2p, &key).await?;
    let mut wire = wire::muxed(secured.wire).await?;
    for turn in 0..u32::MAX / 2_048 {
        for stream in 0..1_000 {
            let stream = 2 * (turn * 1_000 + stream) + 1;
            wire.write_all(&yamux(WINDOW, SYN, stream, 0)).await?;
            if n.is_multiple_of(2) {
                wire.write_all(&yamux(WINDOW, RST, stream, 0)).await?;
            }
        }
        wire.flush().await?;
        sleep(PAUSE).await;
    }
    Ok(())
}
