//! Bugs put in on purpose, at the seams between the node and its world, to see
//! that the judges find them. Nothing of them is in the product's code.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use trefoil_crypto::{B256, SecretKey};
use trefoil_ledger::Record;
use trefoil_types::{ChainSpec, Height, Message, Millis, Round, Vote, VoteKind};

use crate::{
    plan::{Act, Expect, Moment, Plan},
    random::{self, Fault},
    rng::Rng,
    wire::Weather,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The journal's sync does nothing.
    ForgottenSync,
    /// Effects are carried out before the journal is written.
    SpeechFirst,
    /// A restart does not read what consensus had recorded.
    Amnesia,
    /// A restart does not see the newest decision.
    LostDecision,
    /// The journal drops more than the checkpoint covers.
    PruneTooFar,
    /// A checkpoint is reported done and was never made durable.
    FalseCheckpoint,
    /// One bit of a balance flips on one machine's disk.
    BitRot,
    /// A restart takes a certificate that is one signature short.
    ShortCertificate,
    /// A validator prevotes for what is proposed, whatever it is locked on.
    SkipLock,
    /// The wire changes bits and nobody notices.
    NoisyWire,
    /// The node's deadlines are not kept.
    DeafTimers,
    /// What comes in the catch-up lane is thrown away.
    LostLane,
    /// Somebody else signs with an honest validator's key.
    StolenKey,
}

impl Plant {
    pub const ALL: [Self; 13] = [
        Self::ForgottenSync,
        Self::SpeechFirst,
        Self::Amnesia,
        Self::LostDecision,
        Self::PruneTooFar,
        Self::FalseCheckpoint,
        Self::BitRot,
        Self::ShortCertificate,
        Self::SkipLock,
        Self::NoisyWire,
        Self::DeafTimers,
        Self::LostLane,
        Self::StolenKey,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::ForgottenSync => "forgotten-sync",
            Self::SpeechFirst => "speech-first",
            Self::Amnesia => "amnesia",
            Self::LostDecision => "lost-decision",
            Self::PruneTooFar => "prune-too-far",
            Self::FalseCheckpoint => "false-checkpoint",
            Self::BitRot => "bit-rot",
            Self::ShortCertificate => "short-certificate",
            Self::SkipLock => "skip-lock",
            Self::NoisyWire => "noisy-wire",
            Self::DeafTimers => "deaf-timers",
            Self::LostLane => "lost-lane",
            Self::StolenKey => "stolen-key",
        }
    }

    /// The plan of a seed in which this bug has a chance to do harm.
    pub fn plan(self, seed: u64) -> Plan {
        let mut plan = match self {
            Self::ForgottenSync | Self::SpeechFirst | Self::Amnesia | Self::LostDecision => {
                restless(seed, &[Moment::BeforeSync, Moment::AfterSync, Moment::MidSpeech])
            }
            Self::PruneTooFar | Self::FalseCheckpoint | Self::BitRot | Self::ShortCertificate => {
                restless(seed, &[Moment::PowerCut])
            }
            Self::SkipLock => stormy(seed),
            Self::NoisyWire | Self::StolenKey => random::plan(seed, &[]),
            Self::DeafTimers => idle(seed),
            Self::LostLane => random::plan(seed, &[Fault::Crash]),
        };
        plan.planted = Some(self);
        plan
    }

    /// What a restart makes of the journal.
    pub fn spoil_records(self, spec: &ChainSpec, records: &mut Vec<Record>) {
        let decided = |record: &Record| matches!(record, Record::Decided(_));
        match self {
            Self::Amnesia => records.retain(|r| !matches!(r, Record::Consensus { .. })),
            Self::LostDecision => {
                if let Some(at) = records.iter().rposition(decided) {
                    records.truncate(at);
                }
            }
            Self::ShortCertificate => {
                let newest = records.iter_mut().rev().find(|record| decided(record));
                let set = spec.validator_set().expect("a checked specification");
                if let Some(Record::Decided(certificate)) = newest {
                    while set.is_quorum(certificate.signatures.len() as u64) {
                        certificate.signatures.pop();
                    }
                }
            }
            _ => {}
        }
    }

    pub fn prune_height(plant: Option<Self>, height: Height) -> Height {
        if plant == Some(Self::PruneTooFar) { u64::MAX } else { height }
    }
}

/// Machines that crash and start again, over and over.
fn restless(seed: u64, moments: &[Moment]) -> Plan {
    let rng = &mut Rng::new(seed, "restless");
    let mut plan = Plan::quiet("restless", seed, 4, Millis(52_000));
    plan = plan.at(0, Act::Load(Some(Millis(100))));
    for id in 0..4 {
        for turn in 0..6 {
            let from = 2_000 + turn * 4_000 + rng.range(0, 1_000);
            plan =
                plan.at(from, Act::Crash(id, *rng.pick(moments))).at(from + 1_500, Act::Start(id));
        }
    }
    random::calm(plan, 30_000)
}

/// Nobody wants anything: only time moves the chain.
fn idle(seed: u64) -> Plan {
    let plan = Plan::quiet("idle", seed, 4, Millis(20_000));
    plan.expect(19_000, Expect::Grew { since: Millis(0), blocks: 8 })
}

/// A wire so bad that many rounds fail after some have locked.
fn stormy(seed: u64) -> Plan {
    let mut plan = Plan::quiet("stormy", seed, 4, Millis(72_000));
    plan.weather = Weather {
        delay_min: Millis(0),
        delay_max: Millis(800),
        loss_permille: 250,
        twice_permille: 0,
        reorder_permille: 0,
    };
    plan = plan.at(0, Act::Load(Some(Millis(100))));
    random::calm(plan, 50_000)
}

/// The validator that forgets its lock: it says "for the proposal" where the
/// honest node under it says "for none".
#[derive(Debug, Default)]
pub struct LockSkipper {
    proposed: BTreeMap<(Height, Round), B256>,
    /// What it said in each round, so that it says the same again.
    said: BTreeMap<(Height, Round), Option<B256>>,
}

impl LockSkipper {
    /// The proposal that a machine was sent.
    pub fn heard(&mut self, message: &Message) {
        if let Message::Proposal(proposed) = message {
            let p = &proposed.proposal;
            self.proposed.entry((p.height, p.round)).or_insert(p.block);
        }
    }

    /// What becomes of something that the node of `key` says.
    pub fn alter(
        &mut self,
        key: &SecretKey,
        network: &B256,
        message: Arc<Message>,
    ) -> Arc<Message> {
        let Message::Vote(vote) = &*message else { return message };
        if vote.validator != key.public() || vote.kind != VoteKind::Prevote {
            return message;
        }
        let place = (vote.height, vote.round);
        let wish = vote.block.or_else(|| self.proposed.get(&place).copied());
        let block = *self.said.entry(place).or_insert(wish);
        let Vote { kind, height, round, .. } = *vote;
        Arc::new(Message::Vote(Vote::sign(key, network, kind, height, round, block)))
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|plant| plant.name() == text);
        found.ok_or_else(|| {
            format!("no bug is called {text:?}; use {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}
