//! A small model, searched through: who is waited for in all histories of six heights, of four
//! validators of power 1 to 3, of whom any may be away at a height that leave a quorum.

use arc_malachitebft_core_types::TimeoutKind;
use trefoil_types::{Height, Millis, PublicKey, Round, Turns, Validator, ValidatorSet};

use super::cluster::{key, timeouts};
use crate::timeouts::AdaptiveTimeouts;

const SEATS: usize = 4;
const HEIGHTS: Height = 6;

/// What one who hears everyone believes, and what is true.
#[derive(Clone)]
struct Model {
    turns: Turns,
    waits: AdaptiveTimeouts,
    height: Height,
    keys: [PublicKey; SEATS],
    /// Whether each was away at the height before.
    was_away: [bool; SEATS],
    /// Whether each was waited for in vain since it went.
    waited: [bool; SEATS],
}

impl Model {
    fn new(keys: [PublicKey; SEATS], powers: [u64; SEATS]) -> Self {
        let seats = keys.iter().zip(powers).map(|(key, power)| Validator { key: *key, power });
        let set = ValidatorSet::new(seats.collect()).unwrap();
        let (turns, waits) = (Turns::first(set), AdaptiveTimeouts::new(timeouts()));
        let nobody = [false; SEATS];
        Self { turns, waits, height: 1, keys, was_away: nobody, waited: nobody }
    }

    /// Whether the others are a quorum.
    fn may_be_away(&self, away: [bool; SEATS]) -> bool {
        let set = self.turns.validators();
        let there = set.iter().filter(|validator| !away[self.seat(&validator.key)]);
        set.is_quorum(there.map(|validator| validator.power).sum())
    }

    fn seat(&self, key: &PublicKey) -> usize {
        self.keys.iter().position(|it| it == key).unwrap()
    }

    /// A height passes; how many rounds of it had no block.
    fn pass(&mut self, away: [bool; SEATS]) -> Round {
        for (waited, away) in self.waited.iter_mut().zip(away) {
            *waited &= away;
        }
        let mut passed_over = self.was_away;
        let mut round = 0;
        loop {
            let proposer = self.turns.proposer(round).key;
            let seat = self.seat(&proposer);
            let wait = self.waits.wait(TimeoutKind::Propose, round, &proposer);
            match (away[seat], wait > Millis(0)) {
                (false, true) => break,
                // It comes back, and nobody has heard of it: it is passed over in one round.
                (false, false) => {
                    assert!(passed_over[seat], "{seat} was there and is not waited for");
                    passed_over[seat] = false;
                }
                (true, waits) => {
                    assert!(!(waits && self.waited[seat]), "{seat} is waited for twice");
                    self.waited[seat] = true;
                    self.waits.note_absent(proposer, self.height, round);
                }
            }
            self.hear(away, round);
            round += 1;
        }
        self.hear(away, round);
        let set = self.turns.validators().clone();
        self.turns = self.turns.clone().next(&set);
        (self.height, self.was_away) = (self.height + 1, away);
        round
    }

    /// All that are there vote in a round.
    fn hear(&mut self, away: [bool; SEATS], round: Round) {
        let there = self.keys.iter().zip(away).filter(|(_, away)| !away);
        there.for_each(|(key, _)| self.waits.note_present(key, self.height, round));
    }
}

/// All that may be away together.
fn absences() -> impl Iterator<Item = [bool; SEATS]> {
    (0..1usize << SEATS).map(|mask| std::array::from_fn(|seat| mask >> seat & 1 == 1))
}

/// Searches through all that may come after; how many histories there are.
fn search(model: &Model) -> u64 {
    if model.height > HEIGHTS {
        return 1;
    }
    let possible = absences().filter(|away| model.may_be_away(*away));
    possible
        .map(|away| {
            let mut next = model.clone();
            let failed = next.pass(away);
            // A turn of each that is away, and of each that comes back and nobody has heard of.
            let unheard =
                away.iter().zip(model.was_away).filter(|(now, was)| **now || *was).count();
            assert!(
                failed as usize <= unheard,
                "{failed} rounds without a block, {unheard} unheard"
            );
            search(&next)
        })
        .sum()
}

#[test]
fn whoever_goes_is_waited_for_once_and_whoever_returns_is_waited_for_again() {
    let keys = std::array::from_fn(|seat| key(seat).public());
    let powers = (0..81u64).map(|n| [1, 3, 9, 27].map(|place| 1 + n / place % 3));
    let histories: u64 = powers.map(|powers| search(&Model::new(keys, powers))).sum();
    assert_eq!(histories, 651_627);
}
