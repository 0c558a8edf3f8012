//! What each peer is asked for: next, and what it was asked for and did not give.
//!
//! Attack: after each answer of one transaction (157 bytes) all 30,000 that were missing were
//! looked at: 2.2 ms of the node's thread, so that 70 kB a second took all of it. What always
//! holds: from one sharing out to the next each transaction is looked at once.

use std::collections::{BTreeMap, VecDeque};

use trefoil_types::{B256, PeerId};

/// The peers that missing transactions can be asked of.
pub(crate) struct Givers {
    pub me: PeerId,
    /// The members that are connected and favoured, in an order that no peer can choose.
    pub favoured: Vec<PeerId>,
    /// The other members, likewise.
    pub others: Vec<PeerId>,
    /// Those that fetch the same, this node among them if it validates, in order: the
    /// validators, where the chain says which nodes validate; else all members.
    pub sharers: Vec<PeerId>,
}

#[derive(Debug, Default)]
pub(super) struct Shares {
    by_peer: BTreeMap<PeerId, Share>,
    /// What was asked for and did not come, and of which peer.
    open: BTreeMap<B256, PeerId>,
}

#[derive(Debug, Default)]
struct Share {
    /// What the peer is asked for next.
    next: VecDeque<B256>,
    /// How much it was asked for and did not give.
    open: usize,
}

impl Shares {
    /// Shares out anew what was not asked for.
    pub fn share_out(&mut self, shares: impl Iterator<Item = (PeerId, B256)>) {
        self.by_peer.values_mut().for_each(|share| share.next.clear());
        for (peer, tx) in shares.filter(|(_, tx)| !self.open.contains_key(tx)) {
            self.by_peer.entry(peer).or_default().next.push_back(tx);
        }
        self.by_peer.retain(|_, share| share.open > 0 || !share.next.is_empty());
    }

    /// Takes what peers are to be asked for now: of those that gave half of what they were asked
    /// for, up to `open_max` at once. What is not needed any more is left out.
    pub fn take_due(
        &mut self,
        open_max: usize,
        is_needed: impl Fn(&B256) -> bool,
    ) -> BTreeMap<PeerId, Vec<B256>> {
        let mut due = BTreeMap::<PeerId, Vec<B256>>::new();
        for (peer, share) in &mut self.by_peer {
            let mut room = if share.open <= open_max / 2 { open_max - share.open } else { 0 };
            while room > 0
                && let Some(tx) = share.next.pop_front()
            {
                if is_needed(&tx) {
                    room -= 1;
                    share.open += 1;
                    self.open.insert(tx, *peer);
                    due.entry(*peer).or_default().push(tx);
                }
            }
        }
        due
    }

    /// A transaction came, from whomever.
    pub fn came(&mut self, tx: &B256) {
        let share = self.open.remove(tx).and_then(|peer| self.by_peer.get_mut(&peer));
        share.into_iter().for_each(|share| share.open -= 1);
    }

    /// The peers that were asked for something that did not come.
    pub fn open_at(&self) -> impl Iterator<Item = &PeerId> {
        self.by_peer.iter().filter(|(_, share)| share.open > 0).map(|(peer, _)| peer)
    }

    /// Forgets what these peers were asked for in vain.
    pub fn give_up(&mut self, is_given_up: impl Fn(&PeerId) -> bool) {
        self.open.retain(|_, peer| !is_given_up(peer));
        let given_up = self.by_peer.iter_mut().filter(|(peer, _)| is_given_up(peer));
        given_up.for_each(|(_, share)| share.open = 0);
    }

    /// What was asked for and may come yet.
    pub fn into_open(self) -> impl Iterator<Item = B256> {
        self.open.into_keys()
    }
}
