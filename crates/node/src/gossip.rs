//! Transactions between pools.
//!
//! The node that a wallet gave a transaction to pushes it whole to all peers
//! when they are few: a transfer is about 110 bytes, its hash with a request for
//! it 80, and an announcement costs a round trip. Whoever got it from a peer
//! tells only its hash, and only where not everyone heard it at first hand.
//! Where peers are many, a hash is announced and fetched once. A large transaction
//! goes whole to one peer only, each to another, which tells the others, so that the
//! uplink of who brought it is not the limit (`docs/adr/0022`).
//!
//! What always holds: each set below has a bound; a transaction that was looked
//! at lately is not recovered again when a peer repeats it.

use std::collections::{BTreeMap, VecDeque};

use alloy_eips::Encodable2718;
use alloy_primitives::{Bytes, map::B256Set};
use trefoil_mempool::{MempoolError, Rules, SenderState};
use trefoil_types::{
    B256, Message, Millis, Offence, PeerId, Time, Transaction, TxError, keccak256, limits,
    spec::fork_at,
};

use crate::{
    Effects, Event, Job, Order, To,
    node::{Node, Purpose},
};

/// Up to so many peers get whole transactions without asking.
const PUSH_PEERS_MAX: usize = 8;
/// Transactions are sent on no oftener than this, so that many share a message;
/// a lone one goes at once.
const FLUSH_AFTER: Millis = Millis(10);
/// … or until they are so many, or so many bytes.
const FLUSH_TXS: usize = 512;
const FLUSH_BYTES: usize = 128 * 1024;
/// Larger ones are told of by whoever has them, since their bytes cost more than a hash.
const LARGE_BYTES: usize = 4 * 1024;
/// How long the one peer that got a large one has to spread it, before all are told.
const SPREAD_WAIT: Millis = Millis(1_000);
/// Transactions in one recovery job: about 20 ms of one core.
const JOB_TXS_MAX: usize = 512;
/// Transactions out for recovery; what comes beyond that is dropped.
const RECOVERING_MAX: usize = 32_768;
/// Hashes of transactions looked at lately.
const RECENT_MAX: usize = 65_536;
/// Transactions asked for and not yet here.
const WANTED_MAX: usize = 32_768;
/// How long a peer has to send what it announced.
const ANSWER_WAIT: Millis = Millis(700);
/// Others who announced the same, to ask when the first does not answer.
const OTHERS_MAX: usize = 3;
/// Hashes told to a new peer.
const GREETING_MAX: usize = 4 * limits::TX_HASHES_MAX;

#[derive(Debug, Default)]
pub(crate) struct Gossip {
    /// Whole transactions from wallets, to be pushed.
    fresh: Vec<Bytes>,
    fresh_bytes: usize,
    /// Large ones from wallets, each to be given to one peer.
    large: Vec<Bytes>,
    /// Which peer is given the next.
    turn: usize,
    /// Those that were given to one peer, and when the others are told.
    given: VecDeque<(Time, B256)>,
    /// Hashes to be announced to all but the peer each came from.
    heard: BTreeMap<Option<PeerId>, Vec<B256>>,
    heard_count: usize,
    /// When these are sent on; `None` if there are none.
    flush_at: Option<Time>,
    /// When some were sent last.
    flushed_at: Time,
    /// For look-ups; `recent_order` says which goes first.
    recent: B256Set,
    recent_order: VecDeque<B256>,
    /// For look-ups.
    recovering: B256Set,
    wanted: BTreeMap<B256, Wanted>,
    /// When each wanted one was asked for, oldest first.
    asked: VecDeque<(Time, B256)>,
}

#[derive(Debug)]
struct Wanted {
    asked_at: Time,
    others: Vec<PeerId>,
}

impl Gossip {
    pub fn is_recovering(&self, hash: &B256) -> bool {
        self.recovering.contains(hash)
    }

    /// Notes that a transaction is in a block, so that nobody's late
    /// announcement of it is followed.
    pub fn settled(&mut self, hash: B256) {
        self.note_recent(hash);
        self.wanted.remove(&hash);
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
    fn hear(&mut self, source: Option<PeerId>, hash: B256) {
        self.heard.entry(source).or_default().push(hash);
        self.heard_count += 1;
    }

    fn flush_by(&mut self, now: Time) {
        let soonest = self.flushed_at + FLUSH_AFTER;
        self.flush_at.get_or_insert(soonest.max(now));
    }

    pub fn due(&self) -> Option<Time> {
        let flush = self.flush_at.map(|at| if self.is_full() { Time(0) } else { at });
        let answer = self.asked.front().map(|(at, _)| *at + ANSWER_WAIT);
        let told = self.given.front().map(|(at, _)| *at);
        [flush, answer, told].into_iter().flatten().min()
    }

    fn is_full(&self) -> bool {
        self.fresh_bytes >= FLUSH_BYTES || self.fresh.len() + self.heard_count >= FLUSH_TXS
    }
}

impl Node {
    /// Takes a transaction into the pool and tells of it, or says why not.
    pub(crate) fn admit(
        &mut self,
        now: Time,
        tx: Transaction,
        source: Option<PeerId>,
        fx: &mut Effects,
    ) -> Result<(), MempoolError> {
        let sender = self.sender_state(&tx);
        self.pool.admit(now, tx.clone(), source, &self.rules(), &sender)?;
        self.note_pending(now);
        self.spread(now, &tx, source);
        fx.events.push(Event::Admitted(tx));
        Ok(())
    }

    /// What the block after the tip demands of its transactions.
    fn rules(&self) -> Rules {
        let governed = self.ledger.governed();
        Rules {
            chain_id: self.ledger.spec().chain_id,
            fork: fork_at(&governed.forks, self.next_height()),
            gas_limit: governed.settings.gas_limit,
            base_fee: self.ledger.next_base_fee(),
            gas_free: governed.settings.is_gas_free(),
        }
    }

    fn sender_state(&self, tx: &Transaction) -> SenderState {
        let permissions = self.ledger.permissions(&tx.signer());
        let nobody = SenderState {
            is_barred: !permissions.may_send(),
            deploys_nothing: !permissions.may_deploy(),
            ..SenderState::default()
        };
        let Some(account) = self.ledger.account(&tx.signer()) else { return nobody };
        let is_contract = account.code_hash != alloy_primitives::KECCAK256_EMPTY && {
            let code = self.ledger.snapshot().code(&account.code_hash);
            let code = code.unwrap_or_else(|e| panic!("code {}: {e}", account.code_hash));
            !code.is_some_and(|code| is_delegation(&code))
        };
        SenderState { nonce: account.nonce, balance: account.balance, is_contract, ..nobody }
    }

    fn spread(&mut self, now: Time, tx: &Transaction, source: Option<PeerId>) {
        if self.peers.is_empty() {
            return;
        }
        let bytes = tx.encode_2718_len();
        let large = bytes > LARGE_BYTES && self.peers.len() > 1;
        if source.is_some() && !large && self.is_meshed() {
            return;
        }
        let few = self.peers.len() <= PUSH_PEERS_MAX;
        let gossip = &mut self.gossip;
        if source.is_none() && large {
            gossip.large.push(tx.encoded_2718().into());
            gossip.given.push_back((now + SPREAD_WAIT, *tx.tx_hash()));
        } else if source.is_none() && few {
            gossip.fresh_bytes += bytes;
            gossip.fresh.push(tx.encoded_2718().into());
        } else {
            gossip.hear(source, *tx.tx_hash());
        }
        gossip.flush_by(now);
    }

    pub(crate) fn gossip_if_due(&mut self, now: Time, fx: &mut Effects) {
        if self.gossip.due().is_none_or(|due| due > now) {
            return;
        }
        self.tell_of_given(now);
        if self.gossip.flush_at.is_some_and(|at| at <= now || self.gossip.is_full()) {
            self.flush(now, fx);
        }
        self.ask_others(now, fx);
    }

    /// Large ones that the peer that got them may not have spread, if they still wait.
    fn tell_of_given(&mut self, now: Time) {
        while let Some((_, hash)) = self.gossip.given.pop_front_if(|(at, _)| *at <= now) {
            if self.pool.contains(&hash) {
                self.gossip.hear(None, hash);
                self.gossip.flush_by(now);
            }
        }
    }

    fn flush(&mut self, now: Time, fx: &mut Effects) {
        let gossip = &mut self.gossip;
        for raw in gossip.large.drain(..) {
            gossip.turn = (gossip.turn + 1) % self.peers.len().max(1);
            let peer = self.peers.keys().nth(gossip.turn);
            fx.sends.extend(peer.map(|peer| (To::Peer(*peer), Message::Txs(vec![raw]).into())));
        }
        (gossip.flush_at, gossip.flushed_at) = (None, now);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for raw in gossip.fresh.drain(..) {
            if bytes + raw.len() > limits::TXS_BYTES_MAX || batch.len() == limits::TX_HASHES_MAX {
                fx.broadcast(Message::Txs(std::mem::take(&mut batch)));
                bytes = 0;
            }
            bytes += raw.len();
            batch.push(raw);
        }
        if !batch.is_empty() {
            fx.broadcast(Message::Txs(batch));
        }
        gossip.fresh_bytes = 0;
        gossip.heard_count = 0;
        for (source, hashes) in std::mem::take(&mut gossip.heard) {
            for chunk in hashes.chunks(limits::TX_HASHES_MAX) {
                let message = Message::TxHashes(chunk.to_vec());
                fx.sends.push((To::AllBut(source), message.into()));
            }
        }
    }

    /// Tells a new peer what the pool holds.
    pub(crate) fn announce_pool(&mut self, peer: PeerId, fx: &mut Effects) {
        let best = self.pool.best(self.ledger.next_base_fee(), Time(u64::MAX));
        let hashes: Vec<B256> = best.take(GREETING_MAX).map(|pooled| pooled.hash).collect();
        for chunk in hashes.chunks(limits::TX_HASHES_MAX) {
            fx.send(peer, Message::TxHashes(chunk.to_vec()));
        }
    }

    pub(crate) fn on_tx_hashes(
        &mut self,
        now: Time,
        peer: PeerId,
        hashes: Vec<B256>,
        fx: &mut Effects,
    ) {
        let mut ask = Vec::new();
        for hash in hashes {
            let gossip = &mut self.gossip;
            if self.pool.contains(&hash) || gossip.recent.contains(&hash) {
                continue;
            }
            if let Some(wanted) = gossip.wanted.get_mut(&hash) {
                if wanted.others.len() < OTHERS_MAX && !wanted.others.contains(&peer) {
                    wanted.others.push(peer);
                }
            } else if gossip.wanted.len() < WANTED_MAX {
                gossip.wanted.insert(hash, Wanted { asked_at: now, others: vec![] });
                gossip.asked.push_back((now, hash));
                ask.push(hash);
            }
        }
        if !ask.is_empty() {
            fx.send(peer, Message::GetTxs(ask));
        }
    }

    /// Asks another announcer for what did not come in time.
    fn ask_others(&mut self, now: Time, fx: &mut Effects) {
        let gossip = &mut self.gossip;
        let mut asks: BTreeMap<PeerId, Vec<B256>> = BTreeMap::new();
        while let Some((at, hash)) = gossip.asked.front().copied() {
            if at + ANSWER_WAIT > now {
                break;
            }
            gossip.asked.pop_front();
            let Some(wanted) = gossip.wanted.get_mut(&hash).filter(|w| w.asked_at == at) else {
                continue; // It came, or was asked for anew.
            };
            let other = wanted.others.pop().filter(|peer| self.peers.contains_key(peer));
            if let Some(peer) = other {
                wanted.asked_at = now;
                gossip.asked.push_back((now, hash));
                asks.entry(peer).or_default().push(hash);
            } else {
                gossip.wanted.remove(&hash);
            }
        }
        for (peer, hashes) in asks {
            for chunk in hashes.chunks(limits::TX_HASHES_MAX) {
                fx.send(peer, Message::GetTxs(chunk.to_vec()));
            }
        }
    }

    pub(crate) fn on_get_txs(&mut self, peer: PeerId, hashes: Vec<B256>, fx: &mut Effects) {
        let (mut txs, mut bytes) = (Vec::new(), 0);
        for tx in hashes.iter().filter_map(|hash| self.pool.get(hash)) {
            let raw = tx.encoded_2718();
            bytes += raw.len();
            if bytes > limits::TXS_BYTES_MAX {
                break;
            }
            txs.push(raw.into());
        }
        if !txs.is_empty() {
            fx.send(peer, Message::Txs(txs));
        }
    }

    pub(crate) fn on_txs(&mut self, peer: PeerId, txs: Vec<Bytes>, fx: &mut Effects) {
        let mut batch = Vec::new();
        for raw in txs {
            let hash = keccak256(&raw);
            let gossip = &mut self.gossip;
            gossip.wanted.remove(&hash);
            let room = gossip.recovering.len() < RECOVERING_MAX;
            if room && !self.pool.contains(&hash) && gossip.note_recent(hash) {
                gossip.recovering.insert(hash);
                batch.push((hash, raw));
            }
        }
        while !batch.is_empty() {
            let rest = batch.split_off(batch.len().min(JOB_TXS_MAX));
            let (hashes, txs) = std::mem::replace(&mut batch, rest).into_iter().unzip();
            let id = self.jobs.open(Purpose::Gossip { peer, hashes });
            fx.jobs.push(Job::Recover { id, txs });
        }
    }

    pub(crate) fn gossip_recovered(
        &mut self,
        now: Time,
        peer: PeerId,
        hashes: &[B256],
        txs: Vec<Result<Transaction, TxError>>,
        fx: &mut Effects,
    ) {
        for hash in hashes {
            self.gossip.recovering.remove(hash);
        }
        let mut sound = Vec::with_capacity(txs.len());
        let mut useful = false;
        for tx in txs {
            let Ok(tx) = tx else {
                // A node recovers before it tells.
                fx.blame_relay(peer, Offence::InvalidTransaction);
                continue;
            };
            match self.admit(now, tx.clone(), Some(peer), fx) {
                // What else is refused depends on where and when one stands.
                Err(MempoolError::ChainId { .. }) => {
                    fx.blame_relay(peer, Offence::InvalidTransaction)
                }
                admitted => {
                    useful |= admitted.is_ok();
                    sound.push(tx);
                }
            }
        }
        fx.orders.extend(useful.then_some(Order::Credit(peer)));
        self.fill_candidates(now, &sound, fx);
    }
}

/// EIP-7702: code that only points to another account's.
fn is_delegation(code: &[u8]) -> bool {
    code.len() == 23 && code.starts_with(&[0xef, 0x01, 0x00])
}
