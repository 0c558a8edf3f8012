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
use alloy_rlp::Encodable;
use trefoil_types::{
    B256, Message, Millis, PeerId, RecoveredBlock, Time, Transaction, keccak256,
    message::{Bodies, GetBodies, ProposedBlock},
    message_rule as rules,
};

use crate::{Effects, peer_bytes::PeerBytes, pieces::pieces};

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

// Attack: a peer that is nearer than the proposer sends a list with a hash of nothing, and
// the true list waits in reserve until the round is over. Two tries are 600 ms.
/// The same while there is another list to follow.
const TRIES_BESIDE_OTHERS: u32 = 2;

// Attack: a list of what one peer made itself, which gives a transaction now and then, so that
// the list is never given up. What came is kept for the next list, so that a list that is true
// and slow loses nothing.
/// How long a list is followed at most while there is another one.
const LIST_TURN: Millis = Millis(3_000);

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

// Attack: requests for what is not here, which would be remembered for ever. What is over
// the bound is asked for again.
/// What a transaction that a peer waits for takes here.
const PENDING_BYTES: usize = 64;

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
    /// Since when this list of hashes is followed.
    since: Time,
    /// How often another list of hashes was followed before this one.
    list_turns: u32,
    /// Bytes that came which this list names.
    list_bytes: usize,
    /// What came for the lists that were followed before: much of it may be named again.
    found: BTreeMap<B256, Transaction>,
    /// Copies of the proposal with other lists of hashes, the oldest first: a peer lies.
    alternates: VecDeque<AlternateList>,
}

/// A copy of a proposal with another list of hashes than the one that is followed.
#[derive(Debug)]
struct AlternateList {
    from: PeerId,
    /// Its sender is favoured, so less likely to be the liar.
    favoured: bool,
    /// It had its turn, and nobody could complete it.
    is_tried: bool,
    proposed: ProposedBlock,
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
            since: now,
            list_turns: 0,
            list_bytes: 0,
            found: BTreeMap::new(),
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
        match self.alternates.is_empty() {
            true => self.ask_at,
            false => self.ask_at.min(self.since + LIST_TURN),
        }
    }

    /// Bytes that came which the list names.
    pub fn list_bytes(&self) -> usize {
        self.list_bytes
    }

    pub fn is_whole(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The block, made of what came. It must be whole.
    pub fn assemble(&self) -> RecoveredBlock {
        let txs: Vec<Transaction> = self.txs.iter().flatten().cloned().collect();
        RecoveredBlock::new(self.proposed.header.clone(), txs, self.proposed.attached.clone())
    }

    // Attack: five liars send a false list each before a true one comes, and there are four
    // places. A list that had its turn in vain makes room for one that had none; and so does a
    // stranger's for that of a favoured peer.
    /// Another copy of the proposal. The list of hashes is not signed; if the one we
    /// follow is false, this may be the true one.
    pub fn keep_alternate(&mut self, from: PeerId, favoured: bool, proposed: ProposedBlock) {
        // Attack: one liar fills the reserve, so that no true copy finds room. Each peer has
        // one list, and lists that are equal are one.
        let is_new = |peer: PeerId, list: &[B256]| peer != from && list != proposed.tx_hashes;
        let is_new = is_new(self.from, &self.proposed.tx_hashes)
            && self.alternates.iter().all(|it| is_new(it.from, &it.proposed.tx_hashes));
        if !is_new {
            return;
        }
        if self.alternates.len() >= ALTERNATES_MAX {
            let tried = self.alternates.iter().position(|it| it.is_tried);
            let strangers = || self.alternates.iter().position(|it| favoured && !it.favoured);
            let Some(at) = tried.or_else(strangers) else { return };
            self.alternates.remove(at);
        }
        self.alternates.push_back(AlternateList { from, favoured, is_tried: false, proposed });
    }

    /// The bytes of the copies with other lists of hashes, by the peers that sent them.
    pub fn alternate_bytes(&self) -> impl Iterator<Item = (PeerId, usize)> {
        self.alternates.iter().map(|it| (it.from, it.proposed.length()))
    }

    /// Puts the list of hashes that was followed behind the others, if its turn may come
    /// again.
    pub fn set_aside(&mut self) {
        if !self.alternates.is_empty() && self.list_turns < TRIES_MAX {
            let (from, proposed) = (self.from, self.proposed.clone());
            let list = AlternateList { from, favoured: false, is_tried: true, proposed };
            self.alternates.push_back(list);
        }
    }

    /// Takes the oldest copy with another list, of those that had no turn if there is one.
    pub fn take_alternate(&mut self) -> Option<(PeerId, ProposedBlock)> {
        let at = self.alternates.iter().position(|it| !it.is_tried).unwrap_or(0);
        self.alternates.remove(at).map(|it| (it.from, it.proposed))
    }

    /// Takes out what came, for the next list.
    pub fn take_found(&mut self) -> BTreeMap<B256, Transaction> {
        let mut found = std::mem::take(&mut self.found);
        found.extend(self.txs.iter().flatten().map(|tx| (*tx.tx_hash(), tx.clone())));
        found
    }

    /// Follows this list after another one: with the copies that are left, and with what came
    /// until then.
    pub fn follow_after(&mut self, before: Self, found: BTreeMap<B256, Transaction>) {
        (self.alternates, self.list_turns) = (before.alternates, before.list_turns + 1);
        self.found = found;
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
    /// is being recovered and so is about to come. Returns the peers that it asks.
    pub fn ask(
        &mut self,
        now: Time,
        givers: &Givers,
        is_recovering: impl Fn(&B256) -> bool,
        effects: &mut Effects,
    ) -> Vec<PeerId> {
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
        let asked = asks.keys().copied().collect();
        for (peer, tx_hashes) in asks {
            self.open.extend(tx_hashes.iter().map(|tx| (*tx, peer)));
            effects.send(peer, Message::GetBodies(GetBodies { block, tx_hashes }));
        }
        asked
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
        let others = !self.alternates.is_empty();
        let tries_max = if others { TRIES_BESIDE_OTHERS } else { TRIES_MAX };
        let is_over = others && now.since(self.since) >= LIST_TURN;
        let worth_asking = self.tries < tries_max && !is_over;
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
    ) -> Vec<Bytes> {
        let block = self.proposed.proposal.block;
        let mut wanted = Vec::new();
        for raw in txs {
            let hash = keccak256(&raw);
            self.open.remove(&hash);
            if self.wanted.contains_key(&hash) && self.recovering.insert(hash) {
                self.list_bytes += raw.len();
                requests.came(&block, &hash, || raw.clone());
                wanted.push(raw);
            }
        }
        if !wanted.is_empty() {
            self.gave.insert(peer);
            (self.tries, self.moved_at) = (0, now);
        }
        wanted
    }

    /// Transactions arrived, by whatever way; whether that made the block whole.
    pub fn on_transactions(&mut self, txs: &[Transaction], requests: &mut PendingRequests) -> bool {
        let block = self.proposed.proposal.block;
        let mut filled = false;
        for tx in txs {
            filled |= self.fill(tx);
            requests.came(&block, tx.tx_hash(), || tx.encoded_2718().into());
        }
        filled && self.is_whole()
    }
}

/// The peers that wait for transactions of a block until they come here. One height's.
#[derive(Debug, Default)]
pub(crate) struct PendingRequests {
    by_block: BTreeMap<B256, BTreeMap<B256, Vec<PeerId>>>,
    bytes: PeerBytes,
    /// What came and is to be sent at once, by the peer that waited and the block.
    due: BTreeMap<(PeerId, B256), Vec<Bytes>>,
}

impl PendingRequests {
    /// A peer is gone: it waits for nothing.
    pub fn forget(&mut self, peer: &PeerId) {
        if self.bytes.taken(peer) == 0 {
            return;
        }
        for txs in self.by_block.values_mut() {
            txs.retain(|_, waiting| {
                waiting.retain(|other| other != peer);
                !waiting.is_empty()
            });
        }
        self.by_block.retain(|_, txs| !txs.is_empty());
        self.bytes.forget(peer);
    }

    /// Notes that a peer waits for a transaction; `connected` peers are.
    pub fn insert(&mut self, block: B256, tx: B256, peer: PeerId, connected: usize) {
        let budget = rules::GET_BODIES.held;
        if self.bytes.room(budget, connected, &peer) < PENDING_BYTES {
            return;
        }
        let waiting = self.by_block.entry(block).or_default().entry(tx).or_default();
        if !waiting.contains(&peer) {
            waiting.push(peer);
            self.bytes.add(peer, PENDING_BYTES);
        }
    }

    pub fn held(&self) -> &PeerBytes {
        &self.bytes
    }

    /// A transaction came: whoever waits for it is given it by [`Self::take_due`].
    fn came(&mut self, block: &B256, tx: &B256, raw: impl Fn() -> Bytes) {
        let waiting = self.by_block.get_mut(block).and_then(|txs| txs.remove(tx));
        for peer in waiting.into_iter().flatten() {
            self.bytes.give_back(&peer, PENDING_BYTES);
            self.due.entry((peer, *block)).or_default().push(raw());
        }
    }

    /// Takes out what came.
    pub fn take_due(&mut self) -> BTreeMap<(PeerId, B256), Vec<Bytes>> {
        std::mem::take(&mut self.due)
    }
}

/// Sends transactions of a block, a piece at a time.
pub(crate) fn send_pieces(peer: PeerId, block: B256, txs: Vec<Bytes>, effects: &mut Effects) {
    for txs in pieces(txs, PIECE_BYTES) {
        effects.send(peer, Message::Bodies(Bodies { block, txs }));
    }
}

#[cfg(test)]
mod tests;
