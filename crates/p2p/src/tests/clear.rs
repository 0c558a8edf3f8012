//! Public networks: what is seen of them on the wire, who speaks which
//! protocol, and what a changed byte does.

use std::{net::SocketAddr, sync::Arc};

use alloy_primitives::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};
use trefoil_types::Message;

use super::*;

const MARKER: &[u8] = b"a marker that anyone may read";

fn public(n: u8, peers: &[(u8, SocketAddr)], encrypt: bool) -> Config {
    Config { access: NetworkAccess::Public { encrypt }, ..config(n, peers) }
}

fn marked() -> Arc<Message> {
    Arc::new(Message::Txs(vec![Bytes::from_static(MARKER)]))
}

/// A wire that is listened in on: all that passes, both ways, goes to
/// `recorded`; `change` sees it first.
struct Tap {
    address: SocketAddr,
    recorded: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Tap {
    async fn on(to: SocketAddr, change: fn(&mut [u8])) -> Self {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (record, recorded) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let (caller_in, caller_out) = caller.into_split();
                let (node_in, node_out) = TcpStream::connect(to).await.unwrap().into_split();
                tokio::spawn(pass(caller_in, node_out, record.clone(), change));
                tokio::spawn(pass(node_in, caller_out, record.clone(), |_| {}));
            }
        });
        Self { address, recorded }
    }

    /// Everything so far.
    fn recorded(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok(bytes) = self.recorded.try_recv() {
            all.extend(bytes);
        }
        all
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    record: mpsc::UnboundedSender<Vec<u8>>,
    change: fn(&mut [u8]),
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        change(&mut buffer[..count]);
        let _ = record.send(buffer[..count].to_vec());
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    find(bytes, part).is_some()
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[tokio::test]
async fn every_pair_of_public_nodes_connects_and_only_two_that_need_not_hide_are_readable() {
    for (listens, dials) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut a = Node::start(public(1, &[], listens), QUICK).await;
        let mut tap = Tap::on(a.address(), |_| {}).await;
        let mut b = Node::start(public(2, &[(1, tap.address)], dials), QUICK).await;
        assert_eq!(a.connected().await, (peer(2), true));
        assert_eq!(b.connected().await, (peer(1), false));
        b.handle.send(peer(1), &marked());
        assert_eq!(message(&mut a.lanes.gossip).await, *marked());
        a.handle.send(peer(2), &marked());
        assert_eq!(message(&mut b.lanes.gossip).await, *marked());
        let recorded = tap.recorded();
        let clear = !listens && !dials;
        assert_eq!(holds(&recorded, MARKER), clear, "listens {listens}, dials {dials}");
        assert_eq!(holds(&recorded, b"/trefoil/gossip/1"), clear);
    }
}

#[tokio::test]
async fn one_flipped_byte_ends_the_connection() {
    let mut a = Node::start(public(1, &[], false), QUICK).await;
    let flip = |bytes: &mut [u8]| {
        if let Some(at) = find(bytes, MARKER) {
            bytes[at] ^= 1;
        }
    };
    let tap = Tap::on(a.address(), flip).await;
    let mut b = Node::start(public(2, &[(1, tap.address)], false), QUICK).await;
    a.connected().await;
    b.connected().await;
    b.handle.send(peer(1), &marked());
    a.disconnected().await;
    b.disconnected().await;
    assert!(a.lanes.gossip.try_recv().is_err(), "the altered message was delivered");
    assert!(a.handle.refusals().is_empty(), "the peer is not to blame");
    // And the two find each other again.
    a.connected().await;
    b.connected().await;
}

/// Strikes `/trefoil/clear/1` out of what the redialer offers.
fn strike(bytes: &mut [u8]) {
    if let Some(at) = find(bytes, crate::transport::clear::PROTOCOL.as_bytes()) {
        bytes[at + 1] ^= 1;
    }
}

#[tokio::test]
async fn a_man_in_the_middle_can_make_a_public_pair_encrypt_and_nothing_worse() {
    let mut a = Node::start(public(1, &[], false), QUICK).await;
    let mut tap = Tap::on(a.address(), strike).await;
    let mut b = Node::start(public(2, &[(1, tap.address)], false), QUICK).await;
    a.connected().await;
    b.connected().await;
    b.handle.send(peer(1), &marked());
    assert_eq!(message(&mut a.lanes.gossip).await, *marked());
    assert!(!holds(&tap.recorded(), MARKER));
}

#[tokio::test]
async fn a_node_that_encrypts_never_speaks_in_the_clear_though_it_is_asked_to() {
    let a = Node::start(public(1, &[], true), QUICK).await;
    let mut caller = TcpStream::connect(a.address()).await.unwrap();
    // multistream-select 1.0, by hand: its header and one offer.
    let offers =
        ["/multistream/1.0.0", crate::transport::clear::PROTOCOL, "/plaintext/2.0.0", "/tls/1.0.0"];
    for offer in offers {
        let line = [&[offer.len() as u8 + 1], offer.as_bytes(), b"\n"].concat();
        caller.write_all(&line).await.unwrap();
    }
    let mut answers = vec![0; 20 + 3 * 4];
    timeout(LIMIT, caller.read_exact(&mut answers)).await.unwrap().unwrap();
    assert_eq!(answers, [b"\x13/multistream/1.0.0\n".as_slice(), &b"\x03na\n".repeat(3)].concat());
}
