//! The one thread that owns the node and its journal.
//!
//! It alone waits for the disk before it speaks. It steps a batch of inputs, appends
//! and syncs the records that must survive, and then carries out the effects.
//! What always holds: nothing leaves the process (a message, a reply, an
//! event) before the records of its batch are durable. A block is in the
//! published snapshot before any event or reply about it leaves.

use std::{collections::BTreeMap, mem, process, sync::Arc, thread, time::Duration};

use rayon::{
    ThreadPool,
    iter::{IntoParallelIterator as _, ParallelIterator as _},
};
use tokio::{
    runtime,
    sync::{broadcast, mpsc, oneshot, watch},
    time::Instant,
};
use trefoil_ledger::{Checkpoint, Journal, JournalError, Ledger, Record, Snapshot};
use trefoil_node::{
    Config, Done, Effects, Event, Input, Node, NodeStatus, OpenError, PeerCommand, RecoveryJob,
    Reply, To, WorkerJob, io::CallId,
};
use trefoil_os::{clock::Clock, log_limit::LogLimit};
use trefoil_p2p::{NetEvent, NetHandle};
use trefoil_rpc::backend::{NodeCall, recover};
use trefoil_types::{Offence, PeerId, RecoveredBlock, Standing, message::Lane};

use crate::{
    HostError,
    absence_log::AbsenceLog,
    disk_room::{self, DiskRoom},
    gossip_queue::{self, GossipEvent},
    inbox::{Arrival, Budget, InboxLanes},
    key_rotation::KeyRotation,
    logging,
};

// One sync of the journal serves the whole batch, and its messages wait for its end. 5 ms are
// little beside a block interval (500 ms by default).
/// A batch ends after this.
const BATCH_MAX: Duration = Duration::from_millis(5);

// Attack: a validator, which is not banned for what it relays, sends 4,000 bad votes a second.
/// One line about each peer's offences in this time.
const OFFENCE_EVERY: Duration = Duration::from_secs(1);

/// The parts that the node's thread works with, besides the node.
pub struct NodeThreadParts {
    pub journal: Journal,
    pub net: NetHandle,
    pub lanes: InboxLanes,
    pub workers: Arc<ThreadPool>,
    /// Where workers leave what they finished; `lanes` holds the other end.
    pub done: mpsc::Sender<Done>,
    pub snapshot: watch::Sender<Snapshot>,
    pub status: watch::Sender<Arc<NodeStatus>>,
    pub events: broadcast::Sender<Event>,
    /// Where this node holds two validator keys.
    pub rotation: Option<KeyRotation>,
    pub room: DiskRoom,
}

/// Starts the node's thread with what the journal held (`records`), and waits until it has
/// been replayed and the snapshot shows the tip again. The thread ends after its lanes'
/// stop, and then the receiver that is returned resolves.
pub async fn start(
    config: Config,
    ledger: Ledger,
    records: Vec<Record>,
    parts: NodeThreadParts,
) -> oneshot::Receiver<()> {
    let (ready, replayed) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let body = move || {
        let mut thread = NodeThread::open(config, ledger, records, parts)
            .unwrap_or_else(|e| fatal(&HostError::from(e)));
        let finished = thread.carry_out().and_then(|()| {
            // The starter waits for this; if it is gone, a stop is on its way.
            let _ = ready.send(());
            thread.run()
        });
        match finished {
            Ok(()) => thread.close(),
            // It was to stop before there was room, and nothing that depends on it has left.
            Err(error) if error.lacks_room() => drop(thread),
            Err(error) => fatal(&error),
        }
        // Last: the lock on the directory is free by now. Nobody may be waiting any more.
        let _ = end.send(());
    };
    thread::Builder::new().name("node".into()).spawn(body).expect("the system starts a thread");
    replayed.await.expect("the node's thread replays the journal, or ends the process");
    ended
}

/// Ends the process: the disk failed, or something that always holds did not.
/// The journal makes the restart safe.
pub fn fatal(error: &dyn std::fmt::Display) -> ! {
    tracing::error!("{error}");
    // The log may be filtered.
    logging::say(&format!("trefoil: stopped: {error}"));
    logging::flush();
    process::exit(1)
}

struct NodeThread {
    node: Node,
    parts: NodeThreadParts,
    /// Records were appended since the last sync.
    unsynced: bool,
    effects: Effects,
    calls: BTreeMap<CallId, oneshot::Sender<Reply>>,
    next_call: u64,
    gossip: std::sync::mpsc::Sender<GossipEvent>,
    offences: LogLimit<PeerId>,
    absences: AbsenceLog,
    checkpoints: std::sync::mpsc::Sender<Checkpoint>,
    checkpointing: bool,
    clock: Clock,
}

impl NodeThread {
    fn open(
        config: Config,
        ledger: Ledger,
        records: Vec<Record>,
        parts: NodeThreadParts,
    ) -> Result<Self, OpenError> {
        let mut clock = Clock::default();
        let mut effects = Effects::default();
        let node = Node::open(config, ledger, records, clock.now(), &mut effects)?;
        parts.snapshot.send_replace(node.ledger().snapshot());
        Ok(Self {
            node,
            unsynced: false,
            effects,
            calls: BTreeMap::new(),
            next_call: 0,
            gossip: gossip_queue::start(parts.workers.clone(), parts.done.clone()),
            offences: LogLimit::new(OFFENCE_EVERY),
            absences: AbsenceLog::default(),
            checkpoints: spawn_writer(parts.done.clone(), parts.room.clone()),
            checkpointing: false,
            clock,
            parts,
        })
    }

    /// Runs until the lanes report the stop.
    fn run(&mut self) -> Result<(), JournalError> {
        // For its timer only: the node's thread does one thing at a time.
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("the system gives a timer");
        loop {
            if self.node.ledger().is_overfull() {
                let done = runtime.block_on(self.parts.lanes.wait_for_done());
                let Some(done) = done else { return Ok(()) };
                self.take(Arrival::Done(done));
            } else {
                let wait = self.node.deadline().map(|at| self.clock.until(at));
                let first = runtime.block_on(self.parts.lanes.wait(wait));
                let Some(first) = first else { return Ok(()) };
                self.batch(first);
            }
            self.carry_out()?;
        }
    }

    /// Steps what has arrived, most urgent first, for [`BATCH_MAX`] or until
    /// nothing waits; and at least one of each lane.
    fn batch(&mut self, first: Arrival) {
        let (end, mut budget) = (Instant::now() + BATCH_MAX, Budget::default());
        let mut arrival = Some(first);
        while let Some(input) = arrival {
            self.take(input);
            if Instant::now() >= end {
                budget.close();
            }
            arrival = self.parts.lanes.next(&mut budget);
        }
    }

    fn take(&mut self, arrival: Arrival) {
        let input = match arrival {
            Arrival::Time => Input::Tick,
            Arrival::Done(done) => {
                if matches!(done, Done::Checkpointed(_)) {
                    self.checkpointing = false;
                }
                Input::Done(done)
            }
            Arrival::Call(NodeCall { call, reply, .. }) => {
                let id = CallId(self.next_call);
                self.next_call += 1;
                self.calls.insert(id, reply);
                Input::Call { id, call }
            }
            Arrival::Net(NetEvent::Message { peer, message }) => Input::Message { peer, message },
            Arrival::Net(NetEvent::Connected { peer, standing, .. }) => {
                self.tell_gossip(GossipEvent::Connected(peer));
                match standing {
                    Standing::Public | Standing::Member(_) | Standing::Validator => {
                        Input::Connected(peer)
                    }
                    Standing::Unjudged => Input::ConnectedUnjudged(peer),
                }
            }
            Arrival::Net(NetEvent::Disconnected { peer, .. }) => {
                self.tell_gossip(GossipEvent::Disconnected(peer));
                Input::Disconnected(peer)
            }
            // The network has logged it, and the node has nothing to do with it.
            Arrival::Net(NetEvent::Refused { .. }) => return,
        };
        let came = match &input {
            Input::Message { message, .. } => Some((message.lane(), message.rule().signatures)),
            _ => None,
        };
        let before = self.effects.orders.len();
        self.node.step(self.clock.now(), input, &mut self.effects);
        for order in &self.effects.orders[before..] {
            if let PeerCommand::Blame { peer, offence, relayed: true } = *order {
                self.slow(peer, offence, came);
            }
        }
    }

    // Attack: a validator is not banned for messages that others may have made, and sends bad ones
    // without end: a certificate is 4 ms of the node's thread.
    /// Slows down a peer that is not banned for an offence, by what it cost: `came` are the lane
    /// and the signatures of the message, where the offence follows at once.
    fn slow(&self, peer: PeerId, offence: Offence, came: Option<(Lane, usize)>) {
        let later = match offence {
            Offence::InvalidTransaction => (Lane::Gossip, 1),
            _ => (Lane::Consensus, 1),
        };
        let (lane, signatures) = came.unwrap_or(later);
        if self.parts.net.is_favoured(peer) {
            self.parts.net.slow(peer, lane, signatures.max(1));
        }
    }

    fn tell_gossip(&self, event: GossipEvent) {
        self.gossip.send(event).expect("the gossip's thread runs");
    }

    /// Journal before speech.
    fn carry_out(&mut self) -> Result<(), JournalError> {
        let effects = mem::take(&mut self.effects);
        if !effects.records.is_empty() {
            self.write(|journal| journal.append(&effects.records))?;
            self.unsynced = true;
        }
        // Records that nothing outside depends on become durable with the next batch that
        // speaks: a sync waits for the disk.
        let speaks = !(effects.sends.is_empty()
            && effects.orders.is_empty()
            && effects.jobs.is_empty()
            && effects.replies.is_empty()
            && effects.events.is_empty());
        if speaks && self.unsynced {
            self.write(Journal::sync)?;
            self.unsynced = false;
        }
        // First: a caller that learns of a block must find it in the snapshot.
        self.publish(&effects.events);
        for (to, message) in &effects.sends {
            match to {
                To::Peer(peer) => self.parts.net.send(*peer, message),
                To::AllBut(except) => self.parts.net.broadcast(message, *except),
            }
        }
        for (id, reply) in effects.replies {
            if let Some(caller) = self.calls.remove(&id) {
                // A caller that hung up needs no reply.
                let _ = caller.send(reply);
            }
        }
        for event in effects.events {
            // Without subscribers nobody receives it, which is no error.
            let _ = self.parts.events.send(event);
        }
        for order in effects.orders {
            match order {
                PeerCommand::Blame { peer, offence, relayed } => {
                    if let Some(unshown) = self.offences.shows(peer, Instant::now().into_std()) {
                        tracing::warn!(%peer, ?offence, relayed, unshown, "a peer misbehaved");
                    }
                    // A favoured peer (a validator, or one of the configured peers) is not
                    // banned for what another made and it only relayed.
                    if !relayed || !self.parts.net.is_favoured(peer) {
                        self.parts.net.blame(peer, offence);
                    }
                }
                PeerCommand::Brought(peer) => self.parts.net.brought(peer),
                PeerCommand::Credit { peer, txs } => {
                    self.tell_gossip(GossipEvent::Credited(peer, txs));
                    self.parts.net.credit(peer);
                }
                PeerCommand::CreditBlock(peer) => self.parts.net.credit_block(peer),
                PeerCommand::Unasked { peer, lane, signatures } => {
                    self.parts.net.slow(peer, lane, signatures)
                }
                PeerCommand::Admission(admission) => self.parts.net.set_admission(admission),
            }
        }
        effects.jobs.into_iter().for_each(|job| self.start(job));
        let prune = effects.prune_journal;
        prune.map_or(Ok(()), |height| self.write(|journal| journal.prune(height)))
    }

    // Attack, or accident: another process fills the disk. The node neither votes nor takes blocks
    // meanwhile, since this is its thread.
    /// Writes to the journal, as soon as there is room for it.
    ///
    /// # Errors
    /// The disk failed; or it lacks room and the node is to stop.
    fn write(
        &mut self,
        write: impl Fn(&mut Journal) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let NodeThreadParts { journal, room, .. } = &mut self.parts;
        loop {
            match write(journal) {
                Err(error) if error.lacks_room() && room.wait(disk_room::JOURNAL, &error) => {}
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        room.found(disk_room::JOURNAL);
        Ok(())
    }

    /// Shows readers the newest block, before any event or reply about it leaves, and tells the
    /// operator what the log should say.
    fn publish(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Committed { block, snapshot, .. } => {
                    let (height, txs) = (block.header.number, block.transactions.len());
                    tracing::debug!(height, txs, hash = %block.hash, "committed");
                    self.tell_of_absence(block, snapshot);
                    self.parts.snapshot.send_replace(snapshot.clone());
                }
                Event::Equivocation { height, validator } => {
                    tracing::error!(height, %validator, "a validator signed twice");
                }
                Event::SignedElsewhere { height, round } => tracing::error!(
                    height,
                    round,
                    "this validator's key signs on another machine too, or this data directory \
                     is an old copy; this node signs nothing up to that round. Stop one of the \
                     two: a validator that signs twice is slashed"
                ),
                Event::Admitted(_) => {}
            }
        }
        let status = self.node.status();
        // Elsewhere the chain takes its seat.
        if self.node.ledger().spec().kind.has_members() {
            let notices = self.absences.note_turns(&status.failed_turns);
            notices.iter().for_each(|notice| tracing::warn!(height = status.height, "{notice}"));
        }
        self.parts.status.send_replace(status);
        let set = self.node.ledger().next_validators();
        if let Some(notice) = self.parts.rotation.as_mut().and_then(|rotation| rotation.note(set)) {
            tracing::warn!("{notice}");
        }
    }

    /// Among members absence is for people to judge.
    fn tell_of_absence(&mut self, block: &RecoveredBlock, snapshot: &Snapshot) {
        if !self.node.ledger().spec().kind.has_members() {
            return;
        }
        let Some(parent) = &block.attached.parent_certificate else { return };
        // It is only for the log: what cannot be read is found where it is needed.
        let Ok(Some(set)) = snapshot.validators(parent.height) else { return };
        for notice in self.absences.note(parent, &set, &snapshot.governed().validators) {
            tracing::warn!(height = block.header.number, "{notice}");
        }
    }

    fn start(&mut self, job: WorkerJob) {
        match job {
            WorkerJob::Recover(job) => match job.from {
                Some(peer) => self.tell_gossip(GossipEvent::Job(peer, job)),
                None => {
                    let done = self.parts.done.clone();
                    self.parts.workers.spawn(move || {
                        let RecoveryJob { id, txs, .. } = job;
                        let txs = txs.into_par_iter().map(|raw| recover(&raw)).collect();
                        // Only a node that stops no longer listens.
                        let _ = done.blocking_send(Done::Recovered { id, txs });
                    });
                }
            },
            WorkerJob::Checkpoint(checkpoint) => {
                self.checkpointing = true;
                self.checkpoints.send(*checkpoint).expect("the ledger's writer runs");
            }
        }
    }

    /// Makes the ledger durable, so that the next start replays nothing. Changes that
    /// are not written when the process ends are in the journal.
    fn close(mut self) {
        if self.parts.room.has_given_up() {
            return;
        }
        let mut ledger = self.node.into_ledger();
        while self.checkpointing {
            match self.parts.lanes.done.blocking_recv() {
                Some(Done::Checkpointed(done)) => {
                    ledger.checkpointed(done);
                    self.checkpointing = false;
                }
                Some(Done::Recovered { .. } | Done::Refused { .. }) => {}
                None => return,
            }
        }
        if let Some(checkpoint) = ledger.checkpoint(true) {
            let height = checkpoint.height();
            match checkpoint.run() {
                Ok(_) => tracing::info!(height, "stopped; the ledger is durable"),
                Err(_) if self.parts.room.has_given_up() => {}
                Err(error) => fatal(&error),
            }
        }
    }
}

// A durable commit takes about half a second (ADR 2), as long as a block interval: the node's
// thread must not wait for it.
/// The ledger's one writer: makes checkpoints durable, one after another.
fn spawn_writer(done: mpsc::Sender<Done>, room: DiskRoom) -> std::sync::mpsc::Sender<Checkpoint> {
    let (orders, waiting) = std::sync::mpsc::channel::<Checkpoint>();
    let body = move || {
        for checkpoint in waiting {
            match checkpoint.run() {
                Ok(finished) => {
                    let _ = done.blocking_send(Done::Checkpointed(finished));
                }
                // The journal has what it lacks.
                Err(_) if room.has_given_up() => return,
                Err(error) => fatal(&error),
            }
        }
    };
    thread::Builder::new().name("ledger".into()).spawn(body).expect("the system starts a thread");
    orders
}

#[cfg(test)]
pub mod tests;
