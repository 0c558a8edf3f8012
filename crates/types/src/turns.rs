//! Whose turn it is to propose: weighted round robin, as CometBFT's proposer selection
//! (`spec/consensus/proposer-selection.md` there). ADR 26 says why in this form.
//!
//! What always holds: the proposers of a height follow from the validator sets up to it
//! alone. What a validator has waited counts on when others come, go or change their power.

use std::{collections::BTreeSet, sync::Arc};

use trefoil_crypto::{B256, PublicKey, keccak256};

use crate::{Round, Validator, ValidatorSet, limits};

/// About the priority that one turn costs; exactly, it is a multiple of the total power.
const TURN: u64 = limits::POWER_MAX;

// Of 128 that stay, priorities are between -1 and 5.5 turns (ADR 26). Only a network that
// replaces nearly all validators block by block comes here, and then 8 and 5.5 are less than 16.
/// The most turns that a validator carries over to another set, either way.
const CARRIED_MAX: i128 = 8;
/// No priority is as many turns. Times a turn they are 2^124, which an `i128` holds.
const PRIORITY_MAX: i128 = 16;

// Attack: an operator whose validator has just proposed replaces it by a new one. If that one
// began on average, it would propose twice. CometBFT's number.
/// A newcomer begins at least so many eighths of a turn behind the average.
const NEWCOMER_EIGHTHS: i128 = 9;

// A height of so many rounds has lasted for minutes. In 1,024 turns each validator with 1 % of
// the power has had several.
/// After so many rounds of a height, its proposers come again in the same order.
const ROUNDS: Round = 1_024;

/// The turns of one height: its validators with the priority of each to propose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    validators: Arc<ValidatorSet>,
    /// In the order of the validators. Their sum is about 0.
    priorities: Vec<i128>,
}

impl Turns {
    /// The turns of a network's first height: nobody has waited.
    pub fn first(validators: ValidatorSet) -> Self {
        Self { priorities: vec![0; validators.len()], validators: Arc::new(validators) }
    }

    /// The turns of a height with priorities that [`Turns::priorities`] gave; `None` if there
    /// is not one for each validator, or one is of no chain.
    pub fn resume(validators: ValidatorSet, priorities: &[u8]) -> Option<Self> {
        let (numbers, rest) = priorities.as_chunks();
        let priorities: Vec<_> = numbers.iter().map(|bytes| i128::from_be_bytes(*bytes)).collect();
        let bound = PRIORITY_MAX * i128::from(TURN);
        let is_sound = |priority: &i128| (-bound..bound).contains(priority);
        let fits = priorities.len() == validators.len() && priorities.iter().all(is_sound);
        let validators = Arc::new(validators);
        (fits && rest.is_empty()).then_some(Self { validators, priorities })
    }

    pub fn validators(&self) -> &Arc<ValidatorSet> {
        &self.validators
    }

    /// The priorities before the height's first turn, in the order of the validators: 16 bytes
    /// each, big-endian.
    pub fn priorities(&self) -> Vec<u8> {
        self.priorities.iter().flat_map(|priority| priority.to_be_bytes()).collect()
    }

    /// What a block binds of the turns of its height: its validators with their priorities.
    pub fn hash(&self) -> B256 {
        keccak256([alloy_rlp::encode(&*self.validators), self.priorities()].concat())
    }

    /// The proposers of the height's rounds, from round 0 on, without end.
    pub fn proposers(&self) -> impl Iterator<Item = &Validator> {
        let mut later = self.clone();
        std::iter::from_fn(move || self.validators.iter().nth(later.pass()))
    }

    /// The proposer of a round.
    pub fn proposer(&self, round: Round) -> &Validator {
        self.proposers().nth((round % ROUNDS) as usize).expect("there is no end of them")
    }

    // Attack: a height of very many rounds, as after a partition, which is nobody's fault.
    /// The keys of those whose rounds before this one decided nothing, each once, ascending; in a
    /// height of more rounds than validators, of as many rounds as these.
    pub fn failed(&self, round: Round) -> Vec<PublicKey> {
        let rounds = self.validators.len().min(round as usize);
        let failed: BTreeSet<_> = self.proposers().take(rounds).map(|it| it.key).collect();
        failed.into_iter().collect()
    }

    /// The turns of the next height, whose validators are these. A height costs its first
    /// proposer a turn, whatever round it ends in.
    pub fn next(mut self, validators: &ValidatorSet) -> Self {
        self.pass();
        if *self.validators == *validators { self } else { self.hand_over(validators) }
    }

    /// Everyone gains its power, and the one that is then first proposes and pays for it:
    /// its place among the validators.
    fn pass(&mut self) -> usize {
        let scale = i128::from(scale(&self.validators));
        let (mut first, mut turn) = (0, 0);
        for (at, validator) in self.validators.iter().enumerate() {
            let gain = i128::from(validator.power) * scale;
            turn += gain;
            self.priorities[at] += gain;
            // Of equals the one with the lesser key.
            if self.priorities[at] > self.priorities[first] {
                first = at;
            }
        }
        self.priorities[first] -= turn;
        first
    }

    // In turns and not in power, so that what somebody has waited for is not worth less where
    // others bring more power. Nobody's coming or going changes the order of those that stay.
    /// The same priorities, in turns, for other validators.
    fn hand_over(&self, validators: &ValidatorSet) -> Self {
        let (before, after) = (turn(&self.validators), turn(validators));
        let rescaled: Vec<i128> = self.priorities.iter().map(|p| p * after / before).collect();
        // Not before any that was there: else its operator would gain by replacing that one.
        let lowest = rescaled.iter().copied().min().unwrap_or(0);
        let newcomer = lowest.min(-after * NEWCOMER_EIGHTHS / 8);
        let waited = |validator: &Validator| {
            let mut known = self.validators.iter().zip(&rescaled);
            known.find(|(old, _)| old.key == validator.key).map_or(newcomer, |(_, p)| *p)
        };
        let priorities: Vec<i128> = validators.iter().map(waited).collect();
        let average = priorities.iter().sum::<i128>() / priorities.len() as i128;
        let most = CARRIED_MAX * after;
        let centred = priorities.into_iter().map(|p| (p - average).clamp(-most, most));
        Self { priorities: centred.collect(), validators: Arc::new(validators.clone()) }
    }
}

// An integer, so that within one set no turn is rounded: in as many turns as there is power each
// validator has exactly as many as it has power.
/// The priority that a unit of power gains in each turn.
fn scale(validators: &ValidatorSet) -> u64 {
    TURN / validators.total_power()
}

/// The priority that a turn costs: what all gain in it together.
fn turn(validators: &ValidatorSet) -> i128 {
    i128::from(validators.total_power()) * i128::from(scale(validators))
}

#[cfg(test)]
mod tests;
