//! Peers' transactions that wait for the workers to recover their senders.
//!
//! What always holds: one job at a time is with the workers, so that blocks and wallets wait for no
//! more gossip; peers without credit have [`UNPAID_RECOVERIES`] together, a job each in turns; peers
//! whose transactions are in the last blocks wait for none of these; no job of a peer that left
//! waits. It must never know: what a transaction holds.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rayon::{
    ThreadPool,
    iter::{IntoParallelIterator as _, ParallelIterator as _},
};
use tokio::sync::mpsc;
use trefoil_node::{Done, RecoveryJob};
use trefoil_p2p::RateLimiter;
use trefoil_rpc::backend::recover;
use trefoil_types::{
    PeerId,
    message_rule::{CREDIT_MAX, RECOVERIES_OF_CREDIT, UNPAID_RECOVERIES},
};

/// What the queue is told.
#[derive(Debug)]
pub enum GossipEvent {
    Connected(PeerId),
    Disconnected(PeerId),
    /// A block is final with so many transactions that the peer brought.
    Credited(PeerId, usize),
    /// The transactions of one job of the peer are to be recovered.
    Job(PeerId, RecoveryJob),
}

// The channel needs no bound: the node keeps the bytes of what waits here within `TXS.held`.
/// Starts the thread that has the queue; it ends with the channel's other end, or with `done`'s.
pub fn start(workers: Arc<ThreadPool>, done: mpsc::Sender<Done>) -> Sender<GossipEvent> {
    let (sender, events) = channel();
    let body = move || run(&events, &workers, &done);
    thread::Builder::new().name("gossip".into()).spawn(body).expect("the system starts a thread");
    sender
}

fn run(events: &Receiver<GossipEvent>, workers: &ThreadPool, done: &mpsc::Sender<Done>) {
    let mut queue = GossipQueue::new();
    loop {
        match queue.next(Instant::now()) {
            Ok(RecoveryJob { id, from, txs }) => {
                let recovered: Vec<_> =
                    workers.install(|| txs.into_par_iter().map(|raw| recover(&raw)).collect());
                let liar = from.filter(|_| recovered.iter().any(Result::is_err));
                events.try_iter().for_each(|event| queue.on_event(event));
                liar.into_iter().for_each(|peer| queue.refuse(&peer));
                if done.blocking_send(Done::Recovered { id, txs: recovered }).is_err() {
                    return; // The node stops.
                }
            }
            Err(wait) => match events.recv_timeout(wait) {
                Ok(event) => queue.on_event(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            },
        }
        for id in queue.refused.drain(..) {
            if done.blocking_send(Done::Refused { id }).is_err() {
                return;
            }
        }
    }
}

// What all that left have sent is read within some 100 ms. 32 KiB.
/// So many peers that left are remembered.
const LEFT_MAX: usize = 1_024;

/// How long an empty queue waits for an event; then it waits again.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct GossipQueue {
    /// Of each peer that has any, the oldest first.
    jobs: BTreeMap<PeerId, VecDeque<RecoveryJob>>,
    /// These peers, the next first.
    turns: VecDeque<PeerId>,
    /// How many recoveries each connected peer has credit for.
    credits: BTreeMap<PeerId, usize>,
    unpaid: RateLimiter,
    /// The peers that left last, the oldest first.
    left: VecDeque<PeerId>,
    /// The numbers of jobs that are not carried out, of which the node is yet to be told.
    refused: Vec<u64>,
}

impl GossipQueue {
    fn new() -> Self {
        let (rate, burst) = (UNPAID_RECOVERIES.a_second, UNPAID_RECOVERIES.at_once);
        Self {
            jobs: BTreeMap::new(),
            turns: VecDeque::new(),
            credits: BTreeMap::new(),
            unpaid: RateLimiter::new(rate, burst),
            left: VecDeque::new(),
            refused: vec![],
        }
    }

    fn on_event(&mut self, event: GossipEvent) {
        match event {
            GossipEvent::Connected(peer) => {
                self.left.retain(|left| *left != peer);
                self.credits.insert(peer, 0);
            }
            // Attack: identities that come, leave 4 MiB each and go, until what waits here fills the
            // room of all (`TXS.held`): 1 of 12 honest transactions entered. An honest peer that
            // goes has told its other peers too.
            GossipEvent::Disconnected(peer) => {
                self.refuse(&peer);
                self.credits.remove(&peer);
                if self.left.len() == LEFT_MAX {
                    self.left.pop_front();
                }
                self.left.push_back(peer);
            }
            GossipEvent::Credited(peer, txs) => {
                // One that left meanwhile is not remembered.
                let credit = self.credits.get_mut(&peer);
                let more = txs.saturating_mul(RECOVERIES_OF_CREDIT);
                credit.into_iter().for_each(|it| *it = it.saturating_add(more).min(CREDIT_MAX));
            }
            // The node reads gossip last: its peer may be gone by then. Or not be announced yet.
            GossipEvent::Job(peer, job) if self.left.contains(&peer) => self.refused.push(job.id),
            GossipEvent::Job(peer, job) => {
                let jobs = self.jobs.entry(peer).or_default();
                if jobs.is_empty() {
                    self.turns.push_back(peer);
                }
                jobs.push_back(job);
            }
        }
    }

    // Whoever has no credit goes first while its budget lasts: a newcomer's first transaction does
    // not wait until the others are idle.
    /// The next job.
    ///
    /// # Errors
    /// None is due yet: for how long to wait.
    fn next(&mut self, now: Instant) -> Result<RecoveryJob, Duration> {
        let mut wait = IDLE;
        if let Some((place, count)) = self.first(false) {
            let count = u32::try_from(count).unwrap_or(u32::MAX).min(UNPAID_RECOVERIES.at_once);
            match self.unpaid.take(count, now) {
                Ok(()) => return self.take(place).ok_or(wait),
                Err(early) => wait = early,
            }
        }
        let (place, count) = self.first(true).ok_or(wait)?;
        if let Some(credit) = self.turns.get(place).and_then(|peer| self.credits.get_mut(peer)) {
            *credit = credit.saturating_sub(count);
        }
        self.take(place).ok_or(wait)
    }

    /// The first peer that has credit, or has none: its place among the turns, and how many
    /// transactions its oldest job has.
    fn first(&self, has_credit: bool) -> Option<(usize, usize)> {
        let credit = |peer: &PeerId| self.credits.get(peer).is_some_and(|credit| *credit > 0);
        let place = self.turns.iter().position(|peer| credit(peer) == has_credit)?;
        let job = self.jobs.get(self.turns.get(place)?)?.front()?;
        Some((place, job.txs.len()))
    }

    // Attack: 4 MiB of what is no transaction, 38,000 of it, all of which was recovered after the
    // ban. A node recovers before it sends on, so no honest peer sends one.
    /// A peer sent what no node would have sent on: refuses its jobs, and takes its credit.
    fn refuse(&mut self, peer: &PeerId) {
        self.credits.entry(*peer).and_modify(|credit| *credit = 0);
        self.turns.retain(|other| other != peer);
        let jobs = self.jobs.remove(peer);
        self.refused.extend(jobs.into_iter().flatten().map(|job| job.id));
    }

    /// Takes the oldest job of the peer at a place; its next one has its turn after all others.
    fn take(&mut self, place: usize) -> Option<RecoveryJob> {
        let peer = self.turns.remove(place)?;
        let jobs = self.jobs.get_mut(&peer)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.jobs.remove(&peer);
        } else {
            self.turns.push_back(peer);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use trefoil_crypto::SecretKey;

    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId(SecretKey::from_seed(&[n; 32]).public())
    }

    /// A queue with so many jobs of 64 transactions of each peer.
    fn queue(peers: impl IntoIterator<Item = u8>, jobs: u64) -> GossipQueue {
        let mut queue = GossipQueue::new();
        for n in peers {
            queue.on_event(GossipEvent::Connected(peer(n)));
            (0..jobs).for_each(|id| push(&mut queue, n, id));
        }
        queue
    }

    fn push(queue: &mut GossipQueue, n: u8, id: u64) {
        let txs = vec![Default::default(); 64];
        queue.on_event(GossipEvent::Job(peer(n), RecoveryJob { id, from: Some(peer(n)), txs }));
    }

    /// Which peers' jobs are taken within a time, by workers that need none, and when.
    fn taken(queue: &mut GossipQueue, begin: Instant, time: Duration) -> Vec<(PeerId, Duration)> {
        let (mut now, mut taken) = (begin, vec![]);
        while now <= begin + time {
            match queue.next(now) {
                Ok(job) => taken.push((job.from.expect("a peer's"), now - begin)),
                Err(wait) => now += wait.max(Duration::from_micros(1)),
            }
        }
        taken
    }

    const SECONDS: Duration = Duration::from_secs(4);

    // Attack: random signatures. Workers that are always free show what the budget lets through.
    #[test]
    fn peers_that_bring_nothing_have_a_bounded_share_together() {
        for (peers, jobs) in [(1, 400), (64, 10)] {
            let mut queue = queue(1..=peers, jobs);
            let recovered = 64 * taken(&mut queue, Instant::now(), SECONDS).len();
            // The burst, and four seconds of 5,000.
            assert!((20_000..20_600).contains(&recovered), "{peers}: {recovered}");
        }
    }

    #[test]
    fn a_newcomer_waits_for_one_job_of_each_other_and_with_credit_for_none() {
        let mut queue = queue(1..=127, 10);
        let begin = Instant::now();
        taken(&mut queue, begin, SECONDS);
        queue.on_event(GossipEvent::Connected(peer(200)));
        (0..3).for_each(|id| push(&mut queue, 200, id));
        let now = begin + SECONDS;
        let others = taken(&mut queue, now, SECONDS);
        let (_, first) = *others.iter().find(|(from, _)| *from == peer(200)).expect("its turn");
        assert!(first < Duration::from_millis(1_700), "{first:?}");
        // Its transaction is in a block.
        queue.on_event(GossipEvent::Credited(peer(200), 1));
        let now = now + SECONDS;
        let early = taken(&mut queue, now, Duration::ZERO);
        assert_eq!(early.iter().filter(|(from, _)| *from == peer(200)).count(), 1, "the last");
    }

    #[test]
    fn credit_is_of_64_recoveries_for_each_transaction_and_has_a_bound() {
        let mut queue = queue([1, 2], 300);
        let now = Instant::now();
        taken(&mut queue, now, Duration::ZERO);
        for (txs, recoveries) in [(1, 64), (3, 192), (8_192, 8_192)] {
            queue.on_event(GossipEvent::Credited(peer(1), txs));
            let jobs = taken(&mut queue, now, Duration::ZERO);
            assert_eq!(64 * jobs.len(), recoveries);
            assert!(jobs.iter().all(|(from, _)| *from == peer(1)));
        }
    }

    #[test]
    fn of_a_peer_that_lied_nothing_more_is_recovered() {
        let mut queue = queue([1, 2], 3);
        queue.on_event(GossipEvent::Credited(peer(1), 1));
        for _ in 0..2 {
            queue.refuse(&peer(1));
            assert_eq!(queue.refused, [0, 1, 2]);
        }
        push(&mut queue, 1, 3);
        let now = Instant::now();
        // It has no credit any more: the turns are the others', too.
        let taken = taken(&mut queue, now, Duration::ZERO);
        let of = |n| taken.iter().filter(|(from, _)| *from == peer(n)).count();
        assert_eq!((of(1), of(2)), (1, 3));
        assert!(queue.credits.values().all(|credit| *credit == 0));
    }

    // Random bytes are no transaction.
    #[test]
    fn one_false_transaction_ends_the_recovery_of_its_peers() {
        let workers = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let (done, mut finished) = mpsc::channel(16);
        let (tell, events) = channel();
        tell.send(GossipEvent::Connected(peer(1))).unwrap();
        for id in 0..5 {
            let job = RecoveryJob { id, from: Some(peer(1)), txs: vec![Default::default()] };
            tell.send(GossipEvent::Job(peer(1), job)).unwrap();
        }
        drop(tell);
        let run = thread::spawn(move || run(&events, &workers, &done));
        let done: Vec<Done> = iter::from_fn(|| finished.blocking_recv()).collect();
        run.join().unwrap();
        let recovered = done.iter().filter(|it| matches!(it, Done::Recovered { .. })).count();
        // The first may have been begun before the others were there.
        assert!(recovered <= 2 && done.len() == 5, "{done:?}");
    }

    /// Attack: each of a crowd leaves as much as it may, and goes.
    #[test]
    fn peers_that_left_hold_no_room_and_are_not_remembered() {
        let mut queue = queue([1, 2], 2);
        queue.on_event(GossipEvent::Disconnected(peer(1)));
        queue.on_event(GossipEvent::Credited(peer(1), 1));
        push(&mut queue, 1, 2);
        assert_eq!(queue.refused, [0, 1, 2]);
        let taken = taken(&mut queue, Instant::now(), SECONDS);
        assert!(taken.len() == 2 && taken.iter().all(|(from, _)| *from == peer(2)), "{taken:?}");
        assert!(queue.jobs.is_empty() && queue.turns.is_empty());
        assert_eq!(queue.credits.keys().collect::<Vec<_>>(), [&peer(2)]);
        // What a newcomer sent may be read before it is announced; one that came again is none.
        push(&mut queue, 3, 3);
        queue.on_event(GossipEvent::Connected(peer(1)));
        push(&mut queue, 1, 4);
        assert_eq!((queue.jobs.len(), queue.left.len()), (2, 0));
    }
}
