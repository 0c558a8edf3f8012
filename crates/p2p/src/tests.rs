//! Nodes and rogues on loopback. Waits are for events, under one long limit.

mod book;
mod clear;
mod discovery;
mod gate;
mod providers;
mod pure;
mod reading;
mod rogue;
mod wire;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::timeout;
use trefoil_crypto::SecretKey;
use trefoil_types::{
    B256, Message, PeerId, Vote, VoteKind,
    message::{GetBlocks, Tip},
};

use crate::{
    config::{Config, ContentFrom, NetworkAccess, TIMING, Timing},
    connection::lanes::LaneReceiver,
    event::NetEvent,
    handle::{LaneReceivers, NetHandle},
    network::NetworkId,
    service,
};

/// Longer than anything here takes: a test that waits this long has failed.
const LIMIT: Duration = Duration::from_secs(120);

const ANY_PORT: &str = "127.0.0.1:0";

/// Quick where a test waits for it to happen, long where it must not happen.
const QUICK: Timing = Timing {
    hello: Duration::from_secs(5),
    redial_min: Duration::from_millis(20),
    redial_max: Duration::from_millis(100),
    ..TIMING
};

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

pub(crate) fn peer(n: u8) -> PeerId {
    PeerId(key(n).public())
}

/// A public one, where a peer needs no certificate; what is particular to
/// members is in `tests/`.
fn network() -> NetworkId {
    config(1, &[]).network()
}

struct Node {
    handle: NetHandle,
    lanes: LaneReceivers,
}

fn config(n: u8, peers: &[(u8, SocketAddr)]) -> Config {
    Config {
        identity: key(n),
        listen: ANY_PORT.parse().unwrap(),
        peers: peers.iter().map(|(n, address)| (peer(*n), *address)).collect(),
        genesis: B256::repeat_byte(1),
        fork_id: [1, 2, 3, 4],
        access: NetworkAccess::Public { encrypt: false },
        inbound_max: 8,
        inbound_per_source_max: 8,
        discovery: None,
    }
}

impl Node {
    async fn start(config: Config, timing: Timing) -> Self {
        let (handle, lanes) = service::start::start_with(config, timing, ContentFrom::Judged)
            .await
            .expect("a free port");
        Self { handle, lanes }
    }

    fn address(&self) -> SocketAddr {
        self.handle.listen_address()
    }

    async fn event(&mut self) -> NetEvent {
        event(&mut self.lanes.consensus).await
    }

    async fn connected(&mut self) -> (PeerId, bool) {
        match self.event().await {
            NetEvent::Connected { peer, inbound, .. } => (peer, inbound),
            other => panic!("{other:?} where a connection should be"),
        }
    }

    async fn disconnected(&mut self) -> String {
        match self.event().await {
            NetEvent::Disconnected { reason, .. } => reason,
            other => panic!("{other:?} where a disconnection should be"),
        }
    }

    async fn refused(&mut self) -> (Option<PeerId>, String) {
        match self.event().await {
            NetEvent::Refused { peer, reason, .. } => (peer, reason),
            other => panic!("{other:?} where a refusal should be"),
        }
    }

    /// Shuts down and waits until the port is free.
    async fn stop(mut self) {
        self.handle.shutdown();
        let ended = async { while self.lanes.consensus.recv().await.is_some() {} };
        timeout(LIMIT, ended).await.expect("the lanes end");
    }
}

async fn event(inbox: &mut LaneReceiver) -> NetEvent {
    timeout(LIMIT, inbox.recv()).await.expect("an event in time").expect("the network lives")
}

async fn message(inbox: &mut LaneReceiver) -> Message {
    match event(inbox).await {
        NetEvent::Message { message, .. } => message,
        other => panic!("{other:?} where a message should be"),
    }
}

/// Two nodes, the second of which dials the first; connected.
async fn pair(timing: Timing) -> (Node, Node) {
    let mut a = Node::start(config(1, &[]), timing).await;
    let mut b = Node::start(config(2, &[(1, a.address())]), timing).await;
    assert_eq!(a.connected().await, (peer(2), true));
    assert_eq!(b.connected().await, (peer(1), false));
    (a, b)
}

fn vote(height: u64) -> Arc<Message> {
    let block = Some(B256::ZERO);
    let genesis = network().genesis;
    Arc::new(Message::Vote(Vote::sign(&key(9), &genesis, VoteKind::Prevote, height, 0, block)))
}

fn tip(height: u64) -> Arc<Message> {
    Arc::new(Message::Tip(Tip { height, hash: B256::ZERO, round: 0 }))
}

fn get_blocks(from: u64) -> Arc<Message> {
    Arc::new(Message::GetBlocks(GetBlocks { from, count: 1 }))
}

fn hashes(n: u8) -> Arc<Message> {
    Arc::new(Message::TxHashes(vec![B256::repeat_byte(n)]))
}
