//! The process around a node: opens its directory, starts its threads and its
//! servers, and ends them in order.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use trefoil_crypto::SecretKey;
use trefoil_ledger::{Journal, Ledger};
use trefoil_os::{FileError, disk::FileDisk};
use trefoil_rpc::{
    backend::{CALLS_MAX, EVENTS_MAX, READERS, RECOVERIES_MAX, RpcBackend},
    content::{admin_server::Admin, gateway::Gateway},
};
use trefoil_swarm::Content;
use trefoil_types::{ChainSpec, Disk, Kind, PeerId};

use crate::{
    HostError,
    certificate_renewal::CertificateRenewal,
    disk_room::{DiskRoom, PatientDisk},
    home::Home,
    inbox::{DONE_MAX, InboxLanes},
    key_rotation::KeyRotation,
    network_config::{NodeKeys, access, network, sharing},
    node_thread::{self, NodeThreadParts},
    settings::Settings,
    snapshots, state_sync,
};

// The journal holds whatever is left: a longer wait would only save the next start some work.
/// How long a stopping node may take to make its ledger durable.
const CLOSE_MAX: Duration = Duration::from_secs(20);

/// A running node.
pub struct Host {
    pub backend: RpcBackend,
    pub rpc: SocketAddr,
    stop: oneshot::Sender<()>,
    /// Ends when the node's thread has.
    ended: oneshot::Receiver<()>,
    room: DiskRoom,
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
    ) -> Result<Self, HostError> {
        home.close_to_others();
        state_sync::join(home, &spec, settings, &keys).await?;
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(&home.data())?);
        let room = DiskRoom::default();
        let patient = PatientDisk { disk: disk.clone(), room: room.clone() };
        let ledger = Ledger::open(Arc::new(patient), spec.clone(), settings.history.0)?;
        let (journal, recovered) = Journal::open(disk)?;
        room.begin();
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
        let validator_keys: Vec<_> = keys.validators.iter().map(SecretKey::public).collect();
        let rotation = KeyRotation::of(&home.dir, &validator_keys);
        let config = network(home, &settings.p2p, &ledger, keys.identity, access);
        let (net, net_lanes) = trefoil_p2p::start(config).await?;
        let (stop, stopped) = oneshot::channel();
        let (done, finished) = mpsc::channel(DONE_MAX);
        let (calls, requests) = mpsc::channel(CALLS_MAX);
        let (snapshot, published) = watch::channel(ledger.snapshot());
        let (status, watched) = watch::channel(Arc::default());
        let events = broadcast::Sender::new(EVENTS_MAX);
        let workers = pool("worker");
        let content = Content::start(sharing, net.clone(), net_lanes.content)?;
        let backend = RpcBackend {
            spec,
            genesis_hash,
            peer,
            validator_keys,
            net: net.clone(),
            readers: pool(READERS),
            workers: workers.clone(),
            recoveries: Arc::new(Semaphore::new(RECOVERIES_MAX)),
            snapshot: published,
            status: watched,
            events: events.clone(),
            calls,
            certificate: certificate.as_ref().map(watch::Sender::subscribe),
            lacks_room: room.reason(),
        };
        if let Some(held) = certificate {
            let (dir, snapshot) = (home.dir.clone(), backend.snapshot.clone());
            let renewal = CertificateRenewal { dir, net: net.clone(), snapshot, ca: keys.ca, held };
            tokio::spawn(renewal.run());
        }
        tokio::spawn(snapshots::keep(
            home.snapshots(),
            backend.spec.clone(),
            backend.snapshot.clone(),
            content.clone(),
        ));
        let config =
            trefoil_node::Config { validator_keys: keys.validators, peer, pool: settings.pool };
        let lanes = InboxLanes {
            stop: stopped,
            done: finished,
            consensus: net_lanes.consensus,
            calls: requests,
            catch_up: net_lanes.catch_up,
            gossip: net_lanes.gossip,
        };
        let parts = NodeThreadParts {
            journal,
            net,
            lanes,
            workers,
            done,
            snapshot,
            status,
            events,
            rotation,
            room: room.clone(),
        };
        // The servers come after the replay: a caller must see the tip that this node already
        // announced to others.
        let ended = node_thread::start(config, ledger, recovered.records, parts).await;
        let address = settings.rpc.listen;
        let access = trefoil_rpc::HttpAccess {
            hosts: settings.rpc.hosts.clone(),
            origins: settings.rpc.origins.clone(),
            any_origin: backend.spec.kind == Kind::Public,
            debug: settings.rpc.debug,
            gateway_name: settings.content.gateway_name.clone(),
        };
        let (data, memory) = (home.data(), settings.rpc.memory());
        let gateway = Gateway::new(content.clone(), settings.content.gateway);
        let admin = Admin::new(content, &data)
            .map_err(|source| FileError::new("write the token in", &data, source))?
            .drawing_on(memory.clone());
        let gateway = gateway.admitting(admin.gateway_keys()).drawing_on(memory.clone());
        let beside = admin.router().merge(gateway.router());
        let (rpc, _server) = trefoil_rpc::serve(backend.clone(), address, access, memory, beside)
            .await
            .map_err(|source| HostError::RpcListen { address, source })?;
        Ok(Self { backend, rpc, stop, ended, room })
    }

    /// Stops taking inputs, makes the ledger durable and ends the node's
    /// thread, within a bounded time.
    pub async fn stop(self) {
        // First, so that no input comes any more and the batches end.
        self.backend.net.shutdown();
        self.room.give_up();
        // A thread that has ended needs no signal.
        let _ = self.stop.send(());
        let closed = tokio::time::timeout(CLOSE_MAX, self.ended).await;
        if closed.is_err() || self.room.has_given_up() {
            tracing::warn!("the last checkpoint is not finished; the journal has what it lacks");
        }
    }
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
