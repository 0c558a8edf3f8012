//! `/trefoil/member/1` between nodes, and with peers that do not keep it.

#[path = "../examples/support/mod.rs"]
mod support;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};
use rustls::crypto::aws_lc_rs::kx_group::{X25519, X25519MLKEM768};
use support::{
    HEIGHT, MEMBER, NODE, NOW, Node, Role, admission, after_revoking, ca, certificate, claims,
    config, key, member, members, membership, network,
    peer::{self, Session, Told},
    peer_id, weak,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use trefoil_crypto::{B256, Claims, NodeCertificate};
use trefoil_p2p::{
    Config, Membership, NetEvent, NetworkAccess, VersionMismatch,
    frame::{self, Control, LaneFrame},
    proof::Proof,
};
use trefoil_types::{
    Admission, CaKey, MemberNode, Message, PeerId, Standing, Vote, VoteKind,
    message::{Blocks, Bodies, GetBlocks, GetBodies, Tip},
    spec::Kind,
};

#[test]
fn a_proof_has_the_bytes_that_are_checked_in() {
    let proof = Proof { network: network(), height: HEIGHT, certificate: certificate(MEMBER) };
    let bytes = proof.encode();
    let golden: String =
        include_str!("../../../vectors/wire/member-proof.hex").split_whitespace().collect();
    assert_eq!(alloy_primitives::hex::encode(&bytes), golden, "vectors/wire/member-proof.hex");
    // Another implementation writes the same.
    assert_eq!(peer::proof(&certificate(MEMBER).to_der()), bytes);
    assert_eq!(Proof::decode(&bytes[2..], &network()), Ok(proof));
}

/// A node of organisation 1 that validates.
fn validating(n: u8) -> MemberNode {
    MemberNode { role: Role::Validator, validator: Some(key(n).public()), ..member(1, false) }
}

#[tokio::test]
async fn members_connect_and_a_new_certificate_is_shown_from_then_on() {
    let mut a = Node::start(config(NODE, &[])).await;
    let mut b = Node::start(config(MEMBER, &[(NODE, a.address())])).await;
    assert!(matches!(a.event().await, NetEvent::Connected { inbound: true, .. }));
    assert!(matches!(b.event().await, NetEvent::Connected { inbound: false, .. }));
    let fresh = Claims { serial: support::serial(77), ..claims(NODE) };
    let fresh = NodeCertificate::issue(&fresh, &ca(1)).unwrap();
    a.handle.set_certificate(fresh.clone());
    let mut wire = peer::dial(a.address(), &key(5)).await.unwrap();
    let mut shown = vec![0; peer::proof(&fresh.to_der()).len()];
    wire.read_exact(&mut shown).await.unwrap();
    assert_eq!(shown, peer::proof(&fresh.to_der()));
}

#[tokio::test]
async fn another_network_is_named_on_both_sides() {
    type Other = fn(Config) -> Config;
    let others: [(Other, &str, u8); 3] = [
        (|config| Config { genesis: B256::ZERO, ..config }, "different genesis: 0x", 17),
        (
            |config| Config { access: NetworkAccess::Private(membership(MEMBER)), ..config },
            "different kind of network: ",
            18,
        ),
        (|config| Config { fork_id: [9; 4], ..config }, "different fork schedule: fork id ", 19),
    ];
    for (other, difference, code) in others {
        let mut a = Node::start(config(NODE, &[])).await;
        let stranger = other(config(MEMBER, &[(NODE, a.address())]));
        let other = stranger.network();
        let mut b = Node::start(stranger).await;
        for node in [&mut a, &mut b] {
            match node.event().await {
                NetEvent::Refused { reason, .. } => {
                    assert!(reason.contains(difference), "{reason}")
                }
                event => panic!("{event:?}"),
            }
            assert!(node.handle.refusals()[0].reason.contains(difference));
        }
        let kind = if other.kind == Kind::Private { 2 } else { 3 };
        let der = certificate(MEMBER).to_der();
        let proof = peer::proof_of(1, kind, other.genesis, other.fork_id, &der);
        assert_eq!(told(&a, MEMBER, &proof).await, Told::Refused(code));
    }
    let mut node = Node::start(config(NODE, &[])).await;
    let proof = peer::proof_of(9, 3, B256::ZERO, [0; 4], &[]);
    assert_eq!(told(&node, MEMBER, &proof).await, Told::Refused(16));
    let NetEvent::Refused { reason, .. } = node.event().await else { panic!("no refusal") };
    assert!(reason.contains("version 9 of the membership proof, this node version 1"), "{reason}");
    let others = node.handle.other_versions();
    let [other] = &others[..] else { panic!("{others:?}") };
    assert_eq!(other.peer, Some(peer_id(MEMBER)));
    assert_eq!(other.versions, Some(VersionMismatch { theirs: 9, ours: 1 }));
}

/// They share no wire, so no hello tells.
#[tokio::test]
async fn a_public_node_and_a_member_tell_that_the_other_is_of_another_kind() {
    type Make = fn(Config) -> Config;
    let public: Make =
        |config| Config { access: NetworkAccess::Public { encrypt: false }, ..config };
    let member: Make = |config| config;
    for (first, second) in [(public, member), (member, public)] {
        let mut a = Node::start(first(config(NODE, &[]))).await;
        let mut b = Node::start(second(config(MEMBER, &[(NODE, a.address())]))).await;
        for node in [&mut a, &mut b] {
            match node.event().await {
                NetEvent::Refused { reason, .. } => {
                    assert!(reason.starts_with("different kind of network: ours is "), "{reason}");
                }
                event => panic!("{event:?}"),
            }
        }
    }
}

#[tokio::test]
async fn members_speak_no_kademlia() {
    let node = Node::start(config(NODE, &[])).await;
    let genesis = alloy_primitives::hex::encode(network().genesis);
    let kademlia = format!("/trefoil/providers/1/{genesis}");
    for (name, taken) in [("/trefoil/content/1", true), (&kademlia, false)] {
        let mut wire = peer::dial(node.address(), &key(MEMBER)).await.expect("TLS");
        let proof = peer::proof(&certificate(MEMBER).to_der());
        assert!(matches!(peer::show(&mut wire, &proof).await, Told::Admitted));
        assert_eq!(peer::takes(wire, name).await, taken, "{name}");
    }
}

async fn told(node: &Node, n: u8, proof: &[u8]) -> Told {
    let mut wire = peer::dial(node.address(), &key(n)).await.expect("TLS");
    peer::show(&mut wire, proof).await
}

#[tokio::test]
async fn what_is_no_proof_is_refused() {
    let node = Node::start(config(NODE, &[])).await;
    let proof = peer::proof(&certificate(MEMBER).to_der());
    // One byte more than its RLP, with its length.
    let mut tail = proof.clone();
    tail.push(0);
    let length = (tail.len() - 2) as u16;
    tail[..2].copy_from_slice(&length.to_be_bytes());
    let refused: [(&str, Vec<u8>, u8); 6] = [
        // Its length alone is read.
        ("too long", 2049_u16.to_be_bytes().to_vec(), 20),
        ("one byte", vec![0, 1, 0], 20),
        ("no RLP", vec![0, 3, 0, 1, 0xff], 20),
        ("a tail", tail, 20),
        ("unknown kind", peer::proof_of(1, 9, network().genesis, [1, 2, 3, 4], &[]), 20),
        ("no certificate", peer::proof(&[]), 21),
    ];
    for (what, bytes, code) in refused {
        assert_eq!(told(&node, MEMBER, &bytes).await, Told::Refused(code), "{what}");
    }
    assert!(!node.stop().await);
}

#[tokio::test]
async fn a_node_that_another_refuses_tells_its_operator_why() {
    let other = Node::start(config(NODE, &[])).await;
    let certificate = NodeCertificate::issue(&claims(MEMBER), &key(MEMBER)).unwrap();
    let access = NetworkAccess::Consortium(Membership { certificate, ..membership(MEMBER) });
    let refused = Config { access, ..config(MEMBER, &[(NODE, other.address())]) };
    let mut node = Node::start(refused).await;
    let NetEvent::Refused { peer, reason, .. } = node.event().await else { panic!("no refusal") };
    assert_eq!(peer, Some(peer_id(NODE)));
    assert!(reason.starts_with("the peer refuses us: ") && reason.contains("code 7"), "{reason}");
}

#[tokio::test]
async fn a_peer_that_stalls_within_the_handshake_is_closed_at_its_deadline() {
    let node = Node::start(config(NODE, &[])).await;
    let start = Instant::now();
    let mut silent = peer::dial(node.address(), &key(MEMBER)).await.unwrap();
    let mut slow = peer::dial(node.address(), &key(MEMBER)).await.unwrap();
    slow.write_all(&[2, 0, 0]).await.unwrap();
    slow.flush().await.unwrap();
    for wire in [&mut silent, &mut slow] {
        assert!(peer::ends(wire, Duration::from_secs(7)).await);
    }
    // The gate's bound on silence (2 s) comes before the handshake's deadline (5 s).
    let took = start.elapsed();
    assert!((1..4).contains(&took.as_secs()), "{took:?}");
    assert!(!node.stop().await);
}

#[tokio::test]
async fn only_x25519mlkem768_is_taken() {
    let node = Node::start(config(NODE, &[])).await;
    let dial = async |key_exchange| {
        let wire = weak::dial(node.address(), &key(MEMBER), None, key_exchange).await;
        let mut first = [0; 3];
        wire.expect("TLS would do").read_exact(&mut first).await.unwrap();
        first
    };
    assert_eq!(dial(X25519).await, [0, 0, 22]);
    assert_ne!(dial(X25519MLKEM768).await[..2], [0, 0], "a proof");
}

#[tokio::test]
async fn places_are_kept_for_whom_the_chain_makes_a_validator_and_no_longer() {
    let node = Node::start(config(NODE, &[])).await;
    let mut with = members();
    with.nodes.insert(peer_id(6), validating(6));
    for (members, favoured) in [(members(), false), (with, true), (members(), false)] {
        node.handle.set_admission(admission(members));
        assert_eq!(node.handle.is_favoured(peer_id(6)), favoured);
    }
}

/// Attack: two thirds of the organisations add a validator in the name of another. The chain must
/// not stand for a certificate, and a vote is no certificate.
#[tokio::test]
async fn a_validator_speaks_for_its_organisation_only_while_a_ca_key_of_it_counts() {
    let mut signed = members();
    signed.nodes.insert(peer_id(MEMBER), validating(MEMBER));
    let mut without = signed.clone();
    without.organisations.get_mut(&1).unwrap().ca_keys[0].key = ca(9).public();
    let mut node = Node::start(config(NODE, &[])).await;
    node.handle.set_admission(admission(signed.clone()));
    let _member = Node::start(config(MEMBER, &[(NODE, node.address())])).await;
    assert_eq!(connected(&mut node).await, (peer_id(MEMBER), Standing::Member(1)));
    for (members, standing) in [(without, Standing::Validator), (signed, Standing::Member(1))] {
        node.handle.set_admission(admission(members.clone()));
        assert!(ended(&mut node).await.contains("counts otherwise now"));
        assert_eq!(connected(&mut node).await, (peer_id(MEMBER), standing));
        // The same again says nothing new.
        node.handle.set_admission(admission(members));
        assert_eq!(node.handle.peers().len(), 1);
    }
}

/// Its peers judge again by the certificate that they were shown.
#[tokio::test]
async fn a_validator_shows_a_new_certificate_at_once_if_the_old_one_counted_no_more() {
    let mut known = members();
    known.nodes.insert(peer_id(MEMBER), validating(MEMBER));
    let mut with_new_key = known.clone();
    let ca_keys = &mut with_new_key.organisations.get_mut(&1).unwrap().ca_keys;
    ca_keys.push(CaKey { key: ca(9).public(), ..ca_keys[0] });
    let issue = |n, not_after, by| {
        let claims = Claims { serial: support::serial(n), not_after, ..claims(MEMBER) };
        NodeCertificate::issue(&claims, &ca(by)).unwrap()
    };
    let of_members = |certificate| {
        let admission = admission(known.clone());
        NetworkAccess::Consortium(Membership { certificate, admission })
    };
    // By a CA key that the chain knows, or learns later.
    for by in [1, 9] {
        let access = of_members(certificate(NODE));
        let mut node = Node::start(Config { access, ..config(NODE, &[]) }).await;
        let (access, peers) = (of_members(issue(77, NOW, 1)), [(NODE, node.address())]);
        let mut validator = Node::start(Config { access, ..config(MEMBER, &peers) }).await;
        assert_eq!(connected(&mut node).await, (peer_id(MEMBER), Standing::Validator));
        connected(&mut validator).await;
        validator.handle.set_certificate(issue(78, NOW + 1, by));
        assert_eq!(validator.handle.peers().len(), usize::from(by == 9));
        for node in [&node, &validator] {
            node.handle.set_admission(admission(with_new_key.clone()));
        }
        assert!(ended(&mut validator).await.contains("counts again"));
        ended(&mut node).await;
        assert_eq!(connected(&mut node).await, (peer_id(MEMBER), Standing::Member(1)));
        connected(&mut validator).await;
        validator.handle.set_certificate(issue(79, NOW + 2, 1));
        assert_eq!(validator.handle.peers().len(), 1, "the old one counts");
    }
}

/// A node whose list of members is old takes blocks of those whom its operator named,
/// and who say that they are further; of nobody else.
#[tokio::test]
async fn a_node_that_is_behind_hears_whom_its_operator_named_and_judges_them_by_their_blocks() {
    let newer = |n: u8| NodeCertificate::issue(&claims(n), &ca(9)).unwrap();
    let mut ahead = members();
    ahead.organisations.get_mut(&1).unwrap().ca_keys[0].key = ca(9).public();
    let further = |members| Admission { height: HEIGHT + 50, ..admission(members) };
    let member = |n: u8, peers: &[(u8, SocketAddr)]| Config {
        access: NetworkAccess::Consortium(Membership {
            certificate: newer(n),
            admission: further(ahead.clone()),
        }),
        ..config(n, peers)
    };
    // It was away while the CA key was changed, and got a new certificate.
    let behind = |peers: &[(u8, SocketAddr)]| Config {
        access: NetworkAccess::Consortium(Membership {
            certificate: newer(MEMBER),
            admission: admission(members()),
        }),
        ..config(MEMBER, peers)
    };
    let named = Node::start(member(NODE, &[])).await;
    let mut node = Node::start(behind(&[(NODE, named.address())])).await;
    assert_eq!(connected(&mut node).await, (peer_id(NODE), Standing::Unjudged));
    let proof = peer::proof_at(1 << 40, &newer(5).to_der());
    assert_eq!(told(&node, 5, &proof).await, Told::Refused(7), "nobody named it");
    // By the blocks that it took it can judge the other.
    node.handle.set_admission(further(ahead.clone()));
    assert!(ended(&mut node).await.contains("newer blocks prove that it is a member"));
    assert_eq!(connected(&mut node).await, (peer_id(NODE), Standing::Member(1)));
}

/// It is cut as soon as the height that it claimed is there, and refused from then on.
#[tokio::test]
async fn who_is_not_proven_at_the_height_that_it_claimed_is_out() {
    let (mut node, listener) = node_that_dials(ROGUE).await;
    let mut wire = peer::accept(&listener, &key(ROGUE)).await.unwrap();
    let proof = peer::proof_at(HEIGHT + 50, &forged(ROGUE));
    assert_eq!(peer::show(&mut wire, &proof).await, Told::Admitted);
    node.handle.set_admission(Admission { height: HEIGHT + 50, ..admission(members()) });
    assert!(peer::ends(&mut wire, Duration::from_secs(5)).await);
    assert_eq!(told(&node, ROGUE, &proof).await, Told::Refused(7));
    // Nothing that the chain knows against it is outweighed by what it claims.
    node.handle.set_admission(after_revoking([peer_id(ROGUE)]));
    let higher = peer::proof_at(1 << 40, &forged(ROGUE));
    assert_eq!(told(&node, ROGUE, &higher).await, Told::Refused(3));
    // Its key alone is looked at: the proof is not read, so it need not be one.
    assert_eq!(told(&node, ROGUE, &[0, 1, 0]).await, Told::Refused(3));
    while let Some(Some(event)) = node.lanes.consensus.recv().now_or_never() {
        assert!(matches!(event, NetEvent::Refused { .. }), "{event:?}");
    }
}

const ROGUE: u8 = 9;

/// A certificate by the rogue itself, as of the node's organisation.
fn forged(n: u8) -> Vec<u8> {
    NodeCertificate::issue(&claims(n), &key(n)).unwrap().to_der()
}

/// A node that has `n` among its peers, where a test listens.
async fn node_that_dials(n: u8) -> (Node, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::start(config(NODE, &[(n, listener.local_addr().unwrap())])).await;
    (node, listener)
}

/// The next event, but for refusals.
async fn event(node: &mut Node) -> NetEvent {
    loop {
        match node.event().await {
            NetEvent::Refused { .. } => {}
            event => break event,
        }
    }
}

async fn connected(node: &mut Node) -> (PeerId, Standing) {
    match event(node).await {
        NetEvent::Connected { peer, standing, .. } => (peer, standing),
        other => panic!("{other:?} where a connection should be"),
    }
}

async fn ended(node: &mut Node) -> String {
    match event(node).await {
        NetEvent::Disconnected { reason, .. } => reason,
        other => panic!("{other:?} where a disconnection should be"),
    }
}

/// The messages of all lanes, one each.
fn said() -> Vec<Message> {
    let network = network().genesis;
    let vote = Vote::sign(&key(ROGUE), &network, VoteKind::Prevote, HEIGHT + 1, 0, None);
    vec![
        Message::Vote(vote),
        Message::GetBodies(GetBodies { block: B256::ZERO, tx_hashes: vec![] }),
        Message::Bodies(Bodies { block: B256::ZERO, txs: vec![] }),
        Message::Tip(Tip { height: 1 << 40, hash: B256::ZERO, round: 0 }),
        Message::GetBlocks(GetBlocks { from: 1, count: 1 }),
        Message::Blocks(Blocks { from: 1, blocks: vec![] }),
        Message::TxHashes(vec![B256::ZERO]),
        Message::GetTxs(vec![B256::ZERO]),
        Message::Txs(vec![vec![7; 100].into()]),
    ]
}

// Votes do not wait for the negotiation of the other streams.
#[tokio::test]
async fn a_node_opens_the_most_urgent_streams_first() {
    let node = Node::start(config(NODE, &[])).await;
    let mut wire = peer::dial(node.address(), &key(MEMBER)).await.unwrap();
    let proof = peer::proof(&certificate(MEMBER).to_der());
    assert_eq!(peer::show(&mut wire, &proof).await, Told::Admitted);
    assert_eq!(Session::greet(wire).await.unwrap().opened, peer::USES);
}

/// An attacker whom the operator named, long ago: with a certificate of its own making
/// and a height that nobody can reach.
#[tokio::test]
async fn a_peer_that_is_not_judged_brings_blocks_or_nothing_gets_nothing_and_is_cut_in_vain() {
    let mut node = Node::start(config(NODE, &[(ROGUE, "127.0.0.1:9".parse().unwrap())])).await;
    let proof = peer::proof_at(1 << 40, &forged(ROGUE));
    let mut wire = peer::dial(node.address(), &key(ROGUE)).await.unwrap();
    assert_eq!(peer::show(&mut wire, &proof).await, Told::Admitted);
    let mut session = Session::greet(wire).await.unwrap();
    let began = Instant::now();
    assert_eq!(connected(&mut node).await, (peer_id(ROGUE), Standing::Unjudged));

    // Of all that it says the node hears of blocks.
    for message in said() {
        session.tell(&message).await.unwrap();
    }
    let content = session.read[3].read(&mut [0]).await;
    assert!(!matches!(content, Ok(1..)), "its stream of content leads nowhere");
    let heard = async |inbox: &mut trefoil_p2p::LaneReceiver| match inbox.recv().await {
        Some(NetEvent::Message { message, .. }) => message,
        other => panic!("{other:?} where a message should be"),
    };
    assert!(matches!(heard(&mut node.lanes.consensus).await, Message::Tip(_)));
    assert!(matches!(heard(&mut node.lanes.catch_up).await, Message::Blocks(_)));

    // Of all that the node says it hears what it is asked.
    for message in said() {
        let message = Arc::new(message);
        node.handle.broadcast(&message, None);
        node.handle.send(peer_id(ROGUE), &message);
    }
    let limit = Duration::from_secs(20);
    let asked = Message::GetBlocks(GetBlocks { from: 1, count: 1 });
    let frame = frame::read(&mut session.read[1], 1 << 20, limit).await.unwrap();
    assert_eq!(LaneFrame::decode(&frame).unwrap(), LaneFrame::Message(asked));

    // A second one at the same time is refused.
    assert_eq!(told(&node, ROGUE, &proof).await, Told::Refused(7));
    let _ = ended(&mut node).await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(node.lanes.gossip.recv().now_or_never().is_none());
    assert!(node.lanes.catch_up.recv().now_or_never().is_none());
    assert!(node.lanes.content.try_recv().is_err(), "no swarm sees it");
    for lane in [0, 1, 2] {
        while let Ok(frame) = frame::read(&mut session.read[lane], 1 << 20, limit).await {
            let ping = LaneFrame::decode(&frame).unwrap() == LaneFrame::Control(Control::Ping);
            assert!(lane == 0 && ping, "lane {lane}: {frame:?}");
        }
    }
    let refusals = node.handle.refusals();
    assert!(refusals.iter().any(|r| r.reason.contains("brought none within 10s")), "{refusals:?}");
}

/// Of one organisation 64 nodes that are no validators may dial in. Who comes
/// after them is told, and so is the operator.
#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_that_has_its_share_is_refused_on_both_sides() {
    const SHARE: u8 = 64;
    const FIRST: u8 = 20;
    const OTHER: u8 = 5;
    const VALIDATOR: u8 = 6;
    let mut members = members();
    members.nodes.insert(peer_id(VALIDATOR), validating(VALIDATOR));
    let mut held = membership(NODE);
    held.admission = admission(members);
    let access = NetworkAccess::Consortium(held);
    let mut node = Node::start(Config { inbound_max: 128, access, ..config(NODE, &[]) }).await;
    let address = node.address();
    let arrive = async |n: u8, claims: Claims| {
        let certificate = NodeCertificate::issue(&claims, &ca(claims.organisation as u8)).unwrap();
        let mut wire = peer::dial(address, &key(n)).await.unwrap();
        let told = peer::show(&mut wire, &peer::proof(&certificate.to_der())).await;
        assert_eq!(told, Told::Admitted, "the certificate is good");
        Session::greet(wire).await.map_err(|error| error.to_string())
    };
    let mut sessions = vec![];
    for n in FIRST..FIRST + SHARE {
        sessions.push(arrive(n, claims(n)).await.expect("there is room"));
        assert!(matches!(node.event().await, NetEvent::Connected { .. }));
    }
    let reason = "no room: 64 connections of its organisation are here already";
    let told = arrive(FIRST + SHARE, claims(FIRST + SHARE)).await.map(drop).unwrap_err();
    assert!(told.contains(reason), "{told}");
    match node.event().await {
        NetEvent::Refused { reason: shown, .. } => assert_eq!(shown, reason),
        other => panic!("{other:?}"),
    }
    // Another organisation's node finds room, and so does a validator.
    let other = Claims { organisation: 2, ..claims(OTHER) };
    sessions.push(arrive(OTHER, other).await.expect("another organisation's"));
    sessions.push(arrive(VALIDATOR, claims(VALIDATOR)).await.expect("a validator"));
    // A place that is left is free.
    drop(sessions.remove(0));
    while !matches!(node.event().await, NetEvent::Disconnected { .. }) {}
    arrive(FIRST + SHARE, claims(FIRST + SHARE)).await.map(drop).expect("there is room again");
}

/// The soft limit of open files is raised as far as the hard one allows.
#[test]
fn a_node_sees_to_the_files_that_it_may_need() {
    const CHILD: &str = "TREFOIL_TEST_FILES";
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match runtime.block_on(trefoil_p2p::start(config(NODE, &[]))) {
            Ok(_) => println!("it starts"),
            Err(error) => println!("{error}"),
        }
        print!("{}", std::fs::read_to_string("/proc/self/limits").unwrap());
        return;
    }
    let under = |limit: &str| {
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("ulimit {limit} && exec \"$0\" --exact --nocapture \"$1\"")])
            .arg(std::env::current_exe().unwrap())
            .arg("a_node_sees_to_the_files_that_it_may_need")
            .env(CHILD, "1")
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let raised = under("-S -n 200");
    let soft = raised.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = soft.and_then(|rest| rest.split_whitespace().next()).expect("Linux tells it");
    assert!(raised.contains("it starts") && soft.parse::<u64>().unwrap() > 700, "{raised}");
    let refused = under("-n 200");
    assert!(refused.contains("may need") && refused.contains("allows it 200"), "{refused}");
    assert!(refused.contains("LimitNOFILE") && refused.contains("p2p.inbound_max"), "{refused}");
}

/// libp2p's TLS would write every session's keys there.
#[test]
fn a_node_does_not_start_with_sslkeylogfile_set() {
    if std::env::var_os("SSLKEYLOGFILE").is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(trefoil_p2p::start(config(NODE, &[]))).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("SSLKEYLOGFILE") && text.contains("unset it"), "{text}");
        return;
    }
    // A variable of this process would be the other tests' too.
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_node_does_not_start_with_sslkeylogfile_set"])
        .env("SSLKEYLOGFILE", "/nonexistent/keys")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && text.contains("1 passed"), "{text}");
}

/// What a tap sees, each way.
type Seen = Arc<Mutex<[Vec<u8>; 2]>>;

/// Forwards one connection and keeps all its bytes.
async fn tap(to: SocketAddr) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let keep = seen.clone();
    tokio::spawn(async move {
        let (redialer, _) = listener.accept().await.unwrap();
        let dialled = TcpStream::connect(to).await.unwrap();
        let (from, back) = redialer.into_split();
        let (answers, forward) = dialled.into_split();
        for (way, mut read, mut write) in [(0, from, forward), (1, answers, back)] {
            let keep = keep.clone();
            tokio::spawn(async move {
                let mut buf = [0; 16384];
                while let Ok(n @ 1..) = read.read(&mut buf).await {
                    keep.lock().unwrap()[way].extend_from_slice(&buf[..n]);
                    if write.write_all(&buf[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn a_tap_sees_the_key_exchange_and_nothing_that_was_said() {
    let marker = b"a marker that anyone would recognise".repeat(4);
    let mut a = Node::start(config(NODE, &[])).await;
    let (through, seen) = tap(a.address()).await;
    let mut b = Node::start(config(MEMBER, &[(NODE, through)])).await;
    for node in [&mut a, &mut b] {
        assert!(matches!(node.event().await, NetEvent::Connected { .. }));
    }
    let message = Arc::new(Message::Txs(vec![marker.clone().into(); 100]));
    for (from, to) in [(&a, MEMBER), (&b, NODE)] {
        from.handle.send(peer_id(to), &message);
    }
    for node in [&mut a, &mut b] {
        let event = node.lanes.gossip.recv().await;
        assert!(matches!(event, Some(NetEvent::Message { .. })));
    }
    let [there, back] = seen.lock().unwrap().clone();
    let holds = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    for (way, other) in [(&there, MEMBER), (&back, NODE)] {
        assert!(way.len() > 100 * marker.len());
        // The tap works: what is in the clear it sees.
        assert!(holds(way, b"/trefoil/member/1"));
        let genesis = network().genesis;
        let uri = format!("trefoil://{}", alloy_primitives::hex::encode(genesis));
        let id = peer_id(other);
        let said: [&[u8]; 8] = [
            &marker[..16],
            b"trefoil/0",
            b"trefoil/consensus",
            b"/yamux",
            uri.as_bytes(),
            genesis.as_slice(),
            id.0.0.as_slice(),
            &certificate(other).to_der()[..24],
        ];
        for (i, words) in said.into_iter().enumerate() {
            assert!(!holds(way, words), "secret {i} of peer {other} is on the wire");
        }
    }
    // key_share, X25519MLKEM768 and its length: 1216 bytes there, 1120 back.
    assert!(holds(&there, &[0x11, 0xec, 0x04, 0xc0]), "the offer");
    assert!(holds(&back, &[0x00, 0x33, 0x04, 0x64, 0x11, 0xec, 0x04, 0x60]), "the choice");
}
