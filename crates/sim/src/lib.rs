//! A cluster under a seed: the same node as in production, in virtual time, on
//! a pretend wire and pretend disks, watched by judges.
//!
//! Owns nothing of the product: what goes wrong is done at the seams between
//! the node and its world. What always holds: a plan has one course, so that
//! two runs of it have equal traces; [`run_twice`] checks that each time.

pub mod byzantine;
pub mod chain;
pub mod cluster;
pub mod disk;
mod expect;
pub mod governors;
mod judges;
mod links;
pub mod machine;
pub mod plan;
pub mod plant;
pub mod queue;
pub mod random;
pub mod rng;
pub mod scenario;
pub mod trace;
pub mod wire;
pub mod workload;

pub use judges::Violation;
pub use plan::Plan;
pub use plant::Plant;
pub use random::Fault;

use cluster::{Cluster, Coverage};

/// What came of a plan.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// None: the plan passed.
    pub violation: Option<Violation>,
    /// How many blocks became final.
    pub height: u64,
    pub txs: u64,
    pub steps: usize,
    pub coverage: Coverage,
}

/// Runs a plan once, printing each step if `prints`.
pub fn run(plan: Plan, prints: bool) -> Verdict {
    let (verdict, _) = run_traced(plan, prints);
    verdict
}

/// Runs a plan twice; that the traces differ is a violation too.
pub fn run_twice(plan: Plan) -> Verdict {
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

fn run_traced(plan: Plan, prints: bool) -> (Verdict, Vec<u64>) {
    let mut cluster = Cluster::new(plan, prints);
    cluster.run();
    let verdict = Verdict {
        violation: cluster.judges.violations.first().cloned(),
        height: cluster.judges.chain.len() as u64,
        txs: cluster.judges.txs_after(trefoil_types::Time(0)),
        steps: cluster.trace.steps.len(),
        coverage: cluster.coverage,
    };
    (verdict, cluster.trace.steps)
}
