//! Peers that others named for one resource: which of them is dialled next.
//!
//! What always holds: tellers have their turns, so that the false addresses of one delay those of
//! another by a dial each; of one teller a bounded number is followed, and of all together so many
//! a second.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use trefoil_content::message::OTHERS_MAX;
use trefoil_p2p::RateLimiter;
use trefoil_types::PeerId;

// Attack: peers name many addresses, so that this node knocks there. At once: one full message.
/// Dials a second for one resource, and at once.
const DIALS_A_SECOND: u32 = 8;
const DIALS_AT_ONCE: u32 = OTHERS_MAX as u32;

// Two full messages: an honest node names others again when more of them came.
/// Of one teller, for one resource.
const NAMES_MAX: usize = 2 * OTHERS_MAX;

/// Names that are remembered, so that none is dialled twice: those of eight tellers. Beyond, all
/// are forgotten.
const DIALLED_MAX: usize = 8 * NAMES_MAX;

/// A peer, and where it is said to be.
type NamedPeer = (PeerId, SocketAddr);

#[derive(Debug)]
pub struct NamedPeers {
    tellers: BTreeMap<PeerId, Names>,
    /// Tellers with names that wait, the next first.
    turns: VecDeque<PeerId>,
    // With their addresses: a liar who is first would else keep away whom another tells of.
    dialled: BTreeSet<NamedPeer>,
    limiter: RateLimiter,
}

/// What one teller named.
#[derive(Debug, Default)]
struct Names {
    /// How many so far.
    count: usize,
    waiting: VecDeque<NamedPeer>,
}

impl NamedPeers {
    pub fn new() -> Self {
        Self {
            tellers: BTreeMap::new(),
            turns: VecDeque::new(),
            dialled: BTreeSet::new(),
            limiter: RateLimiter::new(DIALS_A_SECOND, DIALS_AT_ONCE),
        }
    }

    pub fn add(&mut self, teller: PeerId, named: Vec<NamedPeer>) {
        let names = self.tellers.entry(teller).or_default();
        let waited = !names.waiting.is_empty();
        for peer in named {
            if names.count < NAMES_MAX && !self.dialled.contains(&peer) {
                names.count += 1;
                names.waiting.push_back(peer);
            }
        }
        if !waited && !names.waiting.is_empty() {
            self.turns.push_back(teller);
        }
    }

    /// A teller has left: what it named and was not dialled is forgotten.
    pub fn forget(&mut self, teller: &PeerId) {
        self.tellers.remove(teller);
        self.turns.retain(|other| other != teller);
    }

    /// The next peer to dial, if one is due, with its teller; none that `is_here`.
    pub fn next(
        &mut self,
        now: Instant,
        is_here: impl Fn(&PeerId) -> bool,
    ) -> Option<(NamedPeer, PeerId)> {
        while self.limiter.early(1, now).is_zero() {
            let teller = self.turns.pop_front()?;
            let waiting = &mut self.tellers.get_mut(&teller)?.waiting;
            let named = waiting.pop_front();
            if !waiting.is_empty() {
                self.turns.push_back(teller);
            }
            let new = |named: &NamedPeer| !is_here(&named.0) && !self.dialled.contains(named);
            let Some(named) = named.filter(new) else { continue };
            if self.dialled.len() >= DIALLED_MAX {
                self.dialled.clear();
            }
            self.dialled.insert(named);
            // It was not too early.
            let _ = self.limiter.take(1, now);
            return Some((named, teller));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trefoil_types::PublicKey;

    use super::*;

    fn peer(n: u32) -> PeerId {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        PeerId(PublicKey(key.into()))
    }

    fn named(n: u32) -> NamedPeer {
        (peer(n), SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 1)))
    }

    fn due(named: &mut NamedPeers, now: Instant) -> Vec<NamedPeer> {
        std::iter::from_fn(|| named.next(now, |_| false)).map(|(named, _)| named).collect()
    }

    // Attack: two full messages of false addresses were all that a resource had.
    #[test]
    fn false_names_of_some_tellers_keep_nobody_from_those_of_another() {
        let (mut all, begin) = (NamedPeers::new(), Instant::now());
        for liar in 0..4 {
            for n in 0..10 {
                let at = 1_000 * (1 + liar) + 32 * n;
                all.add(peer(liar), (at..at + 32).map(named).collect());
            }
        }
        let first = due(&mut all, begin);
        assert_eq!(first.len(), DIALS_AT_ONCE as usize);
        all.add(peer(9), (10..13).map(named).collect());
        let seconds = |n| begin + Duration::from_secs(n);
        // One of each teller, in turns.
        let next: Vec<_> = (1..=2).flat_map(|n| due(&mut all, seconds(n))).collect();
        assert_eq!(next.len(), 2 * DIALS_A_SECOND as usize);
        assert!((10..13).all(|n| next.contains(&named(n))), "{next:?}");
        // Of each liar a bounded number in all.
        let rest: usize = (3..1_000).map(|n| due(&mut all, seconds(n)).len()).sum();
        assert_eq!(first.len() + next.len() + rest, 4 * NAMES_MAX + 3);
    }

    #[test]
    fn no_peer_is_dialled_twice_at_an_address_or_while_it_is_here() {
        let (mut all, now) = (NamedPeers::new(), Instant::now());
        let elsewhere = (peer(1), named(7).1);
        all.add(peer(9), vec![elsewhere, named(1), named(1), named(2)]);
        all.add(peer(8), vec![named(1)]);
        let here = |peer_id: &PeerId| *peer_id == peer(2);
        let dialled: Vec<_> = std::iter::from_fn(|| all.next(now, here)).collect();
        assert_eq!(dialled, [(elsewhere, peer(9)), (named(1), peer(8))]);
        // A teller that left has no turn.
        all.add(peer(8), vec![named(3)]);
        all.forget(&peer(8));
        assert_eq!(all.next(now, here), None);
    }
}
