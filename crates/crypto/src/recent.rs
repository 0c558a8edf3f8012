//! The signatures of consensus that were found right lately.
//!
//! A node meets one precommit by itself, in the certificate of a block, and in that which the next
//! block binds. What always holds: the answer is that of the verification; it only comes sooner.

use std::cell::RefCell;

use alloy_primitives::{B256, map::B256Set};

// 128 validators × 2 votes × 64 rounds. 33 bytes each with room to grow, in two sets: 2 MiB for each
// thread that verifies.
/// So many are remembered at least, once there were so many.
const REMEMBERED: usize = 16_384;

/// The newest, and those before them.
#[derive(Default)]
struct RecentSignatures([B256Set; 2]);

impl RecentSignatures {
    fn contains(&self, signature: &B256) -> bool {
        self.0.iter().any(|set| set.contains(signature))
    }

    fn insert(&mut self, signature: B256) {
        let [newest, before] = &mut self.0;
        if newest.len() >= REMEMBERED {
            *before = std::mem::take(newest);
        }
        newest.insert(signature);
    }
}

thread_local! {
    // Of each thread: none waits for another, and what others verify displaces nothing of the
    // node's.
    static RIGHT: RefCell<RecentSignatures> = RefCell::default();
}

// Attack: wrong signatures displace right ones, if they are remembered.
/// Verifies unless this was found right lately. `all` is the hash of all that it is verified from.
pub(crate) fn verify_once(all: B256, verify: impl FnOnce() -> bool) -> bool {
    if RIGHT.with_borrow(|right| right.contains(&all)) {
        return true;
    }
    let is_right = verify();
    if is_right {
        RIGHT.with_borrow_mut(|right| right.insert(all));
    }
    is_right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_right_is_not_verified_again_until_many_others_were() {
        let number = |n: usize| B256::left_padding_from(&n.to_be_bytes());
        let is_known = |n| verify_once(number(n), || false);
        assert!(!is_known(0), "nothing is known that was wrong");
        for n in 0..2 * REMEMBERED {
            assert!(verify_once(number(n), || true));
            assert!(is_known(n));
        }
        assert!(is_known(REMEMBERED) && is_known(0));
        assert!(verify_once(number(2 * REMEMBERED), || true));
        assert!(is_known(REMEMBERED) && !is_known(0));
    }
}
