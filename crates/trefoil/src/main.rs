//! The `trefoil` command.

use std::process::ExitCode;

use clap::Parser as _;
use trefoil_host::logging;

fn main() -> ExitCode {
    // Before this process opens anything itself.
    trefoil_os::inherited::note();
    // If that fails, the limit ends the process, as the system has it.
    let _ = trefoil_os::size_limit::survive();
    // Before any thread: a process with a dead thread must not seem alive.
    logging::end_on_panic();
    let ended = trefoil::commands::Cli::parse().run();
    if let Err(error) = &ended {
        logging::say(&format!("trefoil: {error}"));
    }
    logging::flush();
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
