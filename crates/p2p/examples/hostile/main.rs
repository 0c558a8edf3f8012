//! A hundred admitted members that do their worst, against a node in a process
//! of its own, whose memory is measured; and how the votes that the node says
//! meanwhile reach an honest peer:
//!
//!     cargo run --release -p trefoil-p2p --example hostile [PEERS]
//!
//! Exits with an error if a figure is missed: 8 MiB a hostile peer, all gone
//! after 30 s, no second without a vote. Manners take turns (`manner.rs`).

mod manner;
#[path = "../support/mod.rs"]
mod support;
mod victim;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use manner::Hostile;
use support::{MEMBER, Node, config};
use tokio::time::interval;
use trefoil_p2p::NetEvent;
use victim::Victim;

const PEERS: u8 = 100;

/// Keys of the hostile.
const FIRST: u8 = 20;

/// How long is watched.
const WATCH: Duration = Duration::from_secs(35);

const MEMORY_MAX: usize = 8 << 20;
const GONE_AFTER: Duration = Duration::from_secs(30);
const GAP_MAX: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Default)]
struct Seen {
    /// Resident bytes of the victim, at most.
    peak: usize,
    /// How often a connection of the victim's ended, and when the last did.
    gone: usize,
    last: Duration,
    votes: Vec<Instant>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [word, honest] = &arguments[..]
        && word == "victim"
    {
        victim::run(honest.parse().expect("an address")).await;
        return ExitCode::SUCCESS;
    }
    let peers = arguments.first().map_or(PEERS, |n| n.parse().expect("a number"));
    let mut honest = Node::start(config(MEMBER, &[])).await;
    let mut victim = Victim::start(honest.address()).await;
    assert!(matches!(honest.event().await, NetEvent::Connected { .. }));
    let address = victim.address;
    let mut hostile = vec![];
    for n in 0..peers {
        hostile.push(Hostile::admitted(FIRST + n, n, address).await);
    }
    let calm = watch(&mut victim, &mut honest, Duration::from_secs(3)).await;
    let (before, start) = (victim.resident(), Instant::now());
    let tasks: Vec<_> =
        hostile.into_iter().map(|hostile| tokio::spawn(hostile.misbehave())).collect();
    let seen = watch(&mut victim, &mut honest, WATCH).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let each = seen.peak.saturating_sub(before) / usize::from(peers);
    let gap = gap(&seen.votes);
    println!(
        "memory {} MiB before, {} MiB at most: {} KiB a peer; {} gone, the last after {:.1} s",
        before >> 20,
        seen.peak >> 20,
        each >> 10,
        seen.gone,
        seen.last.as_secs_f64(),
    );
    println!(
        "a vote each 100 ms: {} of {} came; the longest gap {} ms, p99 {} ms (calm {} ms)",
        seen.votes.len(),
        start.elapsed().as_millis() / 100,
        gap.0.as_millis(),
        gap.1.as_millis(),
        self::gap(&calm.votes).0.as_millis(),
    );
    let gone = seen.gone >= usize::from(peers) && seen.last <= GONE_AFTER;
    if each <= MEMORY_MAX && gone && gap.0 <= GAP_MAX {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn watch(victim: &mut Victim, honest: &mut Node, time: Duration) -> Seen {
    let (start, mut seen) = (Instant::now(), Seen::default());
    let mut ticks = interval(Duration::from_millis(20));
    while start.elapsed() < time {
        tokio::select! {
            biased;
            event = honest.event() => match event {
                NetEvent::Message { .. } => seen.votes.push(Instant::now()),
                other => panic!("{other:?} on the honest link"),
            },
            line = victim.line() => {
                (seen.gone, seen.last) = (seen.gone + 1, start.elapsed());
                println!("{:>6.1} s {line}", seen.last.as_secs_f64());
            }
            _ = ticks.tick() => seen.peak = seen.peak.max(victim.resident()),
        }
    }
    seen
}

/// The longest wait for a vote, and that of one in a hundred.
fn gap(votes: &[Instant]) -> (Duration, Duration) {
    let mut gaps: Vec<_> = votes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let at = |share: f64| gaps.get((gaps.len().saturating_sub(1) as f64 * share) as usize).copied();
    (at(1.0).unwrap_or_default(), at(0.99).unwrap_or_default())
}
