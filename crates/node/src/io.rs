//! The node's inputs and effects: all of it plain data.

use std::sync::Arc;

use alloy_primitives::Bytes;
use trefoil_ledger::{Checkpoint, CheckpointDone, Record, Snapshot};
use trefoil_mempool::MempoolError;
use trefoil_types::{
    Address, Admission, B256, ByteBudget, Height, Message, MessageRule, Offence, PeerId, PublicKey,
    Receipt, RecoveredBlock, Round, Time, Transaction, TxError, message::Lane,
};

/// Names a caller's request so that its reply finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Everything that can happen to a node.
#[derive(Debug)]
pub enum Input {
    /// Time passed; see `Node::deadline`.
    Tick,
    /// A peer of this network is connected and sent its hello.
    Connected(PeerId),
    /// A peer is connected, and this node cannot judge yet whether it is a member. It may bring
    /// blocks, and is sent nothing but requests for them.
    ConnectedUnjudged(PeerId),
    Disconnected(PeerId),
    Message {
        peer: PeerId,
        message: Message,
    },
    Done(Done),
    Call {
        id: CallId,
        call: Call,
    },
}

/// Work for a worker thread; needs no state of the node.
#[derive(Debug)]
pub enum WorkerJob {
    Recover(RecoveryJob),
    /// Make the ledger's memory durable.
    Checkpoint(Box<Checkpoint>),
}

/// Decode and recover senders (libsecp256k1), in parallel.
#[derive(Debug)]
pub struct RecoveryJob {
    pub id: u64,
    /// The peer that gossiped them. `None`: they are of a proposal or of block sync, which wait for
    /// no gossip.
    pub from: Option<PeerId>,
    pub txs: Vec<Bytes>,
}

/// A finished [`WorkerJob`].
#[derive(Debug)]
pub enum Done {
    /// In the order of the job's transactions.
    Recovered {
        id: u64,
        txs: Vec<Result<Transaction, TxError>>,
    },
    /// Not recovered: others that its peer sent are no transactions.
    Refused {
        id: u64,
    },
    Checkpointed(CheckpointDone),
}

/// A call of JSON-RPC or the command line to the node itself. Reads of the chain go to a
/// [`Snapshot`] instead.
#[derive(Debug)]
pub enum Call {
    /// A transaction from a wallet, its sender already recovered.
    Submit(Transaction),
    /// The pool's view of an account: the nonce that follows its pooled run.
    PendingNonce(Address),
    PooledTransaction(B256),
    PoolContent,
    /// The connected peers, and the height that each claims.
    Peers,
}

#[derive(Debug)]
pub enum Reply {
    Submitted(Result<B256, MempoolError>),
    PendingNonce(u64),
    PooledTransaction(Option<Transaction>),
    PoolContent { pending: Vec<Transaction>, queued: Vec<Transaction> },
    Peers(Vec<PeerStatus>),
}

/// The effects of a step. The shell appends and syncs `records` first if there is anything else
/// to carry out: journal before speech.
#[derive(Debug, Default)]
pub struct Effects {
    pub records: Vec<Record>,
    pub sends: Vec<(To, Arc<Message>)>,
    pub orders: Vec<PeerCommand>,
    pub jobs: Vec<WorkerJob>,
    pub replies: Vec<(CallId, Reply)>,
    pub events: Vec<Event>,
    /// The journal may drop what is of this height or lower.
    pub prune_journal: Option<Height>,
}

impl Effects {
    pub(crate) fn send(&mut self, peer: PeerId, message: Message) {
        self.sends.push((To::Peer(peer), Arc::new(message)));
    }

    /// Sends to every peer, but not to the one that a message came from.
    pub(crate) fn broadcast(&mut self, from: Option<PeerId>, message: impl Into<Arc<Message>>) {
        self.sends.push((To::AllBut(from), message.into()));
    }

    /// Blames a peer for a message that only it can have made.
    pub(crate) fn blame(&mut self, peer: PeerId, offence: Offence) {
        self.orders.push(PeerCommand::Blame { peer, offence, relayed: false });
    }

    /// Whether a peer was blamed after the first so many orders.
    pub(crate) fn blames_since(&self, orders: usize, peer: &PeerId) -> bool {
        self.orders[orders..].iter().any(|order| {
            let PeerCommand::Blame { peer: blamed, .. } = order else { return false };
            blamed == peer
        })
    }

    /// Slows down a peer for an answer of so many bytes and transactions that brings nothing.
    pub(crate) fn note_unasked(&mut self, peer: PeerId, lane: Lane, bytes: usize, txs: usize) {
        let signatures = 1.max(bytes / BYTES_PER_SIGNATURE).max(txs / TXS_PER_SIGNATURE);
        self.orders.push(PeerCommand::Unasked { peer, lane, signatures });
    }

    /// Blames a peer for a message of a kind that peers relay for each other.
    pub(crate) fn blame_relay(&mut self, peer: PeerId, offence: Offence) {
        self.orders.push(PeerCommand::Blame { peer, offence, relayed: true });
    }
}

/// The receivers of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    Peer(PeerId),
    /// Every connected peer, but not the one it came from.
    AllBut(Option<PeerId>),
}

/// An order to the network about peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerCommand {
    /// The peers that may connect, and stay connected, from now on. Comes when the node
    /// opens and with each block, on networks of members.
    Admission(Admission),
    /// The shell keeps the score and bans. For a message that was `relayed` (made by others) it
    /// bans no validator and no configured peer. Otherwise one hole in the rule that an honest
    /// node relays only verified messages would let a stranger set the validators against each
    /// other.
    Blame { peer: PeerId, offence: Offence, relayed: bool },
    /// A block of a peer that cannot be judged yet was verified and committed: the peer may
    /// stay.
    Brought(PeerId),
    /// A block is final with so many transactions that the peer was the first to bring.
    Credit { peer: PeerId, txs: usize },
    /// The peer was the first to bring a valid proposal, or brought a final block.
    CreditBlock(PeerId),
    /// The peer sent an answer that brought nothing. It may only be late, so that it is no
    /// offence: the lane is read more slowly if that goes on. `signatures` could have been
    /// verified in the time that the answer took.
    Unasked { peer: PeerId, lane: Lane, signatures: usize },
}

// Attack: answers that nobody asked for, about blocks that nobody knows. An honest answer may come
// when its height is over; one of the longest is 234.
/// So many bytes, or transactions, take as long to read and decode as a signature to verify (32 µs,
/// estimated).
const BYTES_PER_SIGNATURE: usize = 64 * 1024;
const TXS_PER_SIGNATURE: usize = 128;

/// News for observers: RPC subscriptions, metrics, the devnet's line.
#[derive(Clone, Debug)]
pub enum Event {
    /// A block became final. `snapshot` shows it; publish that before anyone
    /// can learn of the block.
    Committed { block: Arc<RecoveredBlock>, receipts: Arc<Vec<Receipt>>, snapshot: Snapshot },
    /// A transaction entered the pool.
    Admitted(Transaction),
    /// A validator signed two conflicting statements.
    Equivocation { height: Height, validator: PublicKey },
    /// This validator's key signed for a round elsewhere: on another machine, or before this
    /// disk's copy was made. This node signs nothing up to that round.
    SignedElsewhere { height: Height, round: Round },
}

/// Where the node stands, for `status`, `/metrics` and the devnet's line.
#[derive(Clone, Debug, Default)]
pub struct NodeStatus {
    pub height: Height,
    pub hash: B256,
    /// When the tip was committed here.
    pub tip_at: Time,
    pub round: Round,
    pub peers: usize,
    pub validators: usize,
    /// How many signatures the tip's certificate holds.
    pub signers: usize,
    /// Validators whose last turns to propose came to nothing here, and how many in a row.
    pub failed_turns: Vec<(PublicKey, u32)>,
    /// The key with which this node signs in the next height; `None`: it does not validate.
    pub validator: Option<PublicKey>,
    /// The highest tip that a peer claims whose blocks have verified, when it is ahead
    /// of ours.
    pub syncing_to: Option<Height>,
    pub pool_pending: usize,
    pub pool_queued: usize,
    pub pool_bytes: usize,
}

/// What a node holds for its peers in one place.
#[derive(Clone, Copy, Debug)]
pub struct PeerHoldings {
    pub rule: &'static MessageRule,
    /// What it may hold there.
    pub budget: ByteBudget,
    pub all: usize,
    /// The most of one peer, where peers are told apart.
    pub of_one: usize,
    /// Of peers that are gone, where nothing should be of them: 0.
    pub of_gone: usize,
}

#[derive(Clone, Debug)]
pub struct PeerStatus {
    pub peer: PeerId,
    pub height: Height,
    pub connected_since: Time,
}
