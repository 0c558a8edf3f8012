//! A node that restarts with a poisoned address book: whom does it dial?
//!
//!     cargo run --release -p trefoil-p2p --example poisoned [RUNS]
//!
//! Through the real book, its file and the real dialer, in virtual time. Each
//! of 100 nodes lives a day among 60 honest nodes of 60 providers, of which
//! three in four are up at a time, and each of which may come or go twice a day;
//! or every hour. Then an attacker with 32 providers tells it 20,000 addresses
//! from all of them, over and over, for a day; whoever dials one of them meets
//! the attacker, who keeps the connection. Then the node restarts, and has a
//! minute. Exits with an error unless each has an honest connection, and 95 of
//! 100 have four. The same is printed for a restart without anchors, and for one
//! that lost its book, to show what each is worth.

use std::{collections::BTreeSet, net::SocketAddr, process::ExitCode};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use trefoil_crypto::SecretKey;
use trefoil_p2p::{
    NetGroup,
    address_book::{AddressBook, DialCandidate},
    address_book_file,
    outbound::{DialPurpose, Dialer},
};
use trefoil_types::{Millis, PeerId, Time};

const RUNS: u64 = 100;
const POISON: usize = 20_000;
const PROVIDERS: usize = 32;
const HONEST: usize = 60;
/// Honest nodes whose addresses every node knows: the bootstrap setting.
const BOOTSTRAP: usize = 2;
const OUTBOUND: usize = 8;
/// Each hour one in so many honest nodes may come or go.
const CHURNS: [(&str, u32); 2] = [("twice a day", 12), ("every hour", 1)];
const STEP: Millis = Millis(500);
const HOUR: Millis = Millis(3_600_000);

/// The honest live at 20.n, the attacker at 100.n.
fn honest(n: usize) -> SocketAddr {
    SocketAddr::from(([20, n as u8, 0, 1], 30303))
}

fn poison(n: usize) -> SocketAddr {
    let (provider, host) = (n % PROVIDERS, n / PROVIDERS);
    SocketAddr::from(([100, provider as u8, (host >> 8) as u8, host as u8], 30303))
}

fn is_honest(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V4(v4) if v4.ip().octets()[0] == 20)
}

fn candidate(address: SocketAddr) -> DialCandidate {
    DialCandidate { address, peer: None }
}

struct World {
    random: StdRng,
    peer: PeerId,
    now: Time,
    up: BTreeSet<SocketAddr>,
    churn: u32,
}

impl World {
    fn new(seed: u64, churn: u32) -> Self {
        let peer = PeerId(SecretKey::from_seed(&[1; 32]).public());
        let random = StdRng::seed_from_u64(seed);
        Self { random, peer, now: Time(1_700_000_000_000), up: BTreeSet::new(), churn }
    }

    /// Each honest node may come or go, one in `every`; three in four are up.
    fn shuffle(&mut self, every: u32) {
        for address in (0..HONEST).map(honest) {
            if self.random.random_ratio(1, every) {
                self.up.remove(&address);
                if self.random.random_bool(0.75) {
                    self.up.insert(address);
                }
            }
        }
    }

    /// Runs the node for a time, with an hour between changes of who is up.
    fn run(&mut self, book: &mut AddressBook, dialer: &mut Dialer, time: Millis, step: Millis) {
        let end = self.now + time;
        while self.now < end {
            for DialCandidate { address, .. } in dialer.due(book, [], self.now) {
                let met = (!is_honest(address) || self.up.contains(&address))
                    .then(|| dialer.met(address, self.peer, book, self.now));
                if met.flatten() != Some(DialPurpose::Keep) {
                    dialer.ended(address, book);
                }
            }
            self.now = self.now + step;
        }
    }

    /// Those that went down since.
    fn lose(&self, book: &mut AddressBook, dialer: &mut Dialer) {
        for DialCandidate { address, .. } in dialer.kept() {
            if is_honest(address) && !self.up.contains(&address) {
                dialer.ended(address, book);
            }
        }
    }
}

fn bootstrap(book: &mut AddressBook) {
    for n in 0..BOOTSTRAP {
        book.add(candidate(honest(n)), None, honest(n));
    }
}

/// What a restarted node's file holds: a life, and then the poison.
fn poisoned(world: &mut World, seed: u8) -> Vec<u8> {
    let mut book = AddressBook::new([seed; 32], [seed ^ 0xFF; 32]);
    bootstrap(&mut book);
    for n in 0..HONEST {
        book.add(candidate(honest(n)), None, honest(world.random.random_range(0..HONEST)));
    }
    world.shuffle(1);
    let mut dialer = Dialer::new(OUTBOUND, &book, world.now);
    for _ in 0..24 {
        world.run(&mut book, &mut dialer, HOUR, Millis(10_000));
        world.shuffle(world.churn);
        world.lose(&mut book, &mut dialer);
    }
    for hour in 0..24 {
        for n in 0..POISON {
            book.add(candidate(poison(n)), None, poison(hour + n / PROVIDERS));
        }
        world.run(&mut book, &mut dialer, HOUR, Millis(10_000));
        world.shuffle(world.churn);
        world.lose(&mut book, &mut dialer);
    }
    address_book_file::encode(&book)
}

/// Honest connections a minute after a restart, and providers of all.
fn restart(world: &mut World, mut book: AddressBook) -> (usize, usize) {
    bootstrap(&mut book);
    let mut dialer = Dialer::new(OUTBOUND, &book, world.now);
    world.run(&mut book, &mut dialer, Millis(60_000), STEP);
    let kept = dialer.kept();
    let providers: BTreeSet<_> = kept.iter().map(|kept| NetGroup::of(kept.address.ip())).collect();
    assert_eq!(providers.len(), kept.len(), "one connection a provider");
    (kept.iter().filter(|kept| is_honest(kept.address)).count(), kept.len())
}

/// Honest connections of `runs` nodes: restarted as they were, without anchors,
/// and without a book.
fn counts(runs: u64, churn: u32) -> [Vec<usize>; 3] {
    let mut counts = [const { Vec::new() }; 3];
    for run in 0..runs {
        let mut world = World::new(run, churn);
        let bytes = poisoned(&mut world, run as u8);
        let read =
            || address_book_file::decode(&bytes, [run as u8 ^ 0x55; 32]).expect("it was written");
        counts[0].push(restart(&mut world, read()).0);
        let mut without = read();
        without.set_anchors(vec![]);
        counts[1].push(restart(&mut world, without).0);
        // Nothing but the bootstrap addresses, and what the attacker tells next.
        let mut lost = AddressBook::new([run as u8 ^ 0xAA; 32], [run as u8; 32]);
        for n in 0..POISON {
            lost.add(candidate(poison(n)), None, poison(n));
        }
        counts[2].push(restart(&mut world, lost).0);
    }
    counts
}

fn main() -> ExitCode {
    let runs = std::env::args().nth(1).map_or(RUNS, |runs| runs.parse().expect("a number"));
    let names = ["as written", "without anchors", "without its book"];
    println!(
        "{:12} {:18} {:>10} {:>10} {:>6} {:>7}",
        "they move", "restart", "one honest", "four", "least", "median"
    );
    let mut kept = true;
    for (often, churn) in CHURNS {
        for (name, mut counts) in names.iter().zip(counts(runs, churn)) {
            counts.sort_unstable();
            let at_least = |n: usize| counts.iter().filter(|count| **count >= n).count();
            let (one, four) = (at_least(1), at_least(4));
            println!(
                "{often:12} {name:18} {:>10} {:>10} {:>6} {:>7}",
                format!("{one}/{runs}"),
                format!("{four}/{runs}"),
                counts[0],
                counts[counts.len() / 2],
            );
            kept &= name != &names[0] || one == counts.len() && four * 100 >= counts.len() * 95;
        }
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
