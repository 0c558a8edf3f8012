//! The `trefoil` command.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // Before anything else: a process with a dead thread must not seem alive.
    trefoil_host::logging::end_on_panic();
    match trefoil::commands::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trefoil: {error}");
            ExitCode::FAILURE
        }
    }
}
