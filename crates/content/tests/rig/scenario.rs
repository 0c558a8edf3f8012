//! A scenario to play, and its results.

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use trefoil_content::{
    Bits, Layout,
    scheduler::{Rates, UploadPolicy},
};

use super::net::{Conduct, Micros, Net, Rate};

#[derive(Clone, Debug)]
pub struct Scenario {
    pub clients: usize,
    pub bytes: u64,
    /// The bytes are so many files of one directory, all of a size.
    pub files: u64,
    /// Mbit/s.
    pub up: u64,
    pub down: u64,
    pub origin_up: u64,
    /// Every so many clients' uplink and downlink are a tenth (0: none).
    pub slow_every: usize,
    /// A round trip, milliseconds.
    pub rtt_ms: u64,
    /// The origin is an HTTP server.
    pub web: bool,
    pub upload_policy: UploadPolicy,
    pub free_riders: usize,
    pub poisoners: usize,
    /// Every fourth client is killed at 30 % and started again 5 s later.
    pub churn: bool,
    /// The origin is killed when it has sent so many hundredths of the file.
    pub origin_dies: Option<u64>,
    /// Client `k` joins `k` times this many milliseconds late.
    pub stagger_ms: u64,
    /// Neighbours of each client, at least; 0: all.
    pub degree: usize,
    /// How many clients the origin takes; 0: all.
    pub origin_slots: usize,
    pub rates: Rates,
    pub seed: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            clients: 8,
            bytes: 128 << 20,
            files: 1,
            up: 50,
            down: 50,
            origin_up: 50,
            slow_every: 0,
            rtt_ms: 1,
            web: false,
            upload_policy: UploadPolicy::Fair,
            free_riders: 0,
            poisoners: 0,
            churn: false,
            origin_dies: None,
            stagger_ms: 0,
            degree: 0,
            origin_slots: 0,
            rates: Rates::default(),
            seed: 1,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Seconds until each honest client had all; `None`: never.
    pub honest: Vec<Option<f64>>,
    pub free_riders: Vec<Option<f64>>,
    /// Seconds until all honest clients had all.
    pub time: Option<f64>,
    /// Kumar and Ross 2006: max(F/u_s, F/d_min, N F/(u_s + sum u_i)).
    pub bound: f64,
    /// Bytes that the origin sent, in files.
    pub copies: f64,
    /// Bytes that came and were not wanted, in files, all clients together.
    pub wasted: f64,
    /// The share of the file that the luckiest free rider had when the honest had all.
    pub free_rider_share: f64,
    /// The most bad pieces that one client met.
    pub poisoned: u64,
}

impl Outcome {
    /// Time in bounds; infinite if someone never finished.
    pub fn ratio(&self) -> f64 {
        self.time.map_or(f64::INFINITY, |time| time / self.bound)
    }
}

const ORIGIN: usize = 0;
/// A point of the plan, beside the clients' joining.
const KILL_ORIGIN: usize = usize::MAX;
/// Nobody waits longer, in bounds.
const PATIENCE: f64 = 20.0;

impl Scenario {
    pub fn run(&self) -> Outcome {
        let sizes = vec![self.bytes / self.files; self.files as usize];
        let layout = Layout::files(&sizes).expect("files of sane size");
        let delay = self.rtt_ms * 500;
        let mut net = Net::new(layout, delay, self.upload_policy, self.seed);
        net.rates = self.rates;
        let rate = |up: u64, down: u64| Rate { up: up * 125_000, down: down * 125_000 };
        net.add(Conduct::Honest, rate(self.origin_up, self.origin_up), self.web);
        for client in 0..self.clients {
            let slow = self.slow_every > 0 && client % self.slow_every == 0;
            let by = if slow { 10 } else { 1 };
            net.add(self.conduct(client), rate(self.up / by, self.down / by), false);
        }
        let pieces = u64::from(net.layout.pieces());
        net.machines[ORIGIN].here = Bits::all(pieces);
        if !self.web {
            net.start(ORIGIN, true);
        }
        for client in 0..self.clients {
            net.plan(client as u64 * self.stagger_ms * 1_000, client + 1);
        }
        self.play(&mut net);
        self.outcome(&net)
    }

    fn conduct(&self, client: usize) -> Conduct {
        if client < self.free_riders {
            Conduct::FreeRider
        } else if client < self.free_riders + self.poisoners {
            Conduct::Poisoner
        } else {
            Conduct::Honest
        }
    }

    fn play(&self, net: &mut Net) {
        let end = (self.bound() * PATIENCE * 1e6) as Micros;
        let mut victims: Vec<usize> = match self.churn {
            true => (1..=self.clients).step_by(4).collect(),
            false => vec![],
        };
        let mut origin_lives = true;
        let started_late = self.clients as u64 * self.stagger_ms * 1_000;
        loop {
            let next = net.run(|net| {
                if let Some(at) = victims.iter().position(|at| self.has_share(net, *at, 30)) {
                    let victim = victims.remove(at);
                    net.kill(victim);
                    net.plan(net.now + 5_000_000, victim);
                }
                if origin_lives && self.origin_is_spent(net) {
                    origin_lives = false;
                    // The bytes that it was sending have left by then.
                    net.plan(net.now + 100_000, KILL_ORIGIN);
                }
                net.now > end || (net.now >= started_late && self.all_done(net))
            });
            match next {
                None => return,
                Some(KILL_ORIGIN) => net.kill(ORIGIN),
                Some(client) => self.join(net, client, origin_lives),
            }
        }
    }

    fn join(&self, net: &mut Net, client: usize, origin_lives: bool) {
        net.start(client, false);
        let slots = if self.origin_slots == 0 { usize::MAX } else { self.origin_slots };
        if origin_lives && net.machines[ORIGIN].neighbours.len() < slots {
            net.connect(client, ORIGIN, Some(ORIGIN));
        }
        let there = |other: &usize| *other != client && net.machines[*other].swarm.is_some();
        let mut others: Vec<usize> = (1..=self.clients).filter(there).collect();
        if self.degree > 0 {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ (client as u64) << 32);
            others.shuffle(&mut rng);
            others.truncate(self.degree);
        }
        for other in others {
            net.connect(client, other, None);
        }
    }

    fn has_share(&self, net: &Net, at: usize, percent: u64) -> bool {
        net.machines[at].here.count() * 100 >= net.machines[at].here.len() * percent
    }

    fn origin_is_spent(&self, net: &Net) -> bool {
        let sent = net.machines[ORIGIN].sent;
        self.origin_dies.is_some_and(|hundredths| sent * 100 >= self.bytes * hundredths)
    }

    fn all_done(&self, net: &Net) -> bool {
        net.honest_done == self.clients - self.free_riders - self.poisoners
    }

    /// Seconds.
    fn bound(&self) -> f64 {
        let (file, n) = (self.bytes as f64 * 8.0 / 1e6, self.clients as f64);
        let (us, u, d) = (self.origin_up as f64, self.up as f64, self.down as f64);
        let slow = if self.slow_every > 0 { self.clients.div_ceil(self.slow_every) } else { 0 };
        let d_min = if slow > 0 { d / 10.0 } else { d };
        let sum = u * (n - slow as f64) + u / 10.0 * slow as f64;
        (file / us).max(file / d_min).max(n * file / (us + sum))
    }

    fn outcome(&self, net: &Net) -> Outcome {
        let times = |conduct: Conduct| {
            let clients = net.machines.iter().enumerate().skip(1);
            let of = clients.filter(|(_, machine)| machine.conduct == conduct);
            of.map(|(at, machine)| {
                let joined = (at as u64 - 1) * self.stagger_ms * 1_000;
                machine.done_at.map(|at| (at - joined) as f64 / 1e6)
            })
            .collect::<Vec<_>>()
        };
        let honest = times(Conduct::Honest);
        let latest = |a: Option<f64>, b: &Option<f64>| Some(a?.max((*b)?));
        Outcome {
            time: honest.iter().fold(Some(0.0), latest),
            free_riders: times(Conduct::FreeRider),
            free_rider_share: net
                .machines
                .iter()
                .filter(|machine| machine.conduct == Conduct::FreeRider)
                .map(|machine| machine.here.count() as f64 / machine.here.len() as f64)
                .fold(0.0, f64::max),
            bound: self.bound(),
            copies: net.machines[ORIGIN].sent as f64 / self.bytes as f64,
            wasted: net.machines.iter().map(|machine| machine.wasted).sum::<u64>() as f64
                / self.bytes as f64,
            poisoned: net.machines.iter().map(|machine| machine.poisoned).max().unwrap_or(0),
            honest,
        }
    }
}
