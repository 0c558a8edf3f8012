//! What a proposed block lacks here: asked for, given, and passed on.
//!
//! A little is asked of who sent the proposal. If everyone lacks much, that
//! node's uplink would be the limit: then each asks it for a share only, and the
//! others for theirs, so that it sends each transaction about once. A transaction
//! proves itself by its hash, so it is passed on as it comes (`docs/adr/0022`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use alloy_eips::Encodable2718;
use alloy_primitives::{Bytes, map::B256Map};
use trefoil_types::{
    B256, Message, Millis, Offence, PeerId, RecoveredBlock, Time, Transaction, TxError, keccak256,
    limits,
    message::{Bodies, GetBodies, ProposedBlock},
};

use crate::{
    Effects, Job,
    candidates::{Body, Candidate},
    node::{Node, Purpose},
};

/// How long missing transactions are left to come by gossip before they are
/// asked for: asking at once would have a busy node send and recover twice what
/// waits in a queue already.
const GRACE: Millis = Millis(30);

// Three round trips of 100 ms: a peer that has them answers in one.
/// How long a peer has to send missing transactions before another is asked.
const WAIT: Millis = Millis(300);

/// The same when all share: what they give has to come to them first.
const SHARED_WAIT: Millis = Millis(1_000);

// 12 × 300 ms are longer than the longest round of a network of 500 ms blocks: a proposal
// that nobody can complete must not hold its place for a whole height.
/// How often missing transactions are asked for while none comes.
const TRIES_MAX: u32 = 12;

/// Less than so many bytes is asked of one peer: sharing costs a step more.
const SHARED_BYTES_MIN: u64 = 128 * 1024;

/// About so much is asked of one peer at once.
const OPEN_BYTES_MAX: u64 = 1024 * 1024;

/// An answer is cut into messages of so many bytes, or one transaction, so that who
/// passes it on can begin.
const PIECE_BYTES: usize = 64 * 1024;

// Attack: requests for what is not here, which would be remembered for ever. Two blocks
// of the largest number of transactions; what is over the bound is asked for again.
/// Transactions that peers wait for here, all together.
const OWED_MAX: usize = 65_536;

/// A block whose transactions are not all here.
#[derive(Debug)]
pub(crate) struct Missing {
    pub proposed: ProposedBlock,
    pub txs: Vec<Option<Transaction>>,
    /// Where each hash that is missing belongs.
    pub wanted: BTreeMap<B256, Vec<usize>>,
    /// Hashes out for recovery of their senders.
    pub recovering: BTreeSet<B256>,
    /// Who sent the list of hashes.
    pub from: PeerId,
    pub timely: bool,
    /// When it is time to ask for them (again).
    pub ask_at: Time,
    /// Of whom what was asked that did not come.
    pub open: BTreeMap<B256, PeerId>,
    /// Who gave some of it, and who is thought to give nothing, and when some came last.
    pub gave: BTreeSet<PeerId>,
    pub mute: BTreeSet<PeerId>,
    pub moved_at: Time,
    /// Whose turn it is to be asked: of the sender of the list, then of each other.
    pub turn: u32,
    /// How often something was asked for since something came.
    pub tries: u32,
    /// Copies of the proposal with other lists of hashes: someone lies.
    pub alternates: Vec<(PeerId, ProposedBlock)>,
}

impl Missing {
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
            alternates: vec![],
        }
    }

    /// How many bytes a transaction has on average, as the proposal says.
    pub fn tx_bytes(&self) -> u64 {
        self.proposed.bytes / (self.proposed.tx_hashes.len() as u64).max(1)
    }

    /// Puts a transaction where it is missing; whether it was.
    pub fn fill(&mut self, tx: &Transaction) -> bool {
        self.open.remove(tx.tx_hash());
        let Some(places) = self.wanted.remove(tx.tx_hash()) else { return false };
        for at in places {
            self.txs[at] = Some(tx.clone());
        }
        true
    }

    /// Forgets what was asked in vain, so that it is asked of others. While all
    /// share, a validator that gave nothing though the own share is here is mute, and
    /// the others have longer. Otherwise it is the next peer's turn.
    fn give_up_on(&mut self, now: Time) {
        if self.open.is_empty() {
            return;
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
    }
}

/// Who waits for which transactions of which block, until they come here.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    by_block: BTreeMap<B256, BTreeMap<B256, Vec<PeerId>>>,
    count: usize,
}

impl Owed {
    fn note(&mut self, block: B256, tx: B256, peer: PeerId) {
        if self.count < OWED_MAX {
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

    /// The height is over.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Node {
    /// Asks for what a candidate lacks, but for what is asked for already, and for what
    /// is being recovered and so is about to come.
    fn ask_bodies(&mut self, now: Time, hash: B256, fx: &mut Effects) {
        let Some(candidate) = self.candidates.get(&hash) else { return };
        let Body::Missing(missing) = &candidate.body else { return };
        let sharers = self.sharers(missing);
        let others: Vec<PeerId> =
            self.peers.keys().copied().filter(|peer| *peer != missing.from).collect();
        let (me, gossip) = (self.me, &self.gossip);
        let Some(candidate) = self.candidates.get_mut(&hash) else { return };
        let Body::Missing(missing) = &mut candidate.body else { return };
        // The sender of the list, then each other, and again.
        let turn = missing.turn as usize % (others.len() + 1);
        let asked = if turn == 0 { missing.from } else { others[turn - 1] };
        let whom = |at: usize| match &sharers[..] {
            [] => asked,
            sharers => match sharers[at % sharers.len()] {
                peer if peer == me || missing.mute.contains(&peer) => missing.from,
                peer => peer,
            },
        };
        let open_max = (OPEN_BYTES_MAX / missing.tx_bytes().max(1)).max(1) as usize;
        let mut open = BTreeMap::<PeerId, usize>::new();
        missing.open.values().for_each(|peer| *open.entry(*peer).or_default() += 1);
        let mut asks = BTreeMap::<PeerId, Vec<B256>>::new();
        for (tx, places) in &missing.wanted {
            let coming = missing.recovering.contains(tx) || gossip.is_recovering(tx);
            let peer = whom(places[0]);
            let open = open.entry(peer).or_default();
            if !coming && *open < open_max && !missing.open.contains_key(tx) {
                *open += 1;
                asks.entry(peer).or_default().push(*tx);
            }
        }
        missing.tries += u32::from(!asks.is_empty());
        missing.ask_at = now + WAIT;
        for (peer, tx_hashes) in asks {
            missing.open.extend(tx_hashes.iter().map(|tx| (*tx, peer)));
            fx.send(peer, Message::GetBodies(GetBodies { block: hash, tx_hashes }));
        }
    }

    /// Who fetches a share each of what is missing from who sent the proposal, all in
    /// the same order; none if it is little, or was tried in vain. Where validators
    /// are known, it is they; else all who are connected.
    fn sharers(&self, missing: &Missing) -> Vec<PeerId> {
        let bytes = missing.tx_bytes().saturating_mul(missing.wanted.len() as u64);
        if missing.turn > 0 || bytes < SHARED_BYTES_MIN {
            return vec![];
        }
        let (governed, next) = (self.ledger.governed(), self.next_height());
        let nodes = &governed.members.nodes;
        let validates =
            |peer: &PeerId| nodes.is_empty() || nodes.get(peer).is_some_and(|n| n.validates(next));
        let connected = self.peers.keys().copied().filter(validates);
        let me = self.is_validator().then_some(self.me);
        let mut sharers: Vec<PeerId> = connected.chain(me).filter(|p| *p != missing.from).collect();
        sharers.sort_unstable();
        if sharers.len() < 2 { vec![] } else { sharers }
    }

    /// Asks for what did not come by itself, and the next peer where nothing came
    /// in time.
    pub(crate) fn retry_bodies(&mut self, now: Time, fx: &mut Effects) {
        if self.candidates.retry_due().is_none_or(|due| due > now) {
            return;
        }
        let late = self.candidates.missing_mut().filter(|(_, missing)| missing.ask_at <= now);
        let late = late.map(|(hash, missing)| {
            missing.give_up_on(now);
            (*hash, missing.tries)
        });
        for (hash, tries) in late.collect::<Vec<_>>() {
            if tries >= TRIES_MAX {
                self.abandon_list(now, hash, fx);
            } else {
                self.ask_bodies(now, hash, fx);
            }
        }
    }

    /// A peer lacks transactions of a block that we proposed or handed on, or are
    /// fetching too.
    pub(crate) fn on_get_bodies(&mut self, peer: PeerId, ask: GetBodies, fx: &mut Effects) {
        let whole = self.whole_block(&ask.block);
        let in_block: B256Map<&Transaction> = whole
            .iter()
            .flat_map(|block| &block.transactions)
            .map(|tx| (*tx.tx_hash(), tx))
            .collect();
        let (mut txs, mut bytes) = (Vec::new(), 0);
        for hash in &ask.tx_hashes {
            let found = in_block.get(hash).copied().or_else(|| self.pool.get(hash));
            let Some(tx) = found else {
                if whole.is_none() {
                    self.owed.note(ask.block, *hash, peer);
                }
                continue;
            };
            let raw = tx.encoded_2718();
            bytes += raw.len();
            if bytes > limits::TXS_BYTES_MAX && !txs.is_empty() {
                break; // The peer asks again for the rest.
            }
            txs.push(Bytes::from(raw));
        }
        give(peer, ask.block, txs, fx);
    }

    /// A block of the current height, or the tip: the peer that asks may be a
    /// step behind.
    fn whole_block(&self, hash: &B256) -> Option<Arc<RecoveredBlock>> {
        if let Some(candidate) = self.candidates.get(hash) {
            return candidate.block().cloned();
        }
        let tip = self.ledger.tip().number;
        let stored =
            (*hash == self.ledger.tip_hash()).then(|| self.ledger.snapshot().block(tip))?;
        stored.unwrap_or_else(|e| panic!("block {tip}: {e}")).map(|stored| stored.block)
    }

    pub(crate) fn on_bodies(&mut self, now: Time, peer: PeerId, bodies: Bodies, fx: &mut Effects) {
        // An answer may come after the block was made whole otherwise.
        let Some(candidate) = self.candidates.get_mut(&bodies.block) else { return };
        let Body::Missing(missing) = &mut candidate.body else { return };
        let mut wanted = Vec::new();
        let mut owed = BTreeMap::<PeerId, Vec<Bytes>>::new();
        for raw in bodies.txs {
            let hash = keccak256(&raw);
            missing.open.remove(&hash);
            if missing.wanted.contains_key(&hash) && missing.recovering.insert(hash) {
                for peer in self.owed.take(&bodies.block, &hash) {
                    owed.entry(peer).or_default().push(raw.clone());
                }
                wanted.push(raw);
            }
        }
        for (peer, txs) in owed {
            give(peer, bodies.block, txs, fx);
        }
        if !wanted.is_empty() {
            missing.gave.insert(peer);
            (missing.tries, missing.moved_at) = (0, now);
            let id = self.jobs.open(Purpose::Bodies { block: bodies.block });
            fx.jobs.push(Job::Recover { id, txs: wanted });
            self.ask_bodies(now, bodies.block, fx);
        }
    }

    pub(crate) fn bodies_recovered(
        &mut self,
        now: Time,
        block: B256,
        txs: Vec<Result<Transaction, TxError>>,
        fx: &mut Effects,
    ) {
        let sound: Vec<Transaction> = txs.iter().flatten().cloned().collect();
        self.fill_candidates(now, &sound, fx);
        if sound.len() < txs.len()
            && let Some(Candidate { body: Body::Missing(missing), .. }) =
                self.candidates.get(&block)
        {
            // The list names what is no transaction: no valid block holds it.
            fx.blame_relay(missing.from, Offence::InvalidBlock);
            self.abandon_list(now, block, fx);
        }
    }

    /// Transactions arrived that candidates, or peers, may lack.
    pub(crate) fn fill_candidates(&mut self, now: Time, txs: &[Transaction], fx: &mut Effects) {
        let mut whole = Vec::new();
        for (hash, missing) in self.candidates.missing_mut() {
            let mut filled = 0;
            for tx in txs {
                filled += u32::from(missing.fill(tx));
                for peer in self.owed.take(hash, tx.tx_hash()) {
                    give(peer, *hash, vec![tx.encoded_2718().into()], fx);
                }
            }
            if filled > 0 && missing.wanted.is_empty() {
                whole.push(*hash);
            }
        }
        for hash in whole {
            self.judge(now, hash, fx);
        }
    }
}

/// Sends transactions of a block, a piece at a time.
fn give(peer: PeerId, block: B256, txs: Vec<Bytes>, fx: &mut Effects) {
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for raw in txs {
        if bytes + raw.len() > PIECE_BYTES && !piece.is_empty() {
            let txs = std::mem::take(&mut piece);
            fx.send(peer, Message::Bodies(Bodies { block, txs }));
            bytes = 0;
        }
        bytes += raw.len();
        piece.push(raw);
    }
    if !piece.is_empty() {
        fx.send(peer, Message::Bodies(Bodies { block, txs: piece }));
    }
}
