//! What the nodes do meanwhile: blocks, memory, processor time, answers, bans.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    arena::Target,
    http::{self, CLOSE},
};

/// An answer that takes longer counts as this.
const ANSWERED_IN: Duration = Duration::from_secs(10);
/// Between two looks.
const TIPS_EVERY: Duration = Duration::from_millis(100);
const PROBES_EVERY: Duration = Duration::from_millis(100);
const MEMORY_EVERY: Duration = Duration::from_millis(20);
const PEERS_EVERY: Duration = Duration::from_millis(500);
/// Linux counts processor time in hundredths.
const TICKS: f64 = 100.0;

/// Unix milliseconds.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time, and what was measured then.
type Series<T> = Vec<(u64, T)>;

/// When each began, and how long its answer took.
#[derive(Default)]
struct Probes {
    answered: Series<Duration>,
    /// When the one began that waits now.
    waiting: Option<u64>,
}

impl Probes {
    /// Those of a span. One that still waits at its end counts with its wait so far, or a node
    /// that does not answer at all would show the best figures.
    fn within(&self, from: u64, to: u64) -> Vec<Duration> {
        let waits = self.waiting.filter(|began| *began <= to);
        let waits = waits.map(|began| Duration::from_millis(to - began));
        within(&self.answered, from, to).chain(waits).collect()
    }
}

#[derive(Default)]
struct Samples {
    /// Height and when it was committed, of the victim and of the witness.
    tips: [Vec<(u64, u64)>; 2],
    calls: Probes,
    checks: Probes,
    resident: Series<u64>,
    /// Bytes that peers sent and were sent since the look before.
    peer_bytes: Series<(u64, u64)>,
}

/// Looks at the nodes for as long as it lives.
pub struct Watch {
    samples: Arc<Mutex<Samples>>,
    pid: u32,
    _tasks: JoinSet<()>,
}

/// What happened within a span.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub resident_before: u64,
    pub victim_gaps: Vec<Duration>,
    pub witness_gaps: Vec<Duration>,
    pub calls: Vec<Duration>,
    pub checks: Vec<Duration>,
    pub resident_max: u64,
    pub processor: Duration,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// Where a span begins.
#[derive(Clone, Copy)]
pub struct Mark {
    at: u64,
    processor: Duration,
    resident: u64,
    /// Whether the kernel's own high-water mark counts from here on.
    reset: bool,
}

impl Watch {
    pub fn start(target: &Target, pid: u32) -> Self {
        let samples: Arc<Mutex<Samples>> = Arc::default();
        let (victim, witness) = (target.victim().rpc, target.witness().rpc);
        let mut tasks = JoinSet::new();
        for (at, rpc) in [victim, witness].into_iter().enumerate() {
            tasks.spawn(follow_tips(samples.clone(), at, rpc));
        }
        let call = http::post(&http::body("eth_blockNumber", &json!([])), CLOSE);
        let check = http::get("/livez", CLOSE);
        tasks.spawn(probe(samples.clone(), victim, call, |samples| &mut samples.calls));
        tasks.spawn(probe(samples.clone(), victim, check, |samples| &mut samples.checks));
        tasks.spawn(follow_memory(samples.clone(), pid));
        tasks.spawn(follow_peers(samples.clone(), victim));
        Self { samples, pid, _tasks: tasks }
    }

    pub fn mark(&self) -> Mark {
        // Resets the high-water mark (proc(5)), where the kernel lets us.
        let reset = fs::write(format!("/proc/{}/clear_refs", self.pid), "5").is_ok();
        let (processor, resident) = (processor(self.pid), self.resident());
        Mark { at: now_ms(), processor, resident, reset }
    }

    pub fn resident(&self) -> u64 {
        memory(self.pid, "VmRSS:")
    }

    /// What happened since `from`.
    pub fn since(&self, from: Mark) -> Figures {
        let to = now_ms();
        let samples = self.samples.lock().expect("no holder panics");
        let peaks = within(&samples.resident, from.at, to).max();
        let by_kernel = if from.reset { memory(self.pid, "VmHWM:") } else { 0 };
        let bytes = within(&samples.peer_bytes, from.at, to);
        let (bytes_in, bytes_out) =
            bytes.fold((0, 0), |sum, bytes| (sum.0 + bytes.0, sum.1 + bytes.1));
        Figures {
            victim_gaps: gaps(&samples.tips[0], from.at, to),
            witness_gaps: gaps(&samples.tips[1], from.at, to),
            calls: samples.calls.within(from.at, to),
            checks: samples.checks.within(from.at, to),
            resident_before: from.resident,
            resident_max: peaks.unwrap_or_default().max(by_kernel),
            processor: processor(self.pid).saturating_sub(from.processor),
            bytes_in,
            bytes_out,
        }
    }
}

impl Figures {
    /// Both spans as one.
    pub fn add(&mut self, other: Self) {
        self.victim_gaps.extend(other.victim_gaps);
        self.witness_gaps.extend(other.witness_gaps);
        self.calls.extend(other.calls);
        self.checks.extend(other.checks);
        self.resident_max = self.resident_max.max(other.resident_max);
        self.processor += other.processor;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

/// Of those in order, the one at this share; zero if there are none.
pub fn percentile(times: &[Duration], share: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = ((times.len().saturating_sub(1)) as f64 * share).round() as usize;
    times.get(at).copied().unwrap_or_default()
}

fn within<T: Copy>(series: &[(u64, T)], from: u64, to: u64) -> impl Iterator<Item = T> + '_ {
    let inside = move |(at, _): &&(u64, T)| (from..=to).contains(at);
    series.iter().filter(inside).map(|(_, value)| *value)
}

/// Times between blocks that were committed within the span; heights that nobody saw share
/// theirs equally. A block that is overdue at the end counts too.
fn gaps(tips: &[(u64, u64)], from: u64, to: u64) -> Vec<Duration> {
    let mut gaps = vec![];
    for pair in tips.windows(2) {
        let ((low, before), (high, at)) = (pair[0], pair[1]);
        if (from..=to).contains(&at) && high > low {
            let each = Duration::from_millis(at.saturating_sub(before) / (high - low));
            gaps.extend(std::iter::repeat_n(each, (high - low) as usize));
        }
    }
    let last = tips.iter().rev().find(|(_, at)| *at <= to);
    let open = last.map(|(_, at)| Duration::from_millis(to - at)).unwrap_or_default();
    if gaps.iter().max().is_none_or(|longest| open > *longest) {
        gaps.push(open);
    }
    gaps
}

async fn follow_tips(samples: Arc<Mutex<Samples>>, at: usize, rpc: SocketAddr) {
    let mut ticks = interval(TIPS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = http::call(rpc, "trefoil_status", json!([]), ANSWERED_IN).await;
        let Ok(status) = status else { continue };
        let tip = status["height"].as_u64().zip(status["committedAtMs"].as_u64());
        let tips = &mut samples.lock().expect("no holder panics").tips[at];
        tips.extend(tip.filter(|tip| tips.last().is_none_or(|last| last.0 < tip.0)));
    }
}

async fn probe(
    samples: Arc<Mutex<Samples>>,
    rpc: SocketAddr,
    request: Vec<u8>,
    series: fn(&mut Samples) -> &mut Probes,
) {
    let mut ticks = interval(PROBES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (at, began) = (now_ms(), Instant::now());
        series(&mut samples.lock().expect("no holder panics")).waiting = Some(at);
        let answer = timeout(ANSWERED_IN, http::exchange(rpc, &request)).await;
        let good = matches!(&answer, Ok(Ok(answer)) if answer.starts_with(b"HTTP/1.1 200"));
        let took = if good { began.elapsed() } else { ANSWERED_IN };
        let mut samples = samples.lock().expect("no holder panics");
        let probes = series(&mut samples);
        probes.waiting = None;
        probes.answered.push((at, took));
    }
}

async fn follow_memory(samples: Arc<Mutex<Samples>>, pid: u32) {
    let mut ticks = interval(MEMORY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let bytes = memory(pid, "VmRSS:");
        samples.lock().expect("no holder panics").resident.push((now_ms(), bytes));
    }
}

/// Counters are a connection's: what was seen of it last is not lost when it ends.
async fn follow_peers(samples: Arc<Mutex<Samples>>, rpc: SocketAddr) {
    let mut ticks = interval(PEERS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut is_first = true;
    loop {
        ticks.tick().await;
        let peers = http::call(rpc, "trefoil_peers", json!([]), ANSWERED_IN).await;
        let Ok(Value::Array(peers)) = peers else { continue };
        let (mut sum_in, mut sum_out, mut seen) = (0, 0, BTreeMap::new());
        for peer in &peers {
            let number = |key: &str| peer[key].as_u64().unwrap_or_default();
            let (id, bytes) = (peer["peerId"].to_string(), (number("bytesIn"), number("bytesOut")));
            let before = known.get(&id).copied().unwrap_or_default();
            sum_in += bytes.0.checked_sub(before.0).unwrap_or(bytes.0);
            sum_out += bytes.1.checked_sub(before.1).unwrap_or(bytes.1);
            seen.insert(id, bytes);
        }
        known = seen;
        if !std::mem::take(&mut is_first) {
            let mut samples = samples.lock().expect("no holder panics");
            samples.peer_bytes.push((now_ms(), (sum_in, sum_out)));
        }
    }
}

/// A line of `/proc/PID/status`, in bytes.
fn memory(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let found = status.lines().find_map(|it| it.strip_prefix(line));
    let kib = found.and_then(|it| it.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1_024
}

/// Processor time of a process so far.
fn processor(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which may hold anything: state, then numbers; the 12th and 13th of these
    // are user and system time.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u64>().ok());
    Duration::from_secs_f64(ticks.sum::<u64>() as f64 / TICKS)
}

/// Who did what wrong, at each node.
#[derive(Clone, Debug, Default)]
pub struct Offenders(BTreeMap<(usize, String), Offender>);

#[derive(Clone, Debug)]
struct Offender {
    is_banned: bool,
    offences: Vec<String>,
}

impl Offenders {
    pub async fn of(target: &Target) -> Self {
        let mut all = BTreeMap::new();
        for (at, node) in target.nodes.iter().enumerate() {
            let told = http::call(node.rpc, "trefoil_offences", json!([]), ANSWERED_IN).await;
            let Ok(told) = told else { continue };
            for peer in told["peers"].as_array().into_iter().flatten() {
                let names = peer["offences"].as_array().into_iter().flatten();
                let offences = names.filter_map(|it| it["offence"].as_str().map(String::from));
                let is_banned = !peer["bannedForMs"].is_null();
                let who = peer["who"].as_str().unwrap_or_default().to_owned();
                all.insert((at, who), Offender { is_banned, offences: offences.collect() });
            }
        }
        Self(all)
    }

    /// How many were banned that were not before, and for what.
    pub fn new_bans(&self, before: &Self) -> (usize, BTreeMap<String, usize>) {
        let was = |key| before.0.get(key).is_some_and(|offender| offender.is_banned);
        let new = self.0.iter().filter(|(key, offender)| offender.is_banned && !was(key));
        let (mut count, mut reasons) = (0, BTreeMap::new());
        for (_, offender) in new {
            count += 1;
            for name in &offender.offences {
                *reasons.entry(name.clone()).or_default() += 1;
            }
        }
        (count, reasons)
    }

    /// The devnet's own nodes that are banned, and where.
    pub fn banned_nodes(&self, target: &Target) -> Vec<String> {
        let honest = |who: &str| target.nodes.iter().position(|node| node.peer == who);
        let banned = self.0.iter().filter(|(_, offender)| offender.is_banned);
        banned
            .filter_map(|((at, who), offender)| {
                let node = honest(who)?;
                Some(format!("node {at} bans node {node} for {}", offender.offences.join(", ")))
            })
            .collect()
    }
}
