//! The bounds of issue 15, and what is printed of a manner.

use std::{collections::BTreeMap, time::Duration};

use crate::watch::{Figures, percentile};

/// The longest gaps between blocks may grow by a fifth …
const GAP_FACTOR: f64 = 1.2;
/// … and by this: four nodes, the probes and the attackers share two cores, where the kernel may
/// let a process wait for some time slices. Calm runs beside a compiler differ by as much.
const GAP_SLACK: Duration = Duration::from_millis(250);
/// Beyond the idle footprint.
const MEMORY_MAX: u64 = 512 << 20;
/// A process of that size grows by so much without a cause.
const GROWTH: u64 = 16 << 20;
/// A health check's answer.
const CHECK_MAX: Duration = Duration::from_secs(1);
/// An RPC request's answer, median, while silent connections are open.
const CALL_MAX: Duration = Duration::from_millis(10);

/// An attacked span, beside a calm one.
pub struct Verdict<'a> {
    pub title: String,
    /// Silent connections are open.
    pub is_silent: bool,
    pub crowd: usize,
    pub seconds: f64,
    pub idle_bytes: u64,
    pub calm: &'a Figures,
    pub attacked: &'a Figures,
    pub bans: (usize, BTreeMap<String, usize>),
    /// What the attackers print of themselves.
    pub attackers: Vec<String>,
    /// Whether times and memory are judged. In the small form of CI, a moment of each manner after
    /// the other, they are printed only: it fails where a node ends, an honest peer is banned, or an
    /// attacker gets what it must not.
    pub judges_times: bool,
}

impl Verdict<'_> {
    pub fn print(&self) {
        let Self { title, crowd, seconds, calm, attacked, .. } = self;
        println!("== {title}");
        println!("   {crowd} attackers, {seconds:.1} s");
        println!(
            "   blocks     p50 {}, p99 {}; calm p50 {}, p99 {}; p99 at the witness {}",
            ms(percentile(&attacked.victim_gaps, 0.5)),
            ms(percentile(&attacked.victim_gaps, 0.99)),
            ms(percentile(&calm.victim_gaps, 0.5)),
            ms(percentile(&calm.victim_gaps, 0.99)),
            ms(percentile(&attacked.witness_gaps, 0.99)),
        );
        println!(
            "   memory     {} idle, {} before, {} at most",
            mib(self.idle_bytes),
            mib(attacked.resident_before),
            mib(attacked.resident_max)
        );
        println!(
            "   processor  {:.2} s; calm {:.2} s",
            attacked.processor.as_secs_f64(),
            calm.processor.as_secs_f64()
        );
        println!(
            "   answers    /livez worst {}, p99 {}; eth_blockNumber p50 {}, p99 {}, worst {}",
            ms(percentile(&attacked.checks, 1.0)),
            ms(percentile(&attacked.checks, 0.99)),
            ms(percentile(&attacked.calls, 0.5)),
            ms(percentile(&attacked.calls, 0.99)),
            ms(percentile(&attacked.calls, 1.0)),
        );
        println!(
            "   peers      {} in, {} out; calm {} in, {} out",
            mib(attacked.bytes_in),
            mib(attacked.bytes_out),
            mib(calm.bytes_in),
            mib(calm.bytes_out)
        );
        let (count, reasons) = &self.bans;
        let reasons: Vec<String> =
            reasons.iter().map(|(name, times)| format!("{name} {times}")).collect();
        println!("   banned     {count} {}", reasons.join(", "));
        self.attackers.iter().for_each(|line| println!("   attackers  {line}"));
    }

    /// The bounds that did not hold.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = vec![];
        if self.judges_times {
            let calm = percentile(&self.calm.victim_gaps, 0.99);
            let max = calm.mul_f64(GAP_FACTOR) + GAP_SLACK;
            let sides =
                [("", &self.attacked.victim_gaps), (" (witness)", &self.attacked.witness_gaps)];
            for (side, gaps) in sides {
                let gap = percentile(gaps, 0.99);
                if gap > max {
                    broken.push(format!("block gap p99{side} {}, at most {}", ms(gap), ms(max)));
                }
            }
        }
        let (bytes, bytes_max) = (self.attacked.resident_max, self.idle_bytes + MEMORY_MAX);
        // What an earlier manner left is not this one's.
        let grew = bytes > self.attacked.resident_before + GROWTH;
        if self.judges_times && grew && bytes > bytes_max {
            broken.push(format!("memory {}, at most {}", mib(bytes), mib(bytes_max)));
        }
        let check = percentile(&self.attacked.checks, 1.0);
        if self.judges_times && check > CHECK_MAX {
            broken.push(format!("/livez {}, at most {}", ms(check), ms(CHECK_MAX)));
        }
        let call = percentile(&self.attacked.calls, 0.5);
        if self.judges_times && self.is_silent && call > CALL_MAX {
            broken.push(format!("eth_blockNumber p50 {}, at most {}", ms(call), ms(CALL_MAX)));
        }
        broken
    }
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
