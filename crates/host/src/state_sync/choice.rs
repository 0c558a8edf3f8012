//! Which of the announced snapshots are tried next, and when a newcomer gives snapshots up.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use trefoil_content::ContentId;
use trefoil_p2p::NetGroup;
use trefoil_swarm::Announced;
use trefoil_types::PeerId;

// Attack: peers that tell of a snapshot and send nothing, under new names as often as they like,
// kept a newcomer away for as long as they lived (issue 15). Each round costs the 20 s of a stall,
// so that this many cost three minutes.
/// Rounds that may fail before the chain is executed instead.
const ROUNDS_MAX: u32 = 8;

// In all rounds together as many as a node has strangers: each may tell of another. Each costs its
// list of files in memory, at most 7 MB.
/// Snapshots that are tried in one round.
const CANDIDATES_MAX: usize = 16;

// Attack: liars that come back under new names after each failure, five against one, won every
// choice. Whoever told its snapshot all that while was there before them.
/// Rounds that a teller can outlive for its rank, at most: more would rank those that joined in
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

/// A peer that tells of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Teller {
    pub trust: Trust,
    /// Of its address.
    pub group: NetGroup,
    pub snapshot: Announced,
}

/// Who tells of what.
pub type Told = BTreeMap<PeerId, Teller>;

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
    /// How many rounds had failed when a teller that is there was first seen.
    since: BTreeMap<PeerId, u32>,
    /// Rounds that failed.
    rounds: u32,
    /// Of those that were refused, the ones that may be tried again when there is more room.
    for_room: BTreeSet<[u8; 32]>,
    /// How the last one that had no room here lacked it.
    lacked_room: Option<String>,
    /// What came of the states of snapshots that were left, and is on the disk.
    pub parts: BTreeSet<ContentId>,
}

impl RejectedSnapshots {
    // The tellers count before what they tell: whoever was left would otherwise be chosen again
    // by a snapshot of another name or a greater height, which cost nothing to tell of. Names are
    // free too, and addresses in many networks are not.
    /// The snapshots to try together, best first: of those who were left least often, of those
    /// the most trusted, and of those who outlived most rounds; then the one of which peers of
    /// most network groups tell, and of equals the highest.
    pub fn choose(&mut self, told: &Told) -> Vec<Choice> {
        self.since.retain(|peer, _| told.contains_key(peer));
        for peer in told.keys() {
            self.since.entry(*peer).or_insert(self.rounds);
        }
        let mut by_snapshot = BTreeMap::<Announced, Vec<(PeerId, Teller)>>::new();
        for (peer, teller) in told {
            if !self.refused.contains(&teller.snapshot.index) {
                by_snapshot.entry(teller.snapshot).or_default().push((*peer, *teller));
            }
        }
        let ranked = by_snapshot.into_iter().filter_map(|(snapshot, tellers)| {
            let class = |(peer, teller): &(PeerId, Teller)| {
                let outlived = self.rounds - times(&self.since, peer);
                (Reverse(times(&self.tellers, peer)), teller.trust, outlived.min(OUTLIVED_MAX))
            };
            let best = tellers.iter().map(class).max()?;
            let of_best = tellers.iter().filter(|teller| class(teller) == best);
            let groups = of_best.map(|(_, teller)| teller.group).collect::<BTreeSet<_>>().len();
            let failed = Reverse(times(&self.snapshots, &snapshot.index));
            let tellers = tellers.into_iter().map(|(peer, _)| peer).collect();
            let choice = Choice { snapshot, trust: best.1, tellers };
            Some(((best, failed, groups, snapshot.height), choice))
        });
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_by_key(|(rank, _)| Reverse(*rank));
        ranked.into_iter().take(CANDIDATES_MAX).map(|(_, choice)| choice).collect()
    }

    /// A snapshot failed: others are tried before it and its tellers.
    pub fn leave(&mut self, choice: &Choice) {
        if self.tellers.len() >= TELLERS_MAX {
            self.tellers.clear();
            self.snapshots.clear();
        }
        *self.snapshots.entry(choice.snapshot.index).or_default() += 1;
        for peer in &choice.tellers {
            *self.tellers.entry(*peer).or_default() += 1;
        }
    }

    /// A snapshot is never tried again, nor its tellers before others.
    pub fn refuse(&mut self, choice: &Choice) {
        self.leave(choice);
        self.refused.insert(choice.snapshot.index);
    }

    /// A snapshot has no room here, for which its tellers can do nothing: it is not tried again,
    /// unless there is more.
    pub fn refuse_for_room(&mut self, choice: &Choice, why: &str) {
        if self.refused.insert(choice.snapshot.index) {
            self.for_room.insert(choice.snapshot.index);
        }
        self.lacked_room = Some(why.into());
    }

    /// Whether some were refused for room alone.
    pub fn lacks_room(&self) -> bool {
        !self.for_room.is_empty()
    }

    /// There is more room now.
    pub fn forgive_room(&mut self) {
        for index in std::mem::take(&mut self.for_room) {
            self.refused.remove(&index);
        }
    }

    // Attack: a snapshot whose size is small and whose state is not, and another one after each.
    /// A snapshot that was taken in, until there was no room for what it holds: as far as can be told
    /// it was made so.
    pub fn refuse_as_too_large(&mut self, choice: &Choice, why: &str) {
        self.refuse(choice);
        self.refuse_for_room(choice, why);
    }

    /// No snapshot came: says so if some had come with more room.
    pub fn tell_of_room(&self) {
        if let Some(why) = &self.lacked_room {
            tracing::error!(why, "this disk has no room for a snapshot");
        }
    }

    /// Nothing came of a round.
    pub fn end_round(&mut self) {
        self.rounds += 1;
    }

    /// Whether somebody who was never left tells of another snapshot.
    pub fn has_other(&self, told: &Told, than: &Choice) -> bool {
        told.iter().any(|(peer, Teller { snapshot, .. })| {
            snapshot.index != than.snapshot.index
                && !self.refused.contains(&snapshot.index)
                && !than.tellers.contains(peer)
                && times(&self.tellers, peer) == 0
        })
    }

    /// Whether enough was tried.
    pub fn is_over(&self) -> bool {
        self.rounds >= ROUNDS_MAX
    }
}

fn times<K: Ord>(counts: &BTreeMap<K, u32>, of: &K) -> u32 {
    counts.get(of).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

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

    /// A peer with a network group of its own.
    fn teller(n: u32, trust: Trust, height: u64) -> (PeerId, Teller) {
        let group = NetGroup::of(Ipv4Addr::from(n << 16).into());
        (peer(n), Teller { trust, group, snapshot: told(height) })
    }

    const TRUE_ONE: u64 = 2_048;

    /// The tellers of a round: `liars` of what `manner` says, each of another snapshot (`apart`)
    /// or all of one, and honest peers.
    fn round(
        n: u32,
        (liars, manner, apart): (u32, Manner, bool),
        (honest, trust): (u32, Trust),
    ) -> Told {
        let (names, height) = match manner {
            Manner::Insist => (0, 1 << 40),
            Manner::TellAnother => (0, (1 << 40) + (u64::from(n) << 10)),
            Manner::Rename => (n * liars, (1 << 40) + (u64::from(n) << 10)),
        };
        let own = |liar: u32| if apart { u64::from(liar) } else { 0 };
        let lie = |liar| teller(1_000 + names + liar, Trust::Stranger, height + own(liar));
        let truth = |n| teller(n, trust, TRUE_ONE);
        (0..liars).map(lie).chain((0..honest).map(truth)).collect()
    }

    /// How many rounds failed before a snapshot came; `None`: snapshots were given up. Liars
    /// prove their blocks (`proven`) or do not, and send nothing more.
    fn failures(proven: bool, liars: (u32, Manner, bool), honest: (u32, Trust)) -> Option<u32> {
        let mut rejected = RejectedSnapshots::default();
        for n in 0.. {
            let mut tried = rejected.choose(&round(n, liars, honest));
            if proven {
                tried.truncate(1);
            }
            if tried.iter().any(|choice| choice.snapshot == told(TRUE_ONE)) {
                return Some(n);
            }
            tried.iter().for_each(|choice| rejected.leave(choice));
            rejected.end_round();
            if rejected.is_over() {
                return None;
            }
        }
        unreachable!("there are fewer rounds")
    }

    #[test]
    fn liars_that_prove_their_block_cost_a_newcomer_a_bounded_time() {
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
            assert_eq!(failures(true, (liars, manner, false), (honest, trust)), cost, "{case}");
        }
    }

    #[test]
    fn liars_that_prove_nothing_crowd_nobody_out() {
        use Manner::{Insist, Rename, TellAnother};
        for (liars, manner, trust, cost) in [
            (5, Insist, Trust::Stranger, Some(0)),
            (15, TellAnother, Trust::Stranger, Some(0)),
            (128, Insist, Trust::Known, Some(0)),
            // They are all left in their turn, sixteen at a time.
            (127, Insist, Trust::Stranger, Some(7)),
            (127, Rename, Trust::Stranger, Some(1)),
        ] {
            let case = format!("{liars} liars, {manner:?}, against one of {trust:?}");
            assert_eq!(failures(false, (liars, manner, true), (1, trust)), cost, "{case}");
        }
    }

    #[test]
    fn snapshots_are_given_up_after_eight_rounds() {
        let mut rejected = RejectedSnapshots::default();
        for round in 0..8 {
            assert!(!rejected.is_over(), "{round}");
            rejected.end_round();
        }
        assert!(rejected.is_over());
    }

    #[test]
    fn addresses_of_one_network_group_count_once() {
        let mut rejected = RejectedSnapshots::default();
        let group = NetGroup::of(Ipv4Addr::LOCALHOST.into());
        let liars = (10..15).map(|n| {
            let (peer, teller) = teller(n, Trust::Stranger, 4_096);
            (peer, Teller { group, ..teller })
        });
        let all: Told = liars.chain([1, 2].map(|n| teller(n, Trust::Stranger, TRUE_ONE))).collect();
        let heights = rejected.choose(&all).into_iter().map(|choice| choice.snapshot.height);
        assert_eq!(heights.collect::<Vec<_>>(), [TRUE_ONE, 4_096]);
    }

    /// The best that is told of.
    fn best(rejected: &mut RejectedSnapshots, told: &Told) -> Option<Announced> {
        rejected.choose(told).first().map(|choice| choice.snapshot)
    }

    fn only(rejected: &mut RejectedSnapshots, told: &Told) -> Choice {
        let [choice]: [Choice; 1] = rejected.choose(told).try_into().expect("one is told of");
        choice
    }

    #[test]
    fn who_was_left_is_tried_again_only_when_nobody_else_is_there() {
        let mut rejected = RejectedSnapshots::default();
        let slow = teller(1, Trust::Known, 4_096);
        let alone = Told::from([slow]);
        let choice = only(&mut rejected, &alone);
        rejected.leave(&choice);
        assert_eq!(only(&mut rejected, &alone), choice, "nobody else is there");
        let both = Told::from([slow, teller(2, Trust::Unjudged, 1_024)]);
        assert_eq!(best(&mut rejected, &both), Some(told(1_024)));
        // What failed is good if somebody new has it.
        let new = Told::from([slow, teller(3, Trust::Stranger, 4_096)]);
        assert_eq!(best(&mut rejected, &new), Some(told(4_096)));
    }

    #[test]
    fn what_was_proven_false_is_not_tried_again() {
        let mut rejected = RejectedSnapshots::default();
        let all = Told::from([teller(1, Trust::Known, 8)]);
        let choice = only(&mut rejected, &all);
        rejected.refuse(&choice);
        let others = Told::from([teller(2, Trust::Known, 8)]);
        assert_eq!([&all, &others].map(|told| best(&mut rejected, told)), [None, None]);
    }

    #[test]
    fn no_room_here_is_nobodys_fault() {
        let mut rejected = RejectedSnapshots::default();
        let large = Told::from([teller(1, Trust::Known, 8)]);
        let choice = only(&mut rejected, &large);
        rejected.refuse_for_room(&choice, "no room");
        assert_eq!(best(&mut rejected, &large), None);
        rejected.forgive_room();
        assert_eq!(only(&mut rejected, &large), choice);
        rejected.refuse_for_room(&choice, "no room");
        // Its next one, before that of another who is as good.
        let both = Told::from([teller(1, Trust::Known, 9), teller(2, Trust::Known, 7)]);
        assert_eq!(best(&mut rejected, &both), Some(told(9)));
    }

    #[test]
    fn who_told_of_what_filled_the_disk_ranks_last() {
        let mut rejected = RejectedSnapshots::default();
        let choice = only(&mut rejected, &Told::from([teller(1, Trust::Known, 8)]));
        rejected.refuse_as_too_large(&choice, "no room");
        rejected.forgive_room();
        assert_eq!(best(&mut rejected, &Told::from([teller(2, Trust::Known, 8)])), None);
        let both = Told::from([teller(1, Trust::Known, 9), teller(2, Trust::Stranger, 7)]);
        assert_eq!(best(&mut rejected, &both), Some(told(7)));
    }

    #[test]
    fn who_was_never_left_and_tells_of_another_is_an_other() {
        let mut rejected = RejectedSnapshots::default();
        let mut all = Told::from([teller(1, Trust::Known, 8)]);
        let choice = only(&mut rejected, &all);
        assert!(!rejected.has_other(&all, &choice));
        // The liar itself tells of more.
        all.extend([teller(1, Trust::Known, 9)]);
        assert!(!rejected.has_other(&all, &choice));
        all.extend([teller(2, Trust::Unjudged, 8)]);
        assert!(!rejected.has_other(&all, &choice), "of the same");
        all.extend([teller(2, Trust::Unjudged, 7)]);
        assert!(rejected.has_other(&all, &choice));
        let other = Choice { tellers: [peer(2)].into(), snapshot: told(7), ..choice.clone() };
        rejected.leave(&other);
        assert!(!rejected.has_other(&all, &choice), "it was left");
    }

    #[test]
    fn names_without_end_are_not_remembered_without_end() {
        let mut rejected = RejectedSnapshots::default();
        for n in 0..10 * TELLERS_MAX as u32 {
            let choice = only(&mut rejected, &Told::from([teller(n, Trust::Stranger, n.into())]));
            rejected.leave(&choice);
        }
        assert!(rejected.tellers.len() <= TELLERS_MAX && rejected.snapshots.len() <= TELLERS_MAX);
    }
}
