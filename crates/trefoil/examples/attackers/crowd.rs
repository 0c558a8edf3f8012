//! The attackers' process: at nice 19, in a control group of half a core where one can be made.

use std::{fs, io, path::PathBuf, process::Stdio, sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};

use crate::arena::{Arena, Manner, Target};

/// Half a core: 50 ms of each 100.
const QUOTA_US: &str = "50000";
const PERIOD_US: &str = "100000";
const ENDS_IN: Duration = Duration::from_secs(15);
/// A line of the report that says what a node must not do.
const BROKEN: &str = "broken: ";

/// A control group of its own, removed when it is dropped.
pub struct HalfCore(Option<PathBuf>);

impl HalfCore {
    /// Version 2 of control groups, or 1; none where we may not make one, or where it has no
    /// share of the processor to give.
    pub fn make() -> Self {
        let name = format!("trefoil-attackers-{}", std::process::id());
        for (parent, files) in [
            ("/sys/fs/cgroup", &[("cpu.max", "50000 100000")][..]),
            (
                "/sys/fs/cgroup/cpu",
                &[("cpu.cfs_period_us", PERIOD_US), ("cpu.cfs_quota_us", QUOTA_US)],
            ),
        ] {
            let group = PathBuf::from(parent).join(&name);
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let limited = files.iter().all(|(file, text)| {
                let file = group.join(file);
                file.exists() && fs::write(file, text).is_ok()
            });
            if limited {
                return Self(Some(group));
            }
            let _ = fs::remove_dir(&group);
        }
        Self(None)
    }

    pub fn describe(&self) -> &'static str {
        match self.0 {
            Some(_) => "nice 19, in a control group of half a core",
            None => "nice 19 alone: no control group of half a core can be made here",
        }
    }

    fn hold(&self, pid: u32) {
        if let Some(group) = &self.0 {
            let _ = fs::write(group.join("cgroup.procs"), pid.to_string());
        }
    }
}

impl Drop for HalfCore {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            let _ = fs::remove_dir(group);
        }
    }
}

/// The process of the attackers of one manner, or of several at once.
pub struct Crowd(Child);

impl Crowd {
    /// Starts them against the devnet.
    pub async fn start(
        target: &Target,
        manners: &[&Manner],
        crowd: usize,
        core: &HalfCore,
    ) -> io::Result<Self> {
        let names: Vec<&str> = manners.iter().map(|manner| manner.name).collect();
        // 5,000 sockets take as many descriptors.
        let script = "ulimit -n $(ulimit -Hn) 2>/dev/null; exec nice -n 19 \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(std::env::current_exe()?);
        command.args(["--attack", &names.join(","), &crowd.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        process.id().iter().for_each(|pid| core.hold(*pid));
        let told = serde_json::to_string(target)? + "\n";
        if let Some(stdin) = &mut process.stdin {
            stdin.write_all(told.as_bytes()).await?;
        }
        Ok(Self(process))
    }

    /// Ends them: what they print of themselves, and what a node did that it must not do.
    pub async fn end(mut self) -> io::Result<(Vec<String>, Vec<String>)> {
        drop(self.0.stdin.take());
        let mut text = String::new();
        if let Some(stdout) = &mut self.0.stdout {
            // A process that does not end is killed when it is dropped.
            let _ = timeout(ENDS_IN, stdout.read_to_string(&mut text)).await;
        }
        let _ = timeout(ENDS_IN, self.0.wait()).await;
        let (broken, lines): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with(BROKEN));
        let broken = broken.into_iter().map(|line| line[BROKEN.len()..].to_owned()).collect();
        Ok((lines.into_iter().map(String::from).collect(), broken))
    }
}

/// What that process does: attacks until its stdin ends, then says what came of it.
pub async fn attack(manners: &[&Manner], crowd: usize) -> io::Result<()> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let arena = Arena::new(serde_json::from_str(&line)?);
    let attackers: Vec<_> = manners.iter().map(|manner| arena.attack(manner, crowd)).collect();
    let ended = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    ended.await.map_err(io::Error::other)??;
    drop(attackers);
    let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} connections, {:.1} MiB written, {:.1} MiB read",
        number(&arena.connections),
        number(&arena.written) as f64 / f64::from(1 << 20),
        number(&arena.read) as f64 / f64::from(1 << 20),
    );
    let failure = arena.failure.lock().expect("nobody panics").clone();
    if !failure.is_empty() {
        println!("the last that failed: {failure}");
    }
    for note in &*arena.notes.lock().expect("nobody panics") {
        println!("{note}");
    }
    for what in &*arena.broken.lock().expect("nobody panics") {
        println!("{BROKEN}{what}");
    }
    Ok(())
}
