//! From a configuration to a running engine.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Instant,
};

use futures::StreamExt as _;
use libp2p::{
    Swarm,
    swarm::{self, SwarmEvent},
};
use tokio::{sync::mpsc, task::JoinSet};
use trefoil_types::{PeerId, message::Lane};

use super::{CONTENT_LINKS_MAX, Engine, ORDERS_MAX, REPORTS_MAX, SOFTWARE};
use crate::{
    Access, Config, Givers, Lanes, NetError, NetHandle, Timing,
    behaviour::{Behaviour, Protocols},
    dial::Dialler,
    discovery::Finder,
    files,
    gate::{self, Gate},
    guard::Door,
    handle::Shared,
    hello::Hello,
    lane::{self, StrangersRoom},
    providers::Providers,
    transport,
};

pub(crate) async fn start(
    config: Config,
    timing: Timing,
    givers: Givers,
) -> Result<(NetHandle, Lanes), NetError> {
    let me = PeerId(config.identity.public());
    // libp2p's TLS obeys it, whoever set it.
    if config.access.membership().is_some() && std::env::var_os("SSLKEYLOGFILE").is_some() {
        return Err(NetError::KeyLog);
    }
    let (strangers, of_source) = (config.inbound_max, config.inbound_per_source_max);
    let door = Door::new(Gate::new(strangers, of_source, config.peers.iter().copied()));
    let members = config.access.membership();
    let validators: Vec<_> = members.iter().flat_map(|m| m.admission.validators()).collect();
    let favoured = config.peers.len().saturating_add(validators.len());
    files::provide(gate::sockets_max(strangers, favoured))?;
    door.favour(validators);
    let (wire, members) = transport::wire(&config, Some(door.clone()));
    let (board, refusals) = members.unzip();
    let id = transport::to_libp2p(me);
    // Members are all connected, and ask each other.
    let public = matches!(config.access, Access::Public { .. });
    let providers = public.then(|| Providers::new(id, &config.genesis));
    let mut swarm = Swarm::new(
        wire,
        Protocols { streams: Behaviour::new(door.clone()), providers: providers.into() },
        id,
        swarm::Config::with_tokio_executor().with_max_negotiating_inbound_streams(8),
    );
    let listen = bind(&mut swarm, config.listen).await?;
    let (order_to, orders) = mpsc::channel(ORDERS_MAX);
    let shared = Arc::new(Shared::new(listen, board, door.clone(), order_to));
    let (consensus, consensus_in) = lane::lane(Lane::Consensus);
    let (catch_up, catch_up_in) = lane::lane(Lane::CatchUp);
    let (gossip, gossip_in) = lane::lane(Lane::Gossip);
    let (content, content_in) = mpsc::channel(CONTENT_LINKS_MAX);
    let (report_to, reports) = mpsc::channel(REPORTS_MAX);
    let (network, genesis) = (config.network(), config.genesis);
    let open = |discovery| Arc::new(Finder::open(discovery, &config.identity, genesis));
    let finder = config.discovery.map(open);
    let peers = config.peers.into_iter().filter(|(peer, _)| *peer != me);
    let engine = Engine {
        me,
        hello: Arc::new(Hello {
            network,
            instance: rand::random(),
            software: SOFTWARE.into(),
            listen_port: listen.port(),
        }),
        timing,
        givers,
        door,
        strangers_in: StrangersRoom::default(),
        strangers_out: StrangersRoom::default(),
        swarm,
        shared: shared.clone(),
        dialler: Dialler::new(peers, &timing, Instant::now()),
        finder,
        sought: BTreeMap::new(),
        errands: Vec::new(),
        connections: BTreeMap::new(),
        admitted: BTreeMap::new(),
        successors: BTreeMap::new(),
        links: JoinSet::new(),
        link_of: BTreeMap::new(),
        reports,
        report_to,
        refusals: refusals.unwrap_or_else(|| mpsc::channel(1).1),
        outlets: [consensus, catch_up, gossip],
        content,
        orders,
    };
    tokio::spawn(engine.run(shared.stopping.subscribe()));
    let lanes = Lanes {
        consensus: consensus_in,
        catch_up: catch_up_in,
        gossip: gossip_in,
        content: content_in,
    };
    Ok((NetHandle(shared), lanes))
}

/// Listens, and returns the address with its actual port.
async fn bind(swarm: &mut Swarm<Protocols>, address: SocketAddr) -> Result<SocketAddr, NetError> {
    let failed = |e: &dyn std::fmt::Display| NetError::Listen { address, reason: e.to_string() };
    // libp2p sets SO_REUSEPORT, with which two nodes of one user would share a
    // port in silence. A plain bind tells.
    drop(TcpListener::bind(address).map_err(|e| failed(&e))?);
    swarm.listen_on(transport::to_multiaddr(address)).map_err(|e| failed(&e))?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address: actual, .. } => {
                let port = transport::to_socket(&actual).map_or(address.port(), |a| a.port());
                return Ok(SocketAddr::new(address.ip(), port));
            }
            SwarmEvent::ListenerError { error, .. } => return Err(failed(&error)),
            SwarmEvent::ListenerClosed { reason: Err(error), .. } => return Err(failed(&error)),
            _ => {}
        }
    }
}
