//! A cluster that a test drives step by step, where a plan is too coarse.
//!
//! The test sends messages in a machine's name, calls a node, makes and ends connections, and
//! lets time pass.

use trefoil_node::{Call, Input, Node, Reply};
use trefoil_types::{Height, Message, Millis};

use crate::{
    cluster::Cluster,
    plan::{Act, Moment},
    seen::CALL,
    wire::Id,
};

// `hang_up` reports the end of a connection to each machine within 19 ms.
/// Both machines know of the end of a connection after so long.
const ENDS_WITHIN: Millis = Millis(20);

impl Cluster {
    /// The node of a machine.
    ///
    /// # Panics
    /// If the machine does not run.
    pub fn node(&self, id: Id) -> &Node {
        self.machines[id].node().expect("a running machine")
    }

    pub fn height(&self, id: Id) -> Height {
        self.node(id).ledger().tip().number
    }

    /// The machines that run.
    pub fn running(&self) -> impl Iterator<Item = Id> + use<'_> {
        self.machines.iter().filter(|machine| machine.is_up()).map(|machine| machine.id)
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// If a judge finds a violation.
    pub fn run_for(&mut self, span: Millis) {
        let ends = self.now + span;
        self.run_until(ends, |_| false);
        self.assert_judged();
        (self.now, self.judges.now) = (ends, ends);
    }

    /// Lets time pass until all that run are at `height`.
    ///
    /// # Panics
    /// If they are not within `span`, or if a judge finds a violation.
    pub fn reach(&mut self, height: Height, span: Millis) {
        let is_there = |cluster: &Self| cluster.running().all(|id| cluster.height(id) >= height);
        self.run_until(self.now + span, is_there);
        self.assert_judged();
        let heights: Vec<Height> = self.running().map(|id| self.height(id)).collect();
        assert!(is_there(self), "not at height {height} within {span}: {heights:?}");
    }

    fn assert_judged(&self) {
        let first = self.judges.violations.first();
        assert!(first.is_none(), "{}", first.map(ToString::to_string).unwrap_or_default());
    }

    /// Gives a node an input, and lets it take its turn at once.
    pub fn input(&mut self, id: Id, input: Input) {
        self.give(id, input);
        self.run_for(Millis(0));
    }

    /// A message as if from one machine to another, connected or not.
    pub fn inject(&mut self, from: Id, to: Id, message: Message) {
        self.input(to, Input::Message { peer: self.machines[from].peer, message });
    }

    /// Calls a node.
    ///
    /// # Panics
    /// If it does not answer at once, as every node does.
    pub fn call(&mut self, id: Id, call: Call) -> Reply {
        self.input(id, Input::Call { id: CALL, call });
        self.seen.reply.take().expect("calls are answered at once")
    }

    /// Connects a machine with all others at once, where a plan's machines take a while.
    pub fn connect_all(&mut self, id: Id) {
        for other in (0..self.machines.len()).filter(|other| *other != id) {
            self.dial(id.min(other), id.max(other));
        }
        self.run_for(Millis(0));
    }

    /// Ends the connection of two machines, for good.
    pub fn cut(&mut self, a: Id, b: Id) {
        self.plan.strangers.push((a.min(b), a.max(b)));
        self.hang_up(a, b);
        self.run_for(ENDS_WITHIN);
    }

    /// Kills a machine, and lets the others learn of it.
    pub fn kill(&mut self, id: Id) {
        self.act(Act::Crash(id, Moment::Kill));
        self.run_for(ENDS_WITHIN);
    }

    /// Starts a machine and connects it.
    pub fn restart(&mut self, id: Id) {
        self.act(Act::Start(id));
        self.connect_all(id);
    }
}
