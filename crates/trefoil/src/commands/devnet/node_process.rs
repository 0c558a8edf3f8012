//! One node's process: started, watched, started again, stopped.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{self, Command},
    time::{Instant, timeout},
};
use trefoil_host::home::Home;

use crate::error::CommandError;

// A node that cannot start would otherwise take a core and fill its log. 16 s at most, so that
// one whose cause is removed soon runs again.
/// How long after its end a node is started again; one that ends early waits twice as
/// long each time.
const RESTART_MIN: Duration = Duration::from_secs(1);
const RESTART_MAX: Duration = Duration::from_secs(16);

// A node that cannot run ends within seconds: on a bad file, or a port in use.
/// A node that ran this long was well.
const WELL: Duration = Duration::from_secs(10);

// A node takes 20 s at most to make its ledger durable (`CLOSE_MAX`), and a moment to end.
/// How long a node may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(25);

// With the old log 16 MiB a node, unless it runs for long without a restart.
/// A log that is longer is set aside at the next start.
const LOG_BYTES_MAX: u64 = 8 << 20;

// The error is the last line; those before it show what led to it.
/// Lines of a dead node's log that are shown.
const LAST_LINES: usize = 6;

pub struct NodeProcess {
    home: Home,
    state: ProcessState,
    wait: Duration,
}

enum ProcessState {
    Running { process: process::Child, since: Instant },
    Dead { restart_at: Instant },
}

impl NodeProcess {
    /// # Errors
    /// The program or the log cannot be opened.
    pub fn start(home: Home) -> Result<Self, CommandError> {
        let process = launch(&home)?;
        let state = ProcessState::Running { process, since: Instant::now() };
        Ok(Self { home, state, wait: RESTART_MIN })
    }

    /// The process id; 0 for none.
    pub fn id(&self) -> u32 {
        match &self.state {
            ProcessState::Running { process, .. } => process.id().unwrap_or(0),
            ProcessState::Dead { .. } => 0,
        }
    }

    /// Starts a dead node again when it is time; returns a text about the change.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn look_after(&mut self) -> Result<Option<String>, CommandError> {
        match &mut self.state {
            ProcessState::Running { process, since } => {
                let Ok(Some(status)) = process.try_wait() else { return Ok(None) };
                // Only a node that dies again and again is started ever later.
                if since.elapsed() >= WELL {
                    self.wait = RESTART_MIN;
                }
                let wait = self.wait.as_secs();
                self.state = ProcessState::Dead { restart_at: Instant::now() + self.wait };
                self.wait = (self.wait * 2).min(RESTART_MAX);
                let log = last_lines(&self.home.log_file());
                Ok(Some(format!(
                    "ended ({status}); it starts again in {wait} s. Its log ends:\n{log}"
                )))
            }
            ProcessState::Dead { restart_at } if Instant::now() >= *restart_at => {
                let process = launch(&self.home)?;
                let id = process.id().unwrap_or(0);
                self.state = ProcessState::Running { process, since: Instant::now() };
                Ok(Some(format!("started again, pid {id}")))
            }
            ProcessState::Dead { .. } => Ok(None),
        }
    }

    /// Closes the pipe that the node watches and waits for its end.
    pub async fn stop(self) {
        let ProcessState::Running { mut process, .. } = self.state else { return };
        // The same path as when this process dies: the node sees that the pipe is closed.
        drop(process.stdin.take());
        if timeout(STOP_MAX, process.wait()).await.is_err() {
            // Already dead is as good.
            let _ = process.kill().await;
        }
    }
}

fn launch(home: &Home) -> Result<process::Child, CommandError> {
    let program = std::env::current_exe().map_err(|e| {
        CommandError::with_cure(
            format!("cannot find this program's own file: {e}"),
            "start it by its path",
        )
    })?;
    let log_file = home.log_file();
    let log = open_log(&log_file).map_err(|e| CommandError::file("write", &log_file, e))?;
    let log_again = log.try_clone().map_err(|e| CommandError::file("write", &log_file, e))?;
    let mut command = Command::new(&program);
    // Without it a killed devnet would leave nodes behind that hold its ports.
    command.args(["run", "--exit-with-parent", "--dir"]).arg(&home.dir);
    for (name, _) in std::env::vars_os() {
        // Settings of the caller's environment would be every node's.
        if name.to_string_lossy().starts_with("TREFOIL_") && name != "TREFOIL_LOG" {
            command.env_remove(name);
        }
    }
    command
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(log_again)
        // Ctrl-C is for the parent, which ends its children in order.
        .process_group(0)
        .kill_on_drop(true);
    command.spawn().map_err(|e| CommandError::file("start", &program, e))
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        // One old log is kept; the one before it is overwritten.
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// The end of a log, indented; at most 4 KiB are looked at.
fn last_lines(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(4096)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|e| format!("cannot be read: {e}"));
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    last.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
