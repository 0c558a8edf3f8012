//! A man in the middle of the member wire:
//!
//!     cargo run --release -p trefoil-p2p --example mitm_member [TIMES]
//!
//! He splices two handshakes, replays one that he saw, reflects a node's own,
//! offers weaker protocols, and knows only a member's public key and
//! certificate. He sits between two honest members that dial through him. 200
//! times each; none may be accepted by either.

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use multistream_select::{Version, dialer_select_proto, listener_select_proto};
use rustls::crypto::aws_lc_rs::kx_group::{X25519, X25519MLKEM768};
use support::{
    MEMBER, NODE, Node, certificate, config, key,
    peer::{self, Told, Wire},
    peer_id, weak,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Mutex,
    time::timeout,
};
use trefoil_p2p::NetEvent;

/// Neither member's nor the node's.
const HIS: u8 = 66;

/// Nothing here takes as long, unless it never comes.
const LIMIT: Duration = Duration::from_secs(6);

/// What else a peer might be made to speak.
const WEAKER: [&str; 5] =
    ["/plaintext/2.0.0", "/noise", "/tls/1.0.0", "/trefoil/clear/1", "/trefoil/member/0"];

#[tokio::main]
async fn main() {
    let times: usize = std::env::args().nth(1).map_or(200, |n| n.parse().expect("a number"));
    let target = Node::start(config(NODE, &[])).await;
    let recorded = record(&target).await;
    let (mut accepted, mut tries) = (0, 0);
    for manner in ["splice", "replay", "reflect", "weaker protocol", "public key only"] {
        let mut of_it = 0;
        for time in 0..times {
            let taken = match manner {
                "splice" => splice(&target).await,
                "replay" => replay(&target, &recorded).await,
                "reflect" => reflect().await,
                "weaker protocol" => weaker(&target, time).await,
                _ => public_key_only(&target, time).await,
            };
            of_it += usize::from(taken || !target.handle.peers().is_empty());
        }
        println!("{manner:16} {of_it} of {times} accepted");
        accepted += of_it;
        tries += times;
    }
    let connected = target.stop().await;
    println!("{accepted} of {tries} accepted");
    if accepted > 0 || connected {
        std::process::exit(1);
    }
}

/// A member dials the target, and he is in between with TLS of his own to each,
/// passing on what they prove to each other.
async fn splice(target: &Node) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let through_him = listener.local_addr().expect("an address");
    let victim = Node::start(config(MEMBER, &[(NODE, through_him)])).await;
    let spliced = async {
        let mut left = peer::accept(&listener, &key(HIS)).await.ok()?;
        let mut right = peer::dial(target.address(), &key(HIS)).await.ok()?;
        let proof = read_proof(&mut left).await?;
        right.write_all(&proof).await.ok()?;
        right.flush().await.ok()?;
        let proof = read_proof(&mut right).await?;
        left.write_all(&proof).await.ok()?;
        left.flush().await.ok()?;
        // Each verdict is passed on as good.
        let (mut of_left, mut of_right) = ([9], [9]);
        left.write_all(&[0]).await.ok()?;
        right.write_all(&[0]).await.ok()?;
        let _ = (left.flush().await, right.flush().await);
        let _ = (left.read_exact(&mut of_left).await, right.read_exact(&mut of_right).await);
        Some(of_left == [0] || of_right == [0])
    };
    let taken = timeout(LIMIT, spliced).await.ok().flatten().unwrap_or(false);
    taken | victim.stop().await
}

async fn read_proof(wire: &mut Wire) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    wire.read_exact(&mut length).await.ok()?;
    let mut body = vec![0; usize::from(u16::from_be_bytes(length))];
    wire.read_exact(&mut body).await.ok()?;
    Some([length.as_slice(), &body].concat())
}

/// All that an honest member sends in a handshake that is accepted, as a tap sees it.
async fn record(target: &Node) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let through = listener.local_addr().expect("an address");
    let said = Arc::new(Mutex::new(vec![]));
    let (tap, to) = (said.clone(), target.address());
    let tapping = tokio::spawn(async move {
        let (mut member, _) = listener.accept().await.expect("a connection");
        let mut node = peer::socket(to).await.expect("a node");
        let ((mut from, mut back), (mut answers, mut forward)) = (member.split(), node.split());
        let forwarded = async {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buf).await {
                tap.lock().await.extend_from_slice(&buf[..n]);
                if forward.write_all(&buf[..n]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! { () = forwarded => {}, _ = tokio::io::copy(&mut answers, &mut back) => {} }
    });
    let mut wire = peer::dial(through, &key(MEMBER)).await.expect("TLS");
    let told = peer::show(&mut wire, &peer::proof(&certificate(MEMBER).to_der())).await;
    assert_eq!(told, Told::Admitted, "an honest member is let in through a tap");
    drop(wire);
    tapping.await.expect("it does not panic");
    std::mem::take(&mut *said.lock().await)
}

/// He says again what the member said. Accepted would be a verdict, or anything
/// after TLS but its alert.
async fn replay(target: &Node, recorded: &[u8]) -> bool {
    let mut socket = peer::socket(target.address()).await.expect("a node");
    let _ = socket.write_all(recorded).await;
    let mut answer = vec![];
    // It must close by itself.
    let ended = timeout(LIMIT, socket.read_to_end(&mut answer)).await;
    ended.is_err()
}

/// He sends a node's own words back to it: it dials a member and meets itself.
async fn reflect() -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mirror = listener.local_addr().expect("an address");
    let mut node = Node::start(config(NODE, &[(MEMBER, mirror)])).await;
    let itself = node.address();
    let reflected = async {
        let (mut out, _) = listener.accept().await.ok()?;
        let mut back = peer::socket(itself).await.ok()?;
        tokio::io::copy_bidirectional(&mut out, &mut back).await.ok()
    };
    let ended = timeout(LIMIT, reflected).await;
    let met_itself = match node.event().await {
        NetEvent::Refused { reason, .. } => reason.contains("which is this node"),
        _ => false,
    };
    node.stop().await | ended.is_err() | !met_itself
}

/// He offers what is weaker: to the node, as who is dialled by it, or a weaker
/// key exchange within TLS.
async fn weaker(target: &Node, time: usize) -> bool {
    match time % 3 {
        0 => {
            let socket = peer::connect(target.address()).await.expect("a node");
            let selected = dialer_select_proto(socket, WEAKER, Version::V1);
            timeout(LIMIT, selected).await.is_ok_and(|selected| selected.is_ok())
        }
        1 => {
            let wire = weak::dial(target.address(), &key(MEMBER), None, X25519).await;
            let mut wire = wire.expect("TLS itself would do with it");
            let mut refusal = [0; 3];
            let heard = wire.read_exact(&mut refusal).await.is_ok();
            !heard || refusal != [0, 0, 22]
        }
        _ => {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let victim = Node::start(config(MEMBER, &[(NODE, address)])).await;
            let (socket, _) = listener.accept().await.expect("a dial");
            let socket = libp2p::tcp::tokio::TcpStream(socket);
            let selected = timeout(LIMIT, listener_select_proto(socket, WEAKER)).await;
            victim.stop().await | selected.is_ok_and(|selected| selected.is_ok())
        }
    }
}

/// He poses as a member whose key he has not: with its certificate, or with TLS
/// that names its key.
async fn public_key_only(target: &Node, time: usize) -> bool {
    if time.is_multiple_of(2) {
        let mut wire = peer::dial(target.address(), &key(HIS)).await.expect("TLS");
        let proof = peer::proof(&certificate(MEMBER).to_der());
        return peer::show(&mut wire, &proof).await != Told::Refused(2);
    }
    let posing = Some(peer_id(MEMBER).0.0.0);
    let to: SocketAddr = target.address();
    let Ok(mut wire) = weak::dial(to, &key(HIS), posing, X25519MLKEM768).await else {
        return false;
    };
    // TLS 1.3 tells its client of a refusal only afterwards.
    let mut word = [0; 2];
    timeout(LIMIT, wire.read_exact(&mut word)).await.is_ok_and(|heard| heard.is_ok())
}
