//! Drives the Malachite core, one height at a time.
//!
//! What always holds: the core sees each input after the outputs of the one
//! before it are complete (its handler cannot feed it); during the replay of a
//! journal nothing is built, and what the journal holds is not recorded again.

use std::convert::Infallible;

use arc_malachitebft_core_consensus::{self as core, process};
use arc_malachitebft_core_types::{
    Threshold, ThresholdParams, Timeout, TimeoutKind, Validity, ValueOrigin, ValuePayload,
    VoteExtensionPolicy, VoteType,
};
use trefoil_types::{B256, Height, Offence, Proposal, PublicKey, Round, Time, ValidatorSet, Vote};

use crate::{
    Config, Input, Output,
    context::{self, At, Ctx, Name, Set, Value},
    hands::{Build, Hands, Timer},
    pace::Pace,
    record,
    signatures::Signatures,
};

/// How many turns of each validator may end without a wait in one height.
const FAST_TURNS: Round = 4;

/// Why records do not continue a height.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("consensus record {index} of height {height} cannot be decoded: {reason}")]
    Record { height: Height, index: usize, reason: alloy_rlp::Error },
    #[error("consensus record {index} belongs to height {got}, not {height}")]
    Height { height: Height, index: usize, got: Height },
    #[error("consensus record {index} of height {height} holds a wrong signature")]
    Signature { height: Height, index: usize },
    #[error("the consensus records of height {height} contradict each other: {reason}")]
    Contradiction { height: Height, reason: String },
}

/// One node's part in consensus.
pub struct Consensus {
    hands: Hands,
    /// The core at the current height; `None` before the first.
    core: Option<core::State<Ctx>>,
    /// Whether the current height is over: decided here, or final otherwise.
    done: bool,
}

impl Consensus {
    pub fn new(config: Config) -> Self {
        let signatures = Signatures::new(config.key, config.network);
        let hands = Hands::new(signatures, Pace::new(config.timeouts));
        Self { hands, core: None, done: false }
    }

    /// Begins `height`, abandoning any other. `records` are this height's
    /// [`Output::Record`]s that survived a crash, in order; empty otherwise.
    /// What this node said before the crash is said again, word for word. The
    /// height may be decided at once (by its records, or a single validator).
    ///
    /// # Errors
    /// Records that are damaged or of another height or chain.
    pub fn start(
        &mut self,
        now: Time,
        height: Height,
        set: ValidatorSet,
        records: &[Vec<u8>],
        out: &mut Vec<Output>,
    ) -> Result<(), ReplayError> {
        let inputs = decode(height, records)?;
        self.hands.begin(now, height, &set);
        self.done = false;
        let set = Set::new(set);
        let name = self.hands.signatures.name();
        let params = core::Params {
            address: Name(name.unwrap_or_default()),
            threshold_params: ThresholdParams::default(),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: name.is_some(),
        };
        self.core = Some(core::State::new(Ctx, At(height), set.clone(), params, 1, 1));

        self.hands.replaying = Some(records.iter().cloned().collect());
        let policy = VoteExtensionPolicy::Disabled;
        let begin = core::Input::StartHeight(At(height), set, false, None, policy);
        let replayed = self.replay(height, begin, inputs);
        self.hands.replaying = None;
        replayed?;
        self.say_again();
        self.settle();
        self.finish(out);
        Ok(())
    }

    /// Ends the current height: its block became final without this core (it came
    /// by block sync). A core that went on would vote, and have journalled, what
    /// is of a height that the journal has closed.
    pub fn stop(&mut self) {
        self.done = true;
        self.hands.stop_timers();
        self.hands.build = None;
    }

    /// Takes what happened. What is of another height, was seen, or is too many
    /// rounds ahead is no news and no misdeed.
    ///
    /// # Errors
    /// The misdeed of whoever handed the input on (a wrong signature, say).
    pub fn input(&mut self, now: Time, input: Input, out: &mut Vec<Output>) -> Result<(), Offence> {
        self.hands.now = now;
        let result = self.handle(input);
        self.finish(out);
        result
    }

    /// Checks that a certificate has the power that it claims among `set`, the
    /// validators of its height; anything else passes. Call it before anything else
    /// happens to a certificate: the core does not look at one that is no news to
    /// it, so that one node would hand on what another blames it for.
    ///
    /// # Errors
    /// [`Offence::BadSignature`]: too little power, a stranger, a vote twice or of
    /// the wrong kind, a wrong signature.
    pub fn verify_certificate(&mut self, input: &Input, set: &ValidatorSet) -> Result<(), Offence> {
        let verified = match input {
            Input::PolkaCertificate(polka) => self.hands.signatures.verify_polka(polka, set),
            Input::RoundCertificate(round) => self.hands.signatures.verify_round(round, set),
            _ => return Ok(()),
        };
        self.hands.signatures.wrong = false;
        verified.map_err(|_| Offence::BadSignature)
    }

    /// Whether all signatures of a peer's statement were found right, so that it
    /// may be handed on: no news is no misdeed, but it is not vouched for.
    pub fn has_verified(&self, input: &Input) -> bool {
        self.hands.signatures.has_verified(input)
    }

    /// When [`Consensus::tick`] is next due.
    pub fn deadline(&self) -> Option<Time> {
        self.hands.deadline()
    }

    /// Fires the timers that are due.
    pub fn tick(&mut self, now: Time, out: &mut Vec<Output>) {
        self.hands.now = now;
        while !self.done
            && let Some(timeout) = self.hands.take_due()
        {
            self.elapse(timeout);
            self.settle();
        }
        self.finish(out);
    }

    /// The height begun last and the round it is in; `None` before any.
    pub fn position(&self) -> Option<(Height, Round)> {
        self.core.as_ref().map(|_| (self.hands.height, self.hands.round))
    }

    fn handle(&mut self, input: Input) -> Result<(), Offence> {
        let Some(core) = &self.core else { return Ok(()) };
        let height = self.hands.height;
        match input {
            _ if self.done || input.height() != height => return Ok(()),
            Input::Vote(vote) => return self.vote(vote),
            Input::Proposal(proposal) => return self.proposal(proposal),
            Input::PolkaCertificate(polka) => {
                if polka.signatures.len() > core.validator_set().set.len() {
                    return Err(Offence::Malformed);
                }
                self.feed(core::Input::PolkaCertificate(context::polka_in(polka)));
            }
            Input::RoundCertificate(certificate) => {
                if certificate.votes.len() > core.validator_set().set.len() {
                    return Err(Offence::Malformed);
                }
                let certificate = context::round_certificate_in(certificate);
                self.feed(core::Input::RoundCertificate(certificate));
            }
            Input::Candidate { round, block, proposer, valid, .. } => {
                self.candidate(round, block, proposer, valid);
            }
            Input::Built { round, block, .. } => self.built(round, block),
        }
        self.settle();
        self.blame()
    }

    fn vote(&mut self, vote: Vote) -> Result<(), Offence> {
        let core = self.core.as_ref().expect("the caller saw it");
        if core.validator_set().set.get(&vote.validator).is_none() {
            return Err(Offence::BadSignature);
        }
        let signed = context::vote_in(vote.clone());
        let votes = core.driver.votes();
        if self.is_far(vote.round)
            || votes.has_vote(&signed)
            || votes.is_saturated_conflict(&signed)
        {
            return Ok(());
        }
        self.feed(core::Input::Vote(signed));
        self.settle();
        self.blame()?;
        self.hands.pace.heard(&vote.validator, vote.height, vote.round);
        Ok(())
    }

    fn proposal(&mut self, proposal: Proposal) -> Result<(), Offence> {
        let core = self.core.as_ref().expect("the caller saw it");
        let Proposal { height, round, proposer, .. } = proposal;
        if core.validator_set().set.proposer(height, round).key != proposer {
            return Err(Offence::BadSignature);
        }
        if proposal.pol_round.is_some_and(|pol_round| pol_round >= round) {
            return Err(Offence::Malformed);
        }
        if self.is_far(round) {
            return Ok(());
        }
        self.feed(core::Input::Proposal(context::proposal_in(proposal)));
        self.settle();
        self.blame()?;
        self.hands.proposal_heard |= round == self.hands.round;
        self.hands.pace.heard(&proposer, height, round);
        Ok(())
    }

    /// Whether the core would drop a statement of this round unread.
    fn is_far(&self, round: Round) -> bool {
        round > self.hands.round.saturating_add(core::MAX_FUTURE_ROUND_LOOKAHEAD)
    }

    fn candidate(&mut self, round: Round, block: B256, proposer: PublicKey, valid: bool) {
        let core = self.core.as_ref().expect("the caller saw it");
        let (height, validity) = (At(self.hands.height), Validity::from_bool(valid));
        let known = core.get_proposed_value_by_id(height, round.into(), &block);
        if known.is_some_and(|known| known.validity == validity || known.validity.is_valid()) {
            return;
        }
        if round == self.hands.round && valid {
            self.hands.pace.proposed(self.hands.now.since(self.hands.round_began));
        }
        let value = core::ProposedValue {
            height,
            round: round.into(),
            valid_round: arc_malachitebft_core_types::Round::Nil,
            proposer: Name(proposer),
            value: Value(block),
            validity,
        };
        self.feed(core::Input::ProposedValue(value, ValueOrigin::Consensus));
    }

    /// Takes the block that was asked for, once: two would be two proposals.
    fn built(&mut self, round: Round, block: B256) {
        if self.hands.build != Some(Build::Asked(round)) {
            return;
        }
        self.hands.build = None;
        let height = At(self.hands.height);
        let value = core::LocallyProposedValue::new(height, round.into(), Value(block));
        self.feed(core::Input::Propose(value));
    }

    fn elapse(&mut self, timeout: Timeout) {
        let hands = &mut self.hands;
        let core = self.core.as_ref().expect("a timer was set by the core");
        if timeout.kind == TimeoutKind::Propose && core.driver.step_is_propose() {
            if !hands.proposal_heard && hands.build.is_none() {
                hands.pace.missed(hands.proposer, hands.height, hands.round);
            }
            hands.build = None;
        }
        self.feed(core::Input::TimeoutElapsed(timeout));
    }

    /// A quorum of precommits for no block ends the round for all: nobody can
    /// decide in it, so the wait for more precommits is left out. Only for the
    /// first rounds, lest they race for ever when every block is refused.
    fn settle(&mut self) {
        loop {
            let Some(core) = &self.core else { return };
            let turns = Round::try_from(core.validator_set().set.len()).unwrap_or(Round::MAX);
            let nil = self.hands.round < turns.saturating_mul(FAST_TURNS)
                && core.driver.votes().is_threshold_met(
                    &core.driver.round(),
                    VoteType::Precommit,
                    Threshold::Nil,
                );
            if !nil || self.done {
                return;
            }
            let Some(timeout) = self.hands.take(Timer::Precommit) else { return };
            self.feed(core::Input::TimeoutElapsed(timeout));
        }
    }

    fn replay(
        &mut self,
        height: Height,
        begin: context::Input,
        inputs: Vec<context::Input>,
    ) -> Result<(), ReplayError> {
        for input in &inputs {
            match input {
                core::Input::Vote(vote) => {
                    self.hands.signatures.recall_vote(context::vote_out(vote))
                }
                core::Input::Proposal(p) => {
                    self.hands.signatures.recall_proposal(context::proposal_out(p))
                }
                _ => {}
            }
        }
        let failed = |reason| ReplayError::Contradiction { height, reason };
        self.try_feed(begin).map_err(failed)?;
        if let Some(core) = &mut self.core {
            core.record_recovered_own_precommit_extensions(&inputs);
            core.index_wal_entries(&inputs);
        }
        for (index, input) in inputs.into_iter().enumerate() {
            self.try_feed(input).map_err(failed)?;
            if self.blame().is_err() {
                return Err(ReplayError::Signature { height, index });
            }
        }
        if let Some(core) = &mut self.core {
            core.reset_entries_index();
        }
        Ok(())
    }

    /// After a replay: the votes were said again by it; so is the proposal of
    /// the current round.
    fn say_again(&mut self) {
        let hands = &self.hands;
        if let Some(proposal) = hands.signatures.own_proposal(hands.height, hands.round).cloned() {
            self.hands.build = None;
            if !self.done {
                self.hands.out.push(Output::Send(crate::Speech::Proposal(proposal)));
            }
        }
    }

    /// The misdeed that was found while the last input was fed.
    fn blame(&mut self) -> Result<(), Offence> {
        match std::mem::take(&mut self.hands.signatures.wrong) {
            true => Err(Offence::BadSignature),
            false => Ok(()),
        }
    }

    fn feed(&mut self, input: context::Input) {
        if let Err(error) = self.try_feed(input) {
            panic!("the consensus core broke at height {}: {error}", self.hands.height);
        }
    }

    /// # Errors
    /// The core's, or that it would sign against an earlier signature.
    fn try_feed(&mut self, input: context::Input) -> Result<(), String> {
        let Self { hands, core: Some(core), .. } = self else { return Ok(()) };
        let result: Result<(), Box<core::Error<Ctx>>> = process!(
            input: input,
            state: core,
            metrics: &(),
            with: effect => Ok::<_, Infallible>(hands.carry_out(effect))
        );
        for (name, pairs) in core.driver.votes().evidence().iter() {
            hands.tell_votes(name, pairs);
        }
        for (name, pairs) in core.driver.proposals().evidence().iter() {
            hands.tell_proposals(name, pairs);
        }
        self.done |= hands.decided.is_some();
        hands.signatures.second.take().map_or(Ok(()), Err)?;
        result.map_err(|error| error.to_string())
    }

    /// Hands the outputs over, the decision last.
    fn finish(&mut self, out: &mut Vec<Output>) {
        let hands = &mut self.hands;
        if self.done {
            hands.stop_timers();
            hands.build = None;
        }
        let proposing = self.core.as_ref().is_some_and(|core| core.driver.step_is_propose());
        if proposing && let Some(Build::Due(round)) = hands.build {
            hands.build = Some(Build::Asked(round));
            let until = hands.build_until();
            hands.out.push(Output::Build { height: hands.height, round, until });
        }
        out.append(&mut hands.out);
        out.extend(hands.decided.take().map(Output::Decided));
    }
}

impl Input {
    fn height(&self) -> Height {
        match self {
            Self::Vote(vote) => vote.height,
            Self::Proposal(proposal) => proposal.height,
            Self::PolkaCertificate(polka) => polka.height,
            Self::RoundCertificate(certificate) => certificate.height,
            Self::Candidate { height, .. } | Self::Built { height, .. } => *height,
        }
    }
}

fn decode(height: Height, records: &[Vec<u8>]) -> Result<Vec<context::Input>, ReplayError> {
    let inputs = records.iter().enumerate().map(|(index, bytes)| match record::decode(bytes) {
        Ok((got, input)) if got == height => Ok(input),
        Ok((got, _)) => Err(ReplayError::Height { height, index, got }),
        Err(reason) => Err(ReplayError::Record { height, index, reason }),
    });
    inputs.collect()
}
