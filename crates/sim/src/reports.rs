//! What machines report, for the judges and for the counts of a run.

use trefoil_node::Event;
use trefoil_types::{Receipt, RecoveredBlock};

use crate::{cluster::Cluster, wire::Id};

impl Cluster {
    pub(crate) fn on_event(&mut self, id: Id, event: Event) {
        if !self.plan.follows_rules(id) {
            return;
        }
        match event {
            Event::Committed { block, receipts, snapshot } => {
                let watched = self.workload.watched();
                self.judges.committed(id, &block, &receipts, &snapshot, &watched);
                self.count_outcomes(&block, &receipts);
                // With each block, so that a bound that is passed for a moment only is seen too.
                if let Some(node) = self.machines[id].node() {
                    self.judges.status(id, &node.status());
                }
            }
            Event::Equivocation { .. } => {
                self.seen.equivocations.push(id);
                self.count("equivocations");
            }
            Event::SignedElsewhere { .. } => self.count("keys seen elsewhere"),
            Event::Admitted(_) => {}
        }
    }

    /// Counts what became of the calls of roles.
    fn count_outcomes(&mut self, block: &RecoveredBlock, receipts: &[Receipt]) {
        let outcomes = self.actors.outcomes(block, receipts);
        for (what, times) in ["calls accepted", "calls refused"].into_iter().zip(outcomes) {
            // Runs without such calls have no such counts.
            if times > 0 {
                *self.coverage.entry(what).or_default() += times;
            }
        }
    }
}
