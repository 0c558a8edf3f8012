//! Nodes on a pretend wire: virtual time, instant workers, disks in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use alloy_consensus::{SignableTransaction as _, TxEip1559, transaction::SignerRecoverable as _};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use trefoil_crypto::SecretKey;
use trefoil_ledger::{History, Journal, Ledger, Record};
use trefoil_mempool::{MempoolError, MempoolLimits};
use trefoil_node::{
    Call, Config, Done, Effects, Event, Input, Node, PeerCommand, Reply, To, WorkerJob, io::CallId,
};
use trefoil_types::{
    ChainSpec, Height, Kind, MemDisk, Message, Millis, PeerId, RecoveredBlock, Time, Transaction,
    TxEnvelope, decode_tx, spec::Staking,
};

pub const START: Time = Time(1_700_000_000_000);
const DELAY: Millis = Millis(3);

/// Whether a message from one node to another is lost.
pub type Loss = Box<dyn FnMut(usize, usize, &Message) -> bool>;

pub struct Cluster {
    pub now: Time,
    spec: Arc<ChainSpec>,
    disks: Vec<MemDisk>,
    running: Vec<Option<(Node, Journal)>>,
    wire: BTreeMap<(Time, u64), (usize, usize, Vec<u8>)>,
    sent: u64,
    /// Pairs that have no connection, the smaller first.
    cut: BTreeSet<(usize, usize)>,
    pub loss: Loss,
    pub blocks: Vec<BTreeMap<Height, Arc<RecoveredBlock>>>,
    pub blames: Vec<PeerCommand>,
    /// Whose blocks were praised for it.
    pub brought: Vec<PeerId>,
    pub equivocations: Vec<(usize, Event)>,
    replies: Vec<Reply>,
}

pub fn validator_key(n: usize) -> SecretKey {
    SecretKey::from_seed(&[n as u8 + 1; 32])
}

pub fn peer(n: usize) -> PeerId {
    PeerId(SecretKey::from_seed(&[n as u8 + 101; 32]).public())
}

fn wallet_key(n: u8) -> secp256k1::SecretKey {
    secp256k1::SecretKey::from_byte_array([n + 1; 32]).unwrap()
}

pub fn wallet(n: u8) -> Address {
    let secp = secp256k1::Secp256k1::new();
    let key = wallet_key(n).public_key(&secp).serialize_uncompressed();
    Address::from_raw_public_key(&key[1..])
}

/// A signed transfer of 1 wei from a wallet to the next.
pub fn transfer(from: u8, nonce: u64) -> TxEnvelope {
    transfer_with(from, nonce, 0)
}

/// One that carries so many bytes of nothing.
pub fn transfer_with(from: u8, nonce: u64, bytes: usize) -> TxEnvelope {
    let tx = TxEip1559 {
        chain_id: 7331,
        nonce,
        // 10 a byte (EIP-7623).
        gas_limit: 21_000 + 10 * bytes as u64,
        input: vec![0; bytes].into(),
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(wallet(from + 1)),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    let message = secp256k1::Message::from_digest(tx.signature_hash().0);
    let secp = secp256k1::Secp256k1::new();
    let signed = secp.sign_ecdsa_recoverable(message, &wallet_key(from));
    let (parity, bytes) = signed.serialize_compact();
    let signature = Signature::from_bytes_and_parity(&bytes, i32::from(parity) == 1);
    tx.into_signed(signature).into()
}

fn recover(raw: &Bytes) -> Result<Transaction, trefoil_types::TxError> {
    let tx = decode_tx(raw)?;
    let tx = tx.try_into_recovered().map_err(|_| trefoil_types::TxError::Signature)?;
    Ok(Arc::new(tx))
}

/// `validators` founders, wallets 0 to 9 with a thousand ether each.
pub fn spec(validators: usize) -> ChainSpec {
    let mut text = String::from(
        "name = \"t\"\nkind = \"consortium\"\nchain_id = 7331\ngenesis_time = 1699999000\n\
         gas_limit = 30000000\nbase_fee = 1000000000\nblock_interval_ms = 500\nidle_block_s = 60\n\
         [forks]\ncancun = 0\nprague = 0\nosaka = 0\n",
    );
    for n in 0..validators {
        let ca = SecretKey::from_seed(&[n as u8 + 201; 32]).public();
        text += &format!(
            "[[organisations]]\nname = \"org-{n}\"\nkeys = [\"{}\"]\nca_keys = [\"{ca}\"]\n\
             [[validators]]\nkey = \"{}\"\npower = 1\nfee_recipient = \"{}\"\n\
             node = \"{}\"\norganisation = \"org-{n}\"\n",
            wallet(n as u8),
            validator_key(n).public(),
            Address::repeat_byte(n as u8 + 1),
            peer(n),
        );
    }
    for n in 0..10 {
        text += &format!("[alloc.\"{}\"]\nbalance = \"0x3635c9adc5dea00000\"\n", wallet(n));
    }
    ChainSpec::from_toml(&text).unwrap()
}

/// As [`spec`], of a public network.
pub fn public(validators: usize) -> ChainSpec {
    let mut spec = spec(validators);
    spec.kind = Kind::Public;
    spec.organisations.clear();
    spec.staking = Some(Staking::default());
    for (n, validator) in spec.validators.iter_mut().enumerate() {
        (validator.node, validator.organisation) = (None, None);
        validator.owner = Some(wallet(n as u8));
    }
    spec
}

impl Cluster {
    /// All of `nodes` running and connected; the first of them validate.
    pub fn new(validators: usize, nodes: usize) -> Self {
        Self::with(spec(validators), nodes)
    }

    pub fn with(spec: ChainSpec, nodes: usize) -> Self {
        let mut cluster = Self {
            now: START,
            spec: Arc::new(spec),
            disks: (0..nodes).map(|_| MemDisk::default()).collect(),
            running: (0..nodes).map(|_| None).collect(),
            wire: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            loss: Box::new(|_, _, _| false),
            blocks: vec![BTreeMap::new(); nodes],
            blames: vec![],
            brought: vec![],
            equivocations: vec![],
            replies: vec![],
        };
        (0..nodes).for_each(|n| cluster.start(n));
        cluster
    }

    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn is_up(&self, n: usize) -> bool {
        self.running[n].is_some()
    }

    pub fn node(&self, n: usize) -> &Node {
        &self.running[n].as_ref().expect("a running node").0
    }

    pub fn height(&self, n: usize) -> Height {
        self.node(n).ledger().tip().number
    }

    /// Starts a node from what its disk holds and connects it.
    pub fn start(&mut self, n: usize) {
        let disk = Arc::new(self.disks[n].clone());
        let (journal, recovered) = Journal::open(disk.clone()).unwrap();
        let ledger = Ledger::open(disk, self.spec.clone(), History::Archive).unwrap();
        let is_validator = n < self.spec.validators.len();
        let config = Config {
            validator_key: is_validator.then(|| validator_key(n)),
            peer: peer(n),
            pool: MempoolLimits::default(),
        };
        let mut effects = Effects::default();
        let node = Node::open(config, ledger, recovered.records, self.now, &mut effects).unwrap();
        self.running[n] = Some((node, journal));
        self.carry_out(n, effects);
        for other in 0..self.len() {
            if other != n && self.is_up(other) && !self.cut.contains(&pair(n, other)) {
                self.step(n, Input::Connected(peer(other)));
                self.step(other, Input::Connected(peer(n)));
            }
        }
    }

    /// What the journal of a node that is not running holds.
    pub fn journalled(&self, n: usize) -> Vec<Record> {
        Journal::open(Arc::new(self.disks[n].clone())).unwrap().1.records
    }

    /// Adds to the journal of a node that is not running.
    pub fn journal(&self, n: usize, records: &[Record]) {
        let (mut journal, _) = Journal::open(Arc::new(self.disks[n].clone())).unwrap();
        journal.append(records).unwrap();
        journal.sync().unwrap();
    }

    /// Kills a node: what is on its way from or to it is lost.
    pub fn kill(&mut self, n: usize) {
        self.running[n] = None;
        self.wire.retain(|_, (from, to, _)| *from != n && *to != n);
        for other in 0..self.len() {
            if self.is_up(other) {
                self.step(other, Input::Disconnected(peer(n)));
            }
        }
    }

    /// Takes away the connection of two nodes.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert(pair(a, b));
        self.wire.retain(|_, (from, to, _)| pair(*from, *to) != pair(a, b));
        self.step(a, Input::Disconnected(peer(b)));
        self.step(b, Input::Disconnected(peer(a)));
    }

    /// Connects two nodes that were cut; `n` cannot judge the other yet.
    pub fn connect_unjudged(&mut self, n: usize, other: usize) {
        self.cut.remove(&pair(n, other));
        self.step(n, Input::ConnectedUnjudged(peer(other)));
        self.step(other, Input::Connected(peer(n)));
    }

    pub fn connect(&mut self, n: usize, other: usize) {
        self.step(n, Input::Disconnected(peer(other)));
        self.step(n, Input::Connected(peer(other)));
    }

    /// Makes a node believe that a killed one is connected again.
    pub fn pretend_connected(&mut self, n: usize, other: usize) {
        self.step(n, Input::Connected(peer(other)));
    }

    /// A message as if from one node to another.
    pub fn forge(&mut self, from: usize, to: usize, message: Message) {
        self.step(to, Input::Message { peer: peer(from), message });
    }

    pub fn submit(&mut self, n: usize, tx: TxEnvelope) -> Result<B256, MempoolError> {
        let tx = Arc::new(tx.try_into_recovered().unwrap());
        match self.call(n, Call::Submit(tx)) {
            Reply::Submitted(result) => result,
            other => panic!("not the reply to a submission: {other:?}"),
        }
    }

    pub fn call(&mut self, n: usize, call: Call) -> Reply {
        self.step(n, Input::Call { id: CallId(0), call });
        self.replies.pop().expect("calls are answered at once")
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Millis) {
        let end = self.now + span;
        self.run_until(end, |_| false);
    }

    /// Lets time pass until all that run are at `height`.
    ///
    /// # Panics
    /// If they are not within `span`.
    pub fn reach(&mut self, height: Height, span: Millis) {
        let there = |cluster: &Self| {
            let running = (0..cluster.len()).filter(|n| cluster.is_up(*n));
            running.into_iter().all(|n| cluster.height(n) >= height)
        };
        let end = self.now + span;
        self.run_until(end, there);
        let heights: Vec<Height> =
            (0..self.len()).filter(|n| self.is_up(*n)).map(|n| self.height(n)).collect();
        assert!(there(self), "not at height {height} within {span}: {heights:?}");
    }

    fn run_until(&mut self, end: Time, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let wire = self.wire.keys().next().map(|(at, _)| *at);
            let nodes = (0..self.len()).filter(|n| self.is_up(*n));
            let due = nodes.filter_map(|n| Some((self.node(n).deadline()?, n))).min();
            let next = wire.into_iter().chain(due.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if wire.is_some_and(|at| at <= next) {
                let (_, (from, to, bytes)) = self.wire.pop_first().unwrap();
                let message = Message::decode(&bytes).unwrap();
                self.step(to, Input::Message { peer: peer(from), message });
            } else if let Some((_, n)) = due {
                self.step(n, Input::Tick);
            }
        }
    }

    fn step(&mut self, n: usize, input: Input) {
        let mut effects = Effects::default();
        let (node, _) = self.running[n].as_mut().expect("a running node");
        node.step(self.now, input, &mut effects);
        self.carry_out(n, effects);
    }

    fn carry_out(&mut self, n: usize, effects: Effects) {
        let (_, journal) = self.running[n].as_mut().unwrap();
        journal.append(&effects.records).unwrap();
        journal.sync().unwrap();
        if let Some(height) = effects.prune_journal {
            journal.prune(height).unwrap();
        }
        for (to, message) in effects.sends {
            for other in (0..self.len()).filter(|other| *other != n) {
                let meant = match to {
                    To::Peer(to) => to == peer(other),
                    To::AllBut(except) => except != Some(peer(other)),
                };
                let linked = self.is_up(other) && !self.cut.contains(&pair(n, other));
                if meant && linked && !(self.loss)(n, other, &message) {
                    self.sent += 1;
                    let at = (self.now + DELAY, self.sent);
                    self.wire.insert(at, (n, other, message.encode()));
                }
            }
        }
        self.replies.extend(effects.replies.into_iter().map(|(_, reply)| reply));
        for order in effects.orders {
            match order {
                PeerCommand::Blame { .. } => self.blames.push(order),
                PeerCommand::Brought(peer) => self.brought.push(peer),
                PeerCommand::Admission(_) | PeerCommand::Credit(_) => {}
            }
        }
        for event in effects.events {
            match event {
                Event::Committed { block, .. } => self.committed(n, block),
                Event::Equivocation { .. } => self.equivocations.push((n, event)),
                Event::Admitted(_) => {}
            }
        }
        for job in effects.jobs {
            let done = match job {
                WorkerJob::Recover { id, txs } => {
                    Done::Recovered { id, txs: txs.iter().map(recover).collect() }
                }
                WorkerJob::Checkpoint(checkpoint) => Done::Checkpointed(checkpoint.run().unwrap()),
            };
            self.step(n, Input::Done(done));
        }
    }

    /// No two nodes, and no node before and after a crash, differ about a height.
    fn committed(&mut self, n: usize, block: Arc<RecoveredBlock>) {
        let height = block.header.number;
        for (other, blocks) in self.blocks.iter().enumerate() {
            if let Some(known) = blocks.get(&height) {
                assert_eq!(known.hash, block.hash, "nodes {n} and {other} at height {height}");
            }
        }
        self.blocks[n].insert(height, block);
    }

    /// The height at which a node made a transaction final.
    pub fn height_of(&self, n: usize, hash: &B256) -> Option<Height> {
        let (height, _) = self.node(n).ledger().snapshot().transaction(hash).unwrap()?;
        Some(height)
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}
