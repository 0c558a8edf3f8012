//! Other nodes' addresses: peer records, and Kademlia on public networks.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use alloy_primitives::hex;
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use trefoil_crypto::{B256, PeerId, SecretKey, Signature};
use trefoil_p2p::{
    frame::Control,
    libp2p_types::{to_libp2p, to_multiaddr},
    peer_record::PeerRecord,
};

use crate::{
    arena::{Arena, Networks},
    manners,
    peer::{GOSSIP, Peer},
};

const PAUSE: Duration = Duration::from_millis(10);
/// Records of one answer, docs/wire.md.
const RECORDS: u8 = 64;
/// A node that asks for peers does so soon after its hello.
const ASKED_IN: Duration = Duration::from_millis(500);

/// Kademlia's types of messages, libp2p's specification.
const PUT_VALUE: u8 = 0;
const ADD_PROVIDER: u8 = 2;
const GET_PROVIDERS: u8 = 3;
const FIND_NODE: u8 = 4;

manners! {
    "records-of-private-addresses" "M" "peer records with addresses of private networks" {}
        |arena, n| records(arena, n, |at| ([10, 0, at, 1], 22).into(), true);
    "records-of-loopback" "M" "peer records with ports of this machine" {}
        |arena, n| records(arena, n, |at| ([127, 0, 0, 1], 8_000 + u16::from(at)).into(), true);
    "records-of-many-subnets" "-" "peer records with addresses of 64 subnets" {}
        |arena, n| records(arena, n, |at| ([198, 18, at, 1], 30_303).into(), true);
    "records-of-one-victim" "-" "peer records of 64 keys at one address" {}
        |arena, n| records(arena, n, |_| ([198, 51, 100, 1], 443).into(), true);
    "records-forged" "-" "peer records whose signature is another's" {}
        |arena, n| records(arena, n, |at| ([198, 18, at, 1], 30_303).into(), false);
    "records-again-and-again" "-" "the same record with ever higher numbers" {} renewed;
    "records-too-many" "-" "1,000 records in an answer" {} too_many;
    "peers-asked-for" "-" "GetPeers, again and again" {} get_peers;
    "kademlia-poisoned" "-" "providers of random keys, at addresses that are not theirs"
        {networks: Networks::Public} |arena, n| kademlia(arena, n, poison);
    "kademlia-searches" "-" "FIND_NODE and GET_PROVIDERS of random keys"
        {networks: Networks::Public} |arena, n| kademlia(arena, n, search);
    "kademlia-unread" "-" "the same, answers not read" {networks: Networks::Public} unread;
    "kademlia-values" "-" "PUT_VALUE of 16 KiB" {networks: Networks::Public}
        |arena, n| kademlia(arena, n, value);
    "kademlia-others" "-" "answers nobody requested, with 64 peers that are not there"
        {networks: Networks::Public} |arena, n| kademlia(arena, n, others);
    "kademlia-too-long" "-" "messages of 1 MiB" {networks: Networks::Public}
        |arena, n| kademlia(arena, n, |_| vec![0; 1 << 20]);
    "kademlia-garbage" "-" "random bytes" {networks: Networks::Public}
        |arena, n| kademlia(arena, n, |_| rand::random::<[u8; 32]>().repeat(8));
    "kademlia-relayed" "-" "records of what the victim shares that name other providers"
        {networks: Networks::Public} |arena, n| kademlia(arena, n, relay);
}

async fn records(
    arena: Arc<Arena>,
    n: usize,
    address: fn(u8) -> SocketAddr,
    sound: bool,
) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    peer.pause(ASKED_IN).await?;
    let record = |at: u8| {
        let key = SecretKey::from_seed(&rand::random());
        let addresses = vec![address(at)];
        let mut record = PeerRecord::sign(&key, &arena.target.genesis, addresses, 1 << 32);
        if !sound {
            record.signature = Signature([7; 64]);
        }
        record
    };
    let records = Control::Peers((0..RECORDS).map(record).collect());
    peer.control(GOSSIP, &records).await?;
    // One answer is taken of a connection: the next comes from another.
    let _ = peer.pause(PAUSE).await;
    Ok(())
}

async fn renewed(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    let key = SecretKey::from_seed(&[n as u8; 32]);
    for sequence in 0.. {
        let addresses = vec![([198, 18, n as u8, 1], 30_303).into()];
        let record = PeerRecord::sign(&key, &arena.target.genesis, addresses, sequence);
        peer.control(GOSSIP, &Control::Peers(vec![record])).await?;
        peer.pause(PAUSE).await?;
    }
    Ok(())
}

async fn too_many(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, n).await?;
    peer.pause(ASKED_IN).await?;
    let key = SecretKey::from_seed(&rand::random());
    let addresses = vec![([198, 18, 0, 1], 30_303).into()];
    let record = PeerRecord::sign(&key, &arena.target.genesis, addresses, 1);
    peer.control(GOSSIP, &Control::Peers(vec![record; 1_000])).await?;
    let _ = peer.pause(PAUSE).await;
    Ok(())
}

async fn get_peers(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    loop {
        for _ in 0..10 {
            peer.control(GOSSIP, &Control::GetPeers).await?;
        }
        peer.pause(PAUSE).await?;
    }
}

/// The protocol of the network's providers.
fn protocol(arena: &Arena) -> String {
    format!("/trefoil/providers/1/{}", hex::encode(arena.target.genesis))
}

/// Requests, each on a stream of its own, as Kademlia has them; answers are read.
async fn kademlia(arena: Arc<Arena>, n: usize, body: fn(&Arena) -> Vec<u8>) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    loop {
        let mut stream = peer.open(&protocol(&arena)).await?;
        stream.write_all(&delimited(&body(&arena))).await?;
        stream.flush().await?;
        let _ = timeout(Duration::from_millis(100), stream.read(&mut [0; 4_096])).await;
        peer.pause(Duration::from_millis(1)).await?;
    }
}

async fn unread(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    let mut held = vec![];
    for _ in 0..64 {
        let opened = timeout(Duration::from_secs(1), peer.open(&protocol(&arena))).await;
        let Ok(stream) = opened else { break };
        let mut stream = stream?;
        for _ in 0..100 {
            stream.write_all(&delimited(&search(&arena))).await?;
        }
        stream.flush().await?;
        held.push(stream);
    }
    peer.stay().await
}

/// A message after its length, which is an unsigned varint.
fn delimited(body: &[u8]) -> Vec<u8> {
    let mut out = varint(body.len());
    out.extend(body);
    out
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut out = vec![];
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// A field of bytes, as protobuf has it.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[(number << 3) | 2], varint(bytes.len()).as_slice(), bytes].concat()
}

fn message(kind: u8, key: &[u8]) -> Vec<u8> {
    [&[1 << 3, kind], field(2, key).as_slice()].concat()
}

fn someone(at: u8) -> Vec<u8> {
    let peer = to_libp2p(PeerId(SecretKey::from_seed(&rand::random()).public()));
    let address = to_multiaddr(([198, 18, at, 1], 30_303).into());
    [field(1, &peer.to_bytes()), field(2, &address.to_vec())].concat()
}

fn poison(_: &Arena) -> Vec<u8> {
    let key: [u8; 32] = rand::random();
    [message(ADD_PROVIDER, &key), field(9, &someone(1))].concat()
}

fn relay(arena: &Arena) -> Vec<u8> {
    // A key that others look for, the same each time.
    let key = B256::left_padding_from(&arena.target.fork_id);
    let providers = (0..20).flat_map(|at| field(9, &someone(at)));
    message(ADD_PROVIDER, key.as_slice()).into_iter().chain(providers).collect()
}

fn search(_: &Arena) -> Vec<u8> {
    let kind = [FIND_NODE, GET_PROVIDERS][usize::from(rand::random::<bool>())];
    message(kind, &rand::random::<[u8; 32]>())
}

fn value(_: &Arena) -> Vec<u8> {
    let record = [field(1, &[7; 32]), field(2, &[7; 16_000])].concat();
    [message(PUT_VALUE, &[7; 32]), field(3, &record)].concat()
}

fn others(_: &Arena) -> Vec<u8> {
    let closer = (0..64).flat_map(|at| field(8, &someone(at)));
    message(FIND_NODE, &[7; 32]).into_iter().chain(closer).collect()
}
