//! The server before a real ledger on a disk in memory; the node's thread is
//! played by a small pool that makes a block when a test says so.

mod admin;
mod hostile;
mod large_blocks;
mod methods;
mod socket;
mod wire;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use alloy_consensus::{SignableTransaction, TxEip1559, TxLegacy, crypto::secp256k1::sign_message};
use alloy_eips::Encodable2718 as _;
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, Bytes, TxKind, U256, address, hex};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
    routing::get,
};
use serde_json::{Value, json as value};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tower::ServiceExt as _;
use trefoil_crypto::SecretKey;
use trefoil_ledger::{Draft, History, Ledger};
use trefoil_mempool::MempoolError;
use trefoil_node::{Call, Event, NodeStatus, Reply};
use trefoil_types::{
    Attached, Certificate, ChainSpec, Kind, PeerId, Transaction,
    disk::MemDisk,
    spec::{Fork, FoundingOrganisation, FoundingValidator},
};

use crate::{
    HttpAccess, MemoryAccount,
    backend::{self, RpcBackend},
    context::Rpc,
    event_hub, http,
    limits::Limits,
};

pub const CHAIN_ID: u64 = 7331;
/// Sends everything in the tests.
pub const KEY: [u8; 32] = hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
/// Without call data: stores 7 in slot 0 and logs topic 42. With: reverts with it.
pub const CONTRACT: [u8; 39] =
    hex!("601c80600b6000396000f3 36601157 6007600055 602a60006000a100 5b3660006000373660 00fd");

/// Logs nothing about nothing as often as its gas allows: 400 times.
pub const LOGS: [u8; 140] = {
    let (init, begin, log) = (hex!("608180600b6000396000f3"), hex!("5b"), hex!("5f5fa0"));
    let end = hex!("6150005a115f5700");
    let mut code = [0; 140];
    let mut at = 0;
    while at < code.len() {
        code[at] = match at {
            0..11 => init[at],
            11 => begin[0],
            12..132 => log[(at - 12) % 3],
            _ => end[at - 132],
        };
        at += 1;
    }
    code
};

/// The pool of the pretended node.
#[derive(Default)]
struct Pool {
    txs: Vec<Transaction>,
    /// The error that refuses the next submission.
    refuse: Option<MempoolError>,
    /// How often all of it was asked for.
    listed: usize,
}

pub struct TestServer {
    pub rpc: Arc<Rpc>,
    router: Router,
    ledger: Mutex<Ledger>,
    pool: Arc<Mutex<Pool>>,
    snapshot: watch::Sender<trefoil_ledger::Snapshot>,
    pub status: watch::Sender<Arc<NodeStatus>>,
    pub lacks_room: watch::Sender<Option<String>>,
    pub events: broadcast::Sender<Event>,
}

/// The seeds of the node's two validator keys; the chain names the older one.
pub const VALIDATOR_KEYS: [u8; 2] = [1, 3];

/// The account of [`KEY`].
pub const SENDER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

fn spec() -> ChainSpec {
    let key = |n| SecretKey::from_seed(&[n; 32]).public();
    let rich = GenesisAccount::default().with_balance(U256::from(10).pow(U256::from(24)));
    ChainSpec {
        name: "test".into(),
        kind: Kind::Consortium,
        chain_id: CHAIN_ID,
        genesis_time: 1_700_000_000,
        gas_limit: 30_000_000,
        base_fee: 1_000_000_000,
        min_base_fee: None,
        block_interval_ms: 500,
        idle_block_s: 1,
        validator_delay: 2,
        decision_delay_s: 172_800,
        quorum: [2, 3],
        snapshot_every: 1_024,
        accounts: None,
        deployers: None,
        parameters: Default::default(),
        staking: None,
        forks: BTreeMap::from([(Fork::Cancun, 0), (Fork::Prague, 0), (Fork::Osaka, 0)]),
        organisations: vec![FoundingOrganisation {
            name: "one".into(),
            threshold: 1,
            keys: vec![SENDER],
            recovery_key: None,
            ca_keys: vec![key(7)],
            senders: vec![],
        }],
        validators: vec![FoundingValidator {
            key: key(1),
            power: 1,
            fee_recipient: Address::repeat_byte(9),
            owner: None,
            node: Some(PeerId(key(2))),
            organisation: Some("one".into()),
        }],
        alloc: BTreeMap::from([(SENDER, rich)]),
    }
}

/// A devnet's: any page, and `debug_*`.
fn developers() -> HttpAccess {
    HttpAccess { any_origin: true, debug: true, ..HttpAccess::default() }
}

impl TestServer {
    pub async fn new() -> Self {
        Self::limited(Limits::default()).await
    }

    pub async fn gas_free() -> Self {
        let spec = ChainSpec { base_fee: 0, ..spec() };
        Self::with(developers(), Limits::default(), spec).await
    }

    pub async fn limited(limits: Limits) -> Self {
        Self::with(developers(), limits, spec()).await
    }

    /// With an account of so many bytes.
    pub async fn holding(bytes: usize) -> Self {
        let memory = MemoryAccount::new(bytes);
        Self::with_memory(developers(), Limits::default(), spec(), memory).await
    }

    pub async fn with(access: HttpAccess, limits: Limits, spec: ChainSpec) -> Self {
        Self::with_memory(access, limits, spec, MemoryAccount::default()).await
    }

    async fn with_memory(
        access: HttpAccess,
        limits: Limits,
        spec: ChainSpec,
        memory: MemoryAccount,
    ) -> Self {
        let spec = Arc::new(spec);
        let disk = Arc::new(MemDisk::default());
        let ledger = Ledger::open(disk, spec.clone(), History::Archive).expect("a new chain");
        let (snapshot, snapshots) = watch::channel(ledger.snapshot());
        let (status, statuses) = watch::channel(Arc::new(NodeStatus::default()));
        let (lacks_room, reason) = watch::channel(None);
        let (events, _) = broadcast::channel(backend::EVENTS_MAX);
        let (calls, inbox) = mpsc::channel(backend::CALLS_MAX);
        let pool = Arc::new(Mutex::new(Pool::default()));
        tokio::spawn(play(inbox, pool.clone()));
        let threads = || Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
        let backend = RpcBackend {
            spec,
            genesis_hash: ledger.genesis_hash(),
            peer: PeerId(SecretKey::from_seed(&[2; 32]).public()),
            validator_keys: VALIDATOR_KEYS.map(|n| SecretKey::from_seed(&[n; 32]).public()).into(),
            net: net().await,
            readers: threads(),
            workers: threads(),
            recoveries: Arc::new(Semaphore::new(backend::RECOVERIES_MAX)),
            snapshot: snapshots,
            status: statuses,
            events: events.clone(),
            calls,
            certificate: None,
            lacks_room: reason,
        };
        let threads = [(); 2].map(|()| tokio::runtime::Handle::current());
        let rpc = Rpc::new(backend.clone(), access, limits, memory, threads);
        tokio::spawn(event_hub::follow(rpc.events.clone(), backend));
        // The news must be listening before the first event.
        while events.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        let router =
            http::router(rpc.clone(), Router::new().route("/content/x", get(|| async { "x" })));
        let ledger = Mutex::new(ledger);
        Self { rpc, router, ledger, pool, snapshot, status, lacks_room, events }
    }

    /// The next submission is refused with this.
    pub fn refuse(&self, error: MempoolError) {
        self.pool.lock().unwrap().refuse = Some(error);
    }

    /// Makes a block of what the pool holds.
    pub fn mine(&self) {
        let txs = std::mem::take(&mut self.pool.lock().unwrap().txs);
        let mut ledger = self.ledger.lock().unwrap();
        let draft = Draft {
            timestamp: ledger.tip().timestamp + 1,
            fee_recipient: Address::repeat_byte(9),
            attached: Attached {
                parent_certificate: ledger.tip_certificate().cloned(),
                ..Default::default()
            },
        };
        let (outcome, refused) = ledger.build(draft, &mut txs.into_iter());
        assert!(refused.is_empty(), "{refused:?}");
        let (block, receipts) = (outcome.block().clone(), outcome.receipts().to_vec());
        let certificate = Certificate {
            height: block.header.number,
            round: 0,
            block: block.hash,
            signatures: vec![],
        };
        ledger.commit(outcome, certificate);
        let snapshot = ledger.snapshot();
        self.snapshot.send_replace(snapshot.clone());
        let receipts = Arc::new(receipts);
        self.events.send(Event::Committed { block, receipts, snapshot }).expect("news listen");
    }

    /// Writes all blocks to the disk: from now on they are read and decoded.
    pub fn store(&self) {
        let mut ledger = self.ledger.lock().unwrap();
        let checkpoint = ledger.checkpoint(true).expect("a block");
        ledger.checkpointed(checkpoint.run().expect("a disk in memory"));
        self.snapshot.send_replace(ledger.snapshot());
    }

    pub async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, body.to_vec())
    }

    pub async fn post(&self, body: impl Into<Body>) -> (StatusCode, Vec<u8>) {
        let request = Request::post("/").body(body.into()).unwrap();
        let (status, _, body) = self.send(request).await;
        (status, body)
    }

    /// The whole answer to one request.
    pub async fn ask(&self, method: &str, params: Value) -> Value {
        let request = value!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (status, body) = self.post(request.to_string()).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice(&body).unwrap()
    }

    /// The result of one request that must succeed.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Code and text of one request that must fail.
    pub async fn error(&self, method: &str, params: Value) -> (i64, String) {
        let answer = self.ask(method, params).await;
        let error = &answer["error"];
        let code = error["code"].as_i64().unwrap_or_else(|| panic!("{method}: {answer}"));
        (code, error["message"].as_str().unwrap().into())
    }

    /// Submits a transaction and returns its hash.
    pub async fn submit(&self, raw: &Bytes) -> String {
        self.call("eth_sendRawTransaction", value!([raw])).await.as_str().unwrap().into()
    }
}

/// Answers calls as the node's thread would, from a pool without rules.
async fn play(mut inbox: mpsc::Receiver<backend::NodeCall>, pool: Arc<Mutex<Pool>>) {
    while let Some(request) = inbox.recv().await {
        let mut pool = pool.lock().unwrap();
        let reply = match request.call {
            Call::Submit(tx) => Reply::Submitted(match pool.refuse.take() {
                Some(error) => Err(error),
                None => {
                    let hash = *tx.tx_hash();
                    pool.txs.push(tx);
                    Ok(hash)
                }
            }),
            Call::PendingNonce(sender) => {
                let own = pool.txs.iter().filter(|tx| tx.signer() == sender);
                Reply::PendingNonce(own.count() as u64)
            }
            Call::PooledTransaction(hash) => {
                Reply::PooledTransaction(pool.txs.iter().find(|tx| *tx.tx_hash() == hash).cloned())
            }
            Call::PoolContent => {
                pool.listed += 1;
                Reply::PoolContent { pending: pool.txs.clone(), queued: vec![] }
            }
            Call::Peers => Reply::Peers(vec![]),
        };
        // A caller that gave up needs no reply.
        let _ = request.reply.send(reply);
    }
}

/// A network without peers on a free loopback port.
async fn net() -> trefoil_p2p::NetHandle {
    network().await.0
}

async fn network() -> (trefoil_p2p::NetHandle, trefoil_p2p::LaneReceivers) {
    let config = trefoil_p2p::Config {
        identity: SecretKey::from_seed(&[2; 32]),
        listen: "127.0.0.1:0".parse().unwrap(),
        peers: vec![],
        genesis: Default::default(),
        fork_id: [0; 4],
        access: trefoil_p2p::NetworkAccess::Public { encrypt: false },
        inbound_max: 1,
        inbound_per_source_max: 1,
        discovery: None,
    };
    trefoil_p2p::start(config).await.expect("a loopback port")
}

fn sign<T: SignableTransaction<alloy_primitives::Signature>>(tx: T) -> Bytes
where
    trefoil_types::TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let signature = sign_message(KEY.into(), tx.signature_hash()).expect("a key");
    Bytes::from(trefoil_types::TxEnvelope::from(tx.into_signed(signature)).encoded_2718())
}

/// A signed transaction of type 2 that pays a tip of 2 gwei.
pub fn tx(nonce: u64, to: TxKind, value: u64, input: impl Into<Bytes>) -> Bytes {
    sign(TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 2_000_000_000,
        to,
        value: U256::from(value),
        access_list: Default::default(),
        input: input.into(),
    })
}

/// A signed legacy transfer of 1 wei.
pub fn legacy(nonce: u64, to: Address) -> Bytes {
    sign(TxLegacy {
        chain_id: Some(CHAIN_ID),
        nonce,
        gas_price: 5_000_000_000,
        gas_limit: 21_000,
        to: to.into(),
        value: U256::ONE,
        input: Bytes::new(),
    })
}
