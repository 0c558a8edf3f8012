//! Drives the Malachite core, one height at a time.
//!
//! What always holds: the core sees each input after the outputs of the one
//! before it are complete (its handler cannot feed it). During the replay of a
//! journal nothing is built, and none of its records is recorded again.

use std::convert::Infallible;

use arc_malachitebft_core_consensus::{self as core, process};
use arc_malachitebft_core_types::{
    Threshold, ThresholdParams, Timeout, TimeoutKind, Validity, ValuePayload, VoteExtensionPolicy,
    VoteType,
};
use trefoil_types::{
    B256, Height, Offence, Proposal, PublicKey, Round, Time, Turns, ValidatorSet, Vote,
};

use crate::{
    Candidate, Config, ConsensusMessage, Output,
    context::{self, ChainContext, ConsensusHeight, ConsensusValidators, ValidatorName, Value},
    effects::{Build, EffectHandler, Timer},
    signer::ValidatorSigner,
    timeouts::AdaptiveTimeouts,
};

mod news;
mod replay;

pub use self::replay::ReplayError;

// With a node's own wait for precommits left out, a round takes as long as its messages.
// Four turns of each validator get past every one that is absent or refuses; then rounds
// wait again, so that a set that refuses every block does not spin.
/// How many turns of each validator may end without a wait in one height.
const FAST_TURNS: Round = 4;

/// One node's part in consensus.
pub struct Consensus {
    effects: EffectHandler,
    /// The core at the current height; `None` before the first.
    core: Option<core::State<ChainContext>>,
    /// Whether the current height is over: decided here, or final otherwise.
    done: bool,
}

impl Consensus {
    pub fn new(config: Config) -> Self {
        let signer = ValidatorSigner::new(config.keys, config.network);
        let effects = EffectHandler::new(signer, AdaptiveTimeouts::new(config.timeouts));
        Self { effects, core: None, done: false }
    }

    /// Begins `height`, abandoning any other. `turns` are of this height, and so are `records`:
    /// the [`Output::Record`]s that survived a crash, in order; empty otherwise.
    /// Messages that this node sent before the crash are sent again, byte for byte. The
    /// height may be decided at once (by its records, or a single validator).
    ///
    /// # Errors
    /// Records that are damaged or of another height or chain.
    pub fn start(
        &mut self,
        now: Time,
        height: Height,
        turns: Turns,
        records: &[Vec<u8>],
        out: &mut Vec<Output>,
    ) -> Result<(), ReplayError> {
        let entries = replay::decode(height, records)?;
        self.effects.begin(now, height, turns.validators());
        self.done = false;
        let set = ConsensusValidators::new(turns);
        let name = self.effects.signer.name();
        let params = core::Params {
            address: ValidatorName(name.unwrap_or_default()),
            threshold_params: ThresholdParams::default(),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: name.is_some(),
        };
        self.core = Some(core::State::new(
            ChainContext,
            ConsensusHeight(height),
            set.clone(),
            params,
            // The core's queue for inputs of later heights stays empty: see `is_at`.
            1,
            1,
        ));

        self.effects.replaying = Some(records.iter().cloned().collect());
        let policy = VoteExtensionPolicy::Disabled;
        let begin = core::Input::StartHeight(ConsensusHeight(height), set, false, None, policy);
        let replayed = self.replay(height, begin, entries);
        self.effects.replaying = None;
        replayed?;
        self.resend_proposal();
        self.settle();
        self.finish(out);
        Ok(())
    }

    /// Ends the current height: its block became final without this core (it came
    /// by block sync). A core that went on would vote, and record votes, in a height that the
    /// journal has closed.
    pub fn stop(&mut self) {
        // A build that is still asked for would be a proposal of a height that is over.
        self.done = true;
        self.effects.timers.clear();
        self.effects.build = None;
    }

    /// Takes a message of another node. One that is of another height, was seen, or is too
    /// many rounds ahead changes nothing, and is no misdeed.
    ///
    /// # Errors
    /// The misdeed of the peer that relayed the message (a wrong signature, say).
    pub fn input(
        &mut self,
        now: Time,
        message: ConsensusMessage,
        out: &mut Vec<Output>,
    ) -> Result<(), Offence> {
        self.effects.now = now;
        let mut result = Ok(());
        let (height, round) = message.place();
        if self.is_at(height) {
            // Mostly nobody is absent, and nothing of the message is kept.
            let mut returning = message.signers();
            returning.retain(|key| self.effects.timeouts.is_return(key, height, round));
            let copy = (!returning.is_empty()).then(|| message.clone());
            result = self.handle(message);
            let EffectHandler { signer, timeouts, .. } = &mut self.effects;
            if copy.is_some_and(|copy| signer.has_verified(&copy)) {
                returning.iter().for_each(|key| timeouts.note_present(key, height, round));
            }
        }
        self.finish(out);
        result
    }

    /// Takes a vote of a height that is over: it decides nothing, and shows that a validator
    /// that was absent is back. Without it a validator whose votes come late would never be
    /// waited for again.
    ///
    /// # Errors
    /// [`Offence::BadSignature`].
    pub fn input_late(&mut self, vote: &Vote) -> Result<(), Offence> {
        let Vote { validator, height, round, .. } = *vote;
        // First: a vote of whoever is present costs no verification.
        if !self.effects.timeouts.is_return(&validator, height, round) {
            return Ok(());
        }
        if !self.effects.signer.verify_vote(vote.clone()) {
            return Err(Offence::BadSignature);
        }
        self.effects.timeouts.note_present(&validator, height, round);
        Ok(())
    }

    /// The body of a proposed block is here and was executed.
    pub fn executed(&mut self, now: Time, candidate: Candidate, out: &mut Vec<Output>) {
        self.effects.now = now;
        if self.is_at(candidate.height) {
            self.candidate(candidate);
            self.settle();
        }
        self.finish(out);
    }

    /// The answer to [`Output::Build`]. It is taken once: two blocks would be two proposals.
    pub fn built(
        &mut self,
        now: Time,
        height: Height,
        round: Round,
        block: B256,
        out: &mut Vec<Output>,
    ) {
        self.effects.now = now;
        if self.is_at(height) && self.effects.build == Some(Build::Asked(round)) {
            self.effects.build = None;
            let height = ConsensusHeight(height);
            let value = core::LocallyProposedValue::new(height, round.into(), Value(block));
            self.feed(core::Input::Propose(value));
            self.settle();
        }
        self.finish(out);
    }

    /// Checks that a certificate has the power that it claims among `set`, the
    /// validators of its height; anything else passes. Call it before anything else
    /// happens to a certificate. The core does not read one that changes nothing for it, so
    /// that this node would relay a certificate that another blames it for.
    ///
    /// # Errors
    /// [`Offence::BadSignature`]: too little power, a stranger, a vote twice or of
    /// the wrong kind, a wrong signature.
    pub fn verify_certificate(
        &mut self,
        message: &ConsensusMessage,
        set: &ValidatorSet,
    ) -> Result<(), Offence> {
        let signer = &mut self.effects.signer;
        let verified = match message {
            ConsensusMessage::PolkaCertificate(polka) => signer.verify_polka(polka, set),
            ConsensusMessage::RoundCertificate(round) => signer.verify_round(round, set),
            ConsensusMessage::Vote(_) | ConsensusMessage::Proposal(_) => return Ok(()),
        };
        signer.wrong = false;
        verified.map_err(|_| Offence::BadSignature)
    }

    /// Whether all signatures of a peer's statement were found right, so that it
    /// may be relayed: a repeated statement is no misdeed, but it was not verified. Nor is a vote
    /// relayed that the core did not keep, whoever else may have shown that it is signed.
    pub fn has_verified(&self, message: &ConsensusMessage) -> bool {
        let is_kept = match message {
            ConsensusMessage::Vote(vote) if vote.height == self.effects.height => self.keeps(vote),
            _ => true,
        };
        is_kept && self.effects.signer.has_verified(message)
    }

    /// The key with which this node signs in a height of these validators; `None`: it does not.
    pub fn key_in(&self, set: &ValidatorSet) -> Option<PublicKey> {
        self.effects.signer.key_in(set).map(|key| key.public())
    }

    /// When [`Consensus::tick`] is next due.
    pub fn deadline(&self) -> Option<Time> {
        self.effects.timers.values().map(|(due, _)| *due).min()
    }

    /// Fires the timers that are due.
    pub fn tick(&mut self, now: Time, out: &mut Vec<Output>) {
        self.effects.now = now;
        while !self.done
            && let Some(timeout) = self.effects.take_due()
        {
            self.elapse(timeout);
            self.settle();
        }
        self.finish(out);
    }

    /// The height begun last and the round it is in; `None` before any.
    pub fn position(&self) -> Option<(Height, Round)> {
        self.core.as_ref().map(|_| (self.effects.height, self.effects.round))
    }

    /// As if `validator` had just missed its turn.
    #[cfg(test)]
    pub(crate) fn presume_absent(&mut self, validator: PublicKey) {
        let EffectHandler { timeouts, height, round, .. } = &mut self.effects;
        timeouts.note_absent(validator, *height, *round);
    }

    /// Whose last turns to propose came to nothing, as far as this node waited for them, and how
    /// many in a row.
    pub fn failed_turns(&self) -> impl Iterator<Item = (PublicKey, u32)> {
        self.effects.timeouts.failed_turns()
    }

    /// Whether a height is under way here.
    fn is_at(&self, height: Height) -> bool {
        self.core.is_some() && !self.done && height == self.effects.height
    }

    fn handle(&mut self, message: ConsensusMessage) -> Result<(), Offence> {
        let core = self.core.as_ref().expect("the caller saw it");
        let validators = core.validator_set().set.len();
        let lacks = self.lacks(&message);
        let input = match message {
            ConsensusMessage::Vote(vote) => return self.vote(vote),
            ConsensusMessage::Proposal(proposal) => return self.proposal(proposal),
            ConsensusMessage::PolkaCertificate(polka) if polka.signatures.len() <= validators => {
                if !lacks {
                    return self.take_conflicts(polka.votes().collect());
                }
                self.find_elsewhere(polka.round, polka.votes());
                core::Input::PolkaCertificate(context::polka_in(polka))
            }
            ConsensusMessage::RoundCertificate(round) if round.votes.len() <= validators => {
                if !lacks {
                    return self.take_conflicts(round.votes().collect());
                }
                self.find_elsewhere(round.round, round.votes());
                core::Input::RoundCertificate(context::round_certificate_in(round))
            }
            // Attack: one certificate with many signatures costs a verification each.
            ConsensusMessage::PolkaCertificate(_) | ConsensusMessage::RoundCertificate(_) => {
                return Err(Offence::Malformed);
            }
        };
        self.feed(input);
        self.settle();
        self.blame()
    }

    /// Notes a round in which a certificate shows this node's key to have signed elsewhere. The core
    /// still counts such a vote: a quorum may need it.
    fn find_elsewhere(&mut self, round: Round, mut votes: impl Iterator<Item = Vote>) {
        let signer = &mut self.effects.signer;
        if votes.any(|vote| signer.is_elsewhere(&vote) && signer.verify_vote(vote)) {
            self.effects.note_elsewhere(round);
        }
    }

    fn vote(&mut self, vote: Vote) -> Result<(), Offence> {
        let core = self.core.as_ref().expect("the caller saw it");
        // Attack: signatures of strangers. The set is looked at before any signature is.
        if core.validator_set().set.get(&vote.validator).is_none() {
            return Err(Offence::BadSignature);
        }
        // Also of a far round, which a certificate may bring. A false one is somebody's misdeed.
        if self.effects.signer.is_elsewhere(&vote) {
            if !self.effects.signer.verify_vote(vote.clone()) {
                return Err(Offence::BadSignature);
            }
            self.effects.note_elsewhere(vote.round);
        }
        let core = self.core.as_ref().expect("the caller saw it");
        let (round, signed) = (vote.round, context::vote_in(vote));
        // Checked before the core verifies the signature: a vote that cannot change anything
        // costs no verification, so a peer cannot make this node work by repeating votes.
        let votes = core.driver.votes();
        if self.is_far(round) || votes.has_vote(&signed) || votes.is_saturated_conflict(&signed) {
            return Ok(());
        }
        self.feed(core::Input::Vote(signed));
        self.settle();
        self.blame()
    }

    fn proposal(&mut self, proposal: Proposal) -> Result<(), Offence> {
        let Proposal { round, proposer, .. } = proposal;
        if self.effects.signer.is_proposed_elsewhere(&proposal) {
            if !self.effects.signer.verify_proposal(proposal.clone()) {
                return Err(Offence::BadSignature);
            }
            self.effects.note_elsewhere(round);
        }
        // First: the proposer of a round is found by counting up to it.
        if self.is_far(round) {
            return Ok(());
        }
        let core = self.core.as_ref().expect("the caller saw it");
        // Any validator could sign a proposal; only one is the round's proposer.
        if core.validator_set().proposer(round).key != proposer {
            return Err(Offence::BadSignature);
        }
        if proposal.pol_round.is_some_and(|pol_round| pol_round >= round) {
            return Err(Offence::Malformed);
        }
        self.feed(core::Input::Proposal(context::proposal_in(proposal)));
        self.settle();
        self.blame()?;
        self.effects.proposal_seen |= round == self.effects.round;
        Ok(())
    }

    /// Whether the core would drop a statement of this round unread.
    fn is_far(&self, round: Round) -> bool {
        round > self.effects.round.saturating_add(core::MAX_FUTURE_ROUND_LOOKAHEAD)
    }

    fn candidate(&mut self, candidate: Candidate) {
        let Candidate { height, round, block, valid, .. } = candidate;
        let core = self.core.as_ref().expect("the caller saw it");
        let validity = Validity::from_bool(valid);
        let known = core.get_proposed_value_by_id(ConsensusHeight(height), round.into(), &block);
        // A known judgement is not fed again. It may change only from invalid to valid (a timestamp
        // that was too far ahead is not for ever).
        if known.is_some_and(|known| known.validity == validity || known.validity.is_valid()) {
            return;
        }
        if round == self.effects.round && valid {
            self.effects.timeouts.note_proposed(self.effects.now.since(self.effects.round_began));
        }
        self.feed(candidate.input());
    }

    fn elapse(&mut self, timeout: Timeout) {
        let effects = &mut self.effects;
        let core = self.core.as_ref().expect("a timer was set by the core");
        if timeout.kind == TimeoutKind::Propose && core.driver.step_is_propose() {
            // A proposal that came without its block shows that the proposer is there, and that
            // the network is slow: only silence makes a proposer absent. Never this node itself:
            // it hears no message of its own, so nothing would end its absence.
            let is_own = effects.signer.name() == Some(effects.proposer);
            if !effects.proposal_seen && !is_own {
                effects.timeouts.note_absent(effects.proposer, effects.height, effects.round);
            }
            effects.build = None;
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
            let nil = self.effects.round < turns.saturating_mul(FAST_TURNS)
                && core.driver.votes().is_threshold_met(
                    &core.driver.round(),
                    VoteType::Precommit,
                    Threshold::Nil,
                );
            if !nil || self.done {
                return;
            }
            let Some(timeout) = self.effects.take(Timer::Precommit) else { return };
            self.feed(core::Input::TimeoutElapsed(timeout));
        }
    }

    /// The misdeed that was found while the last input was fed.
    fn blame(&mut self) -> Result<(), Offence> {
        match std::mem::take(&mut self.effects.signer.wrong) {
            true => Err(Offence::BadSignature),
            false => Ok(()),
        }
    }

    fn feed(&mut self, input: context::CoreInput) {
        if let Err(error) = self.try_feed(input) {
            panic!("the consensus core broke at height {}: {error}", self.effects.height);
        }
    }

    /// # Errors
    /// The core's, or that it would sign against an earlier signature.
    fn try_feed(&mut self, input: context::CoreInput) -> Result<(), String> {
        let Self { effects, core: Some(core), .. } = self else { return Ok(()) };
        let round = effects.round;
        core.params.enabled = effects.may_sign(round);
        let result: Result<(), Box<core::Error<ChainContext>>> = process!(
            input: input,
            state: core,
            metrics: &(),
            with: effect => Ok::<_, Infallible>(effects.handle(effect))
        );
        // After each input and not only at the end: a height may last for long, and evidence
        // must be in a block before the validator's stake is free.
        effects.report(&core::MisbehaviorEvidence {
            votes: core.driver.votes().evidence().clone(),
            proposals: core.driver.proposals().evidence().clone(),
        });
        if let Some(decided) = effects.decided.as_ref().filter(|_| !self.done) {
            let own = effects.signer.name();
            effects.timeouts.note_decided(&core.validator_set().turns, decided.round, own);
            self.done = true;
        }
        effects.signer.second.take().map_or(Ok(()), Err)?;
        result.map_err(|error| error.to_string())
    }

    /// Moves the outputs to `out`, the decision last.
    fn finish(&mut self, out: &mut Vec<Output>) {
        let effects = &mut self.effects;
        // A peer answers for what was found during its own message only.
        effects.signer.wrong = false;
        if self.done {
            effects.timers.clear();
            effects.build = None;
        }
        let proposing = self.core.as_ref().is_some_and(|core| core.driver.step_is_propose());
        if proposing && let Some(Build::Due(round)) = effects.build {
            effects.build = Some(Build::Asked(round));
            let until = effects.build_until();
            effects.out.push(Output::Build { height: effects.height, round, until });
        }
        out.append(&mut effects.out);
        out.extend(effects.decided.take().map(Output::Decided));
    }
}
