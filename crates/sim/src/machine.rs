//! One machine: its disks, its clock, and the process on it.
//!
//! The process runs the node as the real shell does. A batch of inputs is stepped, the journal
//! is appended and synced, and only then the effects are carried out.

use std::{
    cell::Cell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Once},
};

use trefoil_crypto::{PeerId, SecretKey};
use trefoil_ledger::{
    History, Journal, Ledger,
    state_sync::{JoinError, Restored, restore},
};
use trefoil_mempool::MempoolLimits;
use trefoil_node::{Config, Effects, Input, Node};
use trefoil_types::{ChainSpec, Millis, Time, message::Lane};

use crate::{
    disk::SimDisk,
    injected_bug::InjectedBug,
    plan::{Moment, SimPlan},
    rng::Rng,
    trace::Trace,
    wire::Id,
};

// Small, since a run is short: it must see journals that begin a new segment and drop an old one.
const SEGMENT_BYTES: u64 = 8 << 10;

// As many as the shell keeps of one peer in the consensus lane, and of all in the gossip lane
// (`docs/wire.md`): a node must live with what they drop.
/// The most inputs that wait in one lane; more are dropped, as the shell does.
const LANE_MAX: usize = 1024;

// One sync for many inputs, as in the shell: a sync costs milliseconds on a real disk. 64 are
// what the shell takes of the gossip lane in a batch.
/// The most inputs that are stepped before the journal is synced.
const BATCH_MAX: usize = 64;

/// Why a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// The plan ordered it.
    Planned,
    /// The disk refused, as the plan had it do.
    Disk(String),
    /// Neither: a fault of the product.
    Fault(String),
}

/// The result of a turn of the loop: the effects to carry out, and why the process ended, if it
/// did.
#[derive(Debug, Default)]
pub struct Turn {
    pub effects: Effects,
    pub death: Option<Death>,
}

pub struct SimMachine {
    pub id: Id,
    pub peer: PeerId,
    /// The validator's keys, oldest first; none on a full node.
    pub keys: Vec<SecretKey>,
    /// Counts starts and ends, so that an event for one life is not delivered to the next.
    pub life: u64,
    /// How long one input keeps it busy.
    pub cost: Millis,
    pub busy_until: Time,
    /// Whether the journal's tail was torn at the last start.
    pub has_cut_tail: bool,
    pub journal_disk: SimDisk,
    pub ledger_disk: SimDisk,
    spec: Arc<ChainSpec>,
    pool: MempoolLimits,
    checkpoint_blocks: usize,
    skew_ms: i64,
    bug: Option<InjectedBug>,
    rng: Rng,
    crash: Option<Moment>,
    lanes: [VecDeque<Input>; 5],
    process: Option<Process>,
}

struct Process {
    node: Node,
    journal: Journal,
}

impl SimMachine {
    pub fn new(plan: &SimPlan, spec: Arc<ChainSpec>, id: Id) -> Self {
        let owner = plan.twins.get(&id).copied().unwrap_or(id);
        let has_key = plan.has_key(owner);
        let purposes = [(has_key, "validator"), (plan.rotating.contains(&owner), "next-validator")];
        let keys = purposes.into_iter().filter(|(held, _)| *held);
        let (journal_disk, ledger_disk) = (SimDisk::default(), SimDisk::default());
        match plan.bug {
            Some(InjectedBug::ForgottenSync) => journal_disk.forget_syncs(),
            Some(InjectedBug::FalseCheckpoint) => ledger_disk.forget_syncs(),
            _ => {}
        }
        Self {
            id,
            peer: PeerId(secret("node", id).public()),
            keys: keys.map(|(_, purpose)| secret(purpose, owner)).collect(),
            life: 0,
            cost: Millis(0),
            busy_until: Time(0),
            has_cut_tail: false,
            journal_disk,
            ledger_disk,
            spec,
            pool: plan.pool,
            checkpoint_blocks: plan.checkpoint_blocks,
            skew_ms: plan.skew_ms.get(&id).copied().unwrap_or_default(),
            bug: plan.bug,
            rng: Rng::new(plan.seed, &format!("disk {id}")),
            crash: None,
            lanes: Default::default(),
            process: None,
        }
    }

    /// The running node.
    pub fn node(&self) -> Option<&Node> {
        self.process.as_ref().map(|process| &process.node)
    }

    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// When the node wants to be woken, on the world's clock.
    pub fn deadline(&self) -> Option<Time> {
        if self.bug == Some(InjectedBug::DeafTimers) {
            return None;
        }
        let local = self.node()?.deadline()?;
        Some(Time(local.0.saturating_add_signed(-self.skew_ms)))
    }

    fn local(&self, now: Time) -> Time {
        Time(now.0.saturating_add_signed(self.skew_ms))
    }

    /// Starts the process: opens what its disks hold.
    pub fn start(&mut self, now: Time, trace: &mut Trace) -> Turn {
        self.life += 1;
        self.busy_until = now;
        if self.bug == Some(InjectedBug::BitRot) && self.id == 0 && self.life > 1 {
            self.ledger_disk.rot(&crate::workload::MISER_BALANCE.to_be_bytes());
        }
        let started = quietly(|| self.open(now));
        match started {
            Ok(Ok((process, effects))) => {
                self.process = Some(process);
                trace.effects(now, self.id, &effects);
                self.flush(effects)
            }
            Ok(Err(text)) | Err(text) => Turn { death: Some(self.blame(text)), ..Turn::default() },
        }
    }

    /// Reads a snapshot into its disk, if it believes it; an error of its own: a panic.
    pub fn restore(&self, file: &[u8]) -> Result<Result<Restored, JoinError>, String> {
        quietly(|| restore(&*self.ledger_disk.mount(), &self.spec, file, None))
    }

    fn open(&mut self, now: Time) -> Result<(Process, Effects), String> {
        let (mut journal, mut recovered) =
            Journal::open(self.journal_disk.mount()).map_err(|e| e.to_string())?;
        self.has_cut_tail = recovered.cut_bytes > 0;
        journal.set_segment_bytes(SEGMENT_BYTES);
        let mut ledger =
            Ledger::open(self.ledger_disk.mount(), self.spec.clone(), History::Archive)
                .map_err(|e| e.to_string())?;
        ledger.set_checkpoint_blocks(self.checkpoint_blocks);
        if let Some(bug) = self.bug {
            bug.spoil_records(&self.spec, &mut recovered.records);
        }
        let config = Config { validator_keys: self.keys.clone(), peer: self.peer, pool: self.pool };
        let mut effects = Effects::default();
        let node = Node::open(config, ledger, recovered.records, self.local(now), &mut effects)
            .map_err(|e| e.to_string())?;
        Ok((Process { node, journal }, effects))
    }

    /// Puts an input into its lane.
    pub fn push(&mut self, input: Input) {
        let lane = match &input {
            Input::Tick
            | Input::Done(_)
            | Input::Connected(_)
            | Input::ConnectedUnjudged(_)
            | Input::Disconnected(_) => 0,
            Input::Call { .. } => 2,
            Input::Message { message, .. } => match message.lane() {
                Lane::Consensus => 1,
                Lane::CatchUp if self.bug == Some(InjectedBug::LostLane) => return,
                Lane::CatchUp => 3,
                Lane::Gossip => 4,
            },
        };
        // Time, results and connections are never dropped: nothing would bring them again.
        if lane == 0 || self.lanes[lane].len() < LANE_MAX {
            self.lanes[lane].push_back(input);
        }
    }

    pub fn has_inputs(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.is_empty())
    }

    /// One turn of the shell's loop: the inputs that wait, most urgent first, then time.
    pub fn turn(&mut self, now: Time, trace: &mut Trace) -> Turn {
        // A slow machine takes one input at a time, or its slowness would show only at the end
        // of a batch.
        let batch_max = if self.cost.0 == 0 { BATCH_MAX } else { 1 };
        let mut batch = Vec::new();
        while batch.len() < batch_max
            && let Some(input) = self.lanes.iter_mut().find_map(VecDeque::pop_front)
        {
            batch.push(input);
        }
        if self.deadline().is_some_and(|due| due <= now) {
            batch.push(Input::Tick);
        }
        self.busy_until = now + Millis(self.cost.0 * batch.len() as u64);
        let (id, local) = (self.id, self.local(now));
        let Some(process) = &mut self.process else { return Turn::default() };
        let mut effects = Effects::default();
        let stepped = quietly(|| {
            for input in batch {
                trace.input(now, id, &input);
                process.node.step(local, input, &mut effects);
            }
        });
        if let Err(text) = stepped {
            return Turn { death: Some(self.blame(text)), ..Turn::default() };
        }
        trace.effects(now, id, &effects);
        self.flush(effects)
    }

    /// Journal before speech. A planned power cut comes in between.
    fn flush(&mut self, mut effects: Effects) -> Turn {
        if self.bug == Some(InjectedBug::SpeechFirst) && self.crash.take().is_some() {
            return Turn { effects, death: Some(Death::Planned) };
        }
        if let Err(text) = self.journal(&mut effects) {
            return Turn { death: Some(self.blame(text)), ..Turn::default() };
        }
        // A planned crash waits for a turn in which it can do harm: with nothing to record, a
        // power cut around the sync would test nothing.
        let due = match self.crash {
            Some(Moment::BeforeSync | Moment::AfterSync) => !effects.records.is_empty(),
            Some(Moment::MidSpeech) => !effects.sends.is_empty(),
            _ => false,
        };
        if !due {
            return Turn { effects, death: None };
        }
        if self.crash.take() == Some(Moment::MidSpeech) {
            // Some peers got their messages, and nobody else did: callers and subscribers come
            // after peers.
            effects.sends.truncate(effects.sends.len() / 2);
            effects.events.clear();
            effects.replies.clear();
        } else {
            effects = Effects::default();
        }
        Turn { effects, death: Some(Death::Planned) }
    }

    fn journal(&mut self, effects: &mut Effects) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        // Records alone need no sync: nothing that depends on them has left the node.
        let speaks = !(effects.sends.is_empty()
            && effects.orders.is_empty()
            && effects.jobs.is_empty()
            && effects.replies.is_empty()
            && effects.events.is_empty());
        let cut = self.crash == Some(Moment::BeforeSync) && !effects.records.is_empty();
        let journal = &mut process.journal;
        quietly(|| {
            journal.append(&effects.records)?;
            if speaks && !cut {
                journal.sync()?;
            }
            match effects.prune_journal {
                Some(_) if self.bug == Some(InjectedBug::PruneTooFar) => journal.prune(u64::MAX),
                Some(height) => journal.prune(height),
                None => Ok(()),
            }
        })?
        .map_err(|e| e.to_string())
    }

    /// Plans a power cut for a later moment.
    pub fn crash_at(&mut self, moment: Moment) {
        match moment {
            Moment::LedgerWrites(writes) => self.ledger_disk.fail_after(writes),
            moment => self.crash = Some(moment),
        }
    }

    /// Cancels the power cut that was planned.
    pub fn disarm(&mut self) {
        self.crash = None;
        self.ledger_disk.relent();
    }

    /// Stops the process in order, as the shell does when it is asked to.
    pub fn close(&mut self) {
        let Some(Process { node, .. }) = self.process.take() else { return };
        // Should its disk fail now, the journal has what the ledger lacks.
        let _ = quietly(|| node.into_ledger().checkpoint(true).map(|last| last.run()));
    }

    /// Ends the process. A kill leaves to the disks all that was written.
    pub fn end(&mut self, killed: bool) {
        self.life += 1;
        self.crash = None;
        self.lanes = Default::default();
        if killed {
            self.journal_disk.unmount();
            self.ledger_disk.unmount();
        } else {
            self.journal_disk.power_cut(&mut self.rng);
            self.ledger_disk.power_cut(&mut self.rng);
        }
        // Writes of a process on its way out reach no disk any more.
        let process = self.process.take();
        let _ = quietly(|| drop(process));
    }

    /// The kind of a death: the disk's or the product's fault.
    pub fn blame(&self, text: String) -> Death {
        // A disk that refused, as the plan had it do, excuses the end of a process: a node must
        // stop rather than go on without its journal. Nothing else does.
        if self.journal_disk.has_refused() || self.ledger_disk.has_refused() {
            Death::Disk(text)
        } else {
            Death::Fault(text)
        }
    }
}

/// The secret key of a machine, by purpose; the same in every run.
pub fn secret(purpose: &str, id: Id) -> SecretKey {
    let seed = trefoil_crypto::keccak256(format!("trefoil-sim/{purpose}/{id}"));
    SecretKey::from_seed(&seed.0)
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static PANIC: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs `work`; a panic in it becomes an error with its place and reason, and prints nothing.
pub fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                PANIC.set(Some(info.to_string()));
            } else {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    result.map_err(|_| PANIC.take().unwrap_or_else(|| "a panic without words".into()))
}
