use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::time::sleep;
use trefoil_crypto::SecretKey;
use trefoil_ledger::History;
use trefoil_mempool::MempoolLimits;
use trefoil_p2p::NetworkAccess;
use trefoil_types::{
    Address, B256, ChainSpec, Disk, DiskFile, MemDisk, Message, Offence, PeerId, message::Tip,
};

use super::*;

/// A disk whose syncs fail when they are told to.
#[derive(Clone, Debug, Default)]
struct FailingDisk {
    disk: MemDisk,
    fails: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FailingFile {
    file: Arc<dyn DiskFile>,
    fails: Arc<AtomicBool>,
}

impl Disk for FailingDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FailingFile { file: self.disk.open(name)?, fails: self.fails.clone() }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

impl DiskFile for FailingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn peer(n: u8) -> PeerId {
    PeerId(key(n).public())
}

/// A network of one validator, whose first block is long due.
fn spec() -> ChainSpec {
    let owner = Address::repeat_byte(9);
    let text = format!(
        "name = \"t\"\nkind = \"private\"\nchain_id = 5\ngenesis_time = 1700000000\n\
         gas_limit = 30000000\nbase_fee = 0\nidle_block_s = 1\n[forks]\ncancun = 0\n\
         [[organisations]]\nname = \"one\"\nkeys = [\"{owner}\"]\nca_keys = [\"{ca}\"]\n\
         [[validators]]\nkey = \"{key}\"\npower = 1\nfee_recipient = \"{owner}\"\nnode = \"{peer}\"\n\
         organisation = \"one\"\n",
        ca = key(7).public(),
        key = key(1).public(),
        peer = peer(2),
    );
    ChainSpec::from_toml(&text).unwrap()
}

/// The ends of the thread's channels that others hold.
struct Outside {
    disk: FailingDisk,
    snapshot: watch::Receiver<Snapshot>,
    status: watch::Receiver<Arc<NodeStatus>>,
    events: broadcast::Receiver<Event>,
}

/// A node's thread that is opened and has not run; it validates with `validator_key`.
async fn opened(validator_key: Option<SecretKey>) -> (NodeThread, Outside) {
    let history = History::Archive;
    let ledger = Ledger::open(Arc::new(MemDisk::default()), Arc::new(spec()), history).unwrap();
    let disk = FailingDisk::default();
    let (journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
    let network = trefoil_p2p::Config {
        identity: key(2),
        listen: "127.0.0.1:0".parse().unwrap(),
        peers: vec![],
        genesis: ledger.genesis_hash(),
        fork_id: [0; 4],
        access: NetworkAccess::Public { encrypt: false },
        inbound_max: 8,
        inbound_per_source_max: 8,
        discovery: None,
    };
    let (net, lanes) = trefoil_p2p::start(network).await.unwrap();
    let (done, finished) = mpsc::channel(8);
    let (snapshot, shown) = watch::channel(ledger.snapshot());
    let (status, told) = watch::channel(Arc::default());
    let (events, heard) = broadcast::channel(64);
    let inbox = InboxLanes {
        stop: oneshot::channel().1,
        done: finished,
        consensus: lanes.consensus,
        calls: mpsc::channel(1).1,
        catch_up: lanes.catch_up,
        gossip: lanes.gossip,
    };
    let workers = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
    let parts = NodeThreadParts {
        journal,
        net,
        lanes: inbox,
        workers,
        done,
        snapshot,
        status,
        events,
        rotation: None,
    };
    let validator_keys = validator_key.into_iter().collect();
    let config = Config { validator_keys, peer: peer(2), pool: MempoolLimits::default() };
    let thread = NodeThread::open(config, ledger, vec![], parts).unwrap();
    (thread, Outside { disk, snapshot: shown, status: told, events: heard })
}

fn record() -> Record {
    Record::Consensus { height: 1, bytes: vec![1] }
}

// A validator that crashes after it has said a vote, and before its journal is durable, votes
// again, and is slashed.
#[tokio::test]
async fn nothing_leaves_before_the_journal_is_durable() {
    let (mut thread, mut outside) = opened(None).await;
    thread.carry_out().unwrap();
    let fails = |fails| outside.disk.fails.store(fails, Ordering::Relaxed);
    let tip = Message::Tip(Tip { height: 0, hash: B256::ZERO, round: 0 });
    let told = Event::Equivocation { height: 1, validator: key(1).public() };
    let none = Effects::default;
    for (what, speech) in [
        ("a message", Effects { sends: vec![(To::AllBut(None), Arc::new(tip))], ..none() }),
        ("an order", Effects { orders: vec![PeerCommand::Credit(peer(3))], ..none() }),
        ("a job", Effects { jobs: vec![WorkerJob::Recover { id: 1, txs: vec![] }], ..none() }),
        ("a reply", Effects { replies: vec![(CallId(7), Reply::PendingNonce(1))], ..none() }),
        ("an event", Effects { events: vec![told], ..none() }),
    ] {
        let (caller, mut reply) = oneshot::channel();
        thread.calls.insert(CallId(7), caller);
        thread.effects = Effects { records: vec![record()], ..speech };
        fails(true);
        assert!(thread.carry_out().is_err(), "{what}");
        assert!(reply.try_recv().is_err() && outside.events.try_recv().is_err(), "{what}");
        assert_eq!(thread.jobs, 0, "{what}");
        // A batch that says nothing waits for no disk; the next one that speaks waits for both.
        thread.effects = Effects { records: vec![record()], ..Effects::default() };
        assert!(thread.carry_out().is_ok(), "{what}");
        thread.effects.orders = vec![PeerCommand::Credit(peer(3))];
        assert!(thread.carry_out().is_err(), "{what}");
        fails(false);
        thread.effects.orders = vec![PeerCommand::Credit(peer(3))];
        thread.carry_out().unwrap();
    }
}

// Attack (issue 15, C1): a message that honest nodes relay and that their peers blame them for.
#[tokio::test]
async fn favoured_peers_are_not_blamed_for_what_they_only_relayed() {
    let (mut thread, _outside) = opened(None).await;
    let (favoured, stranger) = (peer(3), peer(4));
    thread.carry_out().unwrap();
    thread.parts.net.favour([favoured]);
    for (relayed, blamed) in [(true, vec![stranger]), (false, vec![favoured, stranger])] {
        let blame = |peer| PeerCommand::Blame { peer, offence: Offence::BadSignature, relayed };
        thread.effects.orders = [favoured, stranger].map(blame).into();
        thread.carry_out().unwrap();
        let mut blamed: Vec<_> = blamed.iter().map(ToString::to_string).collect();
        let mut told: Vec<_> = thread.parts.net.misdeeds().into_iter().map(|it| it.who).collect();
        blamed.sort();
        told.sort();
        assert_eq!(told, blamed, "relayed: {relayed}");
    }
}

#[tokio::test]
async fn a_block_can_be_read_when_it_is_told() {
    let (mut thread, mut outside) = opened(Some(key(1))).await;
    for _ in 0..1_000 {
        thread.carry_out().unwrap();
        match outside.events.try_recv() {
            Ok(Event::Committed { block, .. }) => {
                assert_eq!(outside.snapshot.borrow().tip().number, block.header.number);
                assert_eq!(outside.status.borrow().height, block.header.number);
                return;
            }
            _ => sleep(Duration::from_millis(10)).await,
        }
        thread.take(Arrival::Time);
    }
    panic!("no block in ten seconds");
}
