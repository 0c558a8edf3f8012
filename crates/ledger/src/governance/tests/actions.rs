//! Calls by chance of all system contracts, from every role: nothing that a contract accepts ends
//! a node, which reads what the contracts say after every block.
//!
//! A walk is a network of either kind, and blocks of calls on it: noise, functions with words that
//! mean nothing, and calls with values that exist or lie at a limit. Organisations decide in
//! earnest, keys prove themselves, time and heights leap, so that what was decided takes effect.

// Shared with the simulator, whose nodes take such calls too.
#[path = "../../../../sim/src/actions/calls.rs"]
mod calls;
mod checks;
mod networks;
mod walk;

use walk::{Tally, Walk};

use super::secret;

/// Names the walk in which a check failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the walk of seed {}", self.0);
        }
    }
}

fn walk(seeds: std::ops::Range<u64>) -> Tally {
    let mut sum = Tally::default();
    for seed in seeds {
        let named = Seed(seed);
        sum.add(Walk::new(seed).run());
        drop(named);
    }
    sum
}

#[test]
fn nothing_that_a_contract_accepts_ends_a_node() {
    let tally = walk(0..12);
    // Otherwise the walks would show nothing.
    assert!(tally.accepted * 8 > tally.calls && tally.changes > tally.walks, "{tally:?}");
}

/// `TREFOIL_SEEDS=1000..1100 cargo test --release -p trefoil-ledger --lib -- --ignored --nocapture campaign_of_actions`
#[test]
#[ignore = "hours; docs/security.md tells of it"]
#[expect(clippy::disallowed_methods, reason = "a campaign is started by hand, in pieces")]
fn campaign_of_actions() {
    let seeds = std::env::var("TREFOIL_SEEDS").unwrap_or_else(|_| "12..212".into());
    let (first, end) = seeds.split_once("..").expect("FIRST..END");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let (mut sum, first, end) = (Tally::default(), number(first), number(end));
    for seed in first..end {
        sum.add(walk(seed..seed + 1));
        if (seed + 1 - first).is_multiple_of(10) || seed + 1 == end {
            println!("seeds {first}..{}: {sum:?}", seed + 1);
        }
    }
}
