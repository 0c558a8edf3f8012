use std::io::ErrorKind;

use tokio::time::{sleep, timeout};
use trefoil_crypto::SecretKey;
use trefoil_ledger::History;
use trefoil_mempool::MempoolLimits;
use trefoil_p2p::NetworkAccess;
use trefoil_types::{
    Address, B256, ChainSpec, MemDisk, Message, Offence, PeerId, PolkaCertificate,
    message::{GetBlocks, Tip},
    message_rule::{POLKA, VAIN_SIGNATURES},
};

use super::*;
use crate::refusing_disk::{Refused, RefusingDisk};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn peer(n: u8) -> PeerId {
    PeerId(key(n).public())
}

/// A network of one validator, whose first block is long due.
pub fn spec() -> ChainSpec {
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
    disk: RefusingDisk,
    snapshot: watch::Receiver<Snapshot>,
    status: watch::Receiver<Arc<NodeStatus>>,
    events: broadcast::Receiver<Event>,
}

fn network(n: u8, genesis: B256) -> trefoil_p2p::Config {
    trefoil_p2p::Config {
        identity: key(n),
        listen: "127.0.0.1:0".parse().unwrap(),
        peers: vec![],
        genesis,
        fork_id: [0; 4],
        access: NetworkAccess::Public { encrypt: false },
        inbound_max: 8,
        inbound_per_source_max: 8,
        discovery: None,
    }
}

/// A node's thread that is opened and has not run; it validates with `validator_key`.
async fn opened(validator_key: Option<SecretKey>) -> (NodeThread, Outside) {
    let history = History::Archive;
    let ledger = Ledger::open(Arc::new(MemDisk::default()), Arc::new(spec()), history).unwrap();
    let disk = RefusingDisk::default();
    let (journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
    let (net, lanes) = trefoil_p2p::start(network(2, ledger.genesis_hash())).await.unwrap();
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
        room: DiskRoom::default(),
    };
    parts.room.begin();
    let validator_keys = validator_key.into_iter().collect();
    let config = Config { validator_keys, peer: peer(2), pool: MempoolLimits::default() };
    let thread = NodeThread::open(config, ledger, vec![], parts).unwrap();
    (thread, Outside { disk, snapshot: shown, status: told, events: heard })
}

fn recovery(id: u64, from: Option<PeerId>) -> WorkerJob {
    WorkerJob::Recover(RecoveryJob { id, from, txs: vec![] })
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
    let disk = outside.disk.clone();
    let fails = |fails: bool| {
        disk.refuse(Refused { write: None, sync: fails.then_some(ErrorKind::Other) });
    };
    let tip = Message::Tip(Tip { height: 0, hash: B256::ZERO, round: 0 });
    let told = Event::Equivocation { height: 1, validator: key(1).public() };
    let none = Effects::default;
    for (what, speech) in [
        ("a message", Effects { sends: vec![(To::AllBut(None), Arc::new(tip))], ..none() }),
        (
            "an order",
            Effects { orders: vec![PeerCommand::Credit { peer: peer(3), txs: 1 }], ..none() },
        ),
        ("a job", Effects { jobs: vec![recovery(1, None)], ..none() }),
        ("a reply", Effects { replies: vec![(CallId(7), Reply::PendingNonce(1))], ..none() }),
        ("an event", Effects { events: vec![told], ..none() }),
    ] {
        let (caller, mut reply) = oneshot::channel();
        thread.calls.insert(CallId(7), caller);
        thread.effects = Effects { records: vec![record()], ..speech };
        fails(true);
        assert!(thread.carry_out().is_err(), "{what}");
        assert!(reply.try_recv().is_err() && outside.events.try_recv().is_err(), "{what}");
        // Whatever the one worker was given before is done.
        thread.parts.workers.install(|| ());
        assert!(thread.parts.lanes.done.try_recv().is_err(), "{what}");
        // A batch that says nothing waits for no disk; the next one that speaks waits for both.
        thread.effects = Effects { records: vec![record()], ..Effects::default() };
        assert!(thread.carry_out().is_ok(), "{what}");
        thread.effects.orders = vec![PeerCommand::Credit { peer: peer(3), txs: 1 }];
        assert!(thread.carry_out().is_err(), "{what}");
        fails(false);
        thread.effects.orders = vec![PeerCommand::Credit { peer: peer(3), txs: 1 }];
        thread.carry_out().unwrap();
    }
}

// Attack, or accident: another process fills the disk for a minute. The issue: "a full disk never
// ends a validator".
#[tokio::test]
async fn a_disk_without_room_holds_up_what_depends_on_it_and_ends_nothing() {
    let (mut thread, outside) = opened(None).await;
    thread.carry_out().unwrap();
    let reason = thread.parts.room.reason();
    let full = Some(ErrorKind::StorageFull);
    for (refused, stops) in [
        (Refused { write: full, sync: None }, false),
        (Refused { write: None, sync: full }, false),
        (Refused { write: full, sync: None }, true),
    ] {
        let (caller, mut reply) = oneshot::channel();
        thread.calls.insert(CallId(7), caller);
        let replies = vec![(CallId(7), Reply::PendingNonce(1))];
        thread.effects = Effects { records: vec![record()], replies, ..Effects::default() };
        outside.disk.refuse(refused);
        let (disk, room, waits) = (outside.disk.clone(), thread.parts.room.clone(), reason.clone());
        let meanwhile = thread::spawn(move || {
            let began = Instant::now();
            while waits.borrow().is_none() && began.elapsed() < LIMIT {
                thread::sleep(Duration::from_millis(1));
            }
            let (why, answered) = (waits.borrow().clone(), reply.try_recv().is_ok());
            if stops || why.is_none() {
                room.give_up();
            } else {
                disk.refuse(Refused::default());
            }
            (why, answered, reply)
        });
        let carried_out = thread.carry_out();
        let (why, answered, mut reply) = meanwhile.join().unwrap();
        assert!(why.is_some_and(|why| why.contains("the journal")) && !answered, "{refused:?}");
        assert_eq!(carried_out.is_err(), stops, "{carried_out:?}");
        assert_eq!(reply.try_recv().is_ok(), !stops, "{refused:?}");
        assert_eq!(reason.borrow().is_some(), stops, "{refused:?}");
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

// Attack: transactions with random signatures, of which hundreds of jobs waited for the workers
// before the transactions of a proposal.
#[tokio::test]
async fn a_block_waits_for_one_job_of_gossip_at_most() {
    let (mut thread, _outside) = opened(None).await;
    thread.carry_out().unwrap();
    let (free, busy) = std::sync::mpsc::channel::<()>();
    thread.parts.workers.spawn(move || _ = busy.recv());
    let gossip = (1..=100).map(|id| recovery(id, Some(peer(3))));
    thread.effects.jobs = gossip.chain([recovery(0, None)]).collect();
    thread.carry_out().unwrap();
    drop(free);
    let mut before = 0;
    loop {
        match timeout(LIMIT, thread.parts.lanes.done.recv()).await.expect("in time") {
            Some(Done::Recovered { id: 0, .. }) => break,
            other => assert!(matches!(other, Some(Done::Recovered { .. })), "{other:?}"),
        }
        before += 1;
    }
    assert!(before <= 1, "{before}");
}

// Attack: consensus messages without end took the whole time of every batch.
#[tokio::test]
async fn each_lane_has_its_turn_in_a_batch_whose_time_is_over() {
    let (mut thread, _outside) = opened(None).await;
    let (net, genesis) = (thread.parts.net.clone(), thread.node.ledger().genesis_hash());
    let peers = vec![(peer(2), net.listen_address())];
    let hostile = trefoil_p2p::Config { peers, ..network(3, genesis) };
    let (hostile, mut theirs) = trefoil_p2p::start(hostile).await.unwrap();
    let lanes = &mut thread.parts.lanes;
    for lane in [&mut lanes.consensus, &mut theirs.consensus] {
        let connected = timeout(LIMIT, lane.recv()).await.expect("in time");
        assert!(matches!(connected, Some(NetEvent::Connected { .. })), "{connected:?}");
    }
    let (calls, waiting) = mpsc::channel(2);
    lanes.calls = waiting;
    for _ in 0..2 {
        let (call, reply) = (trefoil_node::Call::Peers, oneshot::channel().0);
        let call = NodeCall { call, reply, held: None };
        calls.try_send(call).unwrap();
    }
    let tip = || Message::Tip(Tip { height: 0, hash: B256::ZERO, round: 0 });
    let two_of_each: [fn() -> Message; 3] = [
        tip,
        || Message::GetBlocks(GetBlocks { from: 1, count: 1 }),
        || Message::TxHashes(vec![B256::ZERO]),
    ];
    for message in two_of_each.iter().flat_map(|message| [message(), message()]) {
        hostile.send(peer(2), &Arc::new(message));
    }
    // One more of them is there for certain when one is.
    let vote = timeout(LIMIT, lanes.consensus.recv()).await.expect("in time");
    assert!(matches!(vote, Some(NetEvent::Message { .. })), "{vote:?}");
    let (mut budget, mut taken) = (Budget::default(), vec![]);
    budget.close();
    while taken.len() < 3 {
        match lanes.next(&mut budget) {
            Some(Arrival::Call(_)) => taken.push(None),
            Some(Arrival::Net(NetEvent::Message { message, .. })) => {
                taken.push(Some(message.lane()));
            }
            Some(other) => panic!("{other:?}"),
            None => sleep(Duration::from_millis(1)).await,
        }
        budget.close();
    }
    taken.sort();
    assert_eq!(taken, [None, Some(Lane::CatchUp), Some(Lane::Gossip)]);
    assert!(lanes.next(&mut budget).is_none(), "and one only");
    let vote = timeout(LIMIT, lanes.consensus.recv()).await.expect("in time");
    assert!(matches!(vote, Some(NetEvent::Message { .. })), "{vote:?}");
    // Whatever a batch took from before its time was over has had its turn.
    let mut budget = Budget::default();
    assert!(matches!(lanes.next(&mut budget), Some(Arrival::Call(_))));
    budget.close();
    let gossip = async {
        loop {
            match lanes.next(&mut budget) {
                None => sleep(Duration::from_millis(1)).await,
                Some(Arrival::Net(NetEvent::Message { message, .. })) => break message.lane(),
                Some(other) => panic!("{other:?}"),
            }
        }
    };
    assert!(timeout(LIMIT, gossip).await.expect("in time") > Lane::Consensus);
}

// Attack: what a validator relays does not ban it, and 125 bad certificates a second were all of
// the node's thread.
#[tokio::test]
async fn a_validator_that_sends_bad_certificates_without_end_is_read_more_slowly() {
    let (mut thread, _outside) = opened(None).await;
    thread.carry_out().unwrap();
    let (net, genesis) = (thread.parts.net.clone(), thread.node.ledger().genesis_hash());
    net.favour([peer(3)]);
    let peers = vec![(peer(2), net.listen_address())];
    let hostile = trefoil_p2p::Config { peers, ..network(3, genesis) };
    let (hostile, mut lanes) = trefoil_p2p::start(hostile).await.unwrap();
    for lane in [&mut thread.parts.lanes.consensus, &mut lanes.consensus] {
        let connected = timeout(LIMIT, lane.recv()).await.expect("in time");
        assert!(matches!(connected, Some(NetEvent::Connected { .. })), "{connected:?}");
    }
    let (height, round, block, signatures) = (1, 0, B256::ZERO, vec![]);
    let bad = PolkaCertificate { height, round, block, signatures };
    let bad = Message::PolkaCertificate(bad);
    for _ in 0..5 * VAIN_SIGNATURES.at_once / POLKA.signatures as u32 {
        let message = NetEvent::Message { peer: peer(3), message: bad.clone() };
        thread.take(Arrival::Net(message));
    }
    // Its lane waits for the first one already.
    for _ in 0..2 {
        hostile.send(peer(2), &Arc::new(bad.clone()));
    }
    timeout(LIMIT, thread.parts.lanes.consensus.recv()).await.expect("the first");
    let began = Instant::now();
    timeout(LIMIT, thread.parts.lanes.consensus.recv()).await.expect("it is not banned");
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
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
