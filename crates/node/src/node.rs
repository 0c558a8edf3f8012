//! The node's parts, and how one input finds the one that it concerns.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use trefoil_consensus::{Consensus, Output, ReplayError, Timeouts};
use trefoil_crypto::SecretKey;
use trefoil_ledger::{Ledger, Record};
use trefoil_mempool::{Mempool, MempoolLimits};
use trefoil_types::{
    B256, Certificate, Height, Message, Offence, PeerId, PublicKey, Time, Transaction, TxError,
};

use crate::{
    Done, Effects, Input, Order, Status, To,
    bodies::Owed,
    candidates::Candidates,
    catchup::{CatchUp, Fetched},
    evidence::Pending,
    gossip::Gossip,
    hearing::Early,
    height::Pace,
    peers::Peer,
};

pub struct Config {
    /// This node's validator key, if it may validate.
    pub validator_key: Option<SecretKey>,
    /// This node's name on the network.
    pub peer: PeerId,
    pub pool: MempoolLimits,
}

/// Why the journal and the ledger of a data directory are no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("the journal goes on at height {height}, and the database ends before {next}")]
    Gap { height: Height, next: Height },
    #[error("the journal lacks the final block {hash} of height {height}")]
    Block { height: Height, hash: B256 },
    #[error("the journal's final block {hash} of height {height} is invalid here: {reason}")]
    Invalid { height: Height, hash: B256, reason: String },
    #[error("the journal does not continue this chain: {0}")]
    Consensus(#[from] ReplayError),
}

/// A whole node. See the crate's documentation for what always holds.
pub struct Node {
    pub(crate) me: PeerId,
    pub(crate) key: Option<PublicKey>,
    pub(crate) ledger: Ledger,
    pub(crate) consensus: Consensus,
    /// What consensus said and was not carried out yet.
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) pace: Pace,
    pub(crate) candidates: Candidates,
    pub(crate) owed: Owed,
    /// A final block whose body is not here yet.
    pub(crate) decided: Option<Certificate>,
    /// Consensus messages of the current height that were heard and verified, and
    /// whether they were handed on.
    pub(crate) seen: BTreeMap<B256, bool>,
    pub(crate) early: Early,
    /// The newest of what this node said of the current height.
    pub(crate) said: VecDeque<Arc<Message>>,
    pub(crate) pool: Mempool,
    pub(crate) gossip: Gossip,
    pub(crate) catch_up: CatchUp,
    /// Who belongs to the network.
    pub(crate) peers: BTreeMap<PeerId, Peer>,
    /// Who may, for all that this node knows: blocks are taken of them, nothing else.
    pub(crate) unjudged: BTreeMap<PeerId, Peer>,
    pub(crate) jobs: Jobs,
    /// Evidence that no block has carried yet.
    pub(crate) evidence: Pending,
}

/// What recovered transactions are for.
#[derive(Debug)]
pub(crate) enum Purpose {
    Gossip { peer: PeerId, hashes: Vec<B256> },
    Bodies { block: B256 },
    Blocks(Fetched),
}

/// Jobs that workers have not finished.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    next: u64,
    open: BTreeMap<u64, Purpose>,
}

impl Jobs {
    /// A name for a new job.
    pub fn open(&mut self, purpose: Purpose) -> u64 {
        self.next += 1;
        self.open.insert(self.next, purpose);
        self.next
    }
}

impl Node {
    /// A node on an opened ledger, with what its journal held: decided blocks
    /// are executed again, then consensus resumes where it stood.
    ///
    /// # Errors
    /// The journal does not continue the ledger, or contradicts itself.
    pub fn open(
        config: Config,
        ledger: Ledger,
        records: Vec<Record>,
        now: Time,
        effects: &mut Effects,
    ) -> Result<Self, OpenError> {
        let key = config.validator_key.as_ref().map(SecretKey::public);
        let consensus = Consensus::new(trefoil_consensus::Config {
            key: config.validator_key,
            network: ledger.genesis_hash(),
            timeouts: Timeouts::for_chain(ledger.spec()),
        });
        let mut node = Self {
            me: config.peer,
            key,
            consensus,
            outputs: VecDeque::new(),
            pace: Pace::new(ledger.spec(), ledger.tip(), now),
            ledger,
            candidates: Candidates::default(),
            owed: Owed::default(),
            decided: None,
            seen: BTreeMap::new(),
            early: Early::default(),
            said: VecDeque::new(),
            pool: Mempool::new(config.pool),
            gossip: Gossip::default(),
            catch_up: CatchUp::default(),
            peers: BTreeMap::new(),
            unjudged: BTreeMap::new(),
            jobs: Jobs::default(),
            evidence: Pending::default(),
        };
        node.recover(now, records, effects)?;
        effects.orders.extend(node.ledger.admission().map(Order::Admission));
        node.timers(now, effects);
        Ok(node)
    }

    pub fn step(&mut self, now: Time, input: Input, effects: &mut Effects) {
        match input {
            Input::Tick => {}
            Input::Connected(peer) => self.connected(now, peer, effects),
            Input::ConnectedUnjudged(peer) => self.connected_unjudged(now, peer),
            Input::Disconnected(peer) => self.disconnected(&peer),
            Input::Message { peer, message } => self.message(now, peer, message, effects),
            Input::Done(Done::Recovered { id, txs }) => self.recovered(now, id, txs, effects),
            Input::Done(Done::Checkpointed(done)) => {
                effects.prune_journal = Some(done.height);
                self.ledger.checkpointed(done);
            }
            Input::Call { id, call } => {
                let reply = self.call(now, call, effects);
                effects.replies.push((id, reply));
            }
        }
        self.timers(now, effects);
    }

    /// Does whatever is due by now; there may be nothing.
    fn timers(&mut self, now: Time, effects: &mut Effects) {
        if self.consensus.deadline().is_some_and(|due| due <= now) {
            let mut out = Vec::new();
            self.consensus.tick(now, &mut out);
            self.outputs.extend(out);
        }
        self.begin_if_due(now);
        self.build_if_due(now, effects);
        self.drive(now, effects);
        self.retry_bodies(now, effects);
        self.drive_catch_up(now, effects);
        self.gossip_if_due(now, effects);
        self.tell_tip_if_due(now, effects);
        self.drive(now, effects);
    }

    /// When to call [`Node::step`] with [`Input::Tick`] at the latest.
    pub fn deadline(&self) -> Option<Time> {
        [
            self.consensus.deadline(),
            self.begin_due(),
            self.build_due(),
            self.candidates.retry_due(),
            self.catch_up_due(),
            self.gossip.due(),
            self.tip_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The end of this node: what it leaves behind, for a last checkpoint.
    pub fn into_ledger(self) -> Ledger {
        self.ledger
    }

    pub fn status(&self) -> Arc<Status> {
        let (tip, set) = (self.ledger.tip(), self.ledger.next_validators());
        // A claim alone would let any stranger take this node out of service (`/readyz`).
        let proven = self.peers.values().filter(|peer| peer.delivers);
        let best = proven.filter_map(Peer::height).max();
        Arc::new(Status {
            height: tip.number,
            hash: self.ledger.tip_hash(),
            tip_at: self.pace.tip_at(),
            round: self.round(),
            peers: self.peers.len(),
            validators: set.len(),
            signers: self.ledger.tip_certificate().map_or(0, |c| c.signatures.len()),
            validating: self.is_validator(),
            syncing_to: best.filter(|best| *best > tip.number + 1 || self.catch_up.is_busy()),
            pool_pending: self.pool.pending(),
            pool_queued: self.pool.queued(),
            pool_bytes: self.pool.bytes(),
        })
    }

    fn message(&mut self, now: Time, peer: PeerId, message: Message, fx: &mut Effects) {
        // Its connection ends; what it sent until then is not read.
        if self.ledger.governed().members.shuns(&peer) {
            return;
        }
        if self.unjudged.contains_key(&peer) && !message.brings_blocks() {
            return;
        }
        match message {
            Message::Vote(_)
            | Message::Proposal(_)
            | Message::PolkaCertificate(_)
            | Message::RoundCertificate(_) => self.hear(now, peer, message, fx),
            Message::Tip(tip) => self.on_tip(now, peer, tip, fx),
            Message::GetBlocks(ask) => self.on_get_blocks(now, peer, ask, fx),
            Message::Blocks(blocks) => self.on_blocks(now, peer, blocks, fx),
            Message::GetBodies(ask) => self.on_get_bodies(peer, ask, fx),
            Message::Bodies(bodies) => self.on_bodies(now, peer, bodies, fx),
            Message::TxHashes(hashes) => self.on_tx_hashes(now, peer, hashes, fx),
            Message::GetTxs(hashes) => self.on_get_txs(peer, hashes, fx),
            Message::Txs(txs) => self.on_txs(peer, txs, fx),
            Message::Evidence(evidence) => self.on_evidence(now, peer, *evidence, fx),
        }
    }

    fn recovered(
        &mut self,
        now: Time,
        id: u64,
        txs: Vec<Result<Transaction, TxError>>,
        fx: &mut Effects,
    ) {
        match self.jobs.open.remove(&id) {
            Some(Purpose::Gossip { peer, hashes }) => {
                self.gossip_recovered(now, peer, &hashes, txs, fx);
            }
            Some(Purpose::Bodies { block }) => self.bodies_recovered(now, block, txs, fx),
            Some(Purpose::Blocks(fetched)) => self.blocks_recovered(fetched, txs, fx),
            None => {}
        }
    }

    /// The height after the tip: the one that consensus is about.
    pub(crate) fn next_height(&self) -> Height {
        self.ledger.tip().number + 1
    }

    pub(crate) fn is_validator(&self) -> bool {
        self.key.is_some_and(|key| self.ledger.next_validators().get(&key).is_some())
    }

    /// Whether every validator is surely connected to every other, as far as
    /// this node can see: it is one itself and has just the others as peers.
    /// Then everybody hears everything at first hand and nothing need be relayed.
    /// A public chain does not say which peer is which validator, and its nodes
    /// find each other as they can: there everything is relayed.
    pub(crate) fn is_meshed(&self) -> bool {
        let (governed, next) = (self.ledger.governed(), self.next_height());
        let nodes = &governed.members.nodes;
        let validates = |peer| nodes.get(peer).is_some_and(|node| node.validates(next));
        self.is_validator()
            && self.peers.len() + 1 == governed.validators.len()
            && self.peers.keys().all(validates)
    }
}

impl Effects {
    pub(crate) fn send(&mut self, peer: PeerId, message: Message) {
        self.sends.push((To::Peer(peer), Arc::new(message)));
    }

    pub(crate) fn broadcast(&mut self, message: Message) {
        self.sends.push((To::AllBut(None), Arc::new(message)));
    }

    /// A misdeed in what only the peer itself can have made.
    pub(crate) fn blame(&mut self, peer: PeerId, offence: Offence) {
        self.orders.push(Order::Blame { peer, offence, relayed: false });
    }

    /// A misdeed in what peers hand on for each other.
    pub(crate) fn blame_relay(&mut self, peer: PeerId, offence: Offence) {
        self.orders.push(Order::Blame { peer, offence, relayed: true });
    }
}
