//! The judge of seats that move between machines: at one height one key of a seat signs, and the seat is never
//! empty for long.

use std::collections::{BTreeMap, BTreeSet};

use trefoil_crypto::PublicKey;
use trefoil_types::{Height, ValidatorSet};

use crate::{machine::secret, plan::SimPlan, wire::Id};

#[derive(Debug, Default)]
pub struct Seats {
    /// The validator whose seat each key may have; only seats with a standby.
    of_key: BTreeMap<PublicKey, Id>,
    /// Who signed for a seat, by height.
    signed: BTreeMap<(Id, Height), PublicKey>,
    /// The heights at which a vote for a seat came to some other machine.
    heard: BTreeSet<(Id, Height)>,
}

impl Seats {
    pub fn of(plan: &SimPlan) -> Self {
        let keys = |(standby, seat): (&Id, &Id)| {
            [*standby, *seat].map(|id| (secret("validator", id).public(), *seat))
        };
        Self { of_key: plan.standbys.iter().flat_map(keys).collect(), ..Self::default() }
    }

    /// An honest machine signs in a height. The error: it must not.
    pub fn sign(&mut self, key: PublicKey, height: Height) -> Result<(), String> {
        let Some(&seat) = self.of_key.get(&key) else { return Ok(()) };
        let first = *self.signed.entry((seat, height)).or_insert(key);
        let text = || format!("{first} and {key} sign height {height} for the seat of {seat}");
        if first == key { Ok(()) } else { Err(text()) }
    }

    // What a machine signs where nobody hears it fills no seat.
    /// A vote came to a machine.
    pub fn hear(&mut self, key: &PublicKey, height: Height) {
        let seat = self.of_key.get(key);
        self.heard.extend(seat.map(|seat| (*seat, height)));
    }

    /// The validators of a height. The error: two of them have one seat.
    pub fn check(&self, set: &ValidatorSet) -> Result<(), String> {
        let mut holders = BTreeMap::new();
        for validator in set.iter() {
            let Some(seat) = self.of_key.get(&validator.key) else { continue };
            if let Some(other) = holders.insert(seat, validator.key) {
                return Err(format!("{other} and {} have the seat of {seat}", validator.key));
            }
        }
        Ok(())
    }

    /// The most heights up to `tip` in a row for which nobody heard a vote for a seat.
    pub fn longest_gap(&self, seat: Id, tip: Height) -> u64 {
        let heard = self.heard.range((seat, 0)..=(seat, tip)).map(|(_, height)| *height);
        let ends = heard.chain([tip + 1]);
        let (gap, _) = ends.fold((0, 0), |(longest, last), height| {
            (longest.max(height.saturating_sub(last + 1)), height)
        });
        gap
    }

    /// How often a seat went from one key to another.
    pub fn moves(&self) -> u64 {
        let signed: Vec<_> = self.signed.iter().map(|((seat, _), key)| (seat, key)).collect();
        let moved = |pair: &&[(&Id, &PublicKey)]| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1;
        signed.windows(2).filter(moved).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use trefoil_types::{Millis, Validator};

    use super::*;

    #[test]
    fn two_keys_of_a_seat_at_one_height_are_found_and_so_is_the_longest_gap() {
        let mut plan = SimPlan::quiet("seats", 1, 4, Millis(0));
        plan.standbys.insert(4, 1);
        let [other, first, second] = [0, 1, 4].map(|id| secret("validator", id).public());
        let mut seats = Seats::of(&plan);
        for (key, height) in [(first, 1), (first, 2), (second, 9), (other, 9), (second, 10)] {
            assert_eq!(seats.sign(key, height), Ok(()));
            seats.hear(&key, height);
        }
        // Into the void.
        assert_eq!(seats.sign(first, 5), Ok(()));
        assert!(seats.sign(first, 9).is_err() && seats.sign(second, 2).is_err());
        assert_eq!((seats.longest_gap(1, 10), seats.longest_gap(1, 20)), (6, 10));
        assert_eq!(seats.moves(), 1);
        let set = |keys: &[PublicKey]| {
            let validators = keys.iter().map(|key| Validator { key: *key, power: 1 });
            ValidatorSet::new(validators.collect()).unwrap()
        };
        assert_eq!(seats.check(&set(&[other, second])), Ok(()));
        assert!(seats.check(&set(&[other, second, first])).is_err());
    }
}
