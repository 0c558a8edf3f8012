//! Runs Ethereum's execution spec tests on the product's own execution:
//! state tests and blockchain tests of Cancun and every later fork.
//!
//! `cargo run --release -p trefoil-ledger --example eest -- PATH…`

mod fixture;
mod forks;
mod run;
mod source;
mod state;
#[path = "../../src/testing/world.rs"]
mod world;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use rayon::prelude::*;

const USAGE: &str = "\
usage: eest [--all] PATH…

Runs Ethereum's execution spec tests. PATH is a .json file, a directory of them, or a
.tar.zst archive, of the formats `state_test` and `blockchain_test`.

  --all   also the forks before Cancun, from Paris on, which are skipped otherwise

Ends with `N passed, N failed, N skipped`; exit code 1 if anything failed.";

/// The outcome of one case.
#[derive(Debug)]
pub enum Verdict {
    Passed,
    /// Why.
    Failed(String),
    /// The class of reason.
    Skipped(&'static str),
}

#[derive(Default)]
struct Tally {
    passed: usize,
    /// Name and reason.
    failed: Vec<(String, String)>,
    skipped: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn add(&mut self, name: String, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(reason) => self.failed.push((name, reason)),
            Verdict::Skipped(class) => *self.skipped.entry(class).or_default() += 1,
        }
    }

    fn merge(mut self, other: Self) -> Self {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        for (class, count) in other.skipped {
            *self.skipped.entry(class).or_default() += count;
        }
        self
    }

    fn print(mut self) -> ExitCode {
        self.failed.sort();
        for (name, reason) in &self.failed {
            println!("FAILED {name}: {reason}");
        }
        for (class, count) in &self.skipped {
            println!("skipped, {class}: {count}");
        }
        let skipped: usize = self.skipped.values().sum();
        println!("{} passed, {} failed, {skipped} skipped", self.passed, self.failed.len());
        if !self.failed.is_empty() {
            return ExitCode::FAILURE;
        }
        if self.passed == 0 {
            eprintln!("eest: no case was run: are these state_test or blockchain_test fixtures?");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

fn main() -> ExitCode {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let all = paths.iter().any(|path| path.as_os_str() == "--all");
    paths.retain(|path| path.as_os_str() != "--all");
    if paths.is_empty() || paths.iter().any(|path| path.to_string_lossy().starts_with('-')) {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        eprintln!("eest: there is no {}", missing.display());
        return ExitCode::from(2);
    }
    let files = source::read(paths);
    let tally = files.into_iter().par_bridge().map(|file| run_file(file, all));
    tally.reduce(Tally::default, Tally::merge).print()
}

fn run_file(file: source::File, all: bool) -> Tally {
    let mut tally = Tally::default();
    let cases = file.bytes.map_err(|error| error.to_string()).and_then(|bytes| {
        serde_json::from_slice::<fixture::File>(&bytes).map_err(|error| error.to_string())
    });
    match cases {
        Ok(cases) => {
            for (name, case) in cases {
                match case {
                    fixture::Case::State(case) => {
                        for (name, verdict) in run::state_case(&name, &case, all) {
                            tally.add(name, verdict);
                        }
                    }
                    fixture::Case::Blockchain(case) => {
                        let verdict = run::blockchain_case(&case, all);
                        tally.add(name, verdict);
                    }
                }
            }
        }
        Err(error) => tally.add(file.name, Verdict::Failed(format!("cannot be read: {error}"))),
    }
    tally
}
