//! How far long work is, for people: one line on a terminal, nothing elsewhere.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::{Duration, Instant},
};

use trefoil_rpc::content::admin::JobStatus;
use trefoil_swarm::Progress;

// Shorter, and the rate and the time left jump; longer, and they lag behind a change.
/// The rate is that of the last so many seconds.
const RATE_OVER: Duration = Duration::from_secs(3);
// One is about 4 %. The numbers beside the bar take up to 80 characters.
/// Characters of the bar.
const BAR_CHARS: u64 = 24;

/// One line that is written over itself.
#[derive(Debug)]
pub struct Bar {
    /// Whether there is anybody to see it.
    shown: bool,
    began: Instant,
    /// When how much was there, lately.
    lately: Vec<(Instant, u64)>,
}

impl Bar {
    pub fn new(quiet: bool) -> Self {
        let shown = !quiet && stderr().is_terminal();
        Self { shown, began: Instant::now(), lately: Vec::new() }
    }

    /// Of `total` bytes `done` are `what`.
    pub fn show(&mut self, done: u64, total: Option<u64>, what: &str) {
        self.line(done, total, what, "");
    }

    /// Of a fetch.
    pub fn progress(&mut self, status: &JobStatus) {
        let Some(progress) = &status.progress else {
            return self.line(0, None, "looking for someone who has it", "");
        };
        let from = format!(", {} peers{}", progress.peers, origin_share(progress));
        self.line(progress.here, progress.bytes, "here", &from);
    }

    fn line(&mut self, done: u64, total: Option<u64>, what: &str, more: &str) {
        if !self.shown {
            return;
        }
        let now = Instant::now();
        self.lately.push((now, done));
        self.lately.retain(|(at, _)| now - *at <= RATE_OVER);
        let (at, before) = self.lately[0];
        let seconds = (now - at).as_secs_f64();
        // From so little time the rate would jump about.
        let rate = if seconds > 0.1 { (done.saturating_sub(before)) as f64 / seconds } else { 0.0 };
        let line = match total.filter(|total| *total > 0) {
            None => what.to_owned(),
            Some(total) => {
                // In 128 bits the product cannot overflow, whatever size a peer claims.
                let full = (u128::from(done) * u128::from(BAR_CHARS) / u128::from(total)) as usize;
                let bar = format!("{}{}", "#".repeat(full), "·".repeat(BAR_CHARS as usize - full));
                let left = match rate {
                    rate if rate >= 1.0 => {
                        format!(", {} s left", (total.saturating_sub(done) as f64 / rate).ceil())
                    }
                    _ => String::new(),
                };
                let (here, all) = (bytes(done), bytes(total));
                format!("{bar} {here} of {all} {what}, {}/s{left}{more}", bytes(rate as u64))
            }
        };
        // A terminal that is gone is no reason to stop.
        let _ = write!(stderr(), "\r\x1b[2K{line}");
        let _ = stderr().flush();
    }

    /// All of it is `what`.
    pub fn end(&self, total: u64, what: &str) {
        if self.shown {
            let seconds = self.began.elapsed().as_secs_f64();
            let rate = bytes((total as f64 / seconds.max(0.001)) as u64);
            let _ =
                writeln!(stderr(), "\r\x1b[2K{} {what} in {seconds:.1} s, {rate}/s", bytes(total));
        }
    }

    /// Where what was fetched came from.
    pub fn fetched(&self, progress: Option<&Progress>) {
        let Some(progress) = progress.filter(|_| self.shown) else { return };
        self.end(progress.bytes.unwrap_or(progress.here), "here");
        let came = progress.from_peers + progress.from_web;
        if came == 0 {
            let _ = writeln!(stderr(), "all of it was here already");
        }
        for (peer, given) in &progress.by_peer {
            if *given > 0 {
                let _ = writeln!(stderr(), "{:>10} from {peer}", bytes(*given));
            }
        }
    }
}

fn origin_share(progress: &Progress) -> String {
    let came = progress.from_peers + progress.from_web;
    match progress.from_web {
        0 => String::new(),
        web => format!(", {} % from the origin", web * 100 / came.max(1)),
    }
}

/// Bytes as people read them.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut number = count as f64;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{number:.1} {}", units[unit]) }
}
