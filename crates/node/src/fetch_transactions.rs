//! Missing transactions: a proposal names hashes, and the node fetches those that its pool
//! lacks.
//!
//! A few are asked of the peer that sent the proposal. If all nodes lack many, the uplink
//! of that peer would be the limit: then each node asks it for a share only, and the other
//! nodes for theirs, so that the peer sends each transaction about once. A transaction
//! proves itself by its hash, so it is passed on as it comes (`docs/adr/0022`).
//!
//! Owns: for one block, which transactions are missing and which peer was asked for which;
//! and the requests of peers for what is not here yet. It must never know: whether the
//! block is valid.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use alloy_eips::Encodable2718;
use alloy_primitives::Bytes;
use trefoil_types::{
    B256, Message, Millis, PeerId, RecoveredBlock, Time, Transaction, keccak256,
    message::{Bodies, GetBodies, ProposedBlock},
};

use crate::{Effects, pieces::pieces};

// Gossip holds a transaction back for up to 10 ms, and its recovery takes up to 20 ms.
// To ask at once would have busy nodes send and recover twice what waits in a queue already.
/// How long missing transactions are left to come by gossip before they are asked for.
const GRACE: Millis = Millis(30);

// Three round trips of 100 ms: a peer that has them answers in one.
/// How long a peer has to send missing transactions before another is asked.
const WAIT: Millis = Millis(300);

// A share comes in two steps: the sender gives it to a validator, and that one passes it on.
// A second is three waits for one step (`WAIT`); see `docs/adr/0022`.
/// The same when all share: what they give has to come to them first.
const SHARED_WAIT: Millis = Millis(1_000);

// 12 × 300 ms are longer than the longest round of a network of 500 ms blocks: a proposal
// that nobody can complete must not hold its place for a whole height.
/// How often missing transactions are asked for while none comes.
const TRIES_MAX: u32 = 12;

// 100 ms of a 10 Mbit/s uplink: below that a second step costs more than it saves.
/// Less than so many bytes is asked of one peer: sharing costs a step more.
const SHARED_BYTES_MIN: u64 = 128 * 1024;

// An answer has at most 2 MiB (`TXS_BYTES_MAX`), and what is on its way when a block is
// made whole otherwise is wasted.
/// About so much is asked of one peer at once.
const OPEN_BYTES_MAX: u64 = 1024 * 1024;

// Attack: the list of hashes is not signed, so anyone can send a false copy of a good
// proposal. True copies come from every honest peer: one of a few is enough.
/// Differing copies of one proposal that are kept in reserve.
const ALTERNATES_MAX: usize = 4;

// 64 KiB are 50 ms of a 10 Mbit/s uplink.
/// An answer is cut into messages of so many bytes, or one transaction, so that a peer that
/// passes it on can begin.
const PIECE_BYTES: usize = 64 * 1024;

// Attack: requests for what is not here, which would be remembered for ever. Two blocks
// of the largest number of transactions; what is over the bound is asked for again.
/// Transactions that peers wait for here, all together.
const PENDING_MAX: usize = 65_536;

/// A block whose transactions are not all here.
#[derive(Debug)]
pub(crate) struct MissingTransactions {
    proposed: ProposedBlock,
    txs: Vec<Option<Transaction>>,
    /// Where each hash that is missing belongs.
    wanted: BTreeMap<B256, Vec<usize>>,
    /// Hashes out for recovery of their senders.
    recovering: BTreeSet<B256>,
    /// The peer that sent the list of hashes, and answers for it.
    from: PeerId,
    timely: bool,
    /// When it is time to ask for them (again).
    ask_at: Time,
    /// What was asked for and did not come, and of which peer.
    open: BTreeMap<B256, PeerId>,
    /// The peers that gave some of it.
    gave: BTreeSet<PeerId>,
    /// The peers that are thought to give nothing.
    mute: BTreeSet<PeerId>,
    /// When some came last.
    moved_at: Time,
    /// The peer whose turn it is to be asked: the sender of the list, then each other.
    turn: u32,
    /// How often something was asked for since something came.
    tries: u32,
    /// Copies of the proposal with other lists of hashes, the oldest first: a peer lies.
    alternates: VecDeque<(PeerId, ProposedBlock)>,
}

/// The peers that missing transactions can be asked of.
pub(crate) struct Givers {
    pub me: PeerId,
    /// All members that are connected, in order.
    pub members: Vec<PeerId>,
    /// Those that fetch the same, this node among them if it validates, in order: the
    /// validators, where the chain says which nodes validate; else all members.
    pub sharers: Vec<PeerId>,
}

impl MissingTransactions {
    pub fn new(
        proposed: ProposedBlock,
        from: PeerId,
        timely: bool,
        now: Time,
        known: impl Fn(&B256) -> Option<Transaction>,
    ) -> Self {
        let ask_at = now + GRACE;
        let mut wanted: BTreeMap<B256, Vec<usize>> = BTreeMap::new();
        let txs: Vec<Option<Transaction>> = proposed.tx_hashes.iter().map(known).collect();
        for (at, hash) in proposed.tx_hashes.iter().enumerate() {
            if txs[at].is_none() {
                wanted.entry(*hash).or_default().push(at);
            }
        }
        Self {
            proposed,
            txs,
            wanted,
            recovering: BTreeSet::new(),
            from,
            timely,
            ask_at,
            open: BTreeMap::new(),
            gave: BTreeSet::new(),
            mute: BTreeSet::new(),
            moved_at: ask_at,
            turn: 0,
            tries: 0,
            alternates: VecDeque::new(),
        }
    }

    /// The peer that sent the list of hashes, and answers for it.
    pub fn sender(&self) -> PeerId {
        self.from
    }

    /// Whether the block's timestamp was not too far ahead when it came.
    pub fn is_timely(&self) -> bool {
        self.timely
    }

    /// When it is time to ask for them (again).
    pub fn retry_due(&self) -> Time {
        self.ask_at
    }

    pub fn is_whole(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The block, made of what came. It must be whole.
    pub fn assemble(&mut self) -> RecoveredBlock {
        let txs: Vec<Transaction> = self.txs.drain(..).flatten().collect();
        RecoveredBlock::new(self.proposed.header.clone(), txs, self.proposed.attached.clone())
    }

    /// Another copy of the proposal. The list of hashes is not signed; if the one we
    /// follow is false, this may be the true one.
    pub fn keep_alternate(&mut self, from: PeerId, proposed: ProposedBlock) {
        if self.proposed.tx_hashes != proposed.tx_hashes && self.alternates.len() < ALTERNATES_MAX {
            self.alternates.push_back((from, proposed));
        }
    }

    pub fn into_alternates(self) -> VecDeque<(PeerId, ProposedBlock)> {
        self.alternates
    }

    pub fn set_alternates(&mut self, alternates: VecDeque<(PeerId, ProposedBlock)>) {
        self.alternates = alternates;
    }

    /// How many bytes a transaction has on average, as the proposal says.
    fn tx_bytes(&self) -> u64 {
        self.proposed.bytes / (self.proposed.tx_hashes.len() as u64).max(1)
    }

    /// Puts a transaction where it is missing; whether it was.
    fn fill(&mut self, tx: &Transaction) -> bool {
        self.open.remove(tx.tx_hash());
        let Some(places) = self.wanted.remove(tx.tx_hash()) else { return false };
        for at in places {
            self.txs[at] = Some(tx.clone());
        }
        true
    }

    /// Asks for what is missing, but for what is asked for already, and for what
    /// is being recovered and so is about to come.
    pub fn ask(
        &mut self,
        now: Time,
        givers: &Givers,
        is_recovering: impl Fn(&B256) -> bool,
        effects: &mut Effects,
    ) {
        let block = self.proposed.proposal.block;
        let sharers = self.sharers(givers);
        let asked = self.whose_turn(givers);
        let giver_of = |at: usize| match &sharers[..] {
            [] => asked,
            sharers => match sharers[at % sharers.len()] {
                peer if peer == givers.me || self.mute.contains(&peer) => self.from,
                peer => peer,
            },
        };
        let open_max = (OPEN_BYTES_MAX / self.tx_bytes().max(1)).max(1) as usize;
        let mut open = BTreeMap::<PeerId, usize>::new();
        self.open.values().for_each(|peer| *open.entry(*peer).or_default() += 1);
        let mut asks = BTreeMap::<PeerId, Vec<B256>>::new();
        for (tx, places) in &self.wanted {
            let coming = self.recovering.contains(tx) || is_recovering(tx);
            let peer = giver_of(places[0]);
            let open = open.entry(peer).or_default();
            if !coming && *open < open_max && !self.open.contains_key(tx) {
                *open += 1;
                asks.entry(peer).or_default().push(*tx);
            }
        }
        self.tries += u32::from(!asks.is_empty());
        self.ask_at = now + WAIT;
        for (peer, tx_hashes) in asks {
            self.open.extend(tx_hashes.iter().map(|tx| (*tx, peer)));
            effects.send(peer, Message::GetBodies(GetBodies { block, tx_hashes }));
        }
    }

    /// The sender of the list, then each other member, and again.
    fn whose_turn(&self, givers: &Givers) -> PeerId {
        let others = givers.members.iter().filter(|peer| **peer != self.from);
        let turn = self.turn as usize % (others.clone().count() + 1);
        let other = turn.checked_sub(1).and_then(|at| others.copied().nth(at));
        other.unwrap_or(self.from)
    }

    /// The peers that fetch a share each from the sender of the proposal, all in the
    /// same order; none if little is missing, or sharing was tried in vain.
    fn sharers(&self, givers: &Givers) -> Vec<PeerId> {
        let bytes = self.tx_bytes().saturating_mul(self.wanted.len() as u64);
        if self.turn > 0 || bytes < SHARED_BYTES_MIN {
            return vec![];
        }
        let sharers = givers.sharers.iter().copied().filter(|peer| *peer != self.from);
        let sharers: Vec<PeerId> = sharers.collect();
        if sharers.len() < 2 { vec![] } else { sharers }
    }

    /// Forgets what was asked in vain, so that it is asked of others; whether it is
    /// worth asking again. While all share, a validator that gave nothing though the own
    /// share is here is mute, and the others have longer. Otherwise it is the next peer's
    /// turn.
    pub fn give_up_late(&mut self, now: Time) -> bool {
        let worth_asking = self.tries < TRIES_MAX;
        if self.open.is_empty() {
            return worth_asking;
        }
        let sharing = self.turn == 0 && self.open.values().any(|peer| *peer != self.from);
        if sharing && !self.open.values().any(|peer| *peer == self.from) {
            let silent = self.open.values().filter(|peer| !self.gave.contains(peer));
            self.mute.extend(silent);
        }
        if sharing && now.since(self.moved_at) < SHARED_WAIT {
            self.open.retain(|_, peer| !self.mute.contains(peer));
        } else {
            self.open.clear();
            self.turn += 1;
        }
        worth_asking
    }

    /// Transactions from a peer; those of them that are missing are to be recovered. They
    /// prove themselves by their hash, so peers that wait for them here get them at once.
    pub fn on_answer(
        &mut self,
        now: Time,
        peer: PeerId,
        txs: Vec<Bytes>,
        requests: &mut PendingRequests,
        effects: &mut Effects,
    ) -> Vec<Bytes> {
        let block = self.proposed.proposal.block;
        let mut wanted = Vec::new();
        let mut relayed = BTreeMap::<PeerId, Vec<Bytes>>::new();
        for raw in txs {
            let hash = keccak256(&raw);
            self.open.remove(&hash);
            if self.wanted.contains_key(&hash) && self.recovering.insert(hash) {
                for peer in requests.take(&block, &hash) {
                    relayed.entry(peer).or_default().push(raw.clone());
                }
                wanted.push(raw);
            }
        }
        for (peer, txs) in relayed {
            send_pieces(peer, block, txs, effects);
        }
        if !wanted.is_empty() {
            self.gave.insert(peer);
            (self.tries, self.moved_at) = (0, now);
        }
        wanted
    }

    /// Transactions arrived, by whatever way; whether that made the block whole.
    pub fn on_transactions(
        &mut self,
        txs: &[Transaction],
        requests: &mut PendingRequests,
        effects: &mut Effects,
    ) -> bool {
        let block = self.proposed.proposal.block;
        let mut filled = false;
        for tx in txs {
            filled |= self.fill(tx);
            for peer in requests.take(&block, tx.tx_hash()) {
                send_pieces(peer, block, vec![tx.encoded_2718().into()], effects);
            }
        }
        filled && self.is_whole()
    }
}

/// The peers that wait for transactions of a block until they come here. One height's.
#[derive(Debug, Default)]
pub(crate) struct PendingRequests {
    by_block: BTreeMap<B256, BTreeMap<B256, Vec<PeerId>>>,
    count: usize,
}

impl PendingRequests {
    pub fn insert(&mut self, block: B256, tx: B256, peer: PeerId) {
        if self.count < PENDING_MAX {
            let peers = self.by_block.entry(block).or_default().entry(tx).or_default();
            if !peers.contains(&peer) {
                peers.push(peer);
                self.count += 1;
            }
        }
    }

    fn take(&mut self, block: &B256, tx: &B256) -> Vec<PeerId> {
        let waiting = self.by_block.get_mut(block).and_then(|txs| txs.remove(tx));
        let waiting = waiting.unwrap_or_default();
        self.count -= waiting.len();
        waiting
    }
}

/// Sends transactions of a block, a piece at a time.
pub(crate) fn send_pieces(peer: PeerId, block: B256, txs: Vec<Bytes>, effects: &mut Effects) {
    for txs in pieces(txs, PIECE_BYTES) {
        effects.send(peer, Message::Bodies(Bodies { block, txs }));
    }
}
