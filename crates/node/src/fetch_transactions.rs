//! Missing transactions: a proposal names hashes, and the node fetches those that its pool
//! lacks.
//!
//! A few are asked of the peer that sent the proposal. If all nodes lack many, the uplink
//! of that peer would be the limit: then each node asks it for a share only, and the other
//! nodes for theirs, so that the peer sends each transaction about once. A transaction
//! proves itself by its hash, so it is passed on as it comes (`docs/adr/0022`).
//!
//! Owns: for one block, which transactions are missing and which peer was asked for which. It
//! must never know: whether the block is valid.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use alloy_eips::Encodable2718;
use alloy_primitives::{Bytes, map::B256Map};
use trefoil_types::{
    B256, Header, Message, Millis, PeerId, RecoveredBlock, Round, Time, Transaction, keccak256,
    least_gas, limits,
    message::{GetBodies, ProposedBlock},
    message_rule as rules,
};

pub(crate) use self::{alternate_list::AlternateList, shares::Givers};
use self::{
    shares::Shares,
    unproven::{Due, Unproven},
};
use crate::{Effects, pending_requests::PendingRequests};

mod alternate_list;
mod shares;
mod unproven;

// Gossip holds a transaction back for up to 10 ms, and its recovery takes up to 20 ms, or longer where
// many wait.
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
// the list is never given up, and the vote comes after the round. With three turns in a round two
// such peers do not hold it up. What came is kept for the next list, and so is what is on its way
// (`late`), so that a list that is true and slow loses nothing.
/// How many lists are followed, one after the other, while a round waits for its proposal.
const LISTS_IN_A_ROUND: u64 = 3;

// 12 s of rounds of a second: a false list must not be taken up for ever.
/// How often a list is put behind the others.
const LIST_TURNS_MAX: u32 = 36;

// 100 ms of a 10 Mbit/s uplink: below that a second step costs more than it saves.
/// Less than so many bytes is asked of one peer: sharing costs a step more.
const SHARED_BYTES_MIN: u64 = 128 * 1024;

/// What a transfer has, the shortest that is usual.
const TRANSFER_BYTES: u64 = 110;

// An answer has at most 2 MiB (`TXS_BYTES_MAX`), and what is on its way when a block is
// made whole otherwise is wasted.
/// About so much is asked of one peer at once.
const OPEN_BYTES_MAX: u64 = 1024 * 1024;

// Attack: the list of hashes is not signed, so anyone can send a false copy of a good
// proposal. True copies come from every honest peer: one of a few is enough.
/// Differing copies of one proposal that are kept in reserve.
const ALTERNATES_MAX: usize = 4;

// Attack: 29,999 hashes that are here and one that is not, again and again while the reserve is
// full: 6 ms of the node's thread for 1 MB each, and nobody can be shown to have made the one up. A
// node sends each proposal once. As many as there are connections, so that no crowd of
// strangers keeps a favoured peer's list from being looked at.
/// Peers whose lists are looked up for one block; half of them may be strangers.
const LOOKED_UP_MAX: usize = 256;

/// A block whose transactions are not all here.
#[derive(Debug)]
pub(crate) struct MissingTransactions {
    proposed: ProposedBlock,
    txs: Vec<Option<Transaction>>,
    /// Where each hash that is missing belongs; a list names each once.
    wanted: BTreeMap<B256, usize>,
    /// Hashes of what came, and is out for recovery of the senders or waits for it.
    recovering: BTreeSet<B256>,
    unproven: Unproven,
    /// The peer that sent the list of hashes, and answers for it.
    from: PeerId,
    /// The block is kept for a round that has not begun: nothing is looked up or fetched.
    is_asleep: bool,
    /// When it is time to ask for them (again).
    ask_at: Time,
    /// What each peer is asked for.
    shares: Shares,
    /// The peers that gave some of it.
    gave: BTreeSet<PeerId>,
    /// The peers that are thought to give nothing.
    mute: BTreeSet<PeerId>,
    /// When some came last.
    moved_at: Time,
    /// The peers that had their turn to be asked.
    asked: BTreeSet<PeerId>,
    /// The peers that sent a list which was known: they have the block, or say so.
    holders: BTreeSet<PeerId>,
    /// How often something was asked for since something came.
    tries: u32,
    /// Since when this list of hashes is followed.
    since: Time,
    /// How long it is followed at most while there is another one.
    list_turn: Millis,
    /// How often another list of hashes was followed before this one.
    list_turns: u32,
    /// Bytes that came which this list names, and the least gas that they use.
    list_bytes: usize,
    list_gas: u64,
    /// What came for the lists that were followed before: much of it may be named again.
    found: BTreeMap<B256, Transaction>,
    /// What was asked for those lists, and may come yet.
    late: BTreeSet<B256>,
    /// Copies of the proposal with other lists of hashes, the oldest first: a peer lies.
    alternates: VecDeque<AlternateList>,
    /// The peers whose lists were looked up, kept or not, and in which round they last were.
    looked_up: BTreeMap<PeerId, Round>,
}

impl MissingTransactions {
    /// Keeps a proposal that came now until it is taken up ([`Self::wake`]). A round waits for its
    /// proposal for `propose_wait`.
    pub fn new(proposed: ProposedBlock, from: PeerId, now: Time, propose_wait: Millis) -> Self {
        let ask_at = now + GRACE;
        let looked_up = BTreeMap::from([(from, proposed.proposal.round)]);
        Self {
            proposed,
            txs: Vec::new(),
            wanted: BTreeMap::new(),
            recovering: BTreeSet::new(),
            unproven: Unproven::default(),
            from,
            is_asleep: true,
            ask_at,
            shares: Shares::default(),
            gave: BTreeSet::new(),
            mute: BTreeSet::new(),
            moved_at: ask_at,
            asked: BTreeSet::new(),
            holders: BTreeSet::new(),
            tries: 0,
            since: now,
            list_turn: Millis(propose_wait.0 / LISTS_IN_A_ROUND),
            list_turns: 0,
            list_bytes: 0,
            list_gas: 0,
            found: BTreeMap::new(),
            late: BTreeSet::new(),
            alternates: VecDeque::new(),
            looked_up,
        }
    }

    /// Begins to follow the list of hashes, with the transactions that are here.
    pub fn wake(&mut self, now: Time, known: impl Fn(&B256) -> Option<Transaction>) {
        let hashes = &self.proposed.tx_hashes;
        self.txs = hashes.iter().map(known).collect();
        let missing = hashes.iter().enumerate().filter(|(at, _)| self.txs[*at].is_none());
        self.wanted.extend(missing.map(|(at, hash)| (*hash, at)));
        (self.is_asleep, self.since, self.moved_at) = (false, now, self.ask_at.max(now));
    }

    pub fn is_asleep(&self) -> bool {
        self.is_asleep
    }

    /// The proposal with the list of hashes that is followed.
    pub fn proposed(&self) -> &ProposedBlock {
        &self.proposed
    }

    /// The peer that sent the list of hashes, and answers for it.
    pub fn sender(&self) -> PeerId {
        self.from
    }

    /// When it is time to ask for them (again).
    pub fn retry_due(&self) -> Option<Time> {
        let due = match self.alternates.is_empty() {
            true => self.ask_at,
            false => self.ask_at.min(self.since + self.list_turn),
        };
        (!self.is_asleep).then_some(due)
    }

    pub fn is_whole(&self) -> bool {
        !self.is_asleep && self.wanted.is_empty()
    }

    /// The block, made of what came. It must be whole.
    pub fn assemble(&self) -> RecoveredBlock {
        let txs: Vec<Transaction> = self.txs.iter().flatten().cloned().collect();
        RecoveredBlock::new(self.proposed.header.clone(), txs, self.proposed.attached.clone())
    }

    // Attack: five liars send a false list each before a true one comes, and there are four
    // places. A list that had its turn in vain makes room for one that had none; and so does a
    // stranger's for that of a favoured peer.
    /// Keeps another copy of the proposal that is new. The list of hashes is not signed; if the
    /// one we follow is false, this may be the true one.
    pub fn keep_alternate(&mut self, from: PeerId, favoured: bool, proposed: ProposedBlock) {
        if self.alternates.len() >= ALTERNATES_MAX {
            let tried = self.alternates.iter().position(|it| it.is_tried);
            let strangers = || self.alternates.iter().position(|it| favoured && !it.favoured);
            let Some(at) = tried.or_else(strangers) else { return };
            self.alternates.remove(at);
        }
        self.alternates.push_back(AlternateList::new(from, favoured, proposed));
    }

    // Attack: one liar fills the reserve, so that no true copy finds room. Each peer has one list,
    // and lists that are equal are one.
    /// Whether a copy of the proposal has another list of hashes than those that are known, from
    /// another peer.
    pub fn is_new(&self, from: PeerId, list: &[B256]) -> bool {
        let differs = |peer: PeerId, known: &[B256]| peer != from && list != known;
        differs(self.from, &self.proposed.tx_hashes)
            && self.alternates.iter().all(|it| differs(it.from, &it.proposed.tx_hashes))
    }

    /// Notes that a peer sent a list which is known.
    pub fn note_holder(&mut self, from: PeerId, favoured: bool) {
        if self.holders.len() < lists_max(favoured) {
            self.holders.insert(from);
        }
    }

    /// Whether what a peer's list names is looked up: one list of each peer for each round that
    /// proposes the block.
    pub fn may_look_up(&mut self, from: PeerId, favoured: bool, round: Round) -> bool {
        let max = lists_max(favoured);
        let before = self.looked_up.get(&from);
        let may = before.map_or(self.looked_up.len() < max, |before| *before < round);
        if may {
            self.looked_up.insert(from, round);
        }
        may
    }

    /// The transactions of another list, if all of them are known or came for this block.
    pub fn find_all(
        &self,
        list: &[B256],
        known: impl Fn(&B256) -> Option<Transaction>,
    ) -> Option<Vec<Transaction>> {
        let mut came: Option<B256Map<&Transaction>> = None;
        let mut find = |hash: &B256| {
            let of_list = || self.txs.iter().flatten().map(|tx| (*tx.tx_hash(), tx)).collect();
            let came = came.get_or_insert_with(of_list).get(hash).copied();
            came.or_else(|| self.found.get(hash)).cloned()
        };
        list.iter().map(|hash| known(hash).or_else(|| find(hash))).collect()
    }

    /// Follows another list, of which these are all transactions.
    pub fn follow_whole(&mut self, from: PeerId, proposed: ProposedBlock, txs: Vec<Transaction>) {
        (self.from, self.proposed) = (from, proposed);
        self.txs = txs.into_iter().map(Some).collect();
        self.wanted.clear();
        self.unproven.clear();
        self.shares = Shares::default();
    }

    /// The bytes of the copies with other lists of hashes, by the peers that sent them.
    pub fn alternate_bytes(&self) -> impl Iterator<Item = (PeerId, usize)> {
        self.alternates.iter().map(|it| (it.from, it.bytes))
    }

    /// Puts the list of hashes that was followed behind the others, if its turn may come
    /// again.
    pub fn set_aside(&mut self) {
        if !self.alternates.is_empty() && self.list_turns < LIST_TURNS_MAX {
            let list = AlternateList::new(self.from, false, self.proposed.clone());
            self.alternates.push_back(AlternateList {
                is_tried: true,
                asked: self.asked.clone(),
                ..list
            });
        }
    }

    /// Whether all that a list names is known or came for this block, its senders recovered or not.
    fn has_all(&self, list: &[B256], known: impl Fn(&B256) -> Option<Transaction>) -> bool {
        let came: BTreeSet<&B256> = self.txs.iter().flatten().map(|tx| tx.tx_hash()).collect();
        let is_here = |tx: &B256| {
            came.contains(tx) || self.found.contains_key(tx) || self.unproven.get(tx).is_some()
        };
        list.iter().all(|tx| is_here(tx) || known(tx).is_some())
    }

    /// Takes a copy with another list: one of which all transactions are known or came, else the
    /// oldest, of those that had no turn if there is one.
    pub fn take_alternate(
        &mut self,
        known: impl Fn(&B256) -> Option<Transaction>,
    ) -> Option<AlternateList> {
        let mut lists = self.alternates.iter();
        let whole = lists.position(|it| self.has_all(&it.proposed.tx_hashes, &known));
        let untried = || self.alternates.iter().position(|it| !it.is_tried);
        let at = whole.or_else(untried).unwrap_or(0);
        self.alternates.remove(at)
    }

    /// Takes all copies with other lists, the oldest first.
    pub fn take_alternates(&mut self) -> Vec<(PeerId, ProposedBlock)> {
        self.alternates.drain(..).map(|it| (it.from, it.proposed)).collect()
    }

    /// Drops what came.
    pub fn forget_came(&mut self) {
        (self.found, self.txs) = (BTreeMap::new(), Vec::new());
        self.unproven.clear();
    }

    /// Takes out what came, for the next list.
    pub fn take_found(&mut self) -> BTreeMap<B256, Transaction> {
        let mut found = std::mem::take(&mut self.found);
        found.extend(self.txs.iter().flatten().map(|tx| (*tx.tx_hash(), tx.clone())));
        found
    }

    // Attack: a true list of a peer that gives nothing, and a false one beside it: each time the
    // true one was followed again that peer was asked first, and nobody else.
    /// Follows this list after another one, when these peers were asked for it: with the copies
    /// that are left, and with what came until then.
    pub fn follow_after(
        &mut self,
        before: Self,
        asked: BTreeSet<PeerId>,
        found: BTreeMap<B256, Transaction>,
    ) {
        (self.alternates, self.list_turns) = (before.alternates, before.list_turns + 1);
        (self.looked_up, self.holders) = (before.looked_up, before.holders);
        (self.asked, self.found) = (asked, found);
        self.unproven = before.unproven.for_next(|tx| self.wanted.contains_key(tx));
        self.recovering = self.unproven.hashes().copied().collect();
        let late = before.shares.into_open().chain(before.recovering).chain(before.late);
        self.late = late.take(limits::BLOCK_TXS_MAX).collect();
    }

    // Attack: nobody signs the number. With 2^64 bytes one transaction at a time was asked for, with
    // 0 all of them of one peer.
    /// How many bytes a transaction has on average, as the proposal says; at most as many as leave
    /// room for the others, and a transfer's at least.
    fn tx_bytes(&self) -> u64 {
        let count = (self.proposed.tx_hashes.len() as u64).max(1);
        (self.proposed.bytes.min(limits::BLOCK_BYTES_MAX as u64) / count).max(TRANSFER_BYTES)
    }

    /// Puts a transaction where it is missing; whether it was.
    fn fill(&mut self, tx: &Transaction) -> bool {
        self.shares.came(tx.tx_hash());
        let at = self.wanted.remove(tx.tx_hash());
        self.unproven.remove(tx.tx_hash(), at.is_some());
        if let Some(at) = at {
            self.txs[at] = Some(tx.clone());
        }
        at.is_some()
    }

    /// Shares out among the peers what is missing, but for what is asked for already, and for
    /// what is being recovered and so is about to come.
    pub fn share_out(&mut self, now: Time, givers: &Givers, is_queued: impl Fn(&B256) -> bool) {
        let gossips = self.leaves_to_gossip(now);
        let sharers = self.sharers(givers);
        let asked = self.whose_turn(givers);
        let giver_of = |at: usize| match &sharers[..] {
            [] => asked,
            sharers => match sharers[at % sharers.len()] {
                peer if peer == givers.me || self.mute.contains(&peer) => self.from,
                peer => peer,
            },
        };
        let is_coming = |tx: &B256| self.recovering.contains(tx) || (gossips && is_queued(tx));
        let wanted = self.wanted.iter().filter(|(tx, _)| !is_coming(tx));
        self.shares.share_out(wanted.map(|(tx, at)| (giver_of(*at), *tx)));
    }

    // Attack: a peer that fills its queue with transactions of empty accounts, and appends one that is
    // pending: it waited there for 6.5 s. Peers without credit share 5,000 recoveries a second.
    /// Whether what waits in the queue of gossip is still left to come from there.
    fn leaves_to_gossip(&self, now: Time) -> bool {
        now < self.since + GRACE + WAIT
    }

    /// Asks the peers for more of their shares, if they gave half of what they were asked for, but
    /// not for what came meanwhile or is about to. Returns the peers that it asks.
    pub fn ask(
        &mut self,
        now: Time,
        is_queued: impl Fn(&B256) -> bool,
        effects: &mut Effects,
    ) -> Vec<PeerId> {
        let gossips = self.leaves_to_gossip(now);
        let block = self.proposed.proposal.block;
        let open_max = (OPEN_BYTES_MAX / self.tx_bytes()).max(1) as usize;
        let Self { wanted, recovering, shares, .. } = self;
        let is_coming = |tx: &B256| recovering.contains(tx) || (gossips && is_queued(tx));
        let is_needed = |tx: &B256| wanted.contains_key(tx) && !is_coming(tx);
        let asks = shares.take_due(open_max, is_needed);
        self.tries += u32::from(!asks.is_empty());
        self.ask_at = now + WAIT;
        let asked = asks.keys().copied().collect();
        for (peer, tx_hashes) in asks {
            effects.send(peer, Message::GetBodies(GetBodies { block, tx_hashes }));
        }
        asked
    }

    // Attack: the peer that is first to send the list gives nothing, and after it came the least
    // ids, which were the attacker's too: the proposer, which had sent the same list, was not asked
    // before the round was over.
    /// The sender of the list; then the favoured members, those first that sent the same list; then
    /// the others likewise; and again. Of these the first that had no turn.
    fn whose_turn(&mut self, givers: &Givers) -> PeerId {
        let mut order = vec![self.from];
        for peers in [&givers.favoured, &givers.others] {
            let peers = peers.iter().filter(|peer| **peer != self.from);
            let (holders, rest): (Vec<_>, Vec<_>) =
                peers.copied().partition(|peer| self.holders.contains(peer));
            order.extend(holders.into_iter().chain(rest));
        }
        let next = order.iter().find(|peer| !self.asked.contains(peer)).copied();
        next.unwrap_or_else(|| {
            self.asked = BTreeSet::from([self.from]);
            self.from
        })
    }

    /// The peers that fetch a share each from the sender of the proposal, all in the
    /// same order; none if little is missing, or sharing was tried in vain.
    fn sharers(&self, givers: &Givers) -> Vec<PeerId> {
        let bytes = self.tx_bytes().saturating_mul(self.wanted.len() as u64);
        if !self.asked.is_empty() || bytes < SHARED_BYTES_MIN {
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
        let is_over = others && now.since(self.since) >= self.list_turn;
        let worth_asking = self.tries < tries_max && !is_over;
        let open_at: Vec<PeerId> = self.shares.open_at().copied().collect();
        if open_at.is_empty() {
            return worth_asking;
        }
        let sharing = self.asked.is_empty() && open_at.iter().any(|peer| *peer != self.from);
        if sharing && !open_at.contains(&self.from) {
            self.mute.extend(open_at.iter().filter(|peer| !self.gave.contains(peer)));
        }
        if sharing && now.since(self.moved_at) < SHARED_WAIT {
            self.shares.give_up(|peer| self.mute.contains(peer));
        } else {
            self.shares.give_up(|_| true);
            self.asked.insert(self.from);
            self.asked.extend(open_at);
        }
        worth_asking
    }

    /// The transactions of an answer that are missing.
    pub fn missing_of(&mut self, txs: Vec<Bytes>) -> BTreeMap<B256, Bytes> {
        let txs: BTreeMap<B256, Bytes> =
            txs.into_iter().map(|raw| (keccak256(&raw), raw)).collect();
        txs.keys().for_each(|hash| self.shares.came(hash));
        let is_missing = |hash: &B256| {
            (self.wanted.contains_key(hash) || self.late.contains(hash))
                && !self.recovering.contains(hash)
        };
        txs.into_iter().filter(|(hash, _)| is_missing(hash)).collect()
    }

    // Attack: 8 MiB of authorisations (EIP-7702), which take 80 when they are decoded. They cost 25,000
    // gas each.
    /// Whether with these transactions the list names more than a block can have of this gas.
    pub fn is_over(&self, came: &BTreeMap<B256, Bytes>, gas_limit: u64) -> bool {
        let named = came.iter().filter(|(hash, _)| self.wanted.contains_key(*hash));
        let (mut bytes, mut gas) = (self.list_bytes, self.list_gas);
        for (_, raw) in named {
            (bytes, gas) = (bytes + raw.len(), gas + least_gas(raw));
        }
        bytes > rules::BODIES.held.peer || gas > gas_limit
    }

    /// Transactions that are missing came from a peer: they are to be recovered
    /// ([`Self::take_due`]). They prove themselves by their hash, so peers that wait for them here
    /// get them at once.
    pub fn on_answer(
        &mut self,
        now: Time,
        peer: PeerId,
        txs: BTreeMap<B256, Bytes>,
        requests: &mut PendingRequests,
    ) {
        let block = self.proposed.proposal.block;
        if !txs.is_empty() {
            self.gave.insert(peer);
            (self.tries, self.moved_at) = (0, now);
        }
        for (hash, raw) in txs {
            let is_named = self.wanted.contains_key(&hash);
            if is_named {
                self.list_bytes += raw.len();
                self.list_gas += least_gas(&raw);
            }
            self.recovering.insert(hash);
            requests.came(&block, &hash, || raw.clone());
            self.unproven.hold(hash, raw, is_named);
        }
    }

    /// Takes what came and is to be recovered; of a long list that is what is left when all of it
    /// is here. `None`: by its bytes it `is_body` of another header.
    pub fn take_due(&mut self, is_body: impl FnOnce(&Header, &[Bytes]) -> bool) -> Option<Due> {
        let Self { proposed, txs, wanted, unproven, .. } = self;
        unproven.take_due(
            wanted.len(),
            |tx| wanted.contains_key(tx),
            |held| {
                let raw = |(tx, hash): (&Option<Transaction>, &B256)| match tx {
                    Some(tx) => tx.encoded_2718().into(),
                    None => held.get(hash).cloned().unwrap_or_default(),
                };
                let body: Vec<Bytes> = txs.iter().zip(&proposed.tx_hashes).map(raw).collect();
                is_body(&proposed.header, &body)
            },
        )
    }

    /// Whether all that is missing came, and waits to be recovered.
    pub fn is_all_here(&self) -> bool {
        self.unproven.has_all(self.wanted.len())
    }

    /// Transactions arrived, by whatever way; whether that made the block whole.
    pub fn on_transactions(&mut self, txs: &[Transaction], requests: &mut PendingRequests) -> bool {
        let block = self.proposed.proposal.block;
        let mut filled = false;
        for tx in txs {
            let is_late = self.late.remove(tx.tx_hash());
            let was_missing = self.fill(tx);
            if is_late && !was_missing {
                self.found.insert(*tx.tx_hash(), tx.clone());
            }
            filled |= was_missing;
            requests.came(&block, tx.tx_hash(), || tx.encoded_2718().into());
        }
        filled && self.is_whole()
    }
}

/// The peers whose lists of one block are looked up or remembered, of one kind and those before it.
const fn lists_max(favoured: bool) -> usize {
    if favoured { LOOKED_UP_MAX } else { LOOKED_UP_MAX / 2 }
}

#[cfg(test)]
mod tests;
