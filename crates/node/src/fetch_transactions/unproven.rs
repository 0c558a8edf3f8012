//! What came of a list of hashes that nobody has signed.
//!
//! Owns: the bytes that wait for the workers, and how many transactions these were given. It must
//! never know: who sent them.

use std::collections::BTreeMap;

use alloy_primitives::Bytes;
use trefoil_types::B256;

// Attack: a list of 30,000 transactions that its teller made and signed by keys of no account: 1.3 s
// of a core until the last came, and the root showed that the proposer had not signed it. The
// transactions' own bytes have the same root, without any sender. 1,024 are 50 ms, and more than most
// blocks have that the pool lacks.
/// Senders that are recovered for a block, whatever lists are followed, before a list is proven.
const RECOVERED_MAX: usize = 1_024;

/// What is to be recovered.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// What the list names.
    pub named: Vec<Bytes>,
    /// What was asked for lists before it, for which its teller does not answer.
    pub late: Vec<Bytes>,
}

#[derive(Debug, Default)]
pub struct Unproven {
    /// Of each transaction the bytes, until workers have them or it comes otherwise.
    held: BTreeMap<B256, Bytes>,
    /// How many of these the list names.
    named: usize,
    /// How many were given to the workers.
    recovered: usize,
    /// The bytes of what the list names have the root that the header commits to.
    is_proven: bool,
}

impl Unproven {
    pub fn hold(&mut self, hash: B256, raw: Bytes, is_named: bool) {
        if self.held.insert(hash, raw).is_none() {
            self.named += usize::from(is_named);
        }
    }

    pub fn get(&self, hash: &B256) -> Option<&Bytes> {
        self.held.get(hash)
    }

    /// A transaction came otherwise.
    pub fn remove(&mut self, hash: &B256, is_named: bool) {
        if self.held.remove(hash).is_some() {
            self.named -= usize::from(is_named);
        }
    }

    /// Whether all that is missing, so many transactions, waits here.
    pub fn has_all(&self, missing: usize) -> bool {
        self.named > 0 && self.named == missing
    }

    // Attack: 30,000 transactions of a false list wait when ten prove the true one.
    /// Takes what is to be recovered; of other lists nothing, once this one is proven. `None`: the
    /// list `is_true` not.
    pub fn take_due(
        &mut self,
        missing: usize,
        is_named: impl Fn(&B256) -> bool,
        is_true: impl FnOnce(&Self) -> bool,
    ) -> Option<Due> {
        let is_short = self.recovered + self.held.len() <= RECOVERED_MAX;
        if !self.is_proven && !is_short {
            if !self.has_all(missing) {
                return Some(Due::default());
            }
            self.is_proven = is_true(self);
            if !self.is_proven {
                return None;
            }
        }
        self.named = 0;
        let mut due = Due::default();
        for (hash, raw) in std::mem::take(&mut self.held) {
            if is_named(&hash) {
                due.named.push(raw);
            } else if !self.is_proven {
                due.late.push(raw);
            }
        }
        self.recovered += due.named.len() + due.late.len();
        Some(due)
    }

    /// What is left for another list, which names these.
    pub fn for_next(self, is_named: impl Fn(&B256) -> bool) -> Self {
        let named = self.held.keys().filter(|hash| is_named(hash)).count();
        Self { named, is_proven: false, ..self }
    }

    pub fn hashes(&self) -> impl Iterator<Item = &B256> {
        self.held.keys()
    }

    /// Drops what is held.
    pub fn clear(&mut self) {
        (self.held, self.named) = (BTreeMap::new(), 0);
    }
}
