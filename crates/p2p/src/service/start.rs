//! From a configuration to a running service.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Instant,
};

use futures::StreamExt as _;
use libp2p::{
    Swarm,
    swarm::{self, SwarmEvent},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{sync::mpsc, task::JoinSet};
use trefoil_types::PeerId;

use super::{COMMANDS_MAX, CONTENT_LINKS_MAX, REQUESTS_MAX, SOFTWARE, Service};
use crate::{
    config::{Config, ContentFrom, NetError, NetworkAccess, TIMING, Timing},
    connection::{
        behaviour::{Behaviour, Protocols},
        budget::SharedBudget,
        hello::Hello,
        lanes,
    },
    connection_table::{ConnectionTable, sockets_max},
    discovery::{finder::Finder, providers::Providers, redial::Redialer},
    handle::{LaneReceivers, NetHandle},
    inbound_limits::slots::SlotLimits,
    peer_table::PeerTable,
    transport::libp2p_types,
    wire,
};

/// Open files for the disk, the RPC and the dials of this node.
// A node without a free descriptor can neither accept a peer nor write a block. What others can
// make it hold is bounded by the gate, so the sum is known at the start, and a limit that is too
// low is named then and not under attack.
const OWN_FILES: usize = 256;

/// Starts listening and dialling on the current tokio runtime.
///
/// # Errors
/// When the address cannot be listened on, or too few files may be open.
pub async fn start(config: Config) -> Result<(NetHandle, LaneReceivers), NetError> {
    start_with(config, TIMING, ContentFrom::Judged).await
}

/// As [`start`], for a node that has no chain yet and joins by a snapshot: unjudged
/// peers give it content too. What is in a snapshot proves it, and nobody else may
/// be there who could bring this node to where it can judge.
///
/// # Errors
/// As [`start`].
pub async fn start_newcomer(config: Config) -> Result<(NetHandle, LaneReceivers), NetError> {
    start_with(config, TIMING, ContentFrom::All).await
}

pub(crate) async fn start_with(
    config: Config,
    timing: Timing,
    content_from: ContentFrom,
) -> Result<(NetHandle, LaneReceivers), NetError> {
    let me = PeerId(config.identity.public());
    // libp2p's TLS obeys the variable, whoever set it, and writes the keys of a wire that must
    // stay secret.
    if config.access.membership().is_some() && std::env::var_os("SSLKEYLOGFILE").is_some() {
        return Err(NetError::KeyLog);
    }
    let (strangers, of_source) = (config.inbound_max, config.inbound_per_source_max);
    let limits = SlotLimits { source: of_source, subnet: 2 * of_source, all: strangers };
    let members = config.access.membership();
    let validators: Vec<_> = members.iter().flat_map(|m| m.admission.validators()).collect();
    let favoured = config.peers.len().saturating_add(validators.len());
    allow_open_files(sockets_max(strangers, favoured))?;
    let mut table = ConnectionTable::new(Some(limits), config.peers.clone(), members.cloned());
    table.favour(validators);
    table.newcomer = content_from == ContentFrom::All;
    let table = Arc::new(Mutex::new(table));
    let (transport, refusals) = wire::transport(&config, table.clone());
    let id = libp2p_types::to_libp2p(me);
    // Members are all connected and ask each other (ADR 19).
    let public = matches!(config.access, NetworkAccess::Public { .. });
    let providers = public.then(|| Providers::new(id, &config.genesis));
    let mut swarm = Swarm::new(
        transport,
        Protocols { streams: Behaviour::new(table.clone()), providers: providers.into() },
        id,
        swarm::Config::with_tokio_executor().with_max_negotiating_inbound_streams(8),
    );
    let listen = bind(&mut swarm, config.listen).await?;
    let (command_to, commands) = mpsc::channel(COMMANDS_MAX);
    let peer_table = Arc::new(PeerTable::new(listen, table, command_to));
    let (consensus, consensus_in) = lanes::lane();
    let (catch_up, catch_up_in) = lanes::lane();
    let (gossip, gossip_in) = lanes::lane();
    let (content, content_in) = mpsc::channel(CONTENT_LINKS_MAX);
    let (request_to, requests) = mpsc::channel(REQUESTS_MAX);
    let (network, genesis) = (config.network(), config.genesis);
    let open = |discovery| Arc::new(Finder::open(discovery, &config.identity, genesis, public));
    let finder = config.discovery.map(open);
    let peers = config.peers.into_iter().filter(|(peer, _)| *peer != me);
    let service = Service {
        me,
        hello: Arc::new(Hello {
            network,
            instance: rand::random(),
            software: SOFTWARE.into(),
            listen_port: listen.port(),
        }),
        timing,
        content_from,
        strangers: SharedBudget::strangers(),
        unjudged: SharedBudget::unjudged(),
        others: SharedBudget::others(),
        swarm,
        peer_table: peer_table.clone(),
        redialer: Redialer::new(peers, &timing, Instant::now()),
        waiting_dials: Vec::new(),
        finder,
        sessions: JoinSet::new(),
        requests,
        request_to,
        refusals,
        outlets: [consensus, catch_up, gossip],
        content,
        commands,
    };
    tokio::spawn(service.run(peer_table.stopping.subscribe()));
    let lanes = LaneReceivers {
        consensus: consensus_in,
        catch_up: catch_up_in,
        gossip: gossip_in,
        content: content_in,
    };
    Ok((NetHandle(peer_table), lanes))
}

/// Allows this process at least what `sockets` of others and its own files need.
///
/// # Errors
/// The system does not allow so many.
fn allow_open_files(sockets: usize) -> Result<(), NetError> {
    let needed = sockets.saturating_add(OWN_FILES) as u64;
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit.
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit })
        .map_err(|_| NetError::Files { needed, allowed: limit.maximum.unwrap_or(u64::MAX) })
}

/// Listens, and returns the address with its actual port.
async fn bind(swarm: &mut Swarm<Protocols>, address: SocketAddr) -> Result<SocketAddr, NetError> {
    let failed = |e: &dyn std::fmt::Display| NetError::Listen { address, reason: e.to_string() };
    // libp2p sets SO_REUSEPORT, with which two nodes of one user would share a
    // port in silence. A plain bind tells.
    drop(TcpListener::bind(address).map_err(|e| failed(&e))?);
    swarm.listen_on(libp2p_types::to_multiaddr(address)).map_err(|e| failed(&e))?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address: actual, .. } => {
                let port = libp2p_types::to_socket(&actual).map_or(address.port(), |a| a.port());
                return Ok(SocketAddr::new(address.ip(), port));
            }
            SwarmEvent::ListenerError { error, .. } => return Err(failed(&error)),
            SwarmEvent::ListenerClosed { reason: Err(error), .. } => return Err(failed(&error)),
            _ => {}
        }
    }
}
