//! Nodes of one process that only share content, over real sockets on loopback.
#![allow(dead_code, reason = "each test file uses its part of this")]

use std::{net::SocketAddr, path::Path};

use trefoil_content::scheduler::{Rates, UploadPolicy};
use trefoil_crypto::SecretKey;
use trefoil_p2p::{LaneReceiver, LaneReceivers, NetHandle, NetworkAccess};
use trefoil_swarm::{Content, ContentConfig, http::Credentials};
use trefoil_types::{B256, PeerId};

pub const GENESIS: B256 = B256::repeat_byte(7);

pub type Known = (PeerId, SocketAddr);

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

pub fn peer(n: u8) -> PeerId {
    PeerId(key(n).public())
}

/// The network as node `n` of it, connected to those it knows.
pub async fn net(n: u8, access: NetworkAccess, known: &[Known]) -> (NetHandle, LaneReceivers) {
    trefoil_p2p::start(config(GENESIS, n, access, known)).await.unwrap()
}

pub fn config(genesis: B256, n: u8, access: NetworkAccess, known: &[Known]) -> trefoil_p2p::Config {
    trefoil_p2p::Config {
        identity: key(n),
        listen: "127.0.0.1:0".parse().unwrap(),
        peers: known.to_vec(),
        genesis,
        fork_id: [0; 4],
        access,
        inbound_max: 64,
        inbound_per_source_max: 64,
        discovery: None,
    }
}

pub struct Node {
    pub content: Content,
    pub net: NetHandle,
    pub at: Known,
    _lanes: [LaneReceiver; 3],
}

impl Node {
    /// Node `n` with its content below `dir`; asks no HTTP servers, if not `set` so.
    pub async fn start(
        n: u8,
        dir: &Path,
        access: NetworkAccess,
        known: &[Known],
        set: impl FnOnce(&mut ContentConfig),
    ) -> Self {
        let net = net(n, access.clone(), known).await;
        Self::over(net, n, dir, &access, set)
    }

    /// The same over a network that is there.
    pub fn over(
        (net, lanes): (NetHandle, LaneReceivers),
        n: u8,
        dir: &Path,
        access: &NetworkAccess,
        set: impl FnOnce(&mut ContentConfig),
    ) -> Self {
        let mut config = ContentConfig {
            me: peer(n),
            organisation: access.membership().map(|held| held.certificate.organisation),
            dir: dir.join(n.to_string()),
            upload_policy: UploadPolicy::Fair,
            rates: Rates::default(),
            quota: None,
            open_bytes_max: trefoil_swarm::OPEN_BYTES_MAX,
            origins: None,
            credentials: Credentials::default(),
        };
        set(&mut config);
        let content = Content::start(config, net.clone(), lanes.content).unwrap();
        let at = (peer(n), net.listen_address());
        Self { content, net, at, _lanes: [lanes.consensus, lanes.catch_up, lanes.gossip] }
    }
}

/// Bytes that differ from group to group.
pub fn sample(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 251 + at * 7 + at / 65_537) as u8).collect()
}
