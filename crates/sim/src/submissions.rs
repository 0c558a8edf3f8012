//! The submissions of wallets and organisations, each to one machine.

use trefoil_node::{Call, Input, Reply, io::CallId};
use trefoil_types::{Millis, Transaction};

use crate::{
    cluster::{Cluster, SimEvent},
    expect::view,
    governors::proposalCountCall,
    plan::Motion,
    wire::Id,
};

impl Cluster {
    pub(crate) fn next_submission(&mut self) {
        if !self.submitting
            && let Some(pause) = self.workload.pause()
        {
            self.submitting = true;
            self.queue.put(self.now + pause, SimEvent::Submit);
        }
    }

    /// Proposes at once; once that is surely final, the others approve, if it is theirs to decide.
    pub(crate) fn vote(&mut self, motion: Motion) {
        let (proposal, txs) = self.governors.propose(motion, &self.network);
        txs.into_iter().for_each(|tx| self.hand_in(tx));
        // The approvals name the proposal by the number that the contract gave it in a block.
        if let Some(proposal) = proposal {
            self.queue.put(self.now + Millis(3_000), SimEvent::Approve(proposal));
        }
    }

    pub(crate) fn approve(&mut self, proposal: u64) {
        let approvals = self.governors.approve(proposal);
        approvals.into_iter().for_each(|tx| self.hand_in(tx));
    }

    /// An organisation submits to a machine that runs.
    pub(crate) fn hand_in(&mut self, tx: Transaction) {
        let first = self.running().next();
        if let Some(id) = first {
            let call = self.workload.new_call();
            self.give(id, Input::Call { id: call, call: Call::Submit(tx) });
        }
    }

    pub(crate) fn submit(&mut self) {
        self.submitting = false;
        let up: Vec<Id> = self.running().collect();
        if !up.is_empty() && self.workload.every.is_some() {
            let (at, id, call) = self.workload.begin(&up);
            self.give(at, Input::Call { id, call });
        }
        self.next_submission();
    }

    /// From now on some call contracts each so often; nobody did, or nobody will again.
    pub(crate) fn pace_actions(&mut self, every: Option<Millis>) {
        self.actors.every = every;
        self.plan_actions();
    }

    fn plan_actions(&mut self) {
        if let Some(every) = self.actors.every {
            self.queue.put(self.now + every, SimEvent::Actions);
        }
    }

    /// Some ask a machine for their next nonces; their calls follow its replies.
    pub(crate) fn act_by_chance(&mut self) {
        let up: Vec<Id> = self.running().collect();
        if self.actors.every.is_some() && !up.is_empty() {
            let at = up[self.actors.any(up.len())];
            let Some(node) = self.machines[at].node() else { return };
            let proposals = match self.plan.chain.kind.has_members() {
                true => view(node, proposalCountCall {}).unwrap_or_default(),
                false => 0,
            };
            let workload = &mut self.workload;
            for (id, call) in self.actors.begin(node, proposals, || workload.new_call()) {
                self.give(at, Input::Call { id, call });
            }
        }
        self.plan_actions();
    }

    /// A machine replied; the call of somebody who asked it may follow.
    pub(crate) fn acted(&mut self, at: Id, id: CallId, reply: &Reply) {
        if let Some(call) = self.actors.replied(id, reply) {
            let id = self.workload.new_call();
            self.give(at, Input::Call { id, call });
        }
    }
}
