//! The cluster of one run: machines, the wire between them, the wallets and the
//! judges, moved by one queue of events in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trefoil_crypto::{B256, PeerId};
use trefoil_ledger::genesis_hash;
use trefoil_node::{Done, Effects, Input, PeerCommand, RecoveryJob, WorkerJob};
use trefoil_types::{Admission, Height, Millis, Time};

use crate::{
    actions::actors::Actors,
    byzantine::ByzantineNode,
    chain,
    coverage::{Coverage, events_of},
    governors::Governors,
    injected_bug::{BadVoter, InjectedBug},
    judges::Judges,
    machine::{Death, SimMachine, Turn, quietly, secret},
    plan::{Act, Moment, SimPlan},
    queue::EventQueue,
    rng::Rng,
    seats::Seats,
    seen::{CALL, Loss, Observations},
    trace::Trace,
    wire::{Id, SimWire, Weather},
    workload::Workload,
};

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum SimEvent {
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
    Finish(Id, u64, WorkerJob),
    /// A dishonest machine speaks by its own clock.
    Shout(Id),
    /// A wallet submits.
    Submit,
    /// Organisations approve a proposal.
    Approve(u64),
    /// Somebody calls a contract of the system.
    Actions,
}

pub struct Cluster {
    pub plan: SimPlan,
    pub start: Time,
    pub judges: Judges,
    pub trace: Trace,
    pub machines: Vec<SimMachine>,
    pub wire: SimWire,
    pub workload: Workload,
    pub(crate) governors: Governors,
    pub(crate) actors: Actors,
    /// The peers that each machine admits, as its chain had it last.
    pub(crate) admissions: BTreeMap<Id, Admission>,
    pub now: Time,
    pub(crate) queue: EventQueue<SimEvent>,
    pub(crate) rng: Rng,
    pub(crate) network: B256,
    pub(crate) byzantine: BTreeMap<Id, ByzantineNode>,
    /// On each machine, if the plan's bug is one of votes.
    pub(crate) bad_voters: Vec<BadVoter>,
    pub(crate) peers: BTreeMap<PeerId, Id>,
    /// When each machine takes its next turn, if one is planned.
    wakes: BTreeMap<Id, Time>,
    /// Turns at this very instant, to find a machine that spins.
    turns: BTreeMap<Id, u32>,
    pub(crate) dialling: BTreeSet<(Id, Id)>,
    pub(crate) submitting: bool,
    /// The messages that are lost beside those that the weather takes: a test's choice, or none.
    pub loss: Loss,
    pub seen: Observations,
    /// It shows that the faults have an effect.
    pub coverage: Coverage,
}

// A node whose deadline is always past would take turns for ever, and virtual time would
// stand still: the run would hang without a reason. Four full lanes of 1,024 inputs are empty
// after 64 turns of 64 inputs, so that an honest machine stays far below.
/// More turns than this in one millisecond is a machine that spins.
const TURNS_MAX: u32 = 2_000;

impl Cluster {
    pub fn new(plan: SimPlan, prints: bool) -> Self {
        let spec = Arc::new(chain::spec(&plan));
        let start = chain::start(&plan);
        let network = genesis_hash(&spec).expect("the contract takes a plan's founders");
        let machines: Vec<_> =
            (0..plan.machines()).map(|id| SimMachine::new(&plan, spec.clone(), id)).collect();
        let honest = machines.iter().filter(|m| plan.is_honest(m.id));
        let honest =
            honest.flat_map(|m| m.keys.iter().map(move |key| (key.public(), m.id))).collect();
        let set = spec.validator_set().expect("a checked specification");
        let byzantine = |(&id, &vice)| {
            let rng = Rng::new(plan.seed, &format!("villain {id}"));
            (id, ByzantineNode::new(vice, secret("validator", id), network, rng))
        };
        let voters = plan.bug.filter(|bug| InjectedBug::OF_VOTES.contains(bug)).map(|bug| {
            let keys: Vec<_> = (0..plan.validators).map(|id| secret("validator", id)).collect();
            vec![BadVoter::new(bug, network, keys); plan.machines()]
        });
        Self {
            start,
            // Each part has a random stream of its own, by name: one more draw from one of them
            // leaves the others as they were.
            judges: Judges::new(set, network, plan.pool, honest, Seats::of(&plan)),
            trace: Trace::new(start, prints),
            peers: machines.iter().map(|machine| (machine.peer, machine.id)).collect(),
            machines,
            wire: SimWire::new(plan.weather, plan.uplink, Rng::new(plan.seed, "wire")),
            workload: Workload::new(plan.chain, plan.tx_bytes, Rng::new(plan.seed, "workload")),
            governors: Governors::new(plan.validators, plan.chain),
            actors: Actors::new(&plan, network),
            admissions: BTreeMap::new(),
            now: start,
            queue: EventQueue::default(),
            rng: Rng::new(plan.seed, "cluster"),
            network,
            byzantine: plan.vices.iter().map(byzantine).collect(),
            bad_voters: voters.unwrap_or_default(),
            wakes: BTreeMap::new(),
            turns: BTreeMap::new(),
            dialling: BTreeSet::new(),
            submitting: false,
            loss: Box::new(|_, _, _| false),
            seen: Observations::default(),
            coverage: Coverage::new(),
            plan,
        }
    }

    /// Runs the plan to its end, or to the first violation.
    pub fn run(&mut self) {
        self.begin();
        self.run_until(self.start + self.plan.ends, Self::is_over);
        if let Some(height) = self.plan.until
            && !self.is_at(height)
        {
            self.judges.accuse("liveness", format!("not all are at {height}"));
        }
        if self.judges.violations.is_empty() {
            for machine in &self.machines {
                if let Some(node) = machine.node().filter(|_| self.plan.follows_rules(machine.id)) {
                    self.judges.ended(machine.id, node);
                }
            }
        }
    }

    /// Whether all that the plan waits for has come.
    fn is_over(&self) -> bool {
        self.plan.until.is_some_and(|height| self.is_at(height))
    }

    /// Whether each honest machine has this block.
    fn is_at(&self, height: Height) -> bool {
        let mut honest = self.machines.iter().filter(|machine| self.plan.is_honest(machine.id));
        honest
            .all(|machine| machine.node().is_some_and(|node| node.ledger().tip().number >= height))
    }

    /// Starts the machines, and the plan's script from this instant.
    pub fn begin(&mut self) {
        for at in 0..self.plan.script.len() {
            self.queue.put(self.start + self.plan.script[at].0, SimEvent::Act(at));
        }
        self.judges.now = self.now;
        for id in 0..self.machines.len() {
            self.plan_shout(id);
            if !self.plan.late.contains(&id) {
                self.boot(id);
            }
        }
    }

    /// Runs the events that are due, until `ends`, the first violation, or `is_done`.
    pub(crate) fn run_until(&mut self, ends: Time, is_done: impl Fn(&Self) -> bool) {
        while self.judges.violations.is_empty()
            && !is_done(self)
            && let Some((due, event)) = self.queue.take(ends)
        {
            // Turns are counted within one instant: many of them over a second are no spin.
            if due > self.now {
                self.turns.clear();
            }
            self.now = due;
            self.judges.now = due;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: SimEvent) {
        match event {
            SimEvent::Act(at) => self.act(self.plan.script[at].1.clone()),
            SimEvent::Wake(id, life) => self.wake(id, life),
            SimEvent::Arrive { from, to, session, bytes } => self.arrive(from, to, session, &bytes),
            SimEvent::Dial(a, b) => self.dial(a, b),
            SimEvent::Gone(id, life, other) => {
                // The process that was connected may be gone; the next never was.
                if self.machines[id].life == life {
                    self.give(id, Input::Disconnected(self.machines[other].peer));
                }
            }
            SimEvent::Finish(id, life, job) => self.finish(id, life, job),
            SimEvent::Shout(id) => {
                self.mutter(id);
                self.plan_shout(id);
            }
            SimEvent::Submit => self.submit(),
            SimEvent::Approve(proposal) => self.approve(proposal),
            SimEvent::Actions => self.act_by_chance(),
        }
    }

    pub fn act(&mut self, act: Act) {
        self.trace.note(self.now, || format!("-- {act:?}"));
        match act {
            Act::Crash(id, moment) => self.crash(id, moment),
            Act::Start(id) => self.start(id),
            Act::StopSpare(seat, moment) => self.stop_spare(seat, moment),
            Act::Partition(groups) => self.partition(&groups),
            Act::Deafen { from, to } => _ = self.wire.blocked.insert((from, to)),
            Act::Eclipse { victim, spared } => self.eclipse(victim, spared),
            Act::Join(id) => self.join(id),
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
            Act::Actions(every) => self.pace_actions(every),
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

    /// Makes a machine run, and cancels the crash that was planned for it.
    pub(crate) fn start(&mut self, id: Id) {
        self.machines[id].disarm();
        self.boot(id);
    }

    fn boot(&mut self, id: Id) {
        if self.machines[id].is_up() {
            return;
        }
        self.trace.note(self.now, || format!("{id} starts"));
        let turn = self.machines[id].start(self.now, &mut self.trace);
        if let Some(node) = self.machines[id].node().filter(|_| self.plan.follows_rules(id)) {
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
            // Stopped in order: it loses nothing, and the operating system keeps all of it.
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
            && self.plan.follows_rules(id)
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

    /// Gives a machine an input for its next turn.
    pub(crate) fn give(&mut self, id: Id, input: Input) {
        if self.machines[id].is_up() {
            let more = self.miscounted(id, &input);
            self.machines[id].push(input);
            more.into_iter().for_each(|input| self.machines[id].push(input));
            self.settle_wake(id);
        }
    }

    /// Plans a machine's next turn.
    fn settle_wake(&mut self, id: Id) {
        let machine = &self.machines[id];
        let inputs = machine.has_inputs().then_some(self.now);
        let Some(due) = inputs.into_iter().chain(machine.deadline()).min() else { return };
        let due = due.max(machine.busy_until).max(self.now);
        if self.wakes.get(&id).is_none_or(|settled| due < *settled) {
            self.wakes.insert(id, due);
            self.queue.put(due, SimEvent::Wake(id, machine.life));
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
        // After each turn, not only with a block: a height that does not end is when they fill.
        if let Some(node) = self.machines[id].node().filter(|_| self.plan.follows_rules(id)) {
            self.judges.held(id, node);
        }
        self.carry_out(id, turn);
    }

    /// Carries out a turn's effects, then ends the process if it must.
    fn carry_out(&mut self, id: Id, turn: Turn) {
        events_of(&turn.effects).into_iter().for_each(|event| self.count(event));
        let Effects { sends, orders, jobs, replies, events, .. } = turn.effects;
        for (to, message) in sends {
            self.send(id, &to, message);
        }
        for event in events {
            self.on_event(id, event);
        }
        for order in orders {
            match order {
                PeerCommand::Blame { peer, offence, .. } => {
                    self.seen.blames.push(order);
                    self.blame(id, peer, offence);
                }
                // They protect a peer's slot at the gate and its room, and only real sockets have
                // these.
                PeerCommand::Credit { .. } => self.seen.credits.push(order),
                PeerCommand::CreditBlock(_) => {}
                PeerCommand::Unasked { peer, .. } => self.seen.unasked.push(peer),
                PeerCommand::Brought(peer) => self.seen.brought.push(peer),
                PeerCommand::Admission(admission) => self.admit(id, admission),
            }
        }
        for job in jobs {
            // Workers finish in any order, as threads do: a node that relies on one order fails
            // in some seed.
            let due = self.now + Millis(self.rng.range(0, self.plan.workers_max.0));
            self.queue.put(due, SimEvent::Finish(id, self.machines[id].life, job));
        }
        for (call, reply) in replies {
            self.acted(id, call, &reply);
            if let Some((call, next)) = self.workload.replied(call, &reply) {
                self.give(id, Input::Call { id: call, call: next });
            }
            if call == CALL {
                self.seen.reply = Some(reply);
            }
        }
        if self.byzantine.get(&id).is_some_and(|byzantine| byzantine.pace().is_none()) {
            self.mutter(id);
        }
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

    fn finish(&mut self, id: Id, life: u64, job: WorkerJob) {
        if self.machines[id].life != life {
            return;
        }
        let done = match job {
            WorkerJob::Recover(RecoveryJob { id, txs, .. }) => {
                let txs = self.workload.recover(&txs);
                Ok(Done::Recovered { id, txs })
            }
            WorkerJob::Checkpoint(checkpoint) => quietly(|| checkpoint.run())
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
}
