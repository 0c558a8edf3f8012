//! What happens between nodes.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::Bytes;
use trefoil_types::{
    B256, Message, Offence,
    limits::BLOCK_BYTES_MAX,
    message::{Bodies, Lane},
};

use super::{
    Node, QUICK, config, get_blocks, hashes, message, pair, peer,
    rogue::{self, Rogue},
    tip, vote,
};
use crate::{
    config::{Config, NetError, Timing},
    connection::{
        frame::{self, Control},
        lane_limits::limits,
    },
    event::NetEvent,
    network::VersionMismatch,
};

#[tokio::test]
async fn messages_pass_on_every_lane_in_order_both_ways() {
    let (mut a, mut b) = pair(QUICK).await;
    for n in 0..50 {
        a.handle.send(peer(2), &vote(n));
        b.handle.broadcast(&vote(n), None);
        a.handle.broadcast(&get_blocks(n), Some(peer(1)));
        a.handle.broadcast(&hashes(n as u8), None);
        a.handle.broadcast(&tip(n), Some(peer(2)));
    }
    for n in 0..50 {
        assert_eq!(message(&mut b.lanes.consensus).await, *vote(n));
        assert_eq!(message(&mut a.lanes.consensus).await, *vote(n));
        assert_eq!(message(&mut b.lanes.catch_up).await, *get_blocks(n));
        assert_eq!(message(&mut b.lanes.gossip).await, *hashes(n as u8));
    }
    assert!(b.lanes.consensus.try_recv().is_err(), "a broadcast skips whom it excepts");
    let seen = &b.handle.peers()[0];
    assert_eq!((seen.peer, seen.inbound), (peer(1), false));
    assert!(seen.bytes_in > 5_000 && seen.bytes_out > 5_000, "{seen:?}");
    assert!(seen.software.starts_with("trefoil/"));
    assert_eq!(b.handle.dropped().values().sum::<u64>(), 0);
}

#[tokio::test]
async fn the_largest_message_passes() {
    let (a, mut b) = pair(QUICK).await;
    let tx = Bytes::from(vec![7; BLOCK_BYTES_MAX]);
    let large = Arc::new(Message::Bodies(Bodies { block: B256::ZERO, txs: vec![tx] }));
    a.handle.send(peer(2), &large);
    assert_eq!(message(&mut b.lanes.consensus).await, *large);
}

#[tokio::test]
async fn another_network_is_refused_on_both_sides_with_the_difference() {
    let stranger = |to| config(2, &[(1, to)]);
    type Other = fn(Config) -> Config;
    let others: [(Other, &str); 2] = [
        (|config| Config { genesis: B256::ZERO, ..config }, "different genesis: 0x"),
        (|config| Config { fork_id: [9; 4], ..config }, "different fork schedule: fork id "),
    ];
    for (other, difference) in others {
        let mut a = Node::start(config(1, &[]), QUICK).await;
        let mut b = Node::start(other(stranger(a.address())), QUICK).await;
        for (node, of) in [(&mut a, peer(2)), (&mut b, peer(1))] {
            let (who, reason) = node.refused().await;
            assert_eq!(who, Some(of));
            assert!(reason.contains(difference), "{reason}");
            assert!(node.handle.peers().is_empty());
            assert!(node.handle.refusals()[0].reason.contains(difference));
        }
    }
}

#[tokio::test]
async fn another_version_is_refused_and_told() {
    let mut node = Node::start(config(1, &[]), QUICK).await;
    let mut rogue = Rogue::connect(2, 1, node.address()).await;
    rogue.write(Lane::Consensus, &[0, 0, 0, 3, 0xF0, 0, 99]).await;
    let (_, reason) = node.refused().await;
    assert!(reason.contains("version 99 of the wire protocol, this node version 3"), "{reason}");
    assert!(matches!(rogue.hear().await, Control::Hello(_)));
    assert_eq!(rogue.hear().await, Control::Refusal(reason));
    let others = node.handle.other_versions();
    let [other] = &others[..] else { panic!("{others:?}") };
    assert_eq!(other.peer, Some(peer(2)));
    assert_eq!(other.versions, Some(VersionMismatch { theirs: 99, ours: 3 }));
    assert!(other.address.starts_with("127.0.0.1:"), "{other:?}");
    // Nothing bad was done: the peer may come back with the right version.
    Rogue::admitted(2, 1, node.address()).await;
}

#[tokio::test]
async fn a_second_dial_to_an_address_waits_for_the_first() {
    let node = Node::start(config(1, &[]), QUICK).await;
    let mut dialer = Node::start(config(2, &[]), QUICK).await;
    // Nobody of this name is there.
    dialer.handle.dial(peer(9), node.address(), None);
    dialer.handle.dial(peer(1), node.address(), None);
    let met = async {
        loop {
            if let NetEvent::Connected { peer, .. } = dialer.event().await {
                return peer;
            }
        }
    };
    assert_eq!(tokio::time::timeout(super::LIMIT, met).await.expect("it is dialled"), peer(1));
}

#[tokio::test]
async fn a_peer_at_an_address_of_another_is_refused() {
    let a = Node::start(config(1, &[]), QUICK).await;
    let mut b = Node::start(config(2, &[(3, a.address())]), QUICK).await;
    let (who, reason) = b.refused().await;
    assert_eq!(who, Some(peer(3)));
    assert!(reason.contains(&format!("found {}", peer(1))), "{reason}");
}

#[tokio::test]
async fn nodes_that_dial_each_other_at_once_make_one_connection() {
    // Ports must be known before the nodes are there.
    let ports = [(); 2].map(|()| TcpListener::bind(super::ANY_PORT).unwrap());
    let [first, second] = ports.map(|port| port.local_addr().unwrap());
    for round in 0..10 {
        let one = Config { listen: first, ..config(1, &[(2, second)]) };
        let two = Config { listen: second, ..config(2, &[(1, first)]) };
        let (mut a, mut b) = tokio::join!(Node::start(one, QUICK), Node::start(two, QUICK));
        let ((_, a_inbound), (_, b_inbound)) = (a.connected().await, b.connected().await);
        assert_ne!(a_inbound, b_inbound, "both name the same connection, round {round}");
        // The other dial has long been settled when these have passed, and no
        // other event came between.
        for n in 0..50 {
            a.handle.send(peer(2), &vote(n));
            assert_eq!(message(&mut b.lanes.consensus).await, *vote(n));
            b.handle.send(peer(1), &vote(n));
            assert_eq!(message(&mut a.lanes.consensus).await, *vote(n));
        }
        a.stop().await;
        b.stop().await;
    }
}

#[tokio::test]
async fn a_restarted_peer_is_connected_again() {
    let (mut a, b) = pair(QUICK).await;
    let (again, listen) = (config(1, &[]), a.address());
    b.handle.send(peer(1), &vote(1));
    assert_eq!(message(&mut a.lanes.consensus).await, *vote(1));
    a.stop().await;
    let mut b = b;
    b.disconnected().await;
    let mut a = Node::start(Config { listen, ..again }, QUICK).await;
    a.connected().await;
    b.connected().await;
    a.handle.send(peer(2), &vote(2));
    assert_eq!(message(&mut b.lanes.consensus).await, *vote(2));
}

// Attack: a validator, which is not banned for bad votes, connects again when it is read more slowly.
#[tokio::test]
async fn a_favoured_peer_that_connects_again_is_read_as_slowly() {
    let (mut a, b) = pair(QUICK).await;
    a.handle.favour([peer(2)]);
    b.stop().await;
    a.disconnected().await;
    let began = Instant::now();
    a.handle.slow(peer(2), Lane::Consensus, 1_000_000);
    let mut b = Node::start(config(2, &[(1, a.address())]), QUICK).await;
    // It gets in, and its other lanes are read.
    a.connected().await;
    b.connected().await;
    b.handle.send(peer(1), &vote(1));
    b.handle.send(peer(1), &get_blocks(1));
    assert_eq!(message(&mut a.lanes.catch_up).await, *get_blocks(1));
    assert_eq!(message(&mut a.lanes.consensus).await, *vote(1));
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_second_connection_of_a_peer_that_came_back_takes_the_place_of_the_first() {
    let mut node = Node::start(config(1, &[]), QUICK).await;
    let _first = Rogue::admitted(2, 1, node.address()).await;
    node.connected().await;
    let _second = Rogue::admitted(2, 1, node.address()).await;
    assert_eq!(node.disconnected().await, "replaced by a newer connection");
    node.connected().await;
    assert_eq!(node.handle.peers().len(), 1);
}

#[tokio::test]
async fn a_banned_peer_is_disconnected_and_told_when_it_comes_back() {
    let (mut a, mut b) = pair(QUICK).await;
    a.handle.blame(peer(2), Offence::InvalidTransaction);
    assert_eq!(a.handle.peers()[0].score, 10);
    a.handle.blame(peer(2), Offence::BadSignature);
    assert_eq!(a.disconnected().await, "banned: BadSignature");
    b.disconnected().await;
    let (_, reason) = a.refused().await;
    assert!(reason.starts_with("banned for another "), "{reason}");
    let (_, reason) = b.refused().await;
    assert!(reason.contains("banned for another "), "{reason}");
}

/// Bytes of an admitted peer, their lane, and what the node says of them.
#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_banned() {
    let hello = Control::Hello(rogue::hello()).encode();
    let misdeeds: [(Lane, &[u8], &str); 10] = [
        (Lane::Consensus, &[0xFF; 4], "a frame of 4294967295 bytes where at most"),
        (Lane::Gossip, &[0, 0x50, 0, 0], "a frame of 5242880 bytes where at most 4194304"),
        // Before any of its body comes.
        (Lane::Consensus, &[0, 0x50, 0, 0, 1], "a frame of 5242880 bytes where at most 256"),
        (Lane::CatchUp, &[0; 4], "an empty frame"),
        (Lane::Consensus, &[0, 0, 0, 3, 1, 2, 3], "message of type 1 cannot be decoded"),
        (Lane::Gossip, &[0, 0, 0, 1, 99], "message of unknown type 99"),
        (Lane::Gossip, &[0, 0, 0, 1, 0xF3], "no place on the gossip lane"),
        (Lane::Consensus, &[0, 0, 0, 2, 32, 0xC0], "no place on the consensus lane"),
        (Lane::Consensus, &[0, 0, 0, 1, 0xFE], "a control frame of unknown type 0xfe"),
        (Lane::Consensus, &hello, "no place on the consensus lane"),
    ];
    for (lane, bytes, expected) in misdeeds {
        let mut node = Node::start(config(1, &[]), QUICK).await;
        let mut rogue = Rogue::admitted(2, 1, node.address()).await;
        node.connected().await;
        rogue.write(lane, bytes).await;
        let reason = node.disconnected().await;
        assert!(reason.starts_with("Malformed: ") && reason.contains(expected), "{reason}");
        let mut again = Rogue::connect(2, 1, node.address()).await;
        again.say(&Control::Hello(rogue::hello())).await;
        again.say(&Control::Welcome).await;
        let (_, reason) = node.refused().await;
        assert!(reason.starts_with("banned for another "), "{reason}");
    }
}

/// The side with the larger id says welcome first, and here that is the node.
#[tokio::test]
async fn a_banned_peer_is_not_welcomed() {
    let n = (2..=255).find(|n| peer(*n) < peer(1)).expect("one of them is smaller");
    let mut node = Node::start(config(1, &[]), QUICK).await;
    let mut rogue = Rogue::admitted(n, 1, node.address()).await;
    node.connected().await;
    rogue.write(Lane::CatchUp, &[0; 4]).await;
    node.disconnected().await;
    let mut again = Rogue::connect(n, 1, node.address()).await;
    again.say(&Control::Hello(rogue::hello())).await;
    assert!(matches!(again.hear().await, Control::Hello(_)));
    let told = again.hear().await;
    let is_ban = |told: &str| told.starts_with("banned for another ");
    assert!(matches!(&told, Control::Refusal(told) if is_ban(told)), "{told:?}");
}

#[tokio::test]
async fn nothing_but_a_hello_is_taken_first() {
    let firsts: [(&[u8], &str); 4] = [
        (&[0, 0, 0, 1, 0xF1], "its first frame is no hello"),
        (&[0, 0, 0, 2, 32, 0xC0], "a message before the hello"),
        (&[0, 0, 2, 1], "a frame of 513 bytes where at most 512"),
        (&[0, 0, 0, 4, 0xF0, 0, 3, 0xC0], "its hello cannot be decoded"),
    ];
    for (bytes, expected) in firsts {
        let mut node = Node::start(config(1, &[]), QUICK).await;
        let mut rogue = Rogue::connect(2, 1, node.address()).await;
        rogue.write(Lane::Consensus, bytes).await;
        let (_, reason) = node.refused().await;
        assert!(reason.contains(expected), "{reason}");
        assert!(matches!(rogue.hear().await, Control::Hello(_)));
        assert!(matches!(rogue.hear().await, Control::Refusal(told) if told.contains(expected)));
    }
}

#[tokio::test]
async fn a_silent_peer_is_gone() {
    let timing = Timing { silence: Duration::from_millis(200), ..QUICK };
    let mut node = Node::start(config(1, &[]), timing).await;
    let _rogue = Rogue::admitted(2, 1, node.address()).await;
    node.connected().await;
    assert_eq!(node.disconnected().await, "nothing heard for 200ms");
    assert!(node.handle.peers().is_empty());
}

#[tokio::test]
async fn pings_keep_an_idle_connection() {
    let ping = Duration::from_millis(20);
    let timing = Timing { ping, silence: Duration::from_secs(20), ..QUICK };
    let node = Node::start(config(1, &[]), timing).await;
    let mut rogue = Rogue::admitted(2, 1, node.address()).await;
    for _ in 0..3 {
        assert_eq!(rogue.hear().await, Control::Ping);
    }
}

#[tokio::test]
async fn a_peer_that_never_reads_costs_a_bounded_queue_and_then_its_connection() {
    let timing = Timing { stall: Duration::from_millis(300), ..QUICK };
    let mut node = Node::start(config(1, &[]), timing).await;
    let _rogue = Rogue::admitted(2, 1, node.address()).await;
    node.connected().await;
    let tx = Bytes::from(vec![7; 1 << 20]);
    let large = Arc::new(Message::Txs(vec![tx]));
    for _ in 0..100 {
        node.handle.broadcast(&large, None);
    }
    assert!(node.handle.dropped()["gossip"] >= 80, "{:?}", node.handle.dropped());
    assert_eq!(node.disconnected().await, "the peer read nothing for 300ms");
}

#[tokio::test]
async fn a_peer_that_asks_and_does_not_read_is_not_read_but_for_its_votes() {
    let mut node = Node::start(config(1, &[]), QUICK).await;
    let mut rogue = Rogue::admitted(2, 1, node.address()).await;
    node.connected().await;
    let answer = Arc::new(Message::Txs(vec![Bytes::from(vec![7; 2 << 20])]));
    for _ in 0..3 {
        node.handle.send(peer(2), &answer);
    }
    assert_eq!(node.handle.dropped()["gossip"], 0);
    rogue.write(Lane::CatchUp, &frame::of_message(&get_blocks(1))).await;
    rogue.write(Lane::Consensus, &frame::of_message(&vote(1))).await;
    assert_eq!(message(&mut node.lanes.consensus).await, *vote(1));
    // The request waits, and is dropped in the end.
    let over = async {
        while node.handle.dropped()["catch-up"] == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::LIMIT, over).await.expect("it is dropped");
    assert!(node.lanes.catch_up.try_recv().is_err(), "and was not handed over");
}

#[tokio::test]
async fn a_peer_that_sends_more_than_its_lane_allows_is_blamed() {
    let mut node = Node::start(config(1, &[]), QUICK).await;
    let mut rogue = Rogue::admitted(2, 1, node.address()).await;
    node.connected().await;
    let frame = frame::of_message(&get_blocks(1));
    // The burst, and more than passes in the seconds that this may take.
    let flood = frame.repeat(4 * limits(Lane::CatchUp).in_burst as usize);
    let sent = rogue.write(Lane::CatchUp, &flood);
    let read = async { while node.lanes.catch_up.recv().await.is_some() {} };
    let blamed = async {
        while node.handle.misdeeds().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let all = async {
        tokio::select! {
            () = read => panic!("the network has ended"),
            ((), ()) = async { tokio::join!(sent, blamed) } => {}
        }
    };
    tokio::time::timeout(super::LIMIT, all).await.expect("it is blamed");
    let misdeeds = node.handle.misdeeds();
    assert!(misdeeds[0].offences.iter().all(|(offence, ..)| *offence == Offence::Flood));
}

#[tokio::test]
async fn a_peer_that_writes_on_a_stream_that_is_ours_to_write_is_banned() {
    let mut node = Node::start(config(1, &[]), QUICK).await;
    let mut rogue = Rogue::admitted(2, 1, node.address()).await;
    node.connected().await;
    rogue.write_back(Lane::Gossip, &[0]).await;
    assert_eq!(node.disconnected().await, "Malformed: it wrote on our gossip stream");
}

#[tokio::test]
async fn a_peer_that_does_not_read_and_writes_where_we_write_is_banned_at_once() {
    let mut node = Node::start(config(1, &[]), QUICK).await;
    let mut rogue = Rogue::admitted(2, 1, node.address()).await;
    node.connected().await;
    // More than any window, so that it is being written for as long as nobody reads.
    node.handle.send(peer(2), &Arc::new(Message::Txs(vec![Bytes::from(vec![7; 3 << 20])])));
    rogue.write_back(Lane::Gossip, &[0]).await;
    assert_eq!(node.disconnected().await, "Malformed: it wrote on our gossip stream");
}

#[tokio::test]
async fn a_node_that_is_behind_on_gossip_still_hears_votes() {
    let (a, mut b) = pair(QUICK).await;
    let large = Arc::new(Message::Txs(vec![Bytes::from(vec![7; 2 << 20])]));
    // Far beyond what may wait for the node, and nobody reads it.
    for n in 0..200 {
        a.handle.send(peer(2), &large);
        a.handle.send(peer(2), &vote(n));
    }
    for n in 0..200 {
        assert_eq!(message(&mut b.lanes.consensus).await, *vote(n));
    }
    assert_eq!(message(&mut b.lanes.gossip).await, *large);
}

#[tokio::test]
async fn strangers_beyond_the_limit_are_told_that_there_is_no_room() {
    let few = Config { inbound_max: 2, ..config(1, &[(7, "127.0.0.1:9".parse().unwrap())]) };
    let mut node = Node::start(few, QUICK).await;
    let _first = Rogue::admitted(2, 1, node.address()).await;
    let _second = Rogue::admitted(3, 1, node.address()).await;
    let mut third = Rogue::connect(4, 1, node.address()).await;
    third.say(&Control::Hello(rogue::hello())).await;
    third.say(&Control::Welcome).await;
    let mut connected = BTreeSet::new();
    let reason = loop {
        match node.event().await {
            NetEvent::Connected { peer, .. } => _ = connected.insert(peer),
            NetEvent::Refused { peer: Some(who), reason, .. } if who == peer(4) => break reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(connected, BTreeSet::from([peer(2), peer(3)]));
    assert!(reason.starts_with("no room: "), "{reason}");
    // A configured peer always has its place.
    let _configured = Rogue::admitted(7, 1, node.address()).await;
    assert_eq!(node.connected().await, (peer(7), true));
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_cure() {
    let a = Node::start(config(1, &[]), QUICK).await;
    let taken = Config { listen: a.address(), ..config(2, &[]) };
    let error = crate::start(taken).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, NetError::Listen { address, .. } if address == a.address()));
    let text = error.to_string();
    assert!(text.contains(&a.address().to_string()) && text.contains("--p2p"), "{text}");
}

#[tokio::test]
async fn after_shutdown_the_lanes_end_and_the_port_is_free() {
    let (mut a, b) = pair(QUICK).await;
    let listen = b.address();
    b.stop().await;
    a.disconnected().await;
    TcpListener::bind(listen).expect("the port is free");
    let mut a = a;
    a.handle.shutdown();
    assert!(event_ends(&mut a).await);
}

async fn event_ends(node: &mut Node) -> bool {
    let ended = async { while node.lanes.gossip.recv().await.is_some() {} };
    tokio::time::timeout(super::LIMIT, ended).await.is_ok()
}
