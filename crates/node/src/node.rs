//! The node's parts, and how one input finds the one that it concerns.
//!
//! Each part is a type of its own with private fields, in a file of its own, and sees no
//! other part. The files of `node/` pass values from one part to another. Two parts keep such
//! a value: a candidate block keeps the fetch of its missing transactions, and an open job
//! keeps the blocks of block sync that it recovers.

mod building;
mod calls;
mod commit;
mod consensus_messages;
mod evidence;
mod fetch;
mod peers;
mod proposals;
mod recovery;
mod sync;
mod transactions;

use std::sync::Arc;

use trefoil_consensus::{Consensus, Output, ReplayError, Timeouts};
use trefoil_crypto::SecretKey;
use trefoil_ledger::{Ledger, Record};
use trefoil_mempool::{Mempool, MempoolLimits};
use trefoil_types::{
    B256, ByteBudget, Certificate, Height, Message, MessageRule, Offence, PeerId, PublicKey, Time,
    Transaction, TxError, message_rule as rules,
};

use crate::{
    Done, Effects, Input, NodeStatus, PeerCommand, PeerHoldings,
    block_index::BlockIndex,
    block_producer::BlockProducer,
    block_requests::BlockRequests,
    block_sync::BlockSync,
    candidates::Candidates,
    early_messages::EarlyMessages,
    evidence_pool::EvidencePool,
    height_messages::HeightMessages,
    jobs::{Jobs, RecoveryPurpose},
    peer_bytes::{AnswerBudgets, PeerBytes},
    peers::PeerSet,
    pending_requests::PendingRequests,
    tx_gossip::TxGossip,
};

pub struct Config {
    /// This node's validator keys, oldest first, if it may validate: two during a rotation.
    pub validator_keys: Vec<SecretKey>,
    /// This node's name on the network.
    pub peer: PeerId,
    pub pool: MempoolLimits,
}

/// The reason that no node can open on a journal and a ledger.
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
    me: PeerId,
    ledger: Ledger,
    consensus: Consensus,
    /// Outputs of consensus that are not carried out yet.
    outputs: Vec<Output>,
    height: HeightState,
    pool: Mempool,
    tx_gossip: TxGossip,
    block_sync: BlockSync,
    block_requests: BlockRequests,
    answers: AnswerBudgets,
    peers: PeerSet,
    jobs: Jobs,
    evidence: EvidencePool,
}

/// The state of the height after the tip, and of no other. A commit replaces it whole, so that
/// nothing of a height that is over can remain.
#[derive(Default)]
struct HeightState {
    producer: BlockProducer,
    candidates: Candidates,
    requests: PendingRequests,
    messages: HeightMessages,
    /// Messages of the height after this one.
    early: EarlyMessages,
    /// Messages of this height that came before it began.
    due: EarlyMessages,
    /// The tip, if a peer asked for some of its transactions.
    tip_index: Option<Arc<BlockIndex>>,
    /// The certificate of a final block whose body is not here yet.
    decided: Option<Certificate>,
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
        let consensus = Consensus::new(trefoil_consensus::Config {
            keys: config.validator_keys,
            network: ledger.genesis_hash(),
            timeouts: Timeouts::for_chain(ledger.spec()),
        });
        let producer = BlockProducer::new(ledger.spec(), ledger.tip(), now);
        let mut node = Self {
            me: config.peer,
            consensus,
            outputs: Vec::new(),
            height: HeightState { producer, ..Default::default() },
            ledger,
            pool: Mempool::new(config.pool),
            tx_gossip: TxGossip::default(),
            block_sync: BlockSync::default(),
            block_requests: BlockRequests::default(),
            answers: AnswerBudgets::default(),
            peers: PeerSet::new(now),
            jobs: Jobs::default(),
            evidence: EvidencePool::default(),
        };
        node.recover(now, records, effects)?;
        effects.orders.extend(node.ledger.admission().map(PeerCommand::Admission));
        node.tick(now, effects);
        Ok(node)
    }

    pub fn step(&mut self, now: Time, input: Input, effects: &mut Effects) {
        // Consensus judges a proposal as soon as it has it, by what it knows of the block.
        self.answer_timely(now, effects);
        match input {
            Input::Tick => {}
            Input::Connected(peer) => self.connected(now, peer, effects),
            Input::ConnectedUnjudged(peer) => self.connected_unjudged(now, peer),
            Input::Disconnected(peer) => self.disconnected(now, &peer),
            Input::Message { peer, message } => self.message(now, peer, message, effects),
            Input::Done(Done::Recovered { id, txs }) => self.recovered(now, id, txs, effects),
            Input::Done(Done::Refused { id }) => {
                if let Some(RecoveryPurpose::Gossip { peer, hashes }) = self.jobs.close(id) {
                    self.tx_gossip.note_refused(&peer, &hashes);
                }
            }
            Input::Done(Done::Checkpointed(done)) => {
                effects.prune_journal = Some(done.height);
                self.ledger.checkpointed(done);
            }
            Input::Call { id, call } => {
                let reply = self.call(now, call, effects);
                effects.replies.push((id, reply));
            }
        }
        self.tick(now, effects);
    }

    /// Does everything that is due by now.
    fn tick(&mut self, now: Time, effects: &mut Effects) {
        if self.consensus.deadline().is_some_and(|due| due <= now) {
            self.consensus.tick(now, &mut self.outputs);
        }
        if self.begin_due().is_some_and(|due| due <= now) {
            self.begin_next_height(now);
        }
        self.build_if_due(now, effects);
        self.handle_outputs(now, effects);
        self.take_early_messages(now, effects);
        self.handle_outputs(now, effects);
        self.retry_transactions(now, effects);
        self.sync_blocks(now, effects);
        self.gossip_if_due(now, effects);
        if self.peers.tip_due().is_some_and(|due| due <= now) {
            self.announce_tip(now, effects);
        }
        self.handle_outputs(now, effects);
    }

    /// When to call [`Node::step`] with [`Input::Tick`] at the latest.
    pub fn deadline(&self) -> Option<Time> {
        [
            self.consensus.deadline(),
            (!self.height.due.is_empty()).then_some(Time(0)),
            self.begin_due(),
            self.build_due(),
            self.height.candidates.retry_due(),
            self.height.candidates.timely_due(),
            self.block_sync.due(self.sync_position()),
            self.block_requests.due(),
            self.tx_gossip.due(),
            self.peers.tip_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Ends this node, and gives its ledger for a last checkpoint.
    pub fn into_ledger(self) -> Ledger {
        self.ledger
    }

    pub fn status(&self) -> Arc<NodeStatus> {
        let (tip, set) = (self.ledger.tip(), self.ledger.next_validators());
        let best = self.block_sync.proven_height();
        let is_busy = self.block_sync.is_busy(self.next_height());
        Arc::new(NodeStatus {
            height: tip.number,
            hash: self.ledger.tip_hash(),
            tip_at: self.height.producer.tip_at(),
            round: self.round(),
            peers: self.peers.members().len(),
            validators: set.len(),
            signers: self.ledger.tip_certificate().map_or(0, |c| c.signatures.len()),
            failed_turns: self.consensus.failed_turns().collect(),
            validator: self.validator(),
            syncing_to: best.filter(|best| *best > tip.number + 1 || is_busy),
            pool_pending: self.pool.pending(),
            pool_queued: self.pool.queued(),
            pool_bytes: self.pool.bytes(),
        })
    }

    /// The bytes that this node holds for its peers.
    pub fn held_bytes(&self) -> Vec<PeerHoldings> {
        let HeightState { early, due, candidates, requests, .. } = &self.height;
        let alternates = candidates.alternate_bytes();
        let (votes, proposals) = (rules::VOTE.held, rules::PROPOSAL.held.half());
        let of_connected = [
            (&rules::VOTE, votes, early.vote_bytes()),
            (&rules::VOTE, votes, due.vote_bytes()),
            (&rules::PROPOSAL, proposals, early.proposal_bytes()),
            (&rules::PROPOSAL, proposals, due.proposal_bytes()),
            (&rules::GET_BODIES, rules::GET_BODIES.held, requests.held()),
        ];
        // These stay for a moment, or the height, when their peer is gone.
        let of_any = [
            (&rules::PROPOSAL, proposals, &alternates),
            (&rules::TX_HASHES, rules::TX_HASHES.held, self.tx_gossip.wanted_bytes()),
            (&rules::TXS, rules::TXS.held, self.tx_gossip.recovering_bytes()),
        ];
        let held = |(rule, budget, held): (&'static MessageRule, ByteBudget, &PeerBytes)| {
            let of_one = held.by_peer().map(|(_, bytes)| bytes).max().unwrap_or(0);
            PeerHoldings { rule, budget, all: held.all(), of_one, of_gone: 0 }
        };
        let of_connected = of_connected.map(|place| {
            let gone = place.2.by_peer().filter(|(peer, _)| !self.peers.is_member(peer));
            PeerHoldings { of_gone: gone.map(|(_, bytes)| bytes).sum(), ..held(place) }
        });
        let (rule, budget, all) = (&rules::BODIES, rules::BODIES.held, candidates.fetched_bytes());
        let bodies = PeerHoldings { rule, budget, all, of_one: 0, of_gone: 0 };
        of_connected.into_iter().chain(of_any.map(held)).chain([bodies]).collect()
    }

    fn message(&mut self, now: Time, peer: PeerId, message: Message, effects: &mut Effects) {
        // Its connection is about to end: nothing that it sent until then is read.
        if self.ledger.governed().members.shuns(&peer) {
            return;
        }
        // A peer that cannot be judged may be an outsider: it may bring blocks, which prove
        // themselves, and nothing that costs this node a vote, memory or an answer.
        if self.peers.is_unjudged(&peer) && !message.brings_blocks() {
            return;
        }
        match message {
            Message::Vote(_)
            | Message::Proposal(_)
            | Message::PolkaCertificate(_)
            | Message::RoundCertificate(_) => {
                self.on_consensus_message(now, peer, message, effects);
            }
            Message::Tip(tip) => self.on_tip(now, peer, tip, effects),
            Message::GetBlocks(ask) => self.on_get_blocks(now, peer, ask, effects),
            Message::Blocks(blocks) => self.on_blocks(now, peer, blocks, effects),
            Message::GetBodies(ask) => self.on_get_bodies(now, peer, ask, effects),
            Message::Bodies(bodies) => self.on_bodies(now, peer, bodies, effects),
            Message::TxHashes(hashes) => {
                let peers = self.peers.members().len();
                self.tx_gossip.on_tx_hashes(now, peer, peers, hashes, &self.pool, effects);
            }
            Message::GetTxs(hashes) => self.on_get_txs(now, peer, &hashes, effects),
            Message::Txs(txs) => self.on_txs(peer, txs, effects),
            Message::Evidence(evidence) => self.on_evidence(now, peer, *evidence, effects),
        }
    }

    fn recovered(
        &mut self,
        now: Time,
        id: u64,
        txs: Vec<Result<Transaction, TxError>>,
        effects: &mut Effects,
    ) {
        match self.jobs.close(id) {
            Some(RecoveryPurpose::Gossip { peer, hashes }) => {
                self.gossip_recovered(now, peer, &hashes, txs, effects);
            }
            Some(RecoveryPurpose::Proposal { block, list_from }) => {
                self.bodies_recovered(now, block, list_from, txs, effects);
            }
            Some(RecoveryPurpose::BlockSync(fetched)) => {
                if let Err(peer) = self.block_sync.on_recovered(fetched, txs) {
                    effects.blame(peer, Offence::Malformed);
                }
            }
            None => {}
        }
    }

    /// The height after the tip: the one that consensus is about.
    fn next_height(&self) -> Height {
        self.ledger.tip().number + 1
    }

    /// The key with which this node signs in the next height, if it validates.
    fn validator(&self) -> Option<PublicKey> {
        self.consensus.key_in(self.ledger.next_validators())
    }

    /// Whether every validator is surely connected to every other, as far as
    /// this node can see: it is one itself and has just the others as peers.
    /// Then every node gets each message at first hand, and nothing need be relayed.
    /// A public chain does not know which peer is which validator, and its nodes
    /// find each other as they can: there everything is relayed.
    fn is_meshed(&self) -> bool {
        let (governed, next) = (self.ledger.governed(), self.next_height());
        let nodes = &governed.members.nodes;
        let validates = |peer: &PeerId| nodes.get(peer).is_some_and(|node| node.validates(next));
        self.validator().is_some()
            && self.peers.members().len() + 1 == governed.validators.len()
            && self.peers.members().all(validates)
    }
}
