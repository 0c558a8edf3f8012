//! Nodes that find each other by what others tell.

use std::path::Path;

use super::*;
use trefoil_types::{Offence, message::Lane};

use crate::{
    config::Discovery,
    connection::frame::Control,
    discovery::{address_book::DialCandidate, peer_record::PeerRecord},
    tests::rogue::Rogue,
};

/// A node that listens at 127.`n`.0.1, each its own provider.
async fn node(n: u8, dir: &Path, bootstrap: &[SocketAddr]) -> Node {
    let listen: SocketAddr = ([127, n, 0, 1], 0).into();
    // The port must be known to be advertised.
    let listen = std::net::TcpListener::bind(listen).unwrap().local_addr().unwrap();
    let candidate = |address: &SocketAddr| DialCandidate { address: *address, peer: None };
    let discovery = Discovery {
        file: dir.join(n.to_string()),
        bootstrap: bootstrap.iter().map(candidate).collect(),
        outbound: 8,
        advertise: vec![listen],
    };
    let config = Config { listen, discovery: Some(discovery), ..config(n, &[]) };
    Node::start(config, QUICK).await
}

/// Waits until the node is connected with so many.
async fn meets(node: &Node, count: usize) {
    let met = async {
        while node.handle.peers().len() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, met).await.expect("they find each other");
}

#[tokio::test]
async fn nodes_with_one_bootstrap_address_find_all_and_remember_them() {
    let dir = tempfile::tempdir().unwrap();
    let first = node(1, dir.path(), &[]).await;
    let bootstrap = [first.address()];
    let mut others = Vec::new();
    for n in 2..6 {
        others.push(node(n, dir.path(), &bootstrap).await);
        meets(&first, usize::from(n) - 1).await;
    }
    for node in others.iter().chain([&first]) {
        meets(node, 4).await;
    }
    // Without a bootstrap address, from what it remembers.
    let last = others.pop().unwrap();
    last.stop().await;
    let last = node(5, dir.path(), &[]).await;
    meets(&last, 4).await;
}

#[tokio::test]
async fn what_nobody_asked_for_or_signed_is_held_against_the_peer() {
    let dir = tempfile::tempdir().unwrap();
    let record =
        |genesis| PeerRecord::sign(&key(9), &genesis, vec!["1.2.3.4:5".parse().unwrap()], 1);
    for (asked, genesis, score) in
        [(true, network().genesis, 0), (false, network().genesis, 2), (true, B256::ZERO, 100)]
    {
        let mut node = node(1, dir.path(), &[]).await;
        let mut rogue = Rogue::admitted(2, 1, node.address()).await;
        node.connected().await;
        let answer = Control::Peers(vec![record(genesis)]).encode();
        rogue.write(Lane::Gossip, &answer).await;
        if !asked {
            // The first was asked for, as every peer is.
            rogue.write(Lane::Gossip, &answer).await;
        }
        if score == 100 {
            assert!(node.disconnected().await.starts_with("BadSignature: "));
            continue;
        }
        let noted = async {
            while node.handle.peers()[0].score < score {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, noted).await.expect("it is noted");
        node.stop().await;
    }
}

/// One answer is a part of the address book. All of it would show an attacker whom the node knows.
#[tokio::test]
async fn a_peer_that_asks_twice_for_others_floods() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = node(1, dir.path(), &[]).await;
    let mut rogue = Rogue::admitted(2, 1, node.address()).await;
    node.connected().await;
    for _ in 0..2 {
        rogue.write(Lane::Gossip, &Control::GetPeers.encode()).await;
    }
    let noted = async {
        while node.handle.misdeeds().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, noted).await.expect("it is noted");
    let offences = &node.handle.misdeeds()[0].offences;
    assert!(offences.iter().all(|(offence, ..)| *offence == Offence::Flood), "{offences:?}");
}
