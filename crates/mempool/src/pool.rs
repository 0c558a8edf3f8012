//! The transaction pool: what waits for a block, by sender and nonce.
//!
//! Owns every pooled transaction and the two orders over them: which is offered
//! to a block next, and which is given up first when room is short. What always
//! holds: counts and bytes are within [`MempoolLimits`]; each sender's executable
//! run starts at its account's nonce; no operation scans the pool.

mod best;
mod sender_queue;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use alloy_consensus::{InMemorySize as _, Transaction as _};
use alloy_eips::Encodable2718;
use alloy_primitives::{U256, map::B256Map};
use serde::{Deserialize, Serialize};
use trefoil_types::{Address, B256, PeerId, Time, Transaction};

use crate::{
    MempoolError,
    validate::{SenderState, TxRules, is_unprotected},
};

pub use best::Best;
pub use sender_queue::Pooled;

use sender_queue::{QueueHead, SenderQueue};

/// Bounds on the transaction pool, as they stand in a node's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MempoolLimits {
    pub txs_max: usize,
    pub bytes_max: usize,
    pub txs_per_sender_max: usize,
    pub txs_per_peer_max: usize,
}

impl Default for MempoolLimits {
    fn default() -> Self {
        Self {
            // Three blocks of the most transactions (`BLOCK_TXS_MAX`) and some.
            txs_max: 100_000,
            // Memory: as much as 32 of the largest blocks (`BLOCK_BYTES_MAX`). It binds before
            // the count when transactions take more than 2.6 KB on average.
            bytes_max: 256 << 20,
            // Attack: one funded account fills the pool with nonces that follow each other; when
            // its funds are gone with the first, the rest is worthless. To fill the pool takes 25
            // such accounts.
            txs_per_sender_max: 4_096,
            // Attack: one peer with many accounts crowds out what the others bring. Half of the
            // pool is left for them, of its bytes as well.
            txs_per_peer_max: 50_000,
        }
    }
}

/// How worth keeping a transaction is: executable before waiting, then by fee.
type Worth = (bool, u128, u128);

/// The last transaction of a sender, the least worth keeping first; of equals,
/// the youngest.
type QueueTail = (Worth, Reverse<u64>, Address);

/// What came from one peer and is here still.
#[derive(Clone, Copy, Debug, Default)]
struct PeerShare {
    txs: usize,
    /// In memory.
    bytes: usize,
}

/// What a transaction takes in memory beside itself: its entries in the orders and in the index.
const INDEX_BYTES: usize = 256;

#[derive(Debug, Default)]
pub struct Mempool {
    limits: MempoolLimits,
    queues: BTreeMap<Address, SenderQueue>,
    /// For look-ups only.
    by_hash: B256Map<(Address, u64)>,
    heads: BTreeSet<QueueHead>,
    tails: BTreeSet<QueueTail>,
    by_peer: BTreeMap<PeerId, PeerShare>,
    pending: usize,
    bytes: usize,
    arrivals: u64,
}

impl Mempool {
    pub fn new(limits: MempoolLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// How many transactions could be executed now.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// How many wait behind a nonce gap.
    pub fn queued(&self) -> usize {
        self.by_hash.len() - self.pending
    }

    /// What all take in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn contains(&self, hash: &B256) -> bool {
        self.by_hash.contains_key(hash)
    }

    pub fn get(&self, hash: &B256) -> Option<&Transaction> {
        let (sender, nonce) = self.by_hash.get(hash)?;
        self.queues.get(sender)?.txs.get(nonce).map(|pooled| &pooled.tx)
    }

    /// The peer that a transaction came from; `None`: a wallet, or it is not here.
    pub fn source(&self, hash: &B256) -> Option<PeerId> {
        let (sender, nonce) = self.by_hash.get(hash)?;
        self.queues.get(sender)?.txs.get(nonce)?.source
    }

    /// The nonce that follows a sender's executable transactions, if it has any
    /// transactions here.
    pub fn pending_nonce(&self, sender: &Address) -> Option<u64> {
        self.queues.get(sender).map(SenderQueue::end)
    }

    /// Every pooled transaction by sender and nonce, and whether it is executable.
    pub fn iter(&self) -> impl Iterator<Item = (&Pooled, bool)> {
        self.queues.values().flat_map(SenderQueue::iter)
    }

    /// Takes a transaction in, if need be in place of one of less worth. `sender`: looks up its
    /// account, when the cheaper checks have passed.
    ///
    /// # Errors
    /// Why it was refused, by the first check that fails; the pool is then as
    /// before, except that transactions of less worth may have been given up.
    pub fn admit(
        &mut self,
        now: Time,
        tx: Transaction,
        source: Option<PeerId>,
        rules: &TxRules,
        sender: impl FnOnce() -> SenderState,
    ) -> Result<(), MempoolError> {
        let hash = *tx.tx_hash();
        if self.contains(&hash) {
            return Err(MempoolError::AlreadyKnown);
        }
        // As geth does over RPC: a wallet that signs so by mistake can be robbed on another
        // chain. From peers it is taken: it is valid in a block.
        if source.is_none() && is_unprotected(&tx) {
            return Err(MempoolError::Unprotected);
        }
        rules.check(&tx)?;
        // Only now, since it takes a look at the state.
        let sender = sender();
        rules.check_sender(&tx, &sender)?;
        let address = tx.signer();
        self.advance(&address, sender.nonce, sender.balance);
        let pooled = Pooled {
            hash,
            nonce: tx.nonce(),
            cap: tx.max_fee_per_gas(),
            tip: tx.priority_fee_or_price(),
            cost: rules.cost(&tx),
            bytes: tx.encode_2718_len(),
            held: tx.inner().size() + size_of::<Pooled>() + INDEX_BYTES,
            arrival: self.arrivals,
            admitted_at: now,
            source,
            tx,
        };
        self.make_room(&address, sender.nonce, &pooled)?;
        self.arrivals += 1;
        self.bytes += pooled.held;
        self.by_hash.insert(hash, (address, pooled.nonce));
        if let Some(peer) = source {
            let share = self.by_peer.entry(peer).or_default();
            (share.txs, share.bytes) = (share.txs + 1, share.bytes + pooled.held);
        }
        self.change(address, |queue, removed| {
            queue.advance(sender.nonce, sender.balance, removed);
            removed.extend(queue.insert(pooled));
        });
        Ok(())
    }

    /// The account of `sender` at the tip changed.
    pub fn advance(&mut self, sender: &Address, nonce: u64, balance: U256) {
        if self.queues.contains_key(sender) {
            self.change(*sender, |queue, removed| queue.advance(nonce, balance, removed));
        }
    }

    pub fn remove(&mut self, hash: &B256) {
        if let Some((sender, nonce)) = self.by_hash.get(hash).copied() {
            self.change(sender, |queue, removed| removed.extend(queue.remove(nonce)));
        }
    }

    /// Replaces the same nonce for enough of a fee, or finds room within the limits.
    fn make_room(&mut self, sender: &Address, next: u64, new: &Pooled) -> Result<(), MempoolError> {
        let queue = self.queues.get(sender);
        let end = queue.map_or(next, SenderQueue::end);
        let old = queue.and_then(|queue| queue.txs.get(&new.nonce));
        if let Some(old) = old {
            if !outbids(new, old) {
                return Err(MempoolError::ReplacementUnderpriced);
            }
            // No more room is needed than the old one gives back.
            if new.held <= old.held {
                return Ok(());
            }
        } else if queue.map_or(0, |queue| queue.txs.len()) >= self.limits.txs_per_sender_max {
            return Err(MempoolError::PoolFull);
        }
        let share = new.source.and_then(|peer| self.by_peer.get(&peer)).copied();
        let share = share.unwrap_or_default();
        if old.is_none() && share.txs >= self.limits.txs_per_peer_max
            || new.source.is_some() && share.bytes + new.held > self.limits.bytes_max / 2
        {
            return Err(MempoolError::PoolFull);
        }
        let more = usize::from(old.is_none());
        let worth = (new.nonce <= end, new.tip, new.cap);
        while self.by_hash.len() + more > self.limits.txs_max
            || self.bytes + new.held > self.limits.bytes_max
        {
            self.give_up_one(sender, new.nonce, worth)?;
        }
        Ok(())
    }

    /// Drops the transaction of least worth among the senders' last ones. It must be worth
    /// less than the new one, and the new one must not follow it.
    fn give_up_one(
        &mut self,
        sender: &Address,
        nonce: u64,
        worth: Worth,
    ) -> Result<(), MempoolError> {
        let (least, _, victim) = *self.tails.first().ok_or(MempoolError::PoolFull)?;
        let last =
            self.queues.get(&victim).and_then(SenderQueue::tail).ok_or(MempoolError::PoolFull)?;
        // Its own earlier nonce is never given up: the new one could then not run.
        if least >= worth || (victim == *sender && last.nonce <= nonce) {
            return Err(MempoolError::PoolFull);
        }
        let hash = last.hash;
        self.remove(&hash);
        Ok(())
    }

    /// Changes one queue and keeps every index and count in step with it.
    // One place for all changes: an index that one of them forgets would offer a transaction
    // that is gone.
    fn change(&mut self, sender: Address, f: impl FnOnce(&mut SenderQueue, &mut Vec<Pooled>)) {
        let queue = self.queues.entry(sender).or_default();
        if let Some(head) = head_of(sender, queue) {
            self.heads.remove(&head);
        }
        if let Some(tail) = tail_of(sender, queue) {
            self.tails.remove(&tail);
        }
        self.pending -= queue.run();
        let mut removed = Vec::new();
        f(queue, &mut removed);
        self.pending += queue.run();
        self.heads.extend(head_of(sender, queue));
        self.tails.extend(tail_of(sender, queue));
        if queue.txs.is_empty() {
            self.queues.remove(&sender);
        }
        for pooled in removed {
            self.by_hash.remove(&pooled.hash);
            self.bytes -= pooled.held;
            if let Some(peer) = pooled.source
                && let Some(share) = self.by_peer.get_mut(&peer)
            {
                (share.txs, share.bytes) = (share.txs - 1, share.bytes - pooled.held);
                if share.txs == 0 {
                    self.by_peer.remove(&peer);
                }
            }
        }
    }
}

fn head_of(sender: Address, queue: &SenderQueue) -> Option<QueueHead> {
    let head = queue.head()?;
    Some(QueueHead { tip: Reverse(head.tip), arrival: head.arrival, sender })
}

fn tail_of(sender: Address, queue: &SenderQueue) -> Option<QueueTail> {
    let tail = queue.tail()?;
    Some(((queue.is_gapless(), tail.tip, tail.cap), Reverse(tail.arrival), sender))
}

// Attack: without a price for it, anyone could make every node resend a transaction for ever.
// A tenth is geth's default, too (`--txpool.pricebump`).
/// A replacement pays at least a tenth more, and more at all, in both fees.
fn outbids(new: &Pooled, old: &Pooled) -> bool {
    let enough = |new: u128, old: u128| new > old && new >= old.saturating_add(old.div_ceil(10));
    enough(new.cap, old.cap) && enough(new.tip, old.tip)
}

#[cfg(test)]
mod tests;
