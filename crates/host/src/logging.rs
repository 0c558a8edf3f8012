//! Logs go to stderr; a panic in any thread ends the process.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal as _, Write as _},
    panic,
    sync::OnceLock,
    thread,
};

use tracing_subscriber::EnvFilter;
use trefoil_rpc::backend::READERS;

use crate::{HostError, log_queue::LogQueue};

// At `info` the core logs every vote: 40 lines a block.
/// The log level of the consensus core, unless the filter has another.
const QUIET: &str = "arc_malachitebft_core_consensus=warn";

/// A node's, once it logs.
static LOG: OnceLock<LogQueue> = OnceLock::new();

/// Starts logging what `filter` lets through (`info`, `warn,trefoil_p2p=debug`).
///
/// # Errors
/// A filter that cannot be read.
pub fn start(filter: &str) -> Result<(), HostError> {
    // Of two directives for one module the later counts: the caller's.
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .map_err(|e| HostError::LogFilter { filter: filter.to_owned(), why: e.to_string() })?;
    // Attack, or accident: a log that nobody reads, or that fills its disk. To write to stderr
    // blocks then, and the subscriber's own report of an error panics.
    let queue = LOG.get_or_init(|| LogQueue::start(io::stderr())).clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || queue.clone())
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false)
        .init();
    Ok(())
}

/// Tells the operator a line beside the log, which may be filtered. `eprintln!` panics when
/// nobody reads.
pub fn say(line: &str) {
    match LOG.get() {
        Some(queue) => queue.put(format!("{line}\n").as_bytes()),
        None => drop(writeln!(io::stderr(), "{line}")),
    }
}

/// Waits, not long, until what was logged and said is written: before the process ends.
pub fn flush() {
    if let Some(queue) = LOG.get() {
        queue.flush();
    }
}

/// A panic is a broken invariant: no thread may go on without another. The
/// journal makes the restart safe. Only a reader may panic: it changes nothing,
/// and work that any caller can start (`eth_call`, traces) must not stop a
/// validator. The caller gets an error then.
pub fn end_on_panic() {
    panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && LOG.get().is_none() {
            // The reader of a pipe has seen enough: `trefoil status | head -1`. A disk that is full
            // has not: `trefoil verify > FILE` would seem to have written what it found.
            let is_closed = text.ends_with("(os error 32)");
            if !is_closed {
                say(&format!("trefoil: {text}"));
            }
            std::process::exit(i32::from(!is_closed));
        }
        // Not by the usual hook, which waits for who reads stderr.
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        say(&format!("thread {name:?} {info}"));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            say(&trace.to_string());
        }
        if name.starts_with(READERS) {
            return;
        }
        say("trefoil: stopped: something that always holds did not; nothing that was final is \
             lost, and the node can be started again. Please report the text above");
        flush();
        std::process::abort();
    }));
}
