//! Partitions by the steps of consensus, where those of a plan's script are by time: a message
//! is lost by the height, the round and the step that it is of, whenever it is sent. So each
//! step of a short run can meet a partition of its own (Bano and others, "Twins: BFT systems
//! made robust", 2020).

use std::collections::BTreeMap;

use trefoil_types::{Height, Message, Millis, Round, Time, VoteKind};

use crate::wire::Id;

/// A step of a height and round: its proposal and prevotes, or its precommits.
pub type Step = (Height, Round, VoteKind);

#[derive(Clone, Debug, Default)]
pub struct StepPartitions {
    unheard: BTreeMap<Step, Vec<u64>>,
    lasts: Millis,
    began: BTreeMap<Step, Time>,
    /// The newest step in which each machine spoke.
    newest: BTreeMap<Id, Step>,
}

impl StepPartitions {
    /// `unheard`: for each step, and in it for each sender, a bit for each machine that its
    /// messages do not reach; a step that is not there has no partition. That of a step lasts so
    /// long from its first message.
    pub fn new(unheard: BTreeMap<Step, Vec<u64>>, lasts: Millis) -> Self {
        Self { unheard, lasts, ..Self::default() }
    }

    /// Whether a message that is sent now is lost. One of no step, a block of the past say, is
    /// lost if the newest step of either machine separates them.
    pub fn takes(&mut self, now: Time, from: Id, to: Id, message: &Message) -> bool {
        if self.unheard.is_empty() {
            return false;
        }
        let Some(step) = step_of(message) else {
            let steps = [from, to].map(|id| self.newest.get(&id));
            return steps.into_iter().flatten().any(|step| self.separates(now, step, from, to));
        };
        self.began.entry(step).or_insert(now);
        let newest = self.newest.entry(from).or_insert(step);
        *newest = step.max(*newest);
        self.separates(now, &step, from, to)
    }

    fn separates(&self, now: Time, step: &Step, from: Id, to: Id) -> bool {
        let lasts = self.began.get(step).is_some_and(|began| now < *began + self.lasts);
        lasts && self.unheard.get(step).is_some_and(|unheard| unheard[from] >> to & 1 == 1)
    }
}

/// The step that a message is of. A certificate is of that of its votes.
fn step_of(message: &Message) -> Option<Step> {
    Some(match message {
        Message::Vote(vote) => (vote.height, vote.round, vote.kind),
        Message::Proposal(proposed) => {
            (proposed.proposal.height, proposed.proposal.round, VoteKind::Prevote)
        }
        Message::PolkaCertificate(polka) => (polka.height, polka.round, VoteKind::Prevote),
        Message::RoundCertificate(round) => (round.height, round.round, VoteKind::Precommit),
        _ => return None,
    })
}
