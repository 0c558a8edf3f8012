//! CometBFT's requirements: R1, every node computes the same; R2, in any sequence of elections
//! a validator proposes as often as its power says, within a tolerance for changes of the set.

mod small_scope;

use std::collections::BTreeMap;

use proptest::prelude::*;
use trefoil_crypto::PublicKey;

use super::*;

/// A set by name and power; a name is a key's first bytes, so that their order is the keys'.
fn set(powers: &[(u16, u64)]) -> ValidatorSet {
    let validator = |(name, power): &(u16, u64)| {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&name.to_be_bytes());
        Validator { key: PublicKey(key.into()), power: *power }
    };
    ValidatorSet::new(powers.iter().map(validator).collect()).unwrap()
}

fn numbered(powers: &[u64]) -> ValidatorSet {
    set(&(0..).zip(powers.iter().copied()).collect::<Vec<_>>())
}

fn name(validator: &Validator) -> u16 {
    u16::from_be_bytes([validator.key.0[0], validator.key.0[1]])
}

/// A chain: for each height who proposes its first round.
struct Chain(Turns);

impl Chain {
    fn new(validators: ValidatorSet) -> Self {
        Self(Turns::first(validators))
    }

    /// The proposer of this height; the next has the same validators.
    fn step(&mut self) -> u16 {
        let validators = self.0.validators().clone();
        self.step_to(&validators)
    }

    fn step_to(&mut self, validators: &ValidatorSet) -> u16 {
        let proposer = name(self.0.proposer(0));
        self.0 = self.0.clone().next(validators);
        proposer
    }

    fn take(&mut self, heights: usize) -> Vec<u16> {
        (0..heights).map(|_| self.step()).collect()
    }
}

/// The bound of ADR 26 on how far, in turns, a validator of `n` is from what is its due in any
/// window: at most H(n) - 1 that it has waited, at most one that it has had before its time.
fn tolerance(n: usize) -> f64 {
    (1..=n).map(|k| 1.0 / k as f64).sum()
}

/// Turns in each window of `length` heights, less the due of `share` a height: the extremes.
fn deviation(proposers: &[u16], who: u16, length: usize, share: f64) -> (f64, f64) {
    let counts = proposers.windows(length).map(|window| {
        window.iter().filter(|proposer| **proposer == who).count() as f64 - length as f64 * share
    });
    counts.fold((0.0, 0.0), |(low, high), off| (f64::min(low, off), f64::max(high, off)))
}

/// The examples of Tendermint's specification, and smaller ones by hand.
#[test]
fn small_sets_take_the_turns_of_the_specification() {
    assert_eq!(Chain::new(numbered(&[1, 3])).take(8), [1, 0, 1, 1, 1, 0, 1, 1]);
    assert_eq!(Chain::new(numbered(&[1, 1, 1, 1])).take(8), [0, 1, 2, 3, 0, 1, 2, 3]);
    assert_eq!(Chain::new(numbered(&[1, 2, 3])).take(6), [2, 1, 0, 2, 1, 2]);
    assert_eq!(Chain::new(numbered(&[4, 2, 2, 2])).take(10), [0, 1, 2, 3, 0, 0, 1, 2, 3, 0]);
    let many = [3, 1, 1, 1, 1, 1, 1, 1];
    assert_eq!(Chain::new(numbered(&many)).take(10), [0, 1, 2, 3, 0, 4, 5, 6, 7, 0]);
    assert_eq!(Chain::new(numbered(&[7])).take(3), [0, 0, 0]);
}

#[test]
fn rounds_pass_the_turn_on_in_the_order_of_the_heights() {
    let mut chain = Chain::new(numbered(&[5, 1, 3, 8]));
    chain.take(3);
    let rounds: Vec<u16> = (0..34).map(|round| name(chain.0.proposer(round))).collect();
    assert_eq!(rounds, chain.take(34));
    assert_eq!(name(chain.0.proposer(5)), name(chain.0.proposer(5 + ROUNDS)));
}

#[test]
fn four_large_and_52_idle_seats_share_turns_by_power_and_the_idle_ones_never_in_a_row() {
    let powers: Vec<u64> = [vec![1_000; 4], vec![1; 52]].concat();
    let proposers = Chain::new(numbered(&powers)).take(5 * 4_052);
    let idle: Vec<usize> = (0..proposers.len()).filter(|at| proposers[*at] >= 4).collect();
    assert_eq!(idle.len(), 5 * 52);
    // Spread evenly they would be 78 apart.
    assert!(idle.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{idle:?}");
}

#[test]
fn any_power_is_held_and_the_widest_sets_are_quick() {
    let widest = [vec![1; 127], vec![limits::POWER_MAX - 127]].concat();
    let mut chain = Chain::new(numbered(&widest));
    assert!(chain.take(500).iter().filter(|who| **who == 127).count() >= 498);
    assert_eq!(name(chain.0.proposer(ROUNDS - 1)), 127);
}

/// All but one validator are replaced at each height: no more than the sum that one holds.
#[test]
fn priorities_are_bounded_under_any_change() {
    let mut chain = Chain::new(numbered(&[1; 128]));
    for height in 1..3_000u16 {
        let fresh = (0..127).map(|n| (1 + n + height % 200 * 128, u64::from(1 + n * 7 % 50)));
        let stays = (0, 1 + u64::from(height % 3) * 40);
        chain.step_to(&set(&[stays].into_iter().chain(fresh).collect::<Vec<_>>()));
        let resumed = Turns::resume(chain.0.validators().as_ref().clone(), &chain.0.priorities());
        assert_eq!(resumed.as_ref(), Some(&chain.0), "height {height}");
    }
}

#[test]
fn priorities_that_are_no_set_s_are_refused() {
    let validators = numbered(&[1, 2]);
    let resumed = |priorities: &[i128], rest: &[u8]| {
        let bytes = priorities.iter().flat_map(|priority| priority.to_be_bytes());
        Turns::resume(validators.clone(), &[bytes.collect(), rest.to_vec()].concat())
    };
    assert!(resumed(&[0], &[]).is_none());
    assert!(resumed(&[0, i128::MAX], &[]).is_none());
    assert!(resumed(&[0, 0], &[0]).is_none());
    assert!(resumed(&[0, -5], &[]).is_some());
}

/// Its own coming and going costs an operator turns: each time an eighth of a turn at least.
#[test]
fn nobody_gains_turns_by_replacing_its_validator() {
    let honest = [(1, 100), (2, 100), (3, 100)];
    let mut chain = Chain::new(set(&[(100, 100), (1, 100), (2, 100), (3, 100)]));
    let (mut proposers, mut fresh) = (Vec::new(), 100);
    for _ in 0..4_000 {
        // At each height in which it has just proposed it comes back under another key.
        let who = name(chain.0.proposer(0));
        fresh += u16::from(who == fresh);
        proposers.push(chain.step_to(&set(&[&honest[..], &[(fresh, 100)]].concat())));
    }
    let its = proposers.iter().filter(|who| **who >= 100).count();
    assert!((500..=950).contains(&its), "{its} turns, 1,000 would be its due");
}

/// Seats so small that their turn comes once in 77,000 heights do not bring it forward by
/// changing their power, or their keys, at each end of an epoch.
#[test]
fn idle_seats_gain_nothing_by_changing_the_set() {
    for replaced in [false, true] {
        let mut chain = Chain::new(numbered(&[1_000_000; 4]));
        let mut idle = 0;
        for epoch in 0..500u16 {
            let seat = |n: u16| {
                let generation = if replaced { epoch % 100 } else { 0 };
                let power = 1 + u64::from((epoch * 31 + n * 17) % 9);
                (1_000 + generation * 52 + n, power)
            };
            let large = (0..4).map(|n| (n, 1_000_000));
            let validators = set(&large.chain((0..52).map(seat)).collect::<Vec<_>>());
            for _ in 0..20 {
                idle += u32::from(chain.step_to(&validators) >= 1_000);
            }
        }
        // All together are due 0.65 turns in 10,000 heights.
        assert!(idle <= 2, "replaced {replaced}: {idle} turns");
    }
}

fn powers() -> impl Strategy<Value = Vec<u64>> {
    let power = prop_oneof![1u64..4, 1u64..100, 1u64..1_000_000];
    prop::collection::vec(power, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// R1: the priorities of a height are all that a node needs to know of the heights before,
    /// whoever follows from there on.
    #[test]
    fn every_node_computes_the_same(powers in powers(), from in 0usize..60) {
        let mut chain = Chain::new(numbered(&powers));
        chain.take(from);
        let (validators, priorities) = (chain.0.validators().clone(), chain.0.priorities());
        let mut joined =
            Chain(Turns::resume(validators.as_ref().clone(), &priorities).unwrap());
        prop_assert_eq!(chain.take(50), joined.take(50));
    }

    /// R2 without a change, exactly: in as many turns as there is power each validator has as
    /// many as it has power, wherever one begins to count.
    #[test]
    fn as_many_turns_as_power(powers in prop::collection::vec(1u64..9, 1..12)) {
        let total = powers.iter().sum::<u64>() as usize;
        let proposers = Chain::new(numbered(&powers)).take(3 * total);
        for window in proposers.windows(total) {
            for (who, power) in (0..).zip(&powers) {
                let turns = window.iter().filter(|proposer| **proposer == who).count();
                prop_assert_eq!(turns as u64, *power);
            }
        }
    }

    /// R2 without a change, in windows of any length.
    #[test]
    fn each_window_has_the_due_of_each(powers in powers(), length in 1usize..300) {
        let proposers = Chain::new(numbered(&powers)).take(900);
        let (total, bound) = (powers.iter().sum::<u64>() as f64, tolerance(powers.len()));
        for (who, power) in (0..).zip(&powers) {
            let (low, high) = deviation(&proposers, who, length, *power as f64 / total);
            prop_assert!(-bound < low && high < bound, "{who}: {low} {high}");
        }
    }

    /// R2 across changes of power: the tolerance is that of no change, however many there are.
    #[test]
    fn changes_of_power_add_nothing_to_the_tolerance(
        sets in prop::collection::vec(prop::collection::vec(1u64..100_000, 8), 2..60),
        every in 1usize..20,
    ) {
        let mut chain = Chain::new(numbered(&sets[0]));
        let mut off = [0.0; 8];
        let mut extremes = [(0.0, 0.0); 8];
        for height in 0..every * sets.len() {
            let now = chain.0.validators().clone();
            let next = &sets[(height + 1) / every % sets.len()];
            let proposer = chain.step_to(&numbered(next));
            for (who, validator) in now.iter().enumerate() {
                off[who] += f64::from(u8::from(proposer == who as u16));
                off[who] -= validator.power as f64 / now.total_power() as f64;
                extremes[who] = (off[who].min(extremes[who].0), off[who].max(extremes[who].1));
            }
        }
        // The difference of any two instants is the deviation of the window between them.
        prop_assert!(extremes.iter().all(|(low, high)| high - low < tolerance(8)), "{extremes:?}");
    }

    /// R2 while others come and go: those that stay lose nothing, and the others gain nothing.
    #[test]
    fn whoever_stays_loses_nothing_by_what_others_do(
        seats in prop::collection::vec((1u64..2_000, prop::bool::ANY), 60),
        every in 1usize..12,
    ) {
        // Four stay with equal power. Others have up to two thirds of the power, and any key.
        let stay = [(0, 1_000), (20_000, 1_000), (40_000, 1_000), (60_000, 1_000)];
        let mut chain = Chain::new(set(&stay));
        let mut off = BTreeMap::<u16, f64>::new();
        for (epoch, window) in seats.windows(4).enumerate() {
            let others = window.iter().enumerate().filter(|(_, (_, stays))| *stays);
            let key = |n: usize| ((epoch + n) * 977 % 50_000) as u16 + 1;
            let others = others.map(|(n, (power, _))| (key(n), *power));
            let next = set(&stay.iter().copied().chain(others).collect::<Vec<_>>());
            for _ in 0..every {
                let now = chain.0.validators().clone();
                let proposer = chain.step_to(&next);
                for validator in now.iter() {
                    let off = off.entry(name(validator)).or_default();
                    *off += f64::from(u8::from(proposer == name(validator)));
                    *off -= validator.power as f64 / now.total_power() as f64;
                }
            }
        }
        let (mut gained, mut seats) = (0.0, 0);
        for (who, off) in off {
            if stay.iter().any(|(stays, _)| *stays == who) {
                prop_assert!(off > -tolerance(8), "{who} lost {off}");
            } else {
                (gained, seats) = (gained + off, seats + 1);
            }
        }
        prop_assert!(gained < tolerance(8), "{seats} seats gained {gained} turns");
    }
}
