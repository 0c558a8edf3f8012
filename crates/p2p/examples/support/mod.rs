//! A small consortium as its chain would tell of it, for examples and tests
//! that attack it. What is not used in one of them is in another.
#![allow(dead_code)]

pub mod manner;
pub mod peer;
pub mod weak;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use trefoil_crypto::{Claims, NodeCertificate, SecretKey};
use trefoil_p2p::{
    Config, LaneReceivers, Membership, NetEvent, NetHandle, NetworkAccess, NetworkId,
};
use trefoil_types::{
    Admission, B256, CaKey, Height, MemberNode, Members, Organisation, OrganisationId, PeerId,
    members::OrganisationStatus, spec::Kind,
};

pub use trefoil_crypto::{Role, Serial};

/// Consensus time, Unix seconds, and the tip's height.
pub const NOW: u64 = 1_800_000_000;
pub const HEIGHT: Height = 100;

/// The honest node, an honest member, and a member whose key was revoked.
pub const NODE: u8 = 1;
pub const MEMBER: u8 = 2;
pub const REVOKED: u8 = 3;

/// Organisation 1 is the node's, 2 another, 3 is suspended. `ENDED` is a CA key
/// of organisation 1 that no longer counts.
pub const ENDED: u8 = 11;
pub const REVOKED_SERIAL: u64 = 666;

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

pub fn peer_id(n: u8) -> PeerId {
    PeerId(key(n).public())
}

pub fn ca(n: u8) -> SecretKey {
    SecretKey::from_seed(&[200 + n; 32])
}

pub fn network() -> NetworkId {
    NetworkId { kind: Kind::Consortium, genesis: B256::repeat_byte(7), fork_id: [1, 2, 3, 4] }
}

pub fn serial(n: u64) -> Serial {
    let mut serial = [0; 20];
    serial[12..].copy_from_slice(&n.to_be_bytes());
    Serial(serial)
}

/// What a sound certificate of a node of organisation 1 says.
pub fn claims(n: u8) -> Claims {
    Claims {
        genesis: network().genesis,
        organisation: 1,
        peer: peer_id(n),
        role: Role::Full,
        serial: serial(u64::from(n)),
        not_before: NOW - 1000,
        not_after: NOW + 365 * 86400,
    }
}

pub fn certificate(n: u8) -> NodeCertificate {
    NodeCertificate::issue(&claims(n), &ca(1)).expect("sound claims")
}

pub fn members() -> Members {
    let ca_key = |n: u8, until| CaKey { key: ca(n).public(), from: 0, until };
    let organisation = |id: OrganisationId, status, ca_keys| Organisation {
        id,
        status,
        name: format!("organisation {id}"),
        threshold: 1,
        keys: vec![],
        ca_keys,
    };
    let organisations = [
        organisation(
            1,
            OrganisationStatus::Active,
            vec![ca_key(1, Height::MAX), ca_key(ENDED, 50)],
        ),
        organisation(2, OrganisationStatus::Active, vec![ca_key(2, Height::MAX)]),
        organisation(3, OrganisationStatus::Suspended, vec![ca_key(3, Height::MAX)]),
    ];
    Members {
        organisations: organisations.into_iter().map(|o| (o.id, o)).collect(),
        nodes: BTreeMap::from([(peer_id(REVOKED), member(1, true))]),
        revoked_serials: BTreeSet::from([(1, serial(REVOKED_SERIAL))]),
    }
}

pub fn member(organisation: OrganisationId, revoked: bool) -> MemberNode {
    let role = Role::Full;
    MemberNode { organisation, role, revoked, validator: None, from: 0, until: Height::MAX }
}

pub fn admission(members: Members) -> Admission {
    let genesis = network().genesis;
    Admission { genesis, height: HEIGHT, time: NOW, members: Arc::new(members) }
}

/// As [`admission`], after the keys of `revoked` were revoked.
pub fn after_revoking(revoked: impl IntoIterator<Item = PeerId>) -> Admission {
    let mut members = members();
    members.nodes.extend(revoked.into_iter().map(|peer| (peer, member(1, true))));
    Admission { height: HEIGHT + 1, ..admission(members) }
}

pub fn membership(n: u8) -> Membership {
    Membership { certificate: certificate(n), admission: admission(members()) }
}

pub fn config(n: u8, peers: &[(u8, SocketAddr)]) -> Config {
    Config {
        identity: key(n),
        listen: "127.0.0.1:0".parse().expect("an address"),
        peers: peers.iter().map(|(n, address)| (peer_id(*n), *address)).collect(),
        genesis: network().genesis,
        fork_id: network().fork_id,
        access: NetworkAccess::Consortium(membership(n)),
        inbound_max: 64,
        inbound_per_source_max: 1_000,
        discovery: None,
    }
}

/// A node of the product.
pub struct Node {
    pub handle: NetHandle,
    pub lanes: LaneReceivers,
}

impl Node {
    pub async fn start(config: Config) -> Self {
        let (handle, lanes) = trefoil_p2p::start(config).await.expect("a free port");
        Self { handle, lanes }
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.listen_address()
    }

    pub async fn event(&mut self) -> NetEvent {
        let event = tokio::time::timeout(Duration::from_secs(30), self.lanes.consensus.recv());
        event.await.expect("an event in time").expect("the network lives")
    }

    /// Shuts down and waits until the port is free. Whether it was ever
    /// connected to a peer.
    pub async fn stop(mut self) -> bool {
        self.handle.shutdown();
        let mut connected = false;
        while let Some(event) = self.lanes.consensus.recv().await {
            connected |= matches!(event, NetEvent::Connected { .. });
        }
        connected
    }
}

/// Durations in order, as people read them.
pub fn figures(mut times: Vec<Duration>) -> String {
    if times.is_empty() {
        return "not dialled".into();
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    format!("p50 {:.1?}, p99 {:.1?}, max {:.1?}", at(0.5), at(0.99), at(1.0))
}

/// Files and sockets that this process has open.
pub fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Waits until no more than `baseline` files are open.
pub async fn settled(baseline: usize) -> bool {
    let start = Instant::now();
    while open_files() > baseline && start.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    open_files() <= baseline
}
