//! Logs go to stderr; a panic in any thread ends the process.

use std::{
    io::{self, IsTerminal as _},
    panic, thread,
};

use tracing_subscriber::EnvFilter;
use trefoil_rpc::backend::READERS;

use crate::HostError;

// At `info` the core logs every vote: 40 lines a block.
/// The log level of the consensus core, unless the filter has another.
const QUIET: &str = "arc_malachitebft_core_consensus=warn";

/// Starts logging what `filter` lets through (`info`, `warn,trefoil_p2p=debug`).
///
/// # Errors
/// A filter that cannot be read.
pub fn start(filter: &str) -> Result<(), HostError> {
    // Of two directives for one module the later counts: the caller's.
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .map_err(|e| HostError::LogFilter { filter: filter.to_owned(), why: e.to_string() })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

/// A panic is a broken invariant: no thread may go on without another. The
/// journal makes the restart safe. Only a reader may panic: it changes nothing,
/// and work that any caller can start (`eth_call`, traces) must not stop a
/// validator. The caller gets an error then.
pub fn end_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // The reader of a pipe has seen enough: `trefoil status | head -1`.
        let text = info.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") {
            std::process::exit(0);
        }
        report(info);
        if thread::current().name().is_some_and(|name| name.starts_with(READERS)) {
            return;
        }
        eprintln!(
            "trefoil: stopped: something that always holds did not; nothing that was final is \
             lost, and the node can be started again. Please report the text above"
        );
        std::process::abort();
    }));
}
