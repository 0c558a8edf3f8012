//! Runs the official fixtures of `eth_simulateV1` (execution-apis) on the
//! product's own simulation and JSON: the fixtures' chain is executed from its
//! genesis, then every request is answered on it and compared.
//!
//! `cargo run --release -p trefoil --example simulate -- PATH`

mod chain;
mod files;
mod forks;
#[path = "../../../ledger/examples/eest/state.rs"]
#[expect(dead_code, reason = "only the roots of states are compared here")]
mod state;
#[path = "../../../ledger/src/testing/world.rs"]
mod world;

/// The part of a genesis file that `state` knows.
mod fixture {
    pub use crate::chain::Alloc;
}

use std::{path::PathBuf, process::ExitCode};

use chain::Chain;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

const USAGE: &str = "\
usage: simulate PATH

Runs the fixtures of eth_simulateV1. PATH is the folder `tests` of execution-apis, or an
archive of it (.tar.zst).

Ends with `N passed, N failed, N skipped`; exit code 1 if anything failed.";

/// The gas that the fixtures' node lets all calls of a request use.
const GAS_CAP: u64 = 50_000_000;

fn main() -> ExitCode {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(path), None) = (paths.next(), paths.next()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&path) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// Whether all passed.
fn run(path: &std::path::Path) -> Result<bool, String> {
    let files = files::read(path).map_err(|error| error.to_string())?;
    let file = |name: &str| files.get(name).ok_or_else(|| format!("has no {name}"));
    let chain = Chain::replay(file("genesis.json")?, file("chain.rlp")?)?;
    let (mut passed, mut failed) = (0, 0);
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".io")) {
        match case(&chain, bytes) {
            Ok(()) => passed += 1,
            Err(reason) => {
                println!("FAILED {name}: {reason}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed, 0 skipped");
    Ok(failed == 0 && passed > 0)
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    params: &'a RawValue,
}

#[derive(Deserialize)]
struct Answer {
    result: Option<Value>,
    error: Option<Value>,
}

/// Each request (`>> `) of a fixture against the answer after it (`<< `).
fn case(chain: &Chain, bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let requests = text.lines().filter_map(|line| line.strip_prefix(">> "));
    let answers = text.lines().filter_map(|line| line.strip_prefix("<< "));
    let mut compared = 0;
    for (request, answer) in requests.zip(answers) {
        let unreadable = |error: serde_json::Error| format!("cannot be read: {error}");
        let request: Request<'_> = serde_json::from_str(request).map_err(unreadable)?;
        let wanted: Answer = serde_json::from_str(answer).map_err(unreadable)?;
        let ground = |height| chain.ground(height);
        let got = match trefoil_rpc::simulate_on(request.params, GAS_CAP, ground) {
            Ok(json) => serde_json::from_str(json.get()).map_err(unreadable)?,
            Err(error) => error,
        };
        let wanted = wanted.result.or(wanted.error).unwrap_or_default();
        if let Some(difference) = difference("", &got, &wanted) {
            return Err(difference);
        }
        compared += 1;
    }
    if compared == 0 { Err("holds no request with an answer".into()) } else { Ok(()) }
}

/// The first place in which two answers differ.
fn difference(at: &str, got: &Value, wanted: &Value) -> Option<String> {
    match (got, wanted) {
        (Value::Object(got), Value::Object(wanted)) => {
            let keys = wanted.keys().chain(got.keys());
            let none = Value::Null;
            let get = |object: &serde_json::Map<_, _>, key| -> Value {
                object.get(key).unwrap_or(&none).clone()
            };
            keys.into_iter().find_map(|key| {
                difference(&format!("{at}.{key}"), &get(got, key), &get(wanted, key))
            })
        }
        (Value::Array(got), Value::Array(wanted)) if got.len() == wanted.len() => {
            let mut pairs = got.iter().zip(wanted).enumerate();
            pairs.find_map(|(i, (got, wanted))| difference(&format!("{at}[{i}]"), got, wanted))
        }
        _ if got == wanted => None,
        _ => Some(format!("{at} is {got}, should be {wanted}")),
    }
}
