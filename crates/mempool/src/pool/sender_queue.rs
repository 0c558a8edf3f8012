//! The pooled transactions of one sender, by nonce.

use std::{cmp::Reverse, collections::BTreeMap};

use alloy_primitives::U256;
use trefoil_types::{Address, B256, PeerId, Time, Transaction};

/// A pooled transaction with the values of it that the pool reads often.
#[derive(Clone, Debug)]
pub struct Pooled {
    pub tx: Transaction,
    pub hash: B256,
    pub nonce: u64,
    /// The most wei per gas that it pays.
    pub cap: u128,
    /// The most of that which goes to the proposer.
    pub tip: u128,
    /// The most wei it takes from its sender.
    pub cost: U256,
    /// Encoded length.
    pub bytes: usize,
    // Attack: the shortest authorisations of EIP-7702, of 27 bytes each, take five times as many
    // when they are decoded, and more in a list that has grown.
    /// What the pool holds for it in memory, bytes.
    pub held: usize,
    /// The number of admissions before it; breaks ties.
    pub arrival: u64,
    pub admitted_at: Time,
    /// The peer it came from; `None` for a wallet.
    pub source: Option<PeerId>,
}

impl Pooled {
    /// The proposer's tip for each gas, wei; `None` if it cannot pay the base fee.
    pub fn effective_tip(&self, base_fee: u64) -> Option<u128> {
        let room = self.cap.checked_sub(u128::from(base_fee))?;
        Some(room.min(self.tip))
    }
}

/// A sender's first executable transaction in the pool's index: the highest
/// tip first, then the earliest arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueHead {
    pub tip: Reverse<u128>,
    pub arrival: u64,
    pub sender: Address,
}

/// One sender's transactions. The first `run` follow each other from the
/// account's nonce, so that they can be executed; the rest wait behind a gap.
#[derive(Debug, Default)]
pub struct SenderQueue {
    /// The account's nonce at the tip.
    next: u64,
    run: u64,
    /// No transaction costs more than this.
    cost_max: U256,
    pub txs: BTreeMap<u64, Pooled>,
}

impl SenderQueue {
    /// How many can be executed one after the other.
    pub fn run(&self) -> usize {
        self.run as usize
    }

    /// The first nonce that is not taken by an executable transaction.
    pub fn end(&self) -> u64 {
        self.next + self.run
    }

    /// The executable transaction with this nonce.
    pub fn executable(&self, nonce: u64) -> Option<&Pooled> {
        if nonce < self.end() { self.txs.get(&nonce) } else { None }
    }

    pub fn head(&self) -> Option<&Pooled> {
        self.executable(self.next)
    }

    pub fn tail(&self) -> Option<&Pooled> {
        self.txs.last_key_value().map(|(_, pooled)| pooled)
    }

    /// Whether nothing waits behind a gap.
    pub fn is_gapless(&self) -> bool {
        self.run() == self.txs.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Pooled, bool)> {
        let end = self.end();
        self.txs.values().map(move |pooled| (pooled, pooled.nonce < end))
    }

    /// Takes one in; gives back the one that it replaces.
    pub fn insert(&mut self, pooled: Pooled) -> Option<Pooled> {
        self.cost_max = self.cost_max.max(pooled.cost);
        let replaced = self.txs.insert(pooled.nonce, pooled);
        self.extend_run();
        replaced
    }

    /// Takes one out; those after it wait behind the gap.
    pub fn remove(&mut self, nonce: u64) -> Option<Pooled> {
        let removed = self.txs.remove(&nonce)?;
        if nonce < self.end() {
            self.run = nonce - self.next;
        }
        Some(removed)
    }

    /// The account changed: takes out what it used up or cannot pay any more.
    pub fn advance(&mut self, nonce: u64, balance: U256, removed: &mut Vec<Pooled>) {
        if nonce > self.next {
            self.run = self.end().saturating_sub(nonce);
            let rest = self.txs.split_off(&nonce);
            removed.extend(std::mem::replace(&mut self.txs, rest).into_values());
            self.next = nonce;
            self.extend_run();
        }
        // Each is compared alone, not their sum: a sender may be paid in between. While it can
        // pay the most costly one it can pay all, so most blocks scan nothing.
        if balance < self.cost_max {
            let poor = |pooled: &&Pooled| pooled.cost > balance;
            let nonces: Vec<u64> = self.txs.values().filter(poor).map(|p| p.nonce).collect();
            removed.extend(nonces.into_iter().filter_map(|nonce| self.remove(nonce)));
            self.cost_max = self.txs.values().map(|p| p.cost).max().unwrap_or_default();
        }
    }

    fn extend_run(&mut self) {
        while self.txs.contains_key(&self.end()) {
            self.run += 1;
        }
    }
}
