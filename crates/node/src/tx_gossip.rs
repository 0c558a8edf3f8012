//! Transaction gossip: transactions between the pools of nodes.
//!
//! The node that got a transaction from a wallet pushes it whole to all peers when they
//! are few: a transfer is about 110 bytes, its hash with a request for it 80, and an
//! announcement costs a round trip. A node that got it from a peer announces only its
//! hash, and only where some nodes did not get it at first hand. Where peers are many, a
//! hash is announced and fetched once. Each large transaction goes whole to one peer only,
//! which announces it to the others, so that the uplink of the first node is not the limit
//! (`docs/adr/0022`).
//!
//! Owns: what is to be sent, what was asked for, and which transactions were seen lately.
//! What always holds: each set below has a bound, in bytes for each peer and in all where
//! a peer fills it; a transaction that was seen lately is
//! not recovered again when a peer repeats it. It must never know: whether a transaction
//! is valid; the pool decides that.

use std::collections::{BTreeMap, VecDeque};

use alloy_eips::Encodable2718;
use alloy_primitives::{
    Bytes,
    map::{B256Map, B256Set},
};
use trefoil_mempool::Mempool;
use trefoil_types::{
    B256, Message, Millis, PeerId, Time, Transaction, decoded_bytes, keccak256, limits,
    message_rule as rules,
};

use crate::{Effects, To, peer_bytes::PeerBytes, pieces::pieces};

// The bytes of a push grow with the peers, and most of them have the transaction already:
// where peers are many, a request for what is lacking is cheaper. A consortium of up to nine
// nodes pushes, a larger network announces.
/// Up to so many peers get whole transactions without asking.
const PUSH_PEERS_MAX: usize = 8;
// A frame has a cost of its own (encoding, sealing, a system call), whatever it holds. 10 ms
// are half of what a block leaves a transaction to spread (`SETTLE`).
/// Transactions are sent on no oftener than this, so that many share a message;
/// a lone one goes at once.
const FLUSH_AFTER: Millis = Millis(10);
// 512 transactions are 20 ms of one core of the receiver; 128 KiB are 100 ms of a 10 Mbit/s
// uplink.
/// … or until they are so many, or so many bytes.
const FLUSH_TXS: usize = 512;
const FLUSH_BYTES: usize = 128 * 1024;
// Measured with `bench/uplink.py`: 4 MB brought to one of eight validators left it at 7.82
// copies when it pushed everything, and at 1.25 copies since (`docs/adr/0022`). From 4 KiB on
// a hash (32 bytes) costs less than a hundredth of the transaction.
/// Larger ones are announced by every node that has them, since their bytes cost more than
/// a hash.
const LARGE_BYTES: usize = 4 * 1024;
// Attack: the one peer keeps the transaction for itself. The node that got it from the
// wallet then announces it to all. An honest peer announces it and is asked for it by then:
// three messages, of 150 ms each half around the world.
/// How long the one peer that got a large one has to spread it, before all are told.
const SPREAD_WAIT: Millis = Millis(1_000);
// About 40 µs each: a job is 3 ms of one core. Peers that bring nothing of use have turns of a job
// each (`UNPAID_RECOVERIES`): behind 127 of them a newcomer's first transaction waits for 1.6 s.
/// Transactions in one recovery job.
const JOB_TXS_MAX: usize = 64;
// Attack: a peer that repeats invalid transactions, which the pool does not remember. With
// this memory each costs one recovery, not one for each time it is sent. 65,536 hashes, kept
// twice, are 4 MiB.
/// Hashes of transactions looked at lately.
const RECENT_MAX: usize = 65_536;
// Attack: announcements of hashes that no transaction has.
/// What a hash that was asked for takes while it is not here.
const WANTED_BYTES: usize = 128;
// More than two round trips around the world (300 ms each); an answer takes one.
/// How long a peer has to send what it announced.
const ANSWER_WAIT: Millis = Millis(700);
// Attack: a peer announces and never sends. Each such peer delays a transaction by one
// wait; three spare announcers outlast three of them.
/// Other peers that announced the same, to ask when the first does not answer.
const OTHERS_MAX: usize = 3;
// A greeting costs 512 KiB at most, a full pool of 100,000 would cost six times as much.
/// Hashes announced to a new peer.
const GREETING_MAX: usize = 4 * limits::TX_HASHES_MAX;

#[derive(Debug, Default)]
pub(crate) struct TxGossip {
    /// Whole transactions from wallets, to be pushed.
    fresh: Vec<Bytes>,
    fresh_bytes: usize,
    /// Large ones from wallets, each to be given to one peer.
    large: Vec<Bytes>,
    /// Which peer is given the next.
    turn: usize,
    /// Those that were given to one peer, and when the others are told of it.
    given: VecDeque<(Time, B256)>,
    /// Hashes to be announced to all but the peer each came from.
    announcements: BTreeMap<Option<PeerId>, Vec<B256>>,
    announcement_count: usize,
    /// When these are sent on; `None` if there are none.
    flush_at: Option<Time>,
    /// When some were sent last.
    flushed_at: Time,
    /// For look-ups; `recent_order` says which goes first.
    recent: B256Set,
    recent_order: VecDeque<B256>,
    // Attack: a flood of transactions with valid encodings. Recovering a signature costs far
    // more than sending one (40 µs of a core), so what waits for the workers has a bound in
    // bytes.
    /// How many bytes each transaction has that is out for recovery. For look-ups.
    recovering: B256Map<usize>,
    recovering_bytes: PeerBytes,
    wanted: BTreeMap<B256, WantedTx>,
    wanted_bytes: PeerBytes,
    /// When each wanted one was asked for, oldest first.
    asked: VecDeque<(Time, B256)>,
}

#[derive(Debug)]
struct WantedTx {
    /// The peer that was asked, in whose budget it counts.
    of: PeerId,
    asked_at: Time,
    /// Other peers that announced it.
    others: Vec<PeerId>,
}

/// Transactions of one recovery job, by hash and whole.
pub(crate) type RecoveryBatch = (Vec<B256>, Vec<Bytes>);

impl TxGossip {
    /// Notes that a transaction is in a block, so that nobody's late
    /// announcement of it is followed.
    pub fn settled(&mut self, hash: B256) {
        self.note_recent(hash);
        self.forget_wanted(&hash);
    }

    fn forget_wanted(&mut self, hash: &B256) {
        if let Some(wanted) = self.wanted.remove(hash) {
            self.wanted_bytes.give_back(&wanted.of, WANTED_BYTES);
        }
    }

    /// A worker is done with transactions that a peer sent.
    pub fn note_recovered(&mut self, peer: &PeerId, hashes: &[B256]) {
        for hash in hashes {
            let bytes = self.recovering.remove(hash).unwrap_or(0);
            self.recovering_bytes.give_back(peer, bytes);
        }
    }

    /// Nobody looked at transactions that a peer sent: another may bring them.
    pub fn note_refused(&mut self, peer: &PeerId, hashes: &[B256]) {
        self.note_recovered(peer, hashes);
        hashes.iter().for_each(|hash| _ = self.recent.remove(hash));
    }

    /// The bytes of what is out for recovery, by the peers that sent it.
    pub fn recovering_bytes(&self) -> &PeerBytes {
        &self.recovering_bytes
    }

    /// The bytes of what was asked for, by the peers that announced it.
    pub fn wanted_bytes(&self) -> &PeerBytes {
        &self.wanted_bytes
    }

    pub fn is_recovering(&self, hash: &B256) -> bool {
        self.recovering.contains_key(hash)
    }

    /// Notes a look at a transaction; whether it is the first lately.
    fn note_recent(&mut self, hash: B256) -> bool {
        if !self.recent.insert(hash) {
            return false;
        }
        self.recent_order.push_back(hash);
        if self.recent_order.len() > RECENT_MAX
            && let Some(oldest) = self.recent_order.pop_front()
        {
            self.recent.remove(&oldest);
        }
        true
    }

    /// A hash is to be announced to all but `source`.
    fn announce(&mut self, source: Option<PeerId>, hash: B256) {
        self.announcements.entry(source).or_default().push(hash);
        self.announcement_count += 1;
    }

    fn flush_by(&mut self, now: Time) {
        let soonest = self.flushed_at + FLUSH_AFTER;
        self.flush_at.get_or_insert(soonest.max(now));
    }

    pub fn due(&self) -> Option<Time> {
        let flush = self.flush_at.map(|at| if self.is_full() { Time(0) } else { at });
        let answer = self.asked.front().map(|(at, _)| *at + ANSWER_WAIT);
        let given = self.given.front().map(|(at, _)| *at);
        [flush, answer, given].into_iter().flatten().min()
    }

    fn is_full(&self) -> bool {
        self.fresh_bytes >= FLUSH_BYTES || self.fresh.len() + self.announcement_count >= FLUSH_TXS
    }

    /// A transaction entered the pool; `peers` are connected. A small one from a peer is
    /// not sent on in a mesh: every node got it at first hand.
    pub fn spread(
        &mut self,
        now: Time,
        tx: &Transaction,
        source: Option<PeerId>,
        peers: usize,
        is_meshed: bool,
    ) {
        if peers == 0 {
            return;
        }
        let bytes = tx.encode_2718_len();
        let large = bytes > LARGE_BYTES && peers > 1;
        if source.is_some() && !large && is_meshed {
            return;
        }
        if source.is_none() && large {
            self.large.push(tx.encoded_2718().into());
            self.given.push_back((now + SPREAD_WAIT, *tx.tx_hash()));
        } else if source.is_none() && peers <= PUSH_PEERS_MAX {
            self.fresh_bytes += bytes;
            self.fresh.push(tx.encoded_2718().into());
        } else {
            self.announce(source, *tx.tx_hash());
        }
        self.flush_by(now);
    }

    /// Sends what is due to `peers`, all that are connected.
    pub fn tick(&mut self, now: Time, peers: &[PeerId], pool: &Mempool, effects: &mut Effects) {
        self.announce_given(now, pool);
        if self.flush_at.is_some_and(|at| at <= now || self.is_full()) {
            self.flush(now, peers, effects);
        }
        self.ask_others(now, peers, effects);
    }

    /// Large ones that the peer that got them may not have spread, if they still wait.
    fn announce_given(&mut self, now: Time, pool: &Mempool) {
        while let Some((_, hash)) = self.given.pop_front_if(|(at, _)| *at <= now) {
            if pool.contains(&hash) {
                self.announce(None, hash);
                self.flush_by(now);
            }
        }
    }

    fn flush(&mut self, now: Time, peers: &[PeerId], effects: &mut Effects) {
        for raw in self.large.drain(..) {
            self.turn = (self.turn + 1) % peers.len().max(1);
            let peer = peers.get(self.turn);
            effects.sends.extend(peer.map(|p| (To::Peer(*p), Message::Txs(vec![raw]).into())));
        }
        (self.flush_at, self.flushed_at) = (None, now);
        // They are flushed at `FLUSH_TXS`, so no message is over `TX_HASHES_MAX` of them.
        for batch in pieces(self.fresh.drain(..), limits::TXS_BYTES_MAX) {
            effects.broadcast(None, Message::Txs(batch));
        }
        self.fresh_bytes = 0;
        self.announcement_count = 0;
        for (source, hashes) in std::mem::take(&mut self.announcements) {
            for chunk in hashes.chunks(limits::TX_HASHES_MAX) {
                effects.broadcast(source, Message::TxHashes(chunk.to_vec()));
            }
        }
    }

    /// A peer announces transactions: asks it for those that are new here.
    pub fn on_tx_hashes(
        &mut self,
        now: Time,
        peer: PeerId,
        peers: usize,
        hashes: Vec<B256>,
        pool: &Mempool,
        effects: &mut Effects,
    ) {
        let budget = rules::TX_HASHES.held;
        let mut ask = Vec::new();
        for hash in hashes {
            if pool.contains(&hash) || self.recent.contains(&hash) {
                continue;
            }
            if let Some(wanted) = self.wanted.get_mut(&hash) {
                if wanted.others.len() < OTHERS_MAX && !wanted.others.contains(&peer) {
                    wanted.others.push(peer);
                }
            } else if self.wanted_bytes.take(budget, peers, peer, WANTED_BYTES) {
                self.wanted.insert(hash, WantedTx { of: peer, asked_at: now, others: vec![] });
                self.asked.push_back((now, hash));
                ask.push(hash);
            }
        }
        if !ask.is_empty() {
            effects.send(peer, Message::GetTxs(ask));
        }
    }

    /// Asks another announcer for what did not come in time.
    fn ask_others(&mut self, now: Time, peers: &[PeerId], effects: &mut Effects) {
        let mut asks: BTreeMap<PeerId, Vec<B256>> = BTreeMap::new();
        while let Some((at, hash)) = self.asked.pop_front_if(|(at, _)| *at + ANSWER_WAIT <= now) {
            let Some(wanted) = self.wanted.get_mut(&hash).filter(|w| w.asked_at == at) else {
                continue; // It came, or was asked for anew.
            };
            let other = wanted.others.pop().filter(|peer| peers.binary_search(peer).is_ok());
            if let Some(peer) = other {
                self.wanted_bytes.give_back(&wanted.of, WANTED_BYTES);
                self.wanted_bytes.add(peer, WANTED_BYTES);
                (wanted.of, wanted.asked_at) = (peer, now);
                self.asked.push_back((now, hash));
                asks.entry(peer).or_default().push(hash);
            } else {
                self.forget_wanted(&hash);
            }
        }
        for (peer, hashes) in asks {
            for chunk in hashes.chunks(limits::TX_HASHES_MAX) {
                effects.send(peer, Message::GetTxs(chunk.to_vec()));
            }
        }
    }

    /// Whole transactions from a peer: those that are new here, in batches that are to
    /// be recovered.
    pub fn on_txs(
        &mut self,
        peer: PeerId,
        peers: usize,
        txs: Vec<Bytes>,
        pool: &Mempool,
    ) -> Vec<RecoveryBatch> {
        let budget = rules::TXS.held;
        let mut new = Vec::new();
        for raw in txs {
            // A transaction of no bytes is a hash and a place all the same.
            let bytes = decoded_bytes(&raw).max(WANTED_BYTES);
            // Attack: a flood, for which there is no room, and all of which would be hashed.
            if bytes > self.recovering_bytes.room(budget, peers, &peer) {
                continue;
            }
            let hash = keccak256(&raw);
            self.forget_wanted(&hash);
            // A flood may push out of `recent` what is still with the workers.
            let is_new = !pool.contains(&hash) && !self.recovering.contains_key(&hash);
            if is_new && self.note_recent(hash) {
                self.recovering_bytes.add(peer, bytes);
                self.recovering.insert(hash, bytes);
                new.push((hash, raw));
            }
        }
        new.chunks(JOB_TXS_MAX).map(|batch| batch.iter().cloned().unzip()).collect()
    }
}

/// Announces the pool to a new peer, the best transactions first and at most so many; how many.
pub(crate) fn announce_pool(
    peer: PeerId,
    pool: &Mempool,
    base_fee: u64,
    hashes_max: usize,
    effects: &mut Effects,
) -> usize {
    let best = pool.best(base_fee, Time(u64::MAX)).take(hashes_max.min(GREETING_MAX));
    let hashes: Vec<B256> = best.map(|pooled| pooled.hash).collect();
    for chunk in hashes.chunks(limits::TX_HASHES_MAX) {
        effects.send(peer, Message::TxHashes(chunk.to_vec()));
    }
    hashes.len()
}

/// Sends a peer the transactions that it asks for, as many as fit in so many bytes, the
/// first in any case; how many bytes.
pub(crate) fn send_transactions(
    peer: PeerId,
    hashes: &[B256],
    bytes_max: usize,
    pool: &Mempool,
    effects: &mut Effects,
) -> usize {
    let bytes_max = bytes_max.min(limits::TXS_BYTES_MAX);
    let (mut txs, mut bytes) = (Vec::new(), 0);
    for tx in hashes.iter().filter_map(|hash| pool.get(hash)) {
        bytes += tx.encode_2718_len();
        if bytes > bytes_max && !txs.is_empty() {
            bytes -= tx.encode_2718_len();
            break;
        }
        txs.push(tx.encoded_2718().into());
    }
    if !txs.is_empty() {
        effects.send(peer, Message::Txs(txs));
    }
    bytes
}

#[cfg(test)]
mod tests;
