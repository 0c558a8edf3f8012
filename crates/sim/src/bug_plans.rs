//! For each injected bug, plans in which it has a chance to do harm.

use trefoil_types::Millis;

use crate::{
    failover,
    injected_bug::InjectedBug,
    plan::{Act, Expect, Moment, SimPlan},
    random::{self, FaultClass},
    rng::Rng,
    twins,
    wire::Weather,
};

impl InjectedBug {
    /// The plan of a seed in which this bug has a chance to do harm.
    pub fn plan(self, seed: u64) -> SimPlan {
        let mut plan = match self {
            Self::ForgottenSync | Self::SpeechFirst | Self::Amnesia | Self::LostDecision => {
                restless(seed, &[Moment::BeforeSync, Moment::AfterSync, Moment::MidSpeech])
            }
            Self::PruneTooFar | Self::FalseCheckpoint | Self::BitRot | Self::ShortCertificate => {
                restless(seed, &[Moment::PowerCut])
            }
            // A lock matters only where a round fails after some have locked.
            Self::SkipLock => stormy(seed),
            Self::BlindPrecommit | Self::SecondPrevote | Self::HalfQuorum => twins::plan(seed),
            Self::MovedKey => failover::plan(seed),
            // These need no fault beside them: the plan is fair but for the bug.
            Self::NoisyWire | Self::StolenKey => random::plan(seed, &[]),
            // Under load, messages would wake the node and hide it.
            Self::DeafTimers => idle(seed),
            // Only a machine that was away needs block sync.
            Self::LostLane => random::plan(seed, &[FaultClass::Crash]),
        };
        plan.bug = Some(self);
        plan
    }
}

/// Machines that crash and start again, over and over.
fn restless(seed: u64, moments: &[Moment]) -> SimPlan {
    let rng = &mut Rng::new(seed, "restless");
    let mut plan = SimPlan::quiet("restless", seed, 4, Millis(52_000));
    plan = plan.at(0, Act::Load(Some(Millis(100))));
    for id in 0..4 {
        for turn in 0..6 {
            let from = 2_000 + turn * 4_000 + rng.range(0, 1_000);
            plan = plan.outage(id, from, *rng.pick(moments), from + 1_500);
        }
    }
    random::calm(plan, 30_000)
}

/// No load: only time moves the chain.
fn idle(seed: u64) -> SimPlan {
    let plan = SimPlan::quiet("idle", seed, 4, Millis(20_000));
    plan.expect(19_000, Expect::Grew { since: Millis(0), blocks: 8 })
}

/// A wire so bad that many rounds fail after some have locked.
fn stormy(seed: u64) -> SimPlan {
    let mut plan = SimPlan::quiet("stormy", seed, 4, Millis(72_000));
    plan.weather = Weather {
        delay_min: Millis(0),
        delay_max: Millis(800),
        loss_permille: 250,
        ..Weather::FAIR
    };
    plan = plan.at(0, Act::Load(Some(Millis(100))));
    random::calm(plan, 50_000)
}
