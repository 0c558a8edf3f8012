//! Handles the effects that the core asks for: signatures, timers, outputs.
//!
//! What always holds: an input that is in the journal is not recorded again;
//! evidence of one pair is reported once; outputs keep the core's order.

use std::collections::{BTreeMap, BTreeSet};

use arc_malachitebft_core_consensus::{
    Effect, LivenessMsg, MisbehaviorEvidence, Resumable, Resume, SignedConsensusMsg,
};
use arc_malachitebft_core_types::{
    CommitCertificate, Context as _, NilOrVal, Timeout, TimeoutKind,
};
use trefoil_types::{Certificate, Evidence, Height, Millis, PublicKey, Round, Time, ValidatorSet};

use crate::{
    ConsensusMessage, Output,
    context::{self, ChainContext, ValidatorName},
    signer::ValidatorSigner,
    timeouts::AdaptiveTimeouts,
    wal_entry,
};

pub struct EffectHandler {
    pub signer: ValidatorSigner,
    pub timeouts: AdaptiveTimeouts,
    pub now: Time,
    pub height: Height,
    pub round: Round,
    pub proposer: PublicKey,
    pub round_began: Time,
    /// Whether the round's proposal was received (its body may still be missing).
    pub proposal_seen: bool,
    // Attack and accident: one key on two machines, or a disk that is an old copy. Two votes for
    // one round cost the validator its stake, and records of both would contradict each other
    // at the next start.
    /// The last round of this height for which this node's key was seen to sign elsewhere; this
    /// node signs nothing up to it, and what it knows of those rounds stays as it was.
    pub elsewhere: Option<Round>,
    /// The outputs, in order; the decision apart, since it comes last.
    pub out: Vec<Output>,
    pub decided: Option<Certificate>,
    /// The block that this node has yet to build.
    pub build: Option<Build>,
    /// While the journal is replayed: its records.
    pub replaying: Option<BTreeSet<Vec<u8>>>,
    pub timers: BTreeMap<Timer, (Time, Timeout)>,
    /// How many pairs of each validator were reported, of votes and of proposals.
    reported_votes: BTreeMap<ValidatorName, usize>,
    reported_proposals: BTreeMap<ValidatorName, usize>,
}

/// How far the core's request for a block of ours has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// The node was not asked yet (the journal may still hold the block).
    Due(Round),
    Asked(Round),
}

/// The core's timers in the order in which those due at once fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    Propose,
    Prevote,
    Precommit,
    Rebroadcast,
}

impl From<TimeoutKind> for Timer {
    fn from(kind: TimeoutKind) -> Self {
        match kind {
            TimeoutKind::Propose => Self::Propose,
            TimeoutKind::Prevote => Self::Prevote,
            TimeoutKind::Precommit => Self::Precommit,
            TimeoutKind::Rebroadcast => Self::Rebroadcast,
            TimeoutKind::FinalizeHeight(_) => unreachable!("the core was given no target time"),
        }
    }
}

impl EffectHandler {
    pub fn new(signer: ValidatorSigner, timeouts: AdaptiveTimeouts) -> Self {
        Self {
            signer,
            timeouts,
            now: Time(0),
            height: 0,
            round: 0,
            proposer: PublicKey::default(),
            round_began: Time(0),
            proposal_seen: false,
            elsewhere: None,
            out: Vec::new(),
            decided: None,
            build: None,
            replaying: None,
            timers: BTreeMap::new(),
            reported_votes: BTreeMap::new(),
            reported_proposals: BTreeMap::new(),
        }
    }

    /// Begins a height, and forgets the one that was under way.
    pub fn begin(&mut self, now: Time, height: Height, set: &ValidatorSet) {
        self.now = now;
        self.height = height;
        self.round = 0;
        self.elsewhere = None;
        self.decided = None;
        self.build = None;
        self.timers.clear();
        self.reported_votes.clear();
        self.reported_proposals.clear();
        self.timeouts.begin(height, set);
        self.signer.begin(height, set);
    }

    /// Whether this node votes at this height, and may sign for a round: its key has not signed for
    /// it elsewhere.
    pub fn may_sign(&self, round: Round) -> bool {
        self.signer.name().is_some() && self.elsewhere.is_none_or(|elsewhere| round > elsewhere)
    }

    /// Remembers, also for the next start, that this node's key signed elsewhere for `round`.
    pub fn note_elsewhere(&mut self, round: Round) {
        if !self.may_sign(round) {
            return;
        }
        self.elsewhere = Some(round);
        if !self.may_sign(self.round) {
            self.build = None;
        }
        self.append(wal_entry::encode_elsewhere(self.height, round));
        if self.replaying.is_none() {
            self.out.push(Output::Elsewhere { height: self.height, round });
        }
    }

    /// Takes the timer that has been due longest, if any is.
    pub fn take_due(&mut self) -> Option<Timeout> {
        let (timer, (due, _)) = self.timers.iter().min_by_key(|(t, (due, _))| (*due, **t))?;
        let timer = *timer;
        if *due <= self.now { self.take(timer) } else { None }
    }

    /// Takes a timer whether it is due or not.
    pub fn take(&mut self, timer: Timer) -> Option<Timeout> {
        self.timers.remove(&timer).map(|(_, timeout)| timeout)
    }

    /// Carries out one effect of the core, and gives the result if the core waits for it.
    pub fn handle(&mut self, effect: Effect<ChainContext>) -> Resume<ChainContext> {
        match effect {
            Effect::SignVote(v, r) => return r.resume_with(self.signer.sign_vote(v)),
            Effect::SignProposal(p, r) => return r.resume_with(self.signer.sign_proposal(p)),
            Effect::VerifySignature(message, _, r) => {
                return r.resume_with(self.signer.verify_message(message));
            }
            Effect::VerifyCommitCertificate(commit, set, _, r) => {
                let commit = context::certificate_out(&commit);
                let verified = self.signer.verify_commit(&commit, &set.set);
                return r.resume_with(verified.map_err(|e| *e));
            }
            Effect::VerifyPolkaCertificate(polka, set, _, r) => {
                let verified = self.signer.verify_polka(&context::polka_out(&polka), &set.set);
                return r.resume_with(verified.map_err(|e| *e));
            }
            Effect::VerifyRoundCertificate(round, set, _, r) => {
                let round = context::round_certificate_out(&round);
                let verified = self.signer.verify_round(&round, &set.set);
                return r.resume_with(verified.map_err(|e| *e));
            }
            Effect::CancelAllTimeouts(_) => self.timers.clear(),
            Effect::CancelTimeout(timeout, _) => self.cancel(timeout),
            Effect::ScheduleTimeout(timeout, _) => self.schedule(timeout),
            Effect::StartRound(_, round, proposer, ..) => {
                self.begin_round(context::round_out(round), proposer);
            }
            Effect::PublishConsensusMsg(SignedConsensusMsg::Vote(vote), _)
            | Effect::PublishLivenessMsg(LivenessMsg::Vote(vote), _)
            | Effect::RepublishVote(vote, _) => {
                self.send(ConsensusMessage::Vote(context::vote_out(&vote)));
            }
            Effect::PublishConsensusMsg(SignedConsensusMsg::Proposal(proposal), _) => {
                self.send(ConsensusMessage::Proposal(context::proposal_out(&proposal)));
            }
            Effect::PublishLivenessMsg(LivenessMsg::PolkaCertificate(polka), _) => {
                self.send(ConsensusMessage::PolkaCertificate(context::polka_out(&polka)));
            }
            Effect::PublishLivenessMsg(LivenessMsg::SkipRoundCertificate(certificate), _)
            | Effect::RepublishRoundCertificate(certificate, _) => {
                let certificate = context::round_certificate_out(&certificate);
                self.send(ConsensusMessage::RoundCertificate(certificate));
            }
            Effect::GetValue(_, round, ..) => {
                self.build = Some(Build::Due(context::round_out(round)));
            }
            // A proposal always travels with its block.
            Effect::RestreamProposal(..) => {}
            Effect::WalAppend(height, input, _) => self.record(height, &input),
            Effect::Decide(certificate, ..) => {
                self.precommit_late(&certificate);
                self.decided = Some(context::certificate_out(&certificate));
            }
            // Reports the evidence that was not reported yet.
            Effect::Finalize(_, _, evidence, _) => self.report(&evidence),
            Effect::CertVerifiedSyncValue(..)
            | Effect::CertRejectedSyncValue(..)
            | Effect::VerifyExtendedCommitCertificate(..) => {
                unreachable!("block sync goes past the core")
            }
            Effect::ExtendVote(..) | Effect::VerifyVoteExtension(..) => {
                unreachable!("vote extensions are off")
            }
        }
        Resume::Continue
    }

    /// Reports the pairs of each validator that were not reported yet; the core keeps
    /// them in the order in which it found them.
    pub fn report(&mut self, found: &MisbehaviorEvidence<ChainContext>) {
        for (name, pairs) in &found.votes {
            let reported = self.reported_votes.entry(*name).or_default();
            for (a, b) in pairs.iter().skip(*reported) {
                let evidence = Evidence::of_votes(context::vote_out(a), context::vote_out(b));
                self.out.extend(evidence.map(Output::Evidence));
            }
            *reported = (*reported).max(pairs.len());
        }
        for (name, pairs) in &found.proposals {
            let reported = self.reported_proposals.entry(*name).or_default();
            for (a, b) in pairs.iter().skip(*reported) {
                let (a, b) = (context::proposal_out(a), context::proposal_out(b));
                self.out.extend(Evidence::of_proposals(a, b).map(Output::Evidence));
            }
            *reported = (*reported).max(pairs.len());
        }
    }

    /// Until when a block of ours is of use: others wait as long as we do, and
    /// a quarter of that is for it to reach them and be executed.
    pub fn build_until(&self) -> Time {
        let wait = self.timeouts.wait(TimeoutKind::Propose, self.round, &self.proposer);
        // The propose timers of all run from about the same instant: a block that takes the
        // whole wait to build reaches them when they have voted for none.
        self.round_began + Millis(wait.0 - wait.0 / 4)
    }

    /// The block was final before this node could vote for it: the block came late, or its
    /// transactions did. The node's precommit is still of use. The next proposer binds the fullest
    /// certificate that it has, and a validator that is in none is taken for absent.
    fn precommit_late(&mut self, commit: &CommitCertificate<ChainContext>) {
        let (height, round) = (commit.height, context::round_out(commit.round));
        if !self.may_sign(round) || self.signer.has_precommitted(height.0, round) {
            return;
        }
        let Some(name) = self.signer.name() else { return };
        let block = NilOrVal::Val(commit.value_id);
        let vote = ChainContext.new_precommit(height, commit.round, block, ValidatorName(name));
        let vote = self.signer.sign_vote(vote);
        self.record(height, &context::CoreInput::Vote(vote.clone()));
        self.send(ConsensusMessage::Vote(context::vote_out(&vote)));
    }

    fn begin_round(&mut self, round: Round, proposer: ValidatorName) {
        self.round = round;
        self.round_began = self.now;
        self.proposer = proposer.0;
        self.proposal_seen = false;
        self.build = None;
    }

    fn schedule(&mut self, timeout: Timeout) {
        let wait =
            self.timeouts.wait(timeout.kind, context::round_out(timeout.round), &self.proposer);
        self.timers.insert(timeout.kind.into(), (self.now + wait, timeout));
    }

    fn cancel(&mut self, timeout: Timeout) {
        let timer = timeout.kind.into();
        if self.timers.get(&timer).is_some_and(|(_, set)| set.round == timeout.round) {
            self.timers.remove(&timer);
        }
    }

    fn send(&mut self, message: ConsensusMessage) {
        self.out.push(Output::Send(message));
    }

    /// A node that does not vote has nothing to remember.
    fn record(&mut self, height: context::ConsensusHeight, input: &context::CoreInput) {
        if self.signer.name().is_some() {
            self.append(wal_entry::encode(height, input));
        }
    }

    fn append(&mut self, bytes: Vec<u8>) {
        if !self.replaying.as_ref().is_some_and(|records| records.contains(&bytes)) {
            self.out.push(Output::Record { height: self.height, bytes });
        }
    }
}
