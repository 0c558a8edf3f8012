//! Which of the announced snapshots is tried next, and when a newcomer gives snapshots up.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use trefoil_swarm::Announced;
use trefoil_types::PeerId;

// Attack: five peers that tell of a snapshot and send nothing, under new names as often as they
// like, kept a newcomer away for as long as they lived (issue 15). Each attempt costs the 20 s of
// a stall, so that this many cost three minutes.
/// Attempts that may fail before the chain is executed instead.
const FAILURES_MAX: u32 = 8;

// Attack: liars that come back under new names after each failure, five against one, won every
// choice. Whoever told its snapshot all that while was there before them.
/// Failures that a teller can outlive for its rank, at most: more would rank those that joined in
/// the first second before those of the next.
const OUTLIVED_MAX: u32 = 2;

// Attack: new names without end, while a newcomer that insists on a snapshot waits.
/// Tellers that are remembered, at most.
const TELLERS_MAX: usize = 1_024;

/// What a newcomer has to go by, of who tells of a snapshot; the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Its certificate cannot be judged yet.
    Unjudged,
    Stranger,
    /// It is certified, or the operator named it.
    Known,
}

/// Who tells of what.
pub type Told = BTreeMap<PeerId, (Trust, Announced)>;

/// A snapshot that is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub snapshot: Announced,
    /// The most trusted of those that tell of it.
    pub trust: Trust,
    /// As it was chosen: a liar may tell of another by the time that it is found out.
    pub tellers: BTreeSet<PeerId>,
}

/// Snapshots that were tried and failed, and who told of them.
#[derive(Default)]
pub struct RejectedSnapshots {
    /// Proven false, or too large for this node: never tried again.
    refused: BTreeSet<[u8; 32]>,
    /// How often a snapshot, and a teller, was left.
    snapshots: BTreeMap<[u8; 32], u32>,
    tellers: BTreeMap<PeerId, u32>,
    /// How many failures there had been when a teller that is there was first seen.
    since: BTreeMap<PeerId, u32>,
    failures: u32,
}

impl RejectedSnapshots {
    // The tellers count before what they tell: whoever was left would otherwise be chosen again
    // by a snapshot of another name or a greater height, which cost nothing to tell of.
    /// The snapshot of those who were left least often, of those the most trusted, and of those
    /// who outlived most failures; then the one that most of them tell of, and of equals the
    /// highest.
    pub fn choose(&mut self, told: &Told) -> Option<Choice> {
        self.since.retain(|peer, _| told.contains_key(peer));
        for peer in told.keys() {
            self.since.entry(*peer).or_insert(self.failures);
        }
        let mut by_snapshot = BTreeMap::<Announced, Vec<(PeerId, Trust)>>::new();
        let left = told.iter().filter(|(_, (_, of))| !self.refused.contains(&of.index));
        left.for_each(|(peer, (trust, of))| {
            by_snapshot.entry(*of).or_default().push((*peer, *trust));
        });
        let ranked = by_snapshot.into_iter().filter_map(|(snapshot, tellers)| {
            let class = |(peer, trust): &(PeerId, Trust)| {
                let outlived = self.failures - times(&self.since, peer);
                (Reverse(times(&self.tellers, peer)), *trust, outlived.min(OUTLIVED_MAX))
            };
            let best = tellers.iter().map(class).max()?;
            let count = tellers.iter().filter(|teller| class(teller) == best).count();
            let failed = Reverse(times(&self.snapshots, &snapshot.index));
            let tellers = tellers.into_iter().map(|(peer, _)| peer).collect();
            let choice = Choice { snapshot, trust: best.1, tellers };
            Some(((best, failed, count, snapshot.height), choice))
        });
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, choice)| choice)
    }

    /// An attempt failed: others are tried before this snapshot and its tellers.
    pub fn leave(&mut self, choice: &Choice) {
        self.failures += 1;
        *self.snapshots.entry(choice.snapshot.index).or_default() += 1;
        if self.tellers.len() >= TELLERS_MAX {
            self.tellers.clear();
            self.snapshots.clear();
        }
        for peer in &choice.tellers {
            *self.tellers.entry(*peer).or_default() += 1;
        }
    }

    /// A snapshot is never tried again, nor its tellers before others.
    pub fn refuse(&mut self, choice: &Choice) {
        self.leave(choice);
        self.refused.insert(choice.snapshot.index);
    }

    /// A snapshot has no room here, for which its tellers can do nothing: it is never tried again.
    pub fn refuse_for_room(&mut self, choice: &Choice) {
        self.failures += 1;
        self.refused.insert(choice.snapshot.index);
    }

    /// Whether somebody who was never left tells of another snapshot.
    pub fn has_other(&self, told: &Told, than: &Choice) -> bool {
        told.iter().any(|(peer, (_, of))| {
            of.index != than.snapshot.index
                && !self.refused.contains(&of.index)
                && !than.tellers.contains(peer)
                && times(&self.tellers, peer) == 0
        })
    }

    /// Whether enough was tried.
    pub fn is_over(&self) -> bool {
        self.failures >= FAILURES_MAX
    }
}

fn times<K: Ord>(counts: &BTreeMap<K, u32>, of: &K) -> u32 {
    counts.get(of).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use trefoil_types::PublicKey;

    use super::*;

    /// What liars do when they were left.
    #[derive(Clone, Copy, Debug)]
    enum Manner {
        /// They tell of the same snapshot.
        Insist,
        /// Of another, of a greater height.
        TellAnother,
        /// They come back under new names.
        Rename,
    }

    fn peer(n: u32) -> PeerId {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        PeerId(PublicKey(key.into()))
    }

    fn told(height: u64) -> Announced {
        let mut index = [0; 32];
        index[..8].copy_from_slice(&height.to_be_bytes());
        Announced { height, index }
    }

    const TRUE_ONE: u64 = 2_048;

    /// `liars` send nothing, and begin with what `manner` says when they are left. How often
    /// something failed before a snapshot came; `None`: snapshots were given up.
    fn failures(liars: u32, manner: Manner, honest: u32, trust: Trust) -> Option<u32> {
        let mut rejected = RejectedSnapshots::default();
        for attempt in 0.. {
            let (names, height) = match manner {
                Manner::Insist => (0, 1 << 40),
                Manner::TellAnother => (0, (1 << 40) + u64::from(attempt)),
                Manner::Rename => (attempt * liars, (1 << 40) + u64::from(attempt)),
            };
            let lie = |n| (peer(1_000 + names + n), (Trust::Stranger, told(height)));
            let truth = |n| (peer(n), (trust, told(TRUE_ONE)));
            let all: Told = (0..liars).map(lie).chain((0..honest).map(truth)).collect();
            let choice = rejected.choose(&all)?;
            if choice.snapshot == told(TRUE_ONE) {
                return Some(attempt);
            }
            rejected.leave(&choice);
            if rejected.is_over() {
                return None;
            }
        }
        unreachable!("there are fewer attempts")
    }

    #[test]
    fn silent_liars_cost_a_newcomer_a_bounded_time() {
        use Manner::{Insist, Rename, TellAnother};
        for (liars, manner, honest, trust, cost) in [
            // They are left after one stall, whatever they tell of next.
            (5, Insist, 4, Trust::Stranger, Some(1)),
            (5, TellAnother, 4, Trust::Stranger, Some(1)),
            (100, TellAnother, 1, Trust::Stranger, Some(1)),
            // Few of them do not win by their height.
            (3, TellAnother, 4, Trust::Stranger, Some(0)),
            // Those that the operator named, or that are certified, come first.
            (100, Rename, 1, Trust::Known, Some(0)),
            // New names are free among strangers, and rank behind those who were there before.
            (5, Rename, 4, Trust::Stranger, Some(1)),
            (100, Rename, 1, Trust::Stranger, Some(1)),
            // Without anybody else the chain is executed in the end.
            (5, Rename, 0, Trust::Stranger, None),
            (1, Insist, 0, Trust::Stranger, None),
            // One that cannot be judged has its turn when all others failed.
            (5, TellAnother, 1, Trust::Unjudged, Some(1)),
        ] {
            let case = format!("{liars} liars, {manner:?}; {honest} of {trust:?}");
            assert_eq!(failures(liars, manner, honest, trust), cost, "{case}");
        }
    }

    #[test]
    fn who_was_left_is_tried_again_only_when_nobody_else_is_there() {
        let mut rejected = RejectedSnapshots::default();
        let slow = (peer(1), (Trust::Known, told(4_096)));
        let alone = Told::from([slow]);
        let choice = rejected.choose(&alone).expect("one tells");
        rejected.leave(&choice);
        assert_eq!(rejected.choose(&alone), Some(choice), "nobody else is there");
        let both = Told::from([slow, (peer(2), (Trust::Unjudged, told(1_024)))]);
        assert_eq!(rejected.choose(&both).map(|choice| choice.snapshot), Some(told(1_024)));
        // What failed is good if somebody new has it.
        let new = Told::from([slow, (peer(3), (Trust::Stranger, told(4_096)))]);
        assert_eq!(rejected.choose(&new).map(|choice| choice.snapshot), Some(told(4_096)));
    }

    #[test]
    fn what_was_proven_false_is_not_tried_again() {
        let mut rejected = RejectedSnapshots::default();
        let all = Told::from([(peer(1), (Trust::Known, told(8)))]);
        let choice = rejected.choose(&all).expect("one tells");
        rejected.refuse(&choice);
        let others = Told::from([(peer(2), (Trust::Known, told(8)))]);
        assert_eq!((rejected.choose(&all), rejected.choose(&others)), (None, None));
    }

    #[test]
    fn no_room_here_is_nobodys_fault() {
        let mut rejected = RejectedSnapshots::default();
        let large = Told::from([(peer(1), (Trust::Known, told(8)))]);
        let choice = rejected.choose(&large).expect("one tells");
        rejected.refuse_for_room(&choice);
        assert_eq!(rejected.choose(&large), None);
        // Its next one, before that of another who is as good.
        let both =
            Told::from([(peer(1), (Trust::Known, told(9))), (peer(2), (Trust::Known, told(7)))]);
        assert_eq!(rejected.choose(&both).map(|choice| choice.snapshot), Some(told(9)));
    }

    #[test]
    fn who_was_never_left_and_tells_of_another_is_an_other() {
        let mut rejected = RejectedSnapshots::default();
        let mut all = Told::from([(peer(1), (Trust::Known, told(8)))]);
        let choice = rejected.choose(&all).expect("one tells");
        assert!(!rejected.has_other(&all, &choice));
        // The liar itself tells of more.
        all.insert(peer(1), (Trust::Known, told(9)));
        assert!(!rejected.has_other(&all, &choice));
        all.insert(peer(2), (Trust::Unjudged, told(8)));
        assert!(!rejected.has_other(&all, &choice), "of the same");
        all.insert(peer(2), (Trust::Unjudged, told(7)));
        assert!(rejected.has_other(&all, &choice));
        let other = Choice { tellers: [peer(2)].into(), snapshot: told(7), ..choice.clone() };
        rejected.leave(&other);
        assert!(!rejected.has_other(&all, &choice), "it was left");
    }

    #[test]
    fn names_without_end_are_not_remembered_without_end() {
        let mut rejected = RejectedSnapshots::default();
        for n in 0..10 * TELLERS_MAX as u32 {
            let all = Told::from([(peer(n), (Trust::Stranger, told(u64::from(n))))]);
            let choice = rejected.choose(&all).expect("one tells");
            rejected.leave(&choice);
        }
        assert!(rejected.tellers.len() <= TELLERS_MAX && rejected.snapshots.len() <= TELLERS_MAX);
    }
}
