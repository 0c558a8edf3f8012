//! Peers that send more of content than any honest one does: each is banned, and others are
//! served meanwhile.

mod sharing;

use std::{fs, sync::Arc, time::Duration};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::join_all};
use sharing::{Known, Node, net, peer, sample};
use tempfile::tempdir;
use tokio::{
    sync::Barrier,
    time::{sleep, timeout},
};
use trefoil_content::{
    ContentId, News, ResourceKind,
    message::{ContentFrame, FRAME_BYTES_MAX, SwarmMessage},
    scheduler::{RejectReason, Resource, Ticket},
};
use trefoil_p2p::NetworkAccess;
use trefoil_swarm::{PutOptions, Selection};
use trefoil_types::Offence;

// Longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

const PUBLIC: NetworkAccess = NetworkAccess::Public { encrypt: false };

/// Peer `n` sends a message, and then another until it cannot any more. All `begin` together: the
/// ban of one would keep those away that come later from its address.
async fn flood(n: u8, to: Known, first: SwarmMessage, message: &SwarmMessage, begin: &Barrier) {
    let (_net, mut lanes) = net(n, PUBLIC, &[to]).await;
    let mut link = lanes.content.recv().await.unwrap();
    begin.wait().await;
    let frame = |message: &SwarmMessage| {
        let body = message.encode();
        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
    };
    link.write.write_all(&frame(&first)).await.unwrap();
    let many = frame(message).repeat(1_000);
    while link.write.write_all(&many).await.is_ok() {}
}

/// A flood of News cost 0.7 of a core.
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_more_than_its_rule_says_is_banned_and_others_are_served() {
    let dir = tempdir().unwrap();
    let node = Node::start(1, dir.path(), PUBLIC, &[], |_| ()).await;
    let path = dir.path().join("file");
    fs::write(&path, sample(10_000_000)).unwrap();
    let id = node.content.put(&path, PutOptions::default(), Arc::default()).await.unwrap();
    let (known, unknown) = (Resource::file(id.root), Resource([9; 32]));
    let news = News { have: std::iter::once(0..1).collect(), ..News::default() }.encode();
    let messages = [
        SwarmMessage::Find { resource: unknown },
        SwarmMessage::News { resource: known, news },
        SwarmMessage::Choke { resource: known, choked: true },
        SwarmMessage::Snapshot { resource: unknown, height: 1 },
        SwarmMessage::Others { resource: known, others: vec![] },
        SwarmMessage::Origins { resource: known, origins: vec![] },
    ];
    let begin = Barrier::new(messages.len());
    let floods = messages.iter().zip(10..).map(|(message, n)| {
        // It takes part in the resource.
        flood(n, node.at, SwarmMessage::Find { resource: known }, message, &begin)
    });
    let fetch = async {
        let other = Node::start(2, dir.path(), PUBLIC, &[node.at], |_| ()).await;
        other.content.get(&id.into(), Selection::default()).await.unwrap();
    };
    let (floods, fetched) = tokio::join!(timeout(LIMIT, join_all(floods)), timeout(LIMIT, fetch));
    fetched.expect("others are served");
    floods.expect("each is let go");
    let misdeeds = node.net.misdeeds();
    for (message, n) in messages.iter().zip(10..) {
        let of = misdeeds.iter().find(|of| of.who == peer(n).to_string());
        let of = of.unwrap_or_else(|| panic!("nothing is held against {message:?}"));
        assert_eq!(of.offences[0].0, Offence::Flood, "{message:?}");
        assert!(of.banned_for.is_some(), "{message:?}: {of:?}");
    }
    assert!(misdeeds.iter().all(|of| of.who != peer(2).to_string()), "the honest one did nothing");
}

/// Each kind at its rate cost 0.7 of a core, without blame.
#[tokio::test(flavor = "multi_thread")]
async fn who_floods_with_what_nobody_asked_is_banned() {
    let dir = tempdir().unwrap();
    let node = Node::start(1, dir.path(), PUBLIC, &[], |_| ()).await;
    let (resource, ticket) = (Resource([9; 32]), Ticket(1));
    let messages = [
        SwarmMessage::Ask { resource, ticket, piece: 0, from: 0 },
        SwarmMessage::Unask { resource, ticket },
        SwarmMessage::Refuse { resource, ticket, why: RejectReason::Missing },
    ];
    let begin = Barrier::new(messages.len());
    let floods = messages
        .iter()
        .zip(10..)
        .map(|(message, n)| flood(n, node.at, SwarmMessage::Find { resource }, message, &begin));
    timeout(LIMIT, join_all(floods)).await.expect("each is let go");
    let misdeeds = node.net.misdeeds();
    for (message, n) in messages.iter().zip(10..) {
        let of = misdeeds.iter().find(|of| of.who == peer(n).to_string());
        let of = of.unwrap_or_else(|| panic!("nothing is held against {message:?}"));
        assert!(of.banned_for.is_some(), "{message:?}: {of:?}");
        let strays = of.offences.iter().any(|offence| offence.0 == Offence::Unsolicited);
        assert!(strays, "{message:?}: {of:?}");
    }
}

/// A peer sends one frame that no honest peer sends, or the length of one.
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_data_unasked_or_too_long_a_frame_is_blamed() {
    let dir = tempdir().unwrap();
    let node = Node::start(1, dir.path(), PUBLIC, &[], |_| ()).await;
    let data = [ContentFrame::data(Ticket(7)), vec![7; 1_000]].concat();
    let unasked = [&(data.len() as u32).to_be_bytes()[..], &data].concat();
    let too_long = (FRAME_BYTES_MAX as u32 + 1).to_be_bytes().to_vec();
    let frames = [(unasked, Offence::Unsolicited), (too_long, Offence::Malformed)];
    for ((frame, offence), n) in frames.into_iter().zip(10..) {
        let (_net, mut lanes) = net(n, PUBLIC, &[node.at]).await;
        let link = timeout(LIMIT, lanes.content.recv()).await.unwrap();
        let mut link = link.expect("a connection");
        link.write.write_all(&frame).await.unwrap();
        link.write.flush().await.unwrap();
        let blamed = async {
            while !node.net.misdeeds().iter().any(|of| of.who == peer(n).to_string()) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, blamed).await.unwrap_or_else(|_| panic!("no {offence:?}"));
        let misdeeds = node.net.misdeeds();
        let of = misdeeds.iter().find(|of| of.who == peer(n).to_string()).unwrap();
        assert_eq!(of.offences[0].0, offence, "{of:?}");
    }
}

/// Attack: a page asks for what nobody has and goes, thousands of times. What waits for this node's
/// own rate of Finds was held against its peers, validators among them.
#[tokio::test(flavor = "multi_thread")]
async fn searches_without_end_let_no_peer_go() {
    const SEARCHES: u64 = 40_000;
    const AT_ONCE: u64 = 400;
    let dir = tempdir().unwrap();
    let node = Node::start(1, dir.path(), PUBLIC, &[], |_| ()).await;
    let (_net, mut lanes) = net(2, PUBLIC, &[node.at]).await;
    let mut link = lanes.content.recv().await.unwrap();
    let reading = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while link.read.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
    });
    for first in (0..SEARCHES).step_by(AT_ONCE as usize) {
        let searches = (first..first + AT_ONCE).map(|n| {
            let root = trefoil_types::keccak256(n.to_be_bytes()).0;
            let link = ContentId { kind: ResourceKind::File, root }.into();
            let content = node.content.clone();
            let get = async move { content.get(&link, Selection::default()).await.map(drop) };
            timeout(Duration::from_millis(20), get)
        });
        join_all(searches).await;
    }
    assert!(!reading.is_finished(), "it reads all that comes");
}
