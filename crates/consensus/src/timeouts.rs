//! Time-outs of the consensus steps: they grow by round and adapt to the proposers.
//!
//! What always holds: the waits are functions of the inputs so far, and none
//! exceeds [`Timeouts::max`]. A validator of which a message comes is waited for; but not, among
//! members, one whose turns come to nothing all the same. Validators of more than two thirds of
//! the power are waited for whenever they are heard.

use std::collections::{BTreeMap, VecDeque};

use arc_malachitebft_core_types::TimeoutKind;
use trefoil_types::{ChainSpec, Height, Millis, PublicKey, Round, Turns, ValidatorSet};

/// How long each step waits. The waits grow with every other round, and adapt within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub propose: Millis,
    pub prevote: Millis,
    pub precommit: Millis,
    /// Added with every other round.
    pub delta: Millis,
    /// No step waits longer than this.
    pub max: Millis,
    /// Whether a validator whose turns come to nothing is passed over though it votes. Among
    /// members; elsewhere the chain takes its seat.
    pub passes_over: bool,
}

// The slowest of eight: four validators propose twice in them, so that one slow proposer
// among four is always seen, and a slow minute is forgotten after eight blocks.
/// How many proposals the usual delay is taken from.
const DELAYS: usize = 8;

// A slow proposal or two cost nothing. Who is there and proposes, as after a restart or with its
// clock set right, is waited for again soon enough: four validators have 16 turns each meanwhile.
/// So many turns in a row that came to nothing cost the ones that follow.
const FAILED: u32 = 3;
/// For so many heights; then one turn is waited for. Twice as many each time that it is in vain.
const PASSED_OVER: Height = 64;
const PASSED_OVER_MAX: Height = 512;

/// The timeouts, and the observations that adapt them.
#[derive(Clone, Debug)]
pub struct AdaptiveTimeouts {
    settings: Timeouts,
    /// From a round's start to its block being executed here, newest last.
    delays: VecDeque<Millis>,
    /// Validators that missed their last turn to propose and were not heard since, and when
    /// that was.
    absent: BTreeMap<PublicKey, (Height, Round)>,
    /// Validators whose last turns that were waited for came to nothing.
    failed: BTreeMap<PublicKey, Failed>,
    height: Height,
}

/// Turns in a row that came to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Failed {
    row: u32,
    /// It is passed over below this height.
    until: Height,
}

impl Timeouts {
    /// For networks from one machine to around the world. A proposer that is not there costs
    /// the wait `propose` once. If a height lost its quorum for long, each of its steps waits at
    /// most `max` once the quorum is back.
    pub fn for_chain(spec: &ChainSpec) -> Self {
        let interval = spec.block_interval().0;
        // At least a second: a proposal goes half around the world (150 ms), and its
        // transactions are fetched and executed before anyone votes. At most two seconds
        // over the interval: a proposer that goes costs everyone this wait.
        let propose = (2 * interval).min(interval + 2_000).max(1_000);
        Self {
            propose: Millis(propose),
            // Votes are small: once around the world (300 ms) and some queueing. The core
            // sets these timers only when a quorum has voted and not for one block.
            prevote: Millis(400),
            precommit: Millis(400),
            // Rounds grow until they outlast whatever delays the network has: that they
            // do is what Tendermint's liveness rests on (arXiv:1807.04938, section 3). Not with
            // each round: the first round beside an absent proposer waits as long as its own.
            delta: Millis(150),
            // … but not for ever: after hours without a quorum, the first round with one
            // must not wait for hours.
            max: Millis((2 * propose).max(3_000)),
            passes_over: spec.kind.has_members(),
        }
    }
}

impl AdaptiveTimeouts {
    pub fn new(settings: Timeouts) -> Self {
        let (delays, absent, failed) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        Self { settings, delays, absent, failed, height: 0 }
    }

    /// How long to wait in `round`, whose proposer is `proposer`.
    pub fn wait(&self, kind: TimeoutKind, round: Round, proposer: &PublicKey) -> Millis {
        // Every round of an absent proposer would cost all validators its wait. So there is none,
        // until a message of that one comes: whoever votes shows that it is there.
        let passed_over = self.absent.contains_key(proposer) || self.is_passed_over(proposer);
        if kind == TimeoutKind::Propose && passed_over {
            return Millis(0);
        }
        let Timeouts { prevote, precommit, delta, max, .. } = self.settings;
        let base = match kind {
            TimeoutKind::Propose => self.propose().0,
            TimeoutKind::Prevote => prevote.0,
            TimeoutKind::Precommit => precommit.0,
            TimeoutKind::Rebroadcast => prevote.0.saturating_add(precommit.0),
            TimeoutKind::FinalizeHeight(_) => unreachable!("the core was given no target time"),
        };
        let grown = base.saturating_add(delta.0.saturating_mul(u64::from(round / 2)));
        Millis(grown.min(max.0).max(1))
    }

    /// Twice what proposals took lately, but not less than the setting.
    fn propose(&self) -> Millis {
        let Timeouts { propose, max, .. } = self.settings;
        let usual = self.delays.iter().max().map_or(propose.0, |d| d.0.saturating_mul(2));
        Millis(usual.max(propose.0).min(max.0))
    }

    /// Whose last turns came to nothing, as far as they were waited for, and how many in a row.
    pub fn failed_turns(&self) -> impl Iterator<Item = (PublicKey, u32)> {
        self.failed.iter().map(|(key, failed)| (*key, failed.row))
    }

    /// Whether its turns came to nothing so often that the next ones are lost.
    fn is_passed_over(&self, proposer: &PublicKey) -> bool {
        self.failed.get(proposer).is_some_and(|failed| self.height < failed.until)
    }

    // Not for ever, and never so many that a quorum needs one of them: where that many fail, the
    // network is at fault, and a wait that is too short would never end it.
    /// A height begins: forget the keys that do not validate any more.
    pub fn begin(&mut self, height: Height, set: &ValidatorSet) {
        self.height = height;
        self.absent.retain(|key, _| set.get(key).is_some());
        self.failed.retain(|key, _| set.get(key).is_some());
        let waited_for = set.iter().filter(|validator| !self.is_passed_over(&validator.key));
        if !set.is_quorum(waited_for.map(|validator| validator.power).sum()) {
            self.failed.clear();
        }
    }

    // By what was decided, which one that only votes does not change. Attack: fewer than a third
    // cannot make another's turns come to nothing, where what it sends comes in time.
    /// The height was decided in this round. `own`: this node, which waits for itself.
    pub fn note_decided(&mut self, turns: &Turns, round: Round, own: Option<PublicKey>) {
        let decider = turns.proposer(round).key;
        self.failed.remove(&decider);
        for key in
            turns.failed(round).into_iter().filter(|key| *key != decider && Some(*key) != own)
        {
            // What was not waited for was no turn. Who is away is none that proposes in vain.
            let away = self.absent.get(&key).is_some_and(|(since, _)| *since < self.height);
            if away || self.is_passed_over(&key) {
                continue;
            }
            let failed = self.failed.entry(key).or_default();
            failed.row = failed.row.saturating_add(1);
            let again = failed.row.checked_sub(FAILED).filter(|_| self.settings.passes_over);
            if let Some(again) = again {
                let heights = (PASSED_OVER << again.min(8)).min(PASSED_OVER_MAX);
                failed.until = self.height.saturating_add(1).saturating_add(heights);
            }
        }
    }

    /// A block was proposed and executed here `took` after its round began.
    pub fn note_proposed(&mut self, took: Millis) {
        if self.delays.len() == DELAYS {
            self.delays.pop_front();
        }
        self.delays.push_back(took);
    }

    /// The turn of `proposer` passed without its proposal. That of one that is absent is none:
    /// it was not waited for, so it did not miss it.
    pub fn note_absent(&mut self, proposer: PublicKey, height: Height, round: Round) {
        self.absent.entry(proposer).or_insert((height, round));
    }

    // Attack: someone keeps messages that the validator signed before it went, and sends them at
    // each of its turns. A validator signs for a round only when it is there.
    /// Whether a message that `validator` signed for this height and round shows that it is
    /// back.
    pub fn is_return(&self, validator: &PublicKey, height: Height, round: Round) -> bool {
        self.absent.get(validator).is_some_and(|missed| *missed <= (height, round))
    }

    /// A message came that `validator` signed for this height and round.
    pub fn note_present(&mut self, validator: &PublicKey, height: Height, round: Round) {
        if self.is_return(validator, height, round) {
            self.absent.remove(validator);
        }
    }
}
