//! Runs a cluster of nodes under a seed, in virtual time, and judges what they do.
//!
//! The node is that of production, on a simulated wire and simulated disks. Owns: virtual
//! time, the wire, the disks and the judges, and nothing of the product; faults happen at the
//! seams between the node and its world. What always holds: a plan has one course, so that
//! two runs of it have equal traces; [`run_twice`] checks that each time. It must never know:
//! the inside of a node, and the time of day.

pub mod actions;
mod bug_plans;
pub mod byzantine;
mod certificates;
pub mod chain;
pub mod cluster;
mod coverage;
pub mod disk;
mod driver;
mod expect;
pub mod failover;
pub mod governors;
pub mod injected_bug;
mod judges;
mod links;
pub mod machine;
pub mod plan;
pub mod queue;
pub mod random;
mod reports;
pub mod rng;
pub mod scenario;
mod seats;
pub mod seen;
mod sent_bytes;
mod snapshots;
pub mod step_partitions;
mod submissions;
pub mod trace;
pub mod twins;
pub mod uplink;
mod value_name;
pub mod vice;
pub mod wire;
pub mod workload;

pub use injected_bug::InjectedBug;
pub use judges::Violation;
pub use plan::SimPlan;
pub use random::FaultClass;
pub use value_name::name_of;

use cluster::Cluster;
use coverage::Coverage;

/// The result of a plan.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// None: the plan passed.
    pub violation: Option<Violation>,
    /// How many blocks became final.
    pub height: u64,
    pub txs: u64,
    pub steps: usize,
    pub coverage: Coverage,
}

/// Runs a plan once, printing each step if `prints`.
pub fn run(plan: SimPlan, prints: bool) -> RunResult {
    run_traced(plan, prints).0
}

/// Runs a plan twice; traces that differ are a violation too.
pub fn run_twice(plan: SimPlan) -> RunResult {
    let (first, again) = (run_traced(plan.clone(), false), run_traced(plan, false));
    let (mut verdict, steps) = first;
    if verdict.violation.is_none() && steps != again.1 {
        let same = steps.iter().zip(&again.1).take_while(|(a, b)| a == b).count();
        let text = format!("the traces of two runs differ from step {same} on");
        verdict.violation =
            Some(Violation { at: trefoil_types::Time(0), judge: "determinism", text });
    }
    verdict
}

fn run_traced(plan: SimPlan, prints: bool) -> (RunResult, Vec<u64>) {
    let mut cluster = Cluster::new(plan, prints);
    cluster.run();
    cluster.coverage.insert("seats that moved", cluster.judges.seats.moves());
    cluster.coverage.insert("changes of validators", cluster.judges.changes_of_set());
    let verdict = RunResult {
        violation: cluster.judges.violations.first().cloned(),
        height: cluster.judges.chain.len() as u64,
        txs: cluster.judges.txs_after(trefoil_types::Time(0)),
        steps: cluster.trace.steps.len(),
        coverage: cluster.coverage,
    };
    (verdict, cluster.trace.steps)
}
