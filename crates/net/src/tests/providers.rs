//! Providers found through nodes that are each connected to few.

use std::time::Instant;

use super::*;
use crate::PROVIDED_MAX;

const NODES: u8 = 40;

fn roomy(n: u8, peers: &[(u8, SocketAddr)]) -> Config {
    Config { inbound_max: 64, inbound_per_source_max: 64, ..config(n, peers) }
}

/// Node `n` dials the one before it and the one with half its number.
async fn crowd(count: u8) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for n in 1..=count {
        let known = [n - 1, n / 2].into_iter().filter(|known| (1..n).contains(known));
        let known: Vec<_> =
            known.map(|known| (known, nodes[usize::from(known) - 1].address())).collect();
        let mut node = Node::start(roomy(n, &known), TIMING).await;
        if n > 1 {
            node.meets(peer(n - 1)).await;
        }
        nodes.push(node);
    }
    nodes
}

impl Node {
    /// Until a peer is connected.
    async fn meets(&mut self, whom: PeerId) {
        while !matches!(self.event().await, NetEvent::Connected { peer, .. } if peer == whom) {}
    }

    fn knows(&self, n: u8) -> bool {
        self.handle.peers().iter().any(|known| known.peer == peer(n))
    }
}

/// Until a search by `seeker` has connected it to node `n`.
async fn found(seeker: &mut Node, n: u8, root: [u8; 32]) -> Duration {
    let begun = Instant::now();
    while !seeker.knows(n) {
        seeker.handle.search(root);
        let _ = timeout(Duration::from_millis(300), seeker.meets(peer(n))).await;
        assert!(begun.elapsed() < LIMIT, "found nobody");
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_far_away_is_found() {
    let mut nodes = crowd(NODES).await;
    let root = [7; 32];
    let far = nodes.remove(0);
    far.handle.provide([root].into());
    let mut seeker = nodes.pop().unwrap();
    assert!(!seeker.knows(1), "it would prove nothing");
    // Announced it is when it was found by the one who is nearest.
    tokio::time::sleep(Duration::from_secs(5)).await;
    for n in 1..=NODES - 2 {
        eprintln!("{n} {}", nodes[n as usize - 1].handle.peers().len());
    }
    let took = found(&mut seeker, 1, root).await;
    eprintln!("took {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}
