//! Honest nodes: newcomers, and a validator with a standing link. Each comes
//! from an address of its own, through a small relay, as libp2p does not
//! choose its source address.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{io::copy_bidirectional, net::TcpListener, task::JoinHandle, time::timeout};
use trefoil_p2p::{LaneReceivers, NetEvent, NetHandle};

use crate::{
    attack::open,
    victim::{VALIDATOR, VICTIM, Victim, config, peer},
};

/// A newcomer that is not connected by then has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens, and passes on what comes to the victim, from `source`.
async fn relay(source: Ipv4Addr, victim: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let task = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            // One that is refused is dropped, as the victim drops it.
            if let Ok(mut far) = open(source, victim).await {
                tokio::spawn(async move {
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }
    });
    (address, task)
}

struct Node {
    handle: NetHandle,
    lanes: LaneReceivers,
    relay: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.shutdown();
        self.relay.abort();
    }
}

impl Node {
    async fn start(n: usize, source: Ipv4Addr, victim: &Victim) -> Self {
        let (address, relay) = relay(source, victim.address).await;
        let config = config(n, vec![(peer(VICTIM), address)]);
        let (handle, lanes) = trefoil_p2p::start(config).await.expect("a free port");
        Self { handle, lanes, relay }
    }

    async fn connected(&mut self) {
        while let Some(event) = self.lanes.consensus.recv().await {
            if matches!(event, NetEvent::Connected { .. }) {
                return;
            }
        }
    }
}

/// How long newcomer `n` took until messages could pass, if it did not fail.
pub async fn connect(victim: &Victim, n: usize) -> Option<Duration> {
    let source = Ipv4Addr::new(127, 100, (n / 250) as u8, 1 + (n % 250) as u8);
    let begin = Instant::now();
    let mut node = Node::start(n, source, victim).await;
    timeout(PATIENCE, node.connected()).await.ok()?;
    Some(begin.elapsed())
}

/// The validator's link.
pub struct Standing(Node);

impl Standing {
    pub async fn start(victim: &Victim) -> Self {
        let mut node = Node::start(VALIDATOR, Ipv4Addr::new(127, 200, 0, 1), victim).await;
        timeout(PATIENCE, node.connected()).await.expect("a link before the attack");
        Self(node)
    }

    /// How often the link was lost.
    pub fn drops(&mut self) -> usize {
        let events = std::iter::from_fn(|| self.0.lanes.consensus.try_recv().ok());
        events.filter(|event| matches!(event, NetEvent::Disconnected { .. })).count()
    }
}
