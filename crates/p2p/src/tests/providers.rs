//! Providers found through nodes that are each connected to few, and what a peer
//! that does not keep the rules gets of it.

use std::{sync::atomic::Ordering, time::Instant};

use tokio::time::sleep;
use trefoil_types::Offence;

use super::{rogue::Rogue, *};

const NODES: u8 = 40;

/// The most connections of one node of the crowd: the one before it, the one with
/// half its number, and those who so chose it.
const FEW: usize = 5;

async fn roomy(n: u8, known: &[(u8, SocketAddr)]) -> Node {
    let config = Config { inbound_max: 64, inbound_per_source_max: 64, ..config(n, known) };
    Node::start(config, TIMING).await
}

/// Node `n` dials the one before it and the one with half its number.
async fn crowd() -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for n in 1..=NODES {
        let known = [n - 1, n / 2].into_iter().filter(|known| (1..n).contains(known));
        let known: Vec<_> =
            known.map(|known| (known, nodes[usize::from(known) - 1].address())).collect();
        let mut node = roomy(n, &known).await;
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

    /// Searches until it is connected to node `n`; how long that takes.
    async fn finds(&mut self, n: u8, root: [u8; 32]) -> Duration {
        let begun = Instant::now();
        while !self.knows(n) {
            self.handle.search(root);
            let _ = timeout(Duration::from_millis(200), self.meets(peer(n))).await;
            assert!(begun.elapsed() < LIMIT, "found nobody");
        }
        begun.elapsed()
    }
}

/// Waits until it is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    let wait = async {
        while !so() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_far_away_is_found_and_what_the_search_connected_is_left() {
    let mut nodes = crowd().await;
    let (mut dialer, root) = (nodes.pop().unwrap(), [7; 32]);
    let few = |nodes: &[Node]| nodes.iter().all(|node| node.handle.peers().len() <= FEW);
    until("the newcomers' searches are over", || few(&nodes)).await;
    // Its neighbours may be asked to keep the record; nobody near the dialer has it.
    nodes[0].handle.provide([root].into());
    until("it is announced", || !few(&nodes)).await;
    until("the announcement is over", || few(&nodes)).await;
    assert!(!dialer.knows(1), "it would prove nothing");
    let took = dialer.finds(1, root).await;
    // A second on a quiet machine; what is not found at once is found minutes later, if ever.
    assert!(took < Duration::from_secs(20), "{took:?}");
    // The provider stays.
    until("the search is over", || dialer.handle.peers().len() <= FEW + 1).await;
    assert!(dialer.knows(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_finds_what_is_provided_no_more_or_by_one_who_was_banned() {
    let mut middle = roomy(1, &[]).await;
    let (kept, dropped) = ([1; 32], [2; 32]);
    let mut provider = roomy(2, &[(1, middle.address())]).await;
    provider.meets(peer(1)).await;
    provider.handle.provide([kept, dropped].into());
    let mut dialer = roomy(3, &[(1, middle.address())]).await;
    dialer.finds(2, kept).await;
    provider.handle.provide([kept].into());
    middle.meets(peer(2)).await;
    middle.handle.blame(peer(2), Offence::BadContent);
    provider.handle.shutdown();
    let mut late = roomy(4, &[(1, middle.address())]).await;
    late.meets(peer(1)).await;
    // Each search begins before one that succeeds, and asks the same node.
    for n in 5..8 {
        let mut other = roomy(n, &[(1, middle.address())]).await;
        other.meets(peer(1)).await;
        other.handle.provide([[n; 32]].into());
        late.handle.search(kept);
        late.finds(n, [n; 32]).await;
    }
    assert!(!late.knows(2));
    assert!(late.handle.refusals().is_empty(), "it was not even dialled");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_without_end_is_not_read_and_blamed_and_others_are_found() {
    let mut middle = roomy(1, &[]).await;
    let rogue = Rogue::admitted(9, 1, middle.address()).await;
    middle.meets(peer(9)).await;
    for n in 0..1_000_u32 {
        rogue.announce.send([n.to_be_bytes(); 8].concat().try_into().unwrap()).unwrap();
    }
    let blamed = |handle: &NetHandle| {
        let misdeeds = handle.misdeeds();
        let of = misdeeds.iter().find(|misdeeds| misdeeds.who == peer(9).to_string());
        of.is_some_and(|of| of.offences[0].0 == Offence::Flood)
    };
    let root = [0; 32];
    let mut provider = roomy(2, &[(1, middle.address())]).await;
    provider.meets(peer(1)).await;
    provider.handle.provide([root].into());
    let mut dialer = roomy(3, &[(1, middle.address())]).await;
    dialer.finds(2, root).await;
    until("the rogue is blamed", || blamed(&middle.handle)).await;
    // What it may say at once, and a little more for the time that it took.
    assert!(rogue.answers.load(Ordering::Relaxed) < 400);
}

#[tokio::test]
async fn nothing_is_answered_before_the_hello() {
    let node = roomy(1, &[]).await;
    let mut rogue = Rogue::connect(9, 1, node.address()).await;
    rogue.announce.send([1; 32]).unwrap();
    // One that said hello asks later, and has its answer.
    let admitted = Rogue::admitted(10, 1, node.address()).await;
    admitted.announce.send([1; 32]).unwrap();
    until("the other is answered", || admitted.answers.load(Ordering::Relaxed) > 0).await;
    assert_eq!(rogue.answers.load(Ordering::Relaxed), 0);
    rogue.greet().await;
    until("it is answered", || rogue.answers.load(Ordering::Relaxed) > 0).await;
}
