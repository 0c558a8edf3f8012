//! The memory that callers can make the server hold, in bytes: one account for all of them.
//!
//! Request bodies, parsed parameters, answers that wait to be read, notifications, traces,
//! logs and what the gateway has read draw from it. What always holds: the claims together stay below
//! the bound, but for the first [`SMALL_BYTES`] of each connection; a claim is given back when its
//! holder is dropped.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::{RpcError, RpcResult};

// Half of what a node may need beyond its idle footprint is the peers' (`p2p`), a quarter is
// the callers', and a quarter is for what no account counts (fragments, the kernel's copies).
/// The bound unless the settings say otherwise (`rpc.memory_mib`), bytes.
pub const MEMORY_DEFAULT: usize = 128 << 20;

// A few callers that do not read their large answers must not keep the small answers of all
// others away. 1,536 connections that hold as much take 96 MiB.
/// A user of an account has so much in any case, and leaves the last quarter alone when it holds
/// more, bytes.
pub const SMALL_BYTES: usize = 64 << 10;

/// What may be held, and what is; clone freely.
#[derive(Clone, Debug)]
pub struct MemoryAccount(Arc<Held>);

#[derive(Debug)]
struct Held {
    max: usize,
    used: AtomicUsize,
    /// What is held here is held there too.
    all: Option<MemoryAccount>,
    /// What to do when there is no room.
    cure: &'static str,
    /// Somebody was refused since this was last looked at.
    refused: AtomicBool,
}

impl Default for MemoryAccount {
    fn default() -> Self {
        Self::new(MEMORY_DEFAULT)
    }
}

impl MemoryAccount {
    pub fn new(max: usize) -> Self {
        let cure = "ask for less at once, try again later, or raise `rpc.memory_mib`";
        Self::open(max, None, cure)
    }

    /// One user's account: at most `max` bytes of this one.
    pub fn within(&self, max: usize, cure: &'static str) -> Self {
        Self::open(max, Some(self.clone()), cure)
    }

    fn open(max: usize, all: Option<Self>, cure: &'static str) -> Self {
        let (used, refused) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self(Arc::new(Held { max, used, all, cure, refused }))
    }

    pub fn max(&self) -> usize {
        self.0.max
    }

    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Whether the account itself has room, whatever the one of all has.
    pub fn fits(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.0.max
    }

    /// Whether it refused somebody since this was last asked.
    pub fn has_refused(&self) -> bool {
        self.0.refused.swap(false, Ordering::Relaxed)
    }

    /// # Errors
    /// There is no room for so many bytes.
    pub fn claim(&self, bytes: usize) -> RpcResult<Claim> {
        let mut claim = Claim { account: self.clone(), bytes: 0 };
        claim.grow(bytes)?;
        Ok(claim)
    }

    /// For what has to be said even when there is no room: a refusal's few words.
    pub fn claim_anyway(&self, bytes: usize) -> Claim {
        self.add(bytes);
        Claim { account: self.clone(), bytes }
    }

    fn add(&self, bytes: usize) {
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(all) = &self.0.all {
            all.add(bytes);
        }
    }

    fn give_back(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(all) = &self.0.all {
            all.give_back(bytes);
        }
    }

    /// `bytes` more for a claim that will then be of `whole`.
    fn take(&self, bytes: usize, whole: usize) -> RpcResult<()> {
        let Held { max, used, all, .. } = &*self.0;
        let allowed = match all {
            None if whole > SMALL_BYTES => max - max / 4,
            _ => *max,
        };
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= allowed);
        let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        let held = taken.map_err(|used| self.refusal(used))? + bytes;
        let Some(all) = all else { return Ok(()) };
        // Those who hold the most of it must not refuse the others their first words.
        if held <= SMALL_BYTES {
            all.add(bytes);
            return Ok(());
        }
        // Many small claims of one user are as large as all of them together. Taken here and
        // refused there: nothing is held.
        all.take(bytes, whole.max(held)).inspect_err(|_| {
            used.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    fn refusal(&self, used: usize) -> RpcError {
        let Held { max, all, cure, refused, .. } = &*self.0;
        refused.store(true, Ordering::Relaxed);
        let whose = if all.is_some() { "you" } else { "all callers" };
        RpcError::Busy(format!("{used} of {max} bytes are held for {whose}; {cure}"))
    }
}

/// Bytes of an account, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    account: MemoryAccount,
    bytes: usize,
}

impl Claim {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// # Errors
    /// There is no room for so many bytes more; those that are held stay so.
    pub fn grow(&mut self, bytes: usize) -> RpcResult<()> {
        let whole = self.bytes.saturating_add(bytes);
        self.account.take(bytes, whole)?;
        self.bytes = whole;
        Ok(())
    }

    // By hand: a list that grows by itself takes twice what was claimed.
    /// Claims and makes room for `more` bytes in a list of at most `max`, of which this is the
    /// claim.
    ///
    /// # Errors
    /// As [`Claim::grow`].
    pub fn make_room(&mut self, list: &mut Vec<u8>, more: usize, max: usize) -> RpcResult<()> {
        let length = list.len() + more;
        if length > self.bytes {
            let wanted = (2 * self.bytes).min(max).max(length);
            self.grow(wanted - self.bytes)?;
            list.reserve_exact(wanted - list.len());
        }
        Ok(())
    }

    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.account.give_back(bytes);
        self.bytes -= bytes;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

/// Bytes with their claim, which ends when the last of them is written.
pub struct Claimed {
    bytes: Vec<u8>,
    _claim: Claim,
}

impl Claimed {
    /// As hyper and the WebSocket take it: the claim goes with it.
    pub fn bytes(bytes: Vec<u8>, claim: Claim) -> axum::body::Bytes {
        axum::body::Bytes::from_owner(Self { bytes, _claim: claim })
    }
}

impl AsRef<[u8]> for Claimed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_given_back_by_whoever_held_it() {
        let account = MemoryAccount::new(100);
        let mut claim = account.claim(60).unwrap();
        assert!(claim.grow(41).is_err());
        claim.grow(40).unwrap();
        assert_eq!((account.used(), claim.bytes()), (100, 100));
        claim.shrink(70);
        let other = account.claim(70).unwrap();
        assert_eq!(account.used(), 100);
        drop((claim, other));
        assert_eq!(account.used(), 0);
        let bytes = Claimed::bytes(vec![1; 10], account.claim(10).unwrap());
        let part = bytes.slice(3..5);
        drop(bytes);
        assert_eq!(account.used(), 10);
        drop(part);
        assert_eq!(account.used(), 0);
    }

    #[test]
    fn large_claims_leave_a_quarter_to_small_ones() {
        let account = MemoryAccount::new(1 << 20);
        let large = account.claim(3 << 18).unwrap();
        assert!(account.claim(SMALL_BYTES + 1).is_err());
        let mut small: Vec<_> = (0..4).map(|_| account.claim(SMALL_BYTES).unwrap()).collect();
        assert!(account.claim(1).unwrap_err().to_string().contains("rpc.memory_mib"));
        drop(large);
        // One claim that grows is as large as all its parts.
        let mut grown = small.pop().unwrap();
        grown.grow(1 << 19).unwrap();
        assert!(grown.grow(1 << 17).is_err());
    }

    #[test]
    fn a_connection_holds_its_share_and_no_more_than_all_may() {
        let (mib, small) = (1 << 20, SMALL_BYTES);
        let all = MemoryAccount::new(mib);
        let (one, two) = (all.within(mib / 2, "read"), all.within(mib / 2, "read"));
        let held = one.claim(mib / 2).unwrap();
        let refused = one.claim(1).unwrap_err().to_string();
        assert!(refused.contains("524288 of 524288") && refused.ends_with("read"), "{refused}");
        assert!(!one.fits(1) && two.fits(mib / 2) && !all.has_refused());
        assert!(two.claim(mib / 2).unwrap_err().to_string().contains("rpc.memory_mib"));
        assert!(all.has_refused() && !all.has_refused());
        assert_eq!((one.used(), two.used(), all.used()), (mib / 2, 0, mib / 2));
        let over = two.claim_anyway(mib);
        assert_eq!(all.used(), mib + mib / 2);
        // Whoever holds little has room for it all the same.
        let three = all.within(mib, "read");
        let first = three.claim(small).unwrap();
        assert!(three.claim(1).is_err());
        drop((held, over, first));
        assert_eq!((one.used(), two.used(), three.used(), all.used()), (0, 0, 0, 0));
    }

    #[test]
    fn many_small_claims_of_one_user_are_judged_as_one() {
        let all = MemoryAccount::new(1 << 20);
        let greedy = all.within(usize::MAX, "read");
        let mut held = vec![];
        while let Ok(claim) = greedy.claim(SMALL_BYTES / 2) {
            held.push(claim);
        }
        assert_eq!(greedy.used(), 3 << 18);
        let other = all.within(usize::MAX, "read");
        assert!(other.claim(SMALL_BYTES).is_ok());
    }
}
