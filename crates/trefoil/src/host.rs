//! The process around a node: opens its directory, starts its threads and its
//! servers, and ends them in order.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use trefoil_content::swarm::Manner;
use trefoil_crypto::SecretKey;
use trefoil_ledger::{Journal, Ledger};
use trefoil_net::{Access, Discovery, Membership, book::Candidate};
use trefoil_types::{B256, ChainSpec, Disk, Kind, PeerId, keccak256, spec::Fork};

use crate::{
    backend::{Backend, CALLS_MAX, EVENTS_MAX, READERS},
    certificate::{self, Ca},
    content::{Content, ContentConfig, gateway::Gateway, http::Admin, web::Credentials},
    disk::FileDisk,
    failure::Failure,
    home::Home,
    joining,
    lanes::{DONE_MAX, Lanes},
    renewal::Renewal,
    rpc,
    run::{self, Parts},
    settings::{P2pSettings, Settings},
    snapshots,
};

/// How long a stopping node may take to make its ledger durable; the journal
/// holds whatever is left.
const CLOSE_MAX: Duration = Duration::from_secs(20);

/// A node's secrets.
pub struct NodeKeys {
    pub identity: SecretKey,
    /// None: a full node, which checks and serves and does not vote.
    pub validator: Option<SecretKey>,
    /// Renews this node's certificate, where it is at hand.
    pub ca: Option<Ca>,
}

/// A running node.
pub struct Host {
    pub backend: Backend,
    pub rpc: SocketAddr,
    stop: oneshot::Sender<()>,
    /// Ends when the node's thread has.
    ended: oneshot::Receiver<()>,
}

impl Host {
    /// Starts a node on the current tokio runtime; a new one joins the chain
    /// first. On return its journal has been replayed and its servers listen.
    ///
    /// # Errors
    /// A directory in use or damaged or of another chain; a port in use; a
    /// setting that does not fit the kind of network.
    pub async fn start(
        home: &Home,
        spec: Arc<ChainSpec>,
        settings: &Settings,
        keys: NodeKeys,
    ) -> Result<Self, Failure> {
        joining::join(home, &spec, settings, &keys).await?;
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(&home.data())?);
        let ledger = Ledger::open(disk.clone(), spec.clone(), settings.history.0)?;
        let (journal, recovered) = Journal::open(disk)?;
        if recovered.cut_bytes > 0 {
            let bytes = recovered.cut_bytes;
            tracing::warn!(bytes, "cut the journal's torn tail: the last write before a crash");
        }
        let genesis_hash = ledger.genesis_hash();
        let peer = PeerId(keys.identity.public());
        let access = access(home, &settings.p2p, &ledger)?;
        let sharing = sharing(home, settings, peer, &access)?;
        let membership = access.membership();
        let certificate = membership.map(|held| watch::Sender::new(held.certificate.clone()));
        let validator = keys.validator.as_ref().map(SecretKey::public);
        let config = network(home, &settings.p2p, &ledger, keys.identity, access);
        let (net, net_lanes) = trefoil_net::start(config).await?;
        let (stop, stopped) = oneshot::channel();
        let (done, finished) = mpsc::channel(DONE_MAX);
        let (calls, requests) = mpsc::channel(CALLS_MAX);
        let (snapshot, published) = watch::channel(ledger.snapshot());
        let (status, watched) = watch::channel(Arc::default());
        let events = broadcast::Sender::new(EVENTS_MAX);
        let workers = pool("worker");
        let content = Content::start(sharing, net.clone(), net_lanes.content)?;
        let backend = Backend {
            spec,
            genesis_hash,
            peer,
            validator,
            net: net.clone(),
            readers: pool(READERS),
            workers: workers.clone(),
            snapshot: published,
            status: watched,
            events: events.clone(),
            calls,
            certificate: certificate.as_ref().map(watch::Sender::subscribe),
        };
        if let Some(held) = certificate {
            let (dir, snapshot) = (home.dir.clone(), backend.snapshot.clone());
            let renewal = Renewal { dir, net: net.clone(), snapshot, ca: keys.ca, held };
            tokio::spawn(renewal.run());
        }
        tokio::spawn(snapshots::keep(
            home.snapshots(),
            backend.spec.clone(),
            backend.snapshot.clone(),
            content.clone(),
        ));
        let config = trefoil_node::Config {
            validator_key: keys.validator,
            peer,
            pool: settings.pool.limits(),
        };
        let lanes = Lanes {
            stop: stopped,
            done: finished,
            consensus: net_lanes.consensus,
            calls: requests,
            catch_up: net_lanes.catch_up,
            gossip: net_lanes.gossip,
        };
        let records = recovered.records;
        let parts = Parts {
            config,
            ledger,
            journal,
            records,
            net,
            lanes,
            workers,
            done,
            snapshot,
            status,
            events,
        };
        let ended = start_thread(parts).await;
        let address = settings.rpc.listen;
        let access = rpc::Access {
            hosts: settings.rpc.hosts.clone(),
            origins: settings.rpc.origins.clone(),
        };
        let data = home.data();
        let gateway = Gateway::new(content.clone(), settings.content.gateway).router();
        let admin = Admin::new(content, &data)
            .map_err(|source| Failure::file("write the token in", &data, source))?;
        let beside = admin.router().merge(gateway);
        let limits = rpc::Limits::default();
        let (rpc, _server) = rpc::serve(backend.clone(), address, access, limits, beside)
            .await
            .map_err(|source| Failure::RpcListen { address, source })?;
        Ok(Self { backend, rpc, stop, ended })
    }

    /// Stops taking inputs, makes the ledger durable and ends the node's
    /// thread, within a bounded time.
    pub async fn stop(self) {
        self.backend.net.shutdown();
        // An ended thread hears nothing.
        let _ = self.stop.send(());
        if tokio::time::timeout(CLOSE_MAX, self.ended).await.is_err() {
            tracing::warn!("the last checkpoint is not finished; the journal has what it lacks");
        }
    }
}

/// How this node is part of the network.
pub(crate) fn network(
    home: &Home,
    p2p: &P2pSettings,
    ledger: &Ledger,
    identity: SecretKey,
    access: Access,
) -> trefoil_net::Config {
    let (spec, genesis) = (ledger.spec(), ledger.genesis_hash());
    trefoil_net::Config {
        identity,
        listen: p2p.listen,
        peers: p2p.peers.iter().map(|known| (known.peer, known.address)).collect(),
        genesis,
        fork_id: fork_id(spec, &genesis),
        access,
        inbound_max: p2p.inbound_max,
        inbound_per_source_max: p2p.inbound_per_source_max,
        discovery: Some(discovery(home, spec.kind, p2p)),
    }
}

/// How this node shares content.
///
/// # Errors
/// A file of credentials that cannot be used.
pub(crate) fn sharing(
    home: &Home,
    settings: &Settings,
    me: PeerId,
    access: &Access,
) -> Result<ContentConfig, Failure> {
    Ok(ContentConfig {
        me,
        organisation: access.membership().map(|held| held.certificate.organisation),
        dir: home.data().join("content"),
        manner: manner(access.kind()),
        rates: settings.content.rates(),
        quota: settings.content.quota(),
        origins: settings.content.origins.reach(access.kind()),
        credentials: Credentials::read(&settings.content.origin_credentials)?,
    })
}

/// Members serve each other in turn, strangers for what they get.
fn manner(kind: Kind) -> Manner {
    match kind {
        Kind::Public => Manner::TitForTat,
        Kind::Private | Kind::Consortium => Manner::Fair,
    }
}

/// Who may connect; what this node shows, and whom it lets in, on a network of
/// members. As of the last checkpoint: the node tells of what came after when it
/// has replayed its journal.
pub(crate) fn access(home: &Home, p2p: &P2pSettings, ledger: &Ledger) -> Result<Access, Failure> {
    let kind = ledger.spec().kind;
    let encrypt = p2p.encrypts(kind)?;
    let Some(admission) = ledger.admission() else { return Ok(Access::Public { encrypt }) };
    let membership = Membership { certificate: certificate::load(&home.dir)?, admission };
    Ok(if kind == Kind::Private {
        Access::Private(membership)
    } else {
        Access::Consortium(membership)
    })
}

/// How this node learns of others. Where membership is proven, the operators
/// say who connects to whom, and the book only remembers.
fn discovery(home: &Home, kind: Kind, p2p: &P2pSettings) -> Discovery {
    let bootstrap = p2p.bootstrap.iter().map(|at| Candidate { address: at.address, peer: at.peer });
    let listen = Some(p2p.listen).filter(|at| !at.ip().is_unspecified() && at.port() != 0);
    Discovery {
        file: home.data().join("peers"),
        bootstrap: bootstrap.collect(),
        outbound: if kind == Kind::Public { p2p.outbound } else { 0 },
        advertise: if p2p.advertise.is_empty() {
            listen.into_iter().collect()
        } else {
            p2p.advertise.clone()
        },
    }
}

/// Starts the node's thread and waits until the journal is replayed.
async fn start_thread(parts: Parts) -> oneshot::Receiver<()> {
    let (ready, replayed) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let node = run::spawn(parts, ready);
    thread::spawn(move || {
        // A panic there has ended the process already.
        let _ = node.join();
        let _ = end.send(());
    });
    replayed.await.expect("the node's thread replays the journal, or ends the process");
    ended
}

fn pool(name: &'static str) -> Arc<ThreadPool> {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(move |index| format!("{name}-{index}"))
        .build()
        .expect("the system starts threads");
    Arc::new(pool)
}

/// The first four bytes of keccak256 over the genesis hash and every fork's
/// height: what EIP-2124 has a checksum for.
pub fn fork_id(spec: &ChainSpec, genesis: &B256) -> [u8; 4] {
    let mut bytes = genesis.to_vec();
    for fork in [Fork::Cancun, Fork::Prague, Fork::Osaka] {
        let height = spec.forks.get(&fork).copied().unwrap_or(u64::MAX);
        bytes.extend_from_slice(&height.to_be_bytes());
    }
    let hash = keccak256(bytes);
    [hash[0], hash[1], hash[2], hash[3]]
}
