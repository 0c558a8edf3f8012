//! A small scope, searched through: all chains of three sets of up to four seats with power 0
//! (it is not there), 1 or 2, two heights each. Proptests see larger ones, and not all.

use super::*;

const SEATS: u16 = 4;
const HEIGHTS: usize = 2;

/// A seat's turns less its due since it came: the sum, the most that it was, and the most that
/// was lost of it since.
#[derive(Clone, Copy, Default)]
struct Deviation {
    sum: f64,
    most: f64,
    lost: f64,
}

#[derive(Clone)]
struct History {
    turns: Turns,
    /// Of each seat that has been there from the first set on.
    stayed: BTreeMap<u16, Deviation>,
    /// All turns of those that came or went, less their due.
    gained: f64,
}

impl History {
    fn new(first: &ValidatorSet) -> Self {
        let stayed = first.iter().map(|validator| (name(validator), Deviation::default()));
        Self { turns: Turns::first(first.clone()), stayed: stayed.collect(), gained: 0.0 }
    }

    /// This set's heights pass; the set after it is `next`.
    fn pass(&mut self, next: &ValidatorSet) {
        let set = self.turns.validators().clone();
        for height in 0..HEIGHTS {
            let proposer = name(self.turns.proposer(0));
            for validator in set.iter() {
                let due = validator.power as f64 / set.total_power() as f64;
                let off = f64::from(u8::from(name(validator) == proposer)) - due;
                match self.stayed.get_mut(&name(validator)) {
                    Some(it) => {
                        it.sum += off;
                        it.most = it.most.max(it.sum);
                        it.lost = it.lost.max(it.most - it.sum);
                    }
                    None => self.gained += off,
                }
            }
            let after: &ValidatorSet = if height + 1 == HEIGHTS { next } else { &set };
            self.turns = self.turns.clone().next(after);
        }
        self.stayed.retain(|seat, _| next.iter().any(|validator| name(validator) == *seat));
    }

    fn check(&self) {
        // R1: a node that joins here goes on with the same.
        let set = self.turns.validators().as_ref().clone();
        assert_eq!(Turns::resume(set, &self.turns.priorities()).as_ref(), Some(&self.turns));
        // R2: whoever stays loses nothing in any window. It may gain what newcomers begin behind.
        for (seat, Deviation { lost, .. }) in &self.stayed {
            assert!(*lost < tolerance(SEATS.into()), "{seat} lost {lost}");
        }
        // The most is a sixth of a turn.
        assert!(self.gained < 0.2, "those who came or went gained {}", self.gained);
    }
}

fn sets() -> Vec<ValidatorSet> {
    let powers =
        |n: u32| (0..SEATS).map(move |seat| (seat, u64::from(n / 3u32.pow(seat.into()) % 3)));
    let there = |n| powers(n).filter(|(_, power)| *power > 0).collect::<Vec<_>>();
    (1..3u32.pow(SEATS.into())).map(|n| set(&there(n))).collect()
}

#[test]
fn in_all_short_chains_of_small_sets_whoever_stays_has_its_due() {
    let sets = sets();
    let mut chains = 0;
    for first in &sets {
        for second in &sets {
            let mut history = History::new(first);
            history.pass(second);
            history.check();
            for third in &sets {
                let mut history = history.clone();
                history.pass(third);
                // Its own heights, too.
                history.pass(third);
                history.check();
                chains += 1;
            }
        }
    }
    assert_eq!(chains, 80 * 80 * 80);
}
