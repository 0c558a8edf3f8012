//! The cluster of one run: machines, the wire between them, the wallets and the
//! judges, moved by one queue of events in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trefoil_crypto::{B256, PeerId};
use trefoil_ledger::{History, Ledger, Record};
use trefoil_node::{Call, Done, Effects, Event as News, Input, Job, Order};
use trefoil_types::{Admission, ChainSpec, Message, Millis, Time, Transaction};

use crate::{
    byzantine::Villain,
    chain,
    disk::SimDisk,
    governors::Governors,
    judges::Judges,
    machine::{Death, Machine, Turn, quietly, secret},
    plan::{Act, Moment, Motion, Plan},
    plant::{LockSkipper, Plant},
    queue::Queue,
    rng::Rng,
    trace::Trace,
    wire::{Id, Weather, Wire},
    workload::Workload,
};

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    Act(usize),
    /// A machine takes a turn, unless it has another life by then.
    Wake(Id, u64),
    Arrive {
        from: Id,
        to: Id,
        session: u64,
        bytes: Arc<Vec<u8>>,
    },
    /// Two machines try to connect.
    Dial(Id, Id),
    /// The first learns that its connection to the second is gone.
    Gone(Id, u64, Id),
    /// A worker of a machine's life is done.
    Finish(Id, u64, Job),
    /// A wallet submits.
    Submit,
    /// Organisations approve a proposal.
    Approve(u64),
}

pub struct Cluster {
    pub plan: Plan,
    pub start: Time,
    pub judges: Judges,
    pub trace: Trace,
    pub machines: Vec<Machine>,
    pub wire: Wire,
    pub workload: Workload,
    governors: Governors,
    /// Whom each machine lets in, as its chain said last.
    pub(crate) admissions: BTreeMap<Id, Admission>,
    pub(crate) now: Time,
    pub(crate) queue: Queue<Event>,
    pub(crate) rng: Rng,
    pub(crate) network: B256,
    pub(crate) villains: BTreeMap<Id, Villain>,
    pub(crate) skippers: BTreeMap<Id, LockSkipper>,
    pub(crate) peers: BTreeMap<PeerId, Id>,
    /// When each machine takes its next turn, if that is settled.
    wakes: BTreeMap<Id, Time>,
    /// Turns at this very instant, to find a machine that spins.
    turns: BTreeMap<Id, u32>,
    pub(crate) dialling: BTreeSet<(Id, Id)>,
    submitting: bool,
    /// How often what happened, to see that the faults bite.
    pub coverage: Coverage,
}

/// How often what happened.
pub type Coverage = BTreeMap<&'static str, u64>;

/// More turns than this in one millisecond is a machine that spins.
const TURNS_MAX: u32 = 2_000;

impl Cluster {
    pub fn new(plan: Plan, prints: bool) -> Self {
        let spec = Arc::new(chain::spec(&plan));
        let start = chain::start(&spec);
        let network = genesis_hash(&spec);
        let machines: Vec<_> = (0..plan.machines()).map(|id| machine(&plan, &spec, id)).collect();
        let honest = machines.iter().filter(|m| plan.is_honest(m.id));
        let honest = honest.filter_map(|m| Some((m.key.as_ref()?.public(), m.id))).collect();
        let set = spec.validator_set().expect("a checked specification");
        let villain = |(&id, &vice)| {
            let rng = Rng::new(plan.seed, &format!("villain {id}"));
            (id, Villain::new(vice, secret("validator", id), network, rng))
        };
        Self {
            start,
            judges: Judges::new(set, network, honest),
            trace: Trace { prints, start, ..Trace::default() },
            peers: machines.iter().map(|machine| (machine.peer, machine.id)).collect(),
            machines,
            wire: Wire::new(plan.weather, Rng::new(plan.seed, "wire")),
            workload: Workload::new(plan.chain, Rng::new(plan.seed, "workload")),
            governors: Governors::new(plan.validators, plan.chain),
            admissions: BTreeMap::new(),
            now: start,
            queue: Queue::default(),
            rng: Rng::new(plan.seed, "cluster"),
            network,
            villains: plan.vices.iter().map(villain).collect(),
            skippers: BTreeMap::new(),
            wakes: BTreeMap::new(),
            turns: BTreeMap::new(),
            dialling: BTreeSet::new(),
            submitting: false,
            coverage: Coverage::new(),
            plan,
        }
    }

    /// Runs the plan to its end, or to the first violation.
    pub fn run(&mut self) {
        for at in 0..self.plan.script.len() {
            self.queue.put(self.start + self.plan.script[at].0, Event::Act(at));
        }
        self.judges.now = self.now;
        for id in 0..self.machines.len() {
            if !self.plan.late.contains(&id) {
                self.boot(id);
            }
        }
        let ends = self.start + self.plan.ends;
        while self.judges.violations.is_empty()
            && let Some((due, event)) = self.queue.take()
            && due <= ends
        {
            if due > self.now {
                self.turns.clear();
            }
            self.now = due;
            self.judges.now = due;
            self.happen(event);
        }
        if self.judges.violations.is_empty() {
            for machine in &self.machines {
                if let Some(node) = machine.node().filter(|_| self.plan.is_honest(machine.id)) {
                    self.judges.ended(machine.id, node);
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act(at) => self.act(self.plan.script[at].1.clone()),
            Event::Wake(id, life) => self.wake(id, life),
            Event::Arrive { from, to, session, bytes } => self.arrive(from, to, session, &bytes),
            Event::Dial(a, b) => self.dial(a, b),
            Event::Gone(id, life, other) => {
                if self.machines[id].life == life {
                    self.give(id, Input::Disconnected(self.machines[other].peer));
                }
            }
            Event::Finish(id, life, job) => self.finish(id, life, job),
            Event::Submit => self.submit(),
            Event::Approve(proposal) => {
                let approvals = self.governors.approve(proposal);
                approvals.into_iter().for_each(|tx| self.hand_in(tx));
            }
        }
    }

    fn act(&mut self, act: Act) {
        self.trace.note(self.now, || format!("-- {act:?}"));
        match act {
            Act::Crash(id, moment) => self.crash(id, moment),
            Act::Start(id) => self.start(id),
            Act::Partition(groups) => self.partition(&groups),
            Act::Deafen { from, to } => self.wire.block(from, to),
            Act::Mend => self.mend(),
            Act::Reset(a, b) => self.hang_up(a, b),
            Act::Weather(weather) => self.wire.weather = weather,
            Act::Slow(id, cost) => self.machines[id].cost = cost,
            Act::FillDisks(id, free) => self.set_free(id, Some(free)),
            Act::FreeDisks(id) => self.set_free(id, None),
            Act::Load(every) => {
                self.workload.every = every;
                self.next_submission();
            }
            Act::Vote(motion) => self.vote(motion),
            Act::Calm => self.calm(),
            Act::Expect(expect) => self.expect(expect),
        }
    }

    fn set_free(&mut self, id: Id, free: Option<u64>) {
        self.machines[id].journal_disk.set_free(free);
        self.machines[id].ledger_disk.set_free(free);
    }

    fn calm(&mut self) {
        self.mend();
        self.wire.weather = Weather::FAIR;
        for id in 0..self.machines.len() {
            self.set_free(id, None);
            self.machines[id].cost = Millis(0);
            self.start(id);
        }
    }

    // Lives and deaths.

    /// Sees to it that a machine runs, and goes on running.
    fn start(&mut self, id: Id) {
        self.machines[id].disarm();
        self.boot(id);
    }

    fn boot(&mut self, id: Id) {
        if self.machines[id].is_up() {
            return;
        }
        self.trace.note(self.now, || format!("{id} starts"));
        let turn = self.machines[id].start(self.now, &mut self.trace);
        if let Some(node) = self.machines[id].node().filter(|_| self.plan.is_honest(id)) {
            self.judges.started(id, node);
        }
        self.count("starts");
        if self.machines[id].has_cut_tail {
            self.count("torn tails");
        }
        self.carry_out(id, turn);
        for other in 0..self.machines.len() {
            self.redial(id, other);
        }
    }

    fn crash(&mut self, id: Id, moment: Moment) {
        if !self.machines[id].is_up() {
            return;
        }
        match moment {
            Moment::Stop => {
                self.machines[id].close();
                self.die(id, &Death::Planned, true);
            }
            Moment::Kill => self.die(id, &Death::Planned, true),
            Moment::PowerCut => self.die(id, &Death::Planned, false),
            moment => self.machines[id].crash_at(moment),
        }
    }

    fn die(&mut self, id: Id, death: &Death, killed: bool) {
        self.trace.note(self.now, || format!("{id} ends: {death:?}"));
        if let Death::Fault(text) = death
            && self.plan.is_honest(id)
        {
            self.judges.accuse("fault", format!("machine {id} ends by itself: {text}"));
        }
        self.count(match death {
            Death::Planned if killed => "killed",
            Death::Planned => "power cuts",
            Death::Disk(_) => "disks that failed",
            Death::Fault(_) => "faults",
        });
        self.machines[id].end(killed);
        self.wakes.remove(&id);
        for other in 0..self.machines.len() {
            self.hang_up(id, other);
        }
    }

    // Turns.

    /// Hands a machine an input, for its next turn.
    pub(crate) fn give(&mut self, id: Id, input: Input) {
        if self.machines[id].is_up() {
            if let Input::Message { message, .. } = &input
                && self.plan.planted == Some(Plant::SkipLock)
            {
                self.skippers.entry(id).or_default().heard(message);
            }
            self.machines[id].push(input);
            self.settle_wake(id);
        }
    }

    /// Sees to it that a machine takes its next turn when it should.
    fn settle_wake(&mut self, id: Id) {
        let machine = &self.machines[id];
        let inputs = machine.has_inputs().then_some(self.now);
        let Some(due) = inputs.into_iter().chain(machine.deadline()).min() else { return };
        let due = due.max(machine.busy_until).max(self.now);
        if self.wakes.get(&id).is_none_or(|settled| due < *settled) {
            self.wakes.insert(id, due);
            self.queue.put(due, Event::Wake(id, machine.life));
        }
    }

    fn wake(&mut self, id: Id, life: u64) {
        if self.machines[id].life != life || self.wakes.get(&id) != Some(&self.now) {
            return;
        }
        self.wakes.remove(&id);
        let turns = self.turns.entry(id).or_default();
        *turns += 1;
        if *turns > TURNS_MAX {
            return self.judges.accuse("liveness", format!("machine {id} spins"));
        }
        let turn = self.machines[id].turn(self.now, &mut self.trace);
        self.carry_out(id, turn);
    }

    /// Does what a turn's effects say, then ends the process if it must.
    fn carry_out(&mut self, id: Id, turn: Turn) {
        self.note_coverage(&turn.effects);
        let Effects { sends, orders, jobs, replies, events, .. } = turn.effects;
        for (to, message) in sends {
            self.send(id, &to, message);
        }
        for news in events {
            self.news(id, news);
        }
        for order in orders {
            match order {
                Order::Blame { peer, offence, .. } => self.blame(id, peer, offence),
                // Only sockets have places to lose.
                Order::Credit(_) | Order::Brought(_) => {}
                Order::Admission(admission) => self.admit(id, admission),
            }
        }
        for job in jobs {
            let due = self.now + Millis(self.rng.range(0, 30));
            self.queue.put(due, Event::Finish(id, self.machines[id].life, job));
        }
        for (call, reply) in replies {
            if let Some((call, next)) = self.workload.replied(call, &reply) {
                self.give(id, Input::Call { id: call, call: next });
            }
        }
        self.mutter(id);
        match turn.death {
            Some(death) => {
                // When a disk refuses, the process ends and the machine mostly goes on.
                let killed = matches!(death, Death::Disk(_)) && self.rng.permille(500);
                self.die(id, &death, killed);
            }
            None => self.settle_wake(id),
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    fn note_coverage(&mut self, effects: &Effects) {
        for record in &effects.records {
            match record {
                Record::Decided(certificate) if certificate.round > 0 => self.count("late rounds"),
                _ => {}
            }
        }
        if effects.prune_journal.is_some() {
            self.count("checkpoints");
        }
        for (_, message) in &effects.sends {
            match &**message {
                Message::Blocks(blocks) if !blocks.blocks.is_empty() => self.count("catch-ups"),
                Message::Bodies(_) => self.count("bodies"),
                Message::PolkaCertificate(_) => self.count("polka certificates"),
                Message::RoundCertificate(_) => self.count("round certificates"),
                _ => {}
            }
        }
    }

    fn news(&mut self, id: Id, news: News) {
        if !self.plan.is_honest(id) {
            return;
        }
        match news {
            News::Committed { block, receipts, snapshot } => {
                let watched = self.workload.watched();
                self.judges.committed(id, &block, &receipts, &snapshot, &watched);
                if let Some(node) = self.machines[id].node() {
                    self.judges.status(id, &node.status());
                }
            }
            News::Equivocation { .. } => self.count("equivocations"),
            News::Admitted(_) => {}
        }
    }

    fn finish(&mut self, id: Id, life: u64, job: Job) {
        if self.machines[id].life != life {
            return;
        }
        let done = match job {
            Job::Recover { id, txs } => {
                let txs = self.workload.recover(&txs);
                Ok(Done::Recovered { id, txs })
            }
            Job::Checkpoint(checkpoint) => quietly(|| checkpoint.run())
                .and_then(|done| done.map_err(|e| e.to_string()))
                .map(Done::Checkpointed),
        };
        match done {
            Ok(done) => self.give(id, Input::Done(done)),
            Err(text) => {
                let death = self.machines[id].blame(text);
                self.die(id, &death, false);
            }
        }
    }

    // Wallets.

    fn next_submission(&mut self) {
        if !self.submitting
            && let Some(pause) = self.workload.pause()
        {
            self.submitting = true;
            self.queue.put(self.now + pause, Event::Submit);
        }
    }

    /// Proposes at once; once that is surely final, the others approve.
    fn vote(&mut self, motion: Motion) {
        let (proposal, tx) = self.governors.propose(motion);
        self.hand_in(tx);
        self.queue.put(self.now + Millis(3_000), Event::Approve(proposal));
    }

    /// An organisation submits to a machine that runs.
    fn hand_in(&mut self, tx: Transaction) {
        let up = self.machines.iter().find(|machine| machine.is_up());
        if let Some(id) = up.map(|machine| machine.id) {
            let call = self.workload.no_reply();
            self.give(id, Input::Call { id: call, call: Call::Submit(tx) });
        }
    }

    fn submit(&mut self) {
        self.submitting = false;
        let up: Vec<Id> =
            (0..self.machines.len()).filter(|id| self.machines[*id].is_up()).collect();
        if !up.is_empty() && self.workload.every.is_some() {
            let (at, id, call) = self.workload.begin(&up);
            self.give(at, Input::Call { id, call });
        }
        self.next_submission();
    }
}

fn machine(plan: &Plan, spec: &Arc<ChainSpec>, id: Id) -> Machine {
    let has_key = id < plan.validators || plan.reserves.contains(&id);
    let key = has_key.then(|| secret("validator", id));
    let skew = plan.skew_ms.get(&id).copied().unwrap_or_default();
    let rng = Rng::new(plan.seed, &format!("disk {id}"));
    Machine::new(id, key, spec.clone(), skew, plan.planted, rng)
}

fn genesis_hash(spec: &Arc<ChainSpec>) -> B256 {
    let ledger = Ledger::open(SimDisk::default().mount(), spec.clone(), History::Archive);
    ledger.expect("an empty disk takes any chain").genesis_hash()
}
