//! The memory that callers can make the server hold, in bytes: one account for all of them.
//!
//! Request bodies, parsed parameters, executions, answers that wait to be read, notifications,
//! traces, logs and what the gateway has read draw from it. What always holds: the claims together
//! stay below the bound, for which the first [`FIRST_BYTES`] of each connection are set aside; a claim
//! is given back when its holder is dropped.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{RpcError, RpcResult, limits};

// Half of what a node may need beyond its idle footprint is the peers' (`p2p`), a quarter is
// the callers', and a quarter is for what no account counts (fragments, the kernel's copies).
/// The bound unless the settings say otherwise (`rpc.memory_mib`), bytes.
pub const MEMORY_DEFAULT: usize = 128 << 20;

// What a question like `eth_blockNumber` or a plain `eth_call` takes, with its answer.
/// A user of the account has so much in any case, bytes: 20 MiB for all connections.
pub const FIRST_BYTES: usize = 8 << 10;

// A few callers that do not read their large answers must not keep the small answers of all
// others away.
/// A user that holds more leaves the last quarter to the others, bytes.
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
    /// How often somebody was refused what may fit later.
    refusals: AtomicUsize,
    /// That number when it was last looked at.
    seen: AtomicUsize,
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
        let [used, refusals, seen] = [(); 3].map(|()| AtomicUsize::new(0));
        Self(Arc::new(Held { max, used, all, cure, refusals, seen }))
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
        let now = self.refusals();
        self.0.seen.swap(now, Ordering::Relaxed) != now
    }

    /// How often it refused somebody.
    pub fn refusals(&self) -> usize {
        self.0.refusals.load(Ordering::Relaxed)
    }

    /// The most that one claim may be of.
    pub fn claim_max(&self) -> usize {
        let Held { max, all, .. } = &*self.0;
        match all {
            None => self.shared() - self.shared() / 4,
            Some(all) => all.claim_max().min(*max),
        }
    }

    /// The most that an answer, or a block that it is made of, may be of: it is claimed beside the work
    /// that makes it.
    pub fn answer_max(&self) -> usize {
        self.claim_max().saturating_sub(self.work_bytes())
    }

    /// # Errors
    /// There is no room for so many bytes.
    pub fn claim(&self, bytes: usize) -> RpcResult<Claim> {
        let mut claim = Claim { account: self.clone(), bytes: 0 };
        claim.grow(bytes)?;
        Ok(claim)
    }

    // Answers that their clients read slowly would otherwise keep every `eth_call` away.
    /// For a scan or an execution, which ends soon, whoever reads its answer: it may take the last
    /// quarter, in which small claims leave room for one.
    ///
    /// # Errors
    /// There is no room for one more.
    pub fn claim_for_work(&self) -> RpcResult<Claim> {
        let bytes = self.work_bytes();
        self.take(bytes, 0, 0)?;
        Ok(Claim { account: self.clone(), bytes })
    }

    // A small account has room for some, too.
    fn work_bytes(&self) -> usize {
        limits::HEAVY_BYTES.min(self.max() / 8)
    }

    /// How many scans and executions run at once on so many threads: together they hold at most
    /// half of the account.
    pub fn works_max(&self, threads: usize) -> usize {
        let fit = self.max() / 2 / self.work_bytes().max(1);
        threads.min(limits::HEAVY_MAX).min(fit).max(1)
    }

    /// For what has to be said even when there is no room: a refusal's few words.
    pub fn claim_anyway(&self, bytes: usize) -> Claim {
        self.add(bytes);
        Claim { account: self.clone(), bytes }
    }

    /// Runs what asks for room before it takes it; what it was given is claimed until it is done.
    ///
    /// # Errors
    /// Its own; if it was refused room, that: it is not too much by itself, others hold the room.
    pub fn while_growing<T>(
        &self,
        run: impl FnOnce(&dyn Fn(usize) -> bool) -> RpcResult<T>,
    ) -> RpcResult<T> {
        let claim = RefCell::new((self.claim_anyway(0), None));
        let ran = run(&|bytes| {
            let (claim, refused) = &mut *claim.borrow_mut();
            *refused = claim.grow(bytes).err();
            refused.is_none()
        });
        claim.into_inner().1.map_or(ran, Err)
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

    /// What claims may take: the first bytes of each connection are set aside.
    fn shared(&self) -> usize {
        let Held { max, all, .. } = &*self.0;
        match all {
            None => max - (limits::PLACES_MAX * FIRST_BYTES).min(max / 4),
            Some(_) => *max,
        }
    }

    /// `bytes` more for a claim that will then be of `whole`, of a user whose claims are of `user`.
    fn take(&self, bytes: usize, whole: usize, user: usize) -> RpcResult<()> {
        let Held { used, all, .. } = &*self.0;
        let allowed = match all {
            None if user > SMALL_BYTES => self.claim_max(),
            // 64 KiB each on some hundred connections would take all of the last quarter.
            None if user > 0 => self.shared() - self.work_bytes(),
            _ => self.shared(),
        };
        if whole > allowed {
            return Err(self.too_large(allowed));
        }
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= allowed);
        let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        let held = taken.map_err(|used| self.refusal(used))? + bytes;
        let Some(all) = all else { return Ok(()) };
        // Those who hold the most of it must not refuse the others their first words.
        if all.0.all.is_none() && held <= FIRST_BYTES {
            all.add(bytes);
            return Ok(());
        }
        // Many small claims of one user are as large as all of them together. Taken here and
        // refused there: nothing is held.
        all.take(bytes, whole, user.max(held)).inspect_err(|_| {
            used.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    fn refusal(&self, used: usize) -> RpcError {
        let Held { max, all, cure, refusals, .. } = &*self.0;
        refusals.fetch_add(1, Ordering::Relaxed);
        let whose = if all.is_some() { "you" } else { "all callers" };
        RpcError::Busy(format!("{used} of {max} bytes are held for {whose}; {cure}"))
    }

    // Who is told to try again would do so for ever.
    /// Refuses what is larger than `most` by itself.
    pub fn too_large(&self, most: usize) -> RpcError {
        let cure = match self.0.all {
            None => "ask for less, or raise `rpc.memory_mib`",
            Some(_) => "ask for less at once, or use POST",
        };
        RpcError::TooLarge(format!(
            "it takes more than {most} bytes, the most that may be held for it; {cure}"
        ))
    }
}

/// Bytes of an account, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    account: MemoryAccount,
    bytes: usize,
}

impl Claim {
    pub fn account(&self) -> &MemoryAccount {
        &self.account
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// # Errors
    /// There is no room for so many bytes more; those that are held stay so.
    pub fn grow(&mut self, bytes: usize) -> RpcResult<()> {
        let whole = self.bytes.saturating_add(bytes);
        self.account.take(bytes, whole, whole)?;
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
            let wanted = (2 * self.bytes).min(max).min(self.account.claim_max()).max(length);
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
        // Claims may take 100 of them.
        let account = MemoryAccount::new(160);
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

    /// What claims of an account of 1 MiB may take: a quarter is set aside.
    const SHARED: usize = 3 << 18;
    /// And what large ones may.
    const LARGE: usize = SHARED - SHARED / 4;

    #[test]
    fn large_claims_leave_a_quarter_to_small_ones_and_these_an_execution() {
        let account = MemoryAccount::new(1 << 20);
        let large = account.claim(LARGE).unwrap();
        assert!(account.claim(SMALL_BYTES + 1).is_err());
        let mut grown = account.claim(SMALL_BYTES).unwrap();
        assert!(account.claim(1).unwrap_err().to_string().contains("rpc.memory_mib"));
        assert!(account.claim_for_work().is_ok());
        drop(large);
        // One claim that grows is as large as all its parts.
        grown.grow(LARGE - SMALL_BYTES).unwrap();
        assert!(grown.grow(1).is_err());
    }

    #[test]
    fn work_finds_room_beside_answers_that_nobody_reads() {
        let account = MemoryAccount::default();
        let large = account.shared() - account.shared() / 4;
        let _unread = account.claim(large).unwrap();
        let work = [(); 2].map(|()| account.claim_for_work().unwrap());
        assert!(account.claim_for_work().is_err());
        drop(work);
        assert_eq!(account.used(), large);
        assert_eq!([1, 2, 64].map(|threads| account.works_max(threads)), [1, 2, 5]);
        // The least that the settings take.
        let least = MemoryAccount::new(16 << 20);
        assert_eq!((least.work_bytes(), least.works_max(64)), (2 << 20, 4));
    }

    /// With every place taken, and each user at its worst.
    #[test]
    fn all_claims_together_stay_below_the_bound() {
        let all = MemoryAccount::default();
        let users: Vec<_> =
            (0..limits::PLACES_MAX).map(|_| all.within(usize::MAX, "read")).collect();
        let mut held = vec![];
        for bytes in [1 << 20, SMALL_BYTES, FIRST_BYTES, 1_000] {
            for user in &users {
                while let Ok(claim) = user.claim(bytes) {
                    held.push(claim);
                    assert!(held.len() < 1 << 20, "it ends");
                }
            }
        }
        assert!(users.iter().all(|user| user.used() >= FIRST_BYTES), "each has its first bytes");
        assert!((MEMORY_DEFAULT / 8 * 7..=MEMORY_DEFAULT).contains(&all.used()));
    }

    #[test]
    fn a_connection_holds_its_share_and_no_more_than_all_may() {
        let share = LARGE / 2;
        let all = MemoryAccount::new(1 << 20);
        let (one, two) = (all.within(share, "read"), all.within(2 * share, "read"));
        let held = one.claim(share).unwrap();
        let refused = one.claim(1).unwrap_err().to_string();
        assert!(refused.contains(&format!("{share} of {share}")), "{refused}");
        assert!(refused.ends_with("read"), "{refused}");
        assert!(!one.fits(1) && two.fits(share) && !all.has_refused());
        assert!(two.claim(share + 2).unwrap_err().to_string().contains("rpc.memory_mib"));
        assert!(all.has_refused() && !all.has_refused());
        assert_eq!((one.used(), two.used(), all.used()), (share, 0, share));
        let over = two.claim_anyway(1 << 20);
        assert_eq!(all.used(), (1 << 20) + share);
        // Whoever holds little has room for it all the same, and so has what it divides.
        let three = all.within(usize::MAX, "read");
        let first = three.within(usize::MAX, "read").claim(FIRST_BYTES).unwrap();
        assert!(three.claim(1).is_err());
        drop((held, over, first));
        assert_eq!((one.used(), two.used(), three.used(), all.used()), (0, 0, 0, 0));
    }

    /// Who is told to try again later would do so for ever.
    #[test]
    fn what_can_never_fit_is_told_so_whoever_holds_what() {
        let all = MemoryAccount::new(1 << 20);
        let one = all.within(1 << 18, "read");
        let [large, own] = [LARGE, 1 << 18];
        for held in [0, LARGE] {
            let _held = all.claim_anyway(held);
            for (account, most) in [(&all, large), (&one, own)] {
                let refused = account.claim(most + 1).unwrap_err();
                assert!(matches!(refused, RpcError::TooLarge(_)), "{refused}");
                assert!(
                    refused.to_string().contains(&format!("more than {most} bytes")),
                    "{refused}"
                );
                assert_eq!(account.claim_max(), most);
            }
        }
        assert!(all.claim(LARGE + 1).unwrap_err().to_string().ends_with("`rpc.memory_mib`"));
        assert!(!all.has_refused(), "nobody can give room for it");
        // A list is not refused for what it would grow to.
        let (mut list, mut claim) = (Vec::new(), all.claim(0).unwrap());
        for length in [1, LARGE / 2 + 1, LARGE] {
            let more = length - list.len();
            claim.make_room(&mut list, more, usize::MAX).unwrap();
            list.resize(length, 0);
        }
        let refused = claim.make_room(&mut list, 1, usize::MAX).unwrap_err();
        assert!(matches!(refused, RpcError::TooLarge(_)), "{refused}");
    }

    #[test]
    fn many_small_claims_of_one_user_are_judged_as_one() {
        let all = MemoryAccount::new(1 << 20);
        let greedy = all.within(usize::MAX, "read");
        let mut held = vec![];
        while let Ok(claim) = greedy.claim(SMALL_BYTES / 2) {
            held.push(claim);
        }
        assert_eq!(greedy.used(), LARGE);
        let other = all.within(usize::MAX, "read");
        assert!(other.claim(SMALL_BYTES).is_ok());
    }
}
