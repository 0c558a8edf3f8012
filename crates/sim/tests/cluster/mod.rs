//! Shared by the tests of whole nodes: the cluster that they drive, its wallets and its keys.

use std::{ops::Range, sync::Arc};

use alloy_consensus::{TxEip1559, transaction::SignerRecoverable as _};
use alloy_primitives::{Address, B256, TxKind, U256};
use trefoil_crypto::SecretKey;
use trefoil_ledger::{Journal, Record};
use trefoil_mempool::{MempoolError, MempoolLimits};
use trefoil_node::{Call, Input, Reply};
use trefoil_sim::{
    SimPlan,
    cluster::Cluster,
    machine::secret,
    vice::Vice,
    wire::Weather,
    workload::{CHAIN_ID, SimWallet},
};
use trefoil_types::{Height, Millis, PeerId, TxEnvelope};

pub const SECOND: Millis = Millis(1_000);

/// A plan in which `nodes` machines run, of which the first validate. A block is due at once, and
/// then every minute. Each message takes 3 ms, and workers no time. Machines hold nothing against
/// each other, since the tests send messages in their names.
pub fn plan(validators: usize, nodes: usize) -> SimPlan {
    let mut plan = SimPlan::quiet("by hand", 1, validators, Millis(u64::MAX));
    plan.full_nodes = nodes.saturating_sub(validators);
    plan.late.extend(nodes..validators);
    plan.bans = false;
    plan.workers_max = Millis(0);
    plan.pool = MempoolLimits::default();
    plan.chain.gas_limit = 30_000_000;
    plan.chain.idle_block_s = 60;
    plan.chain.age_s = 1_000;
    plan.weather = Weather { delay_min: Millis(3), delay_max: Millis(3), ..Weather::FAIR };
    plan
}

/// All machines of a plan, running and connected.
pub fn started(plan: SimPlan) -> Cluster {
    let mut cluster = Cluster::new(plan, false);
    cluster.begin();
    (0..cluster.machines.len()).for_each(|id| cluster.connect_all(id));
    cluster
}

/// All of `nodes` running and connected; the first of them validate.
pub fn cluster(validators: usize, nodes: usize) -> Cluster {
    started(plan(validators, nodes))
}

/// One of four validators that keeps to no rules: the tests use its key.
pub const VILLAIN: usize = 3;

/// As [`plan`], of four validators with a villain among them.
pub fn plan_with_villain(nodes: usize) -> SimPlan {
    let mut plan = plan(4, nodes);
    plan.vices.insert(VILLAIN, Vice::Puppet);
    plan
}

pub fn validator_key(n: usize) -> SecretKey {
    secret("validator", n)
}

pub fn peer(n: usize) -> PeerId {
    PeerId(secret("node", n).public())
}

pub fn wallet(n: usize) -> Address {
    SimWallet::new("wallet", n).address
}

/// A signed transfer of 1 wei from a wallet to the next.
pub fn transfer(from: usize, nonce: u64) -> TxEnvelope {
    transfer_with(from, nonce, 0)
}

/// One that carries so many bytes of nothing.
pub fn transfer_with(from: usize, nonce: u64, bytes: usize) -> TxEnvelope {
    SimWallet::new("wallet", from).sign(TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        // 10 a byte (EIP-7623).
        gas_limit: 21_000 + 10 * bytes as u64,
        input: vec![0; bytes].into(),
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(wallet(from + 1)),
        value: U256::from(1),
        ..TxEip1559::default()
    })
}

/// A wallet submits a transaction to node `n`.
pub fn submit(cluster: &mut Cluster, n: usize, tx: TxEnvelope) -> Result<B256, MempoolError> {
    let tx = Arc::new(tx.try_into_recovered().unwrap());
    match cluster.call(n, Call::Submit(tx)) {
        Reply::Submitted(result) => result,
        other => panic!("not the reply to a submission: {other:?}"),
    }
}

/// Sends transfers of one wallet to node `n`.
pub fn send(cluster: &mut Cluster, n: usize, from: usize, nonces: Range<u64>) -> Vec<B256> {
    nonces.map(|nonce| submit(cluster, n, transfer(from, nonce)).unwrap()).collect()
}

/// The height at which a node made a transaction final.
pub fn height_of(cluster: &Cluster, n: usize, hash: &B256) -> Option<Height> {
    let (height, _) = cluster.node(n).ledger().snapshot().transaction(hash).unwrap()?;
    Some(height)
}

/// Node `n` learns that `other` is connected, true or not.
pub fn say_connected(cluster: &mut Cluster, n: usize, other: usize) {
    cluster.input(n, Input::Connected(peer(other)));
}

/// Connects two nodes that were cut; `n` cannot judge the other yet.
pub fn connect_unjudged(cluster: &mut Cluster, n: usize, other: usize) {
    assert!(cluster.wire.connect(n, other));
    cluster.input(n, Input::ConnectedUnjudged(peer(other)));
    say_connected(cluster, other, n);
}

/// The journal's records of a node that is not running.
pub fn journalled(cluster: &Cluster, n: usize) -> Vec<Record> {
    Journal::open(cluster.machines[n].journal_disk.mount()).unwrap().1.records
}

/// Adds to the journal of a node that is not running.
pub fn add_to_journal(cluster: &Cluster, n: usize, records: &[Record]) {
    let (mut journal, _) = Journal::open(cluster.machines[n].journal_disk.mount()).unwrap();
    journal.append(records).unwrap();
    journal.sync().unwrap();
}

pub fn assert_agreed(cluster: &Cluster) {
    let tips = cluster.running().map(|n| {
        let tip = cluster.node(n).ledger().tip();
        (tip.number, tip.state_root, cluster.node(n).ledger().tip_hash())
    });
    let tips: Vec<_> = tips.collect();
    assert!(tips.windows(2).all(|pair| pair[0] == pair[1]), "{tips:?}");
}
