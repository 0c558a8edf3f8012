//! Checks the expectations of a plan, each at its instant.

use alloy_primitives::U256;
use alloy_rpc_types_eth::TransactionRequest;
use alloy_sol_types::SolCall;
use trefoil_crypto::SecretKey;
use trefoil_ledger::{CallOptions, CallOutcome, CallSite, governance::IStaking};
use trefoil_node::Node;
use trefoil_types::{Height, Millis, RecoveredBlock, Time, spec::GOVERNING_CONTRACT};

use crate::{
    chain,
    cluster::Cluster,
    machine::{SimMachine, secret},
    plan::Expect,
    wire::Id,
};

impl Cluster {
    pub(crate) fn expect(&mut self, expect: Expect) {
        if let Err(text) = self.check(expect) {
            self.judges.accuse("expectation", format!("{expect:?}: {text}"));
        }
    }

    fn check(&self, expect: Expect) -> Result<(), String> {
        let (judges, now) = (&self.judges, self.judges.now);
        let at = |since: Millis| self.start + since;
        let mut honest = self.machines.iter().filter(|m| self.plan.is_honest(m.id));
        match expect {
            Expect::Grew { since, blocks } => {
                let grew = judges.times_after(at(since)).len() as u64;
                require(grew >= blocks, format!("{grew} blocks"))
            }
            Expect::Stood { since, blocks } => {
                let grew = judges.times_after(at(since)).len() as u64;
                require(grew <= blocks, format!("{grew} blocks"))
            }
            Expect::GapAtMost { since, gap } => {
                let found = judges.gap_after(at(since));
                require(found <= gap, format!("{found}"))
            }
            Expect::FirstRounds { since } => self.each_at(|node| {
                let snapshot = node.ledger().snapshot();
                let mut heights = judges.height_at(at(since)) + 1..=snapshot.tip().number;
                heights.try_for_each(|height| {
                    let certificate = snapshot.certificate(height).map_err(|e| e.to_string())?;
                    let round = certificate.map(|certificate| certificate.round);
                    require(round == Some(0), format!("block {height} in round {round:?}"))
                })
            }),
            Expect::Paced { calm: [from, to], since } => {
                let calm = percentiles(&intervals(judges.times_between(at(from), at(to))));
                let found = percentiles(&intervals(judges.times_between(at(since), now)));
                let [p50, p95] = [0, 1].map(|at| (found[at].0, calm[at].0));
                let fits = p50.0 * 10 <= p50.1 * 11 && p95.0 * 10 <= p95.1 * 15;
                require(fits, format!("p50 and p95 are {found:?} ms, were {calm:?}"))
            }
            Expect::Proposes { by, since, percent } => {
                let (its, all) = self.proposed(by, at(since))?;
                require(its * 100 >= percent * all, format!("{its} of {all}"))
            }
            Expect::LeftOut { whom, since, percent: [least, most] } => {
                let (its, all) = self.left_out(whom, at(since))?;
                let fits = (least * all..=most * all).contains(&(its * 100));
                require(fits, format!("{its} of {all}"))
            }
            Expect::ResumedWithin { since, within } => {
                let first = judges.times_after(at(since)).first().copied();
                let took = first.map(|first| first.since(at(since)));
                require(took.is_some_and(|took| took <= within), format!("{took:?}"))
            }
            Expect::Included { since, txs } => {
                let found = judges.txs_after(at(since));
                require(found >= txs, format!("{found} transactions"))
            }
            Expect::AllWithin(lag) => honest.try_for_each(|m| self.caught_up(m, now, lag)),
            Expect::MembersWithin(lag) => {
                let everyone = 0..self.machines.len();
                let shunned =
                    |id| everyone.clone().any(|other| other != id && self.shuns(other, id));
                honest.filter(|m| !shunned(m.id)).try_for_each(|m| self.caught_up(m, now, lag))
            }
            Expect::CaughtUp(id, lag) => self.caught_up(&self.machines[id], now, lag),
            Expect::Behind(id, blocks) => {
                let tip = self.machines[id].node().map_or(0, |node| node.ledger().tip().number);
                require(tip + blocks <= judges.height_at(now), format!("it is at {tip}"))
            }
            Expect::Joined(id) => {
                let node = self.machines[id].node();
                let from = node.map(|node| node.ledger().snapshot().blocks_from());
                require(from.is_some_and(|from| from > 0), format!("its blocks begin at {from:?}"))
            }
            Expect::TimeWithin(range) => {
                let nodes = self.machines.iter().filter_map(|machine| machine.node());
                let stamps = nodes.map(|node| Time(node.ledger().tip().timestamp * 1000));
                let off = stamps.map(|at| at.since(now).max(now.since(at))).max();
                require(off.is_some_and(|off| off <= range), format!("{off:?}"))
            }
            Expect::Validators(count) => self.each_at(|node| {
                let found = node.ledger().next_validators().len();
                require(found == count, format!("{found}"))
            }),
            Expect::Rotated(id) => {
                self.handed_over(["validator", "next-validator"].map(|of| secret(of, id)))
            }
            Expect::Moved { seat, to } => {
                self.handed_over([seat, to].map(|id| secret("validator", id)))
            }
            Expect::SeatSigned { seat, gap } => {
                let found = judges.seats.longest_gap(seat, judges.height_at(now));
                require(found <= gap, format!("{found} blocks"))
            }
            Expect::GasLimit(limit) => self.each_at(|node| {
                let found = node.ledger().tip().gas_limit;
                require(found == limit, format!("{found}"))
            }),
            Expect::CutOff(id) => {
                let friend = honest.find(|other| self.wire.session(other.id, id).is_some());
                require(friend.is_none(), format!("{:?} has not", friend.map(|m| m.id)))
            }
            Expect::Down(id) => require(!self.machines[id].is_up(), "it runs".into()),
            Expect::Banned(id) => {
                // By all of them: one that does not ban goes on relaying for the offender.
                let friend = honest.map(|m| m.id).find(|by| !judges.is_banned(*by, id));
                require(friend.is_none(), format!("{friend:?} did not ban it"))
            }
            Expect::Convicted(id) => {
                let key = secret("validator", id).public();
                require(judges.convicted.contains_key(&key), "no block carried it".into())?;
                self.each_at(|node| {
                    let set = node.ledger().next_validators();
                    require(set.get(&key).is_none(), "it validates".into())
                })
            }
            Expect::Burned(wei) => self.each_at(|node| {
                let found = burned(node)?;
                require(found == U256::from(wei), format!("{found}"))
            }),
        }
    }

    /// The second of two keys validates, and the first does not, wherever a machine is not cut off.
    fn handed_over(&self, keys: [SecretKey; 2]) -> Result<(), String> {
        let keys = keys.map(|key| key.public());
        self.each_at(|node| {
            let set = node.ledger().next_validators();
            let [old, new] = keys.map(|key| set.get(&key).is_some());
            require(!old && new, format!("the old key: {old}, the new one: {new}"))
        })
    }

    /// How many blocks since then went to this validator's fee recipient, and how many all.
    fn proposed(&self, by: Id, since: Time) -> Result<(u64, u64), String> {
        let recipient = chain::fee_recipient(by);
        self.share_since(since, |block| Some(block.header.beneficiary == recipient))
    }

    /// How many blocks since then lack this validator's signature for their parent, and how many
    /// all. The contract counts just these.
    fn left_out(&self, whom: Id, since: Time) -> Result<(u64, u64), String> {
        let key = secret("validator", whom).public();
        self.share_since(since, |block| {
            let parent = block.attached.parent_certificate.as_ref();
            parent.map(|parent| parent.vote_of(&key).is_none())
        })
    }

    /// For how many blocks since then this holds, and for how many it can be said at all.
    fn share_since(
        &self,
        since: Time,
        holds: impl Fn(&RecoveredBlock) -> Option<bool>,
    ) -> Result<(u64, u64), String> {
        let node = self.machines.iter().find_map(|machine| machine.node());
        let snapshot = node.ok_or("no machine runs")?.ledger().snapshot();
        let (mut its, mut all) = (0, 0);
        for height in self.judges.height_at(since) + 1..=snapshot.tip().number {
            let block = snapshot.block(height).map_err(|error| error.to_string())?;
            let found = block.and_then(|it| holds(&it.block));
            all += u64::from(found.is_some());
            its += u64::from(found == Some(true));
        }
        Ok((its, all))
    }

    /// Checks each honest machine that runs and that nobody shuns.
    fn each_at(&self, check: impl Fn(&Node) -> Result<(), String>) -> Result<(), String> {
        let everyone = 0..self.machines.len();
        let shunned = |id| everyone.clone().any(|other| other != id && self.shuns(other, id));
        let honest = self.machines.iter().filter(|m| self.plan.is_honest(m.id));
        for machine in honest.filter(|machine| !shunned(machine.id)) {
            if let Some(node) = machine.node() {
                check(node).map_err(|found| format!("machine {}: {found}", machine.id))?;
            }
        }
        Ok(())
    }

    fn caught_up(&self, machine: &SimMachine, now: Time, lag: Millis) -> Result<(), String> {
        // Measured against what was final a while ago: the newest block is on its way to some.
        let wanted = self.judges.height_at(Time(now.0.saturating_sub(lag.0)));
        let tip: Option<Height> = machine.node().map(|node| node.ledger().tip().number);
        match tip {
            Some(tip) if tip >= wanted => Ok(()),
            _ => Err(format!("machine {} is at {tip:?} of {wanted}", machine.id)),
        }
    }
}

/// The times between blocks, ascending.
fn intervals(times: Vec<Time>) -> Vec<Millis> {
    let mut intervals: Vec<_> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    intervals.sort_unstable();
    intervals
}

/// That which 50, and that which 95 of 100 do not exceed.
fn percentiles(ascending: &[Millis]) -> [Millis; 2] {
    [50, 95].map(|percent| {
        let rank = (ascending.len() * percent).div_ceil(100);
        ascending.get(rank.saturating_sub(1)).copied().unwrap_or(Millis(u64::MAX / 16))
    })
}

fn require(so: bool, found: String) -> Result<(), String> {
    if so { Ok(()) } else { Err(found) }
}

/// The stake that was burned, in wei, as the staking contract counts it.
fn burned(node: &Node) -> Result<U256, String> {
    view(node, IStaking::burnedCall {})
}

/// What the governing contract answers after a machine's newest block.
pub(crate) fn view<C: SolCall>(node: &Node, call: C) -> Result<C::Return, String> {
    let (spec, snapshot) = (node.ledger().spec(), node.ledger().snapshot());
    let site = CallSite::at(spec, &snapshot, snapshot.tip().number).map_err(|e| e.to_string())?;
    let input = call.abi_encode();
    let request = TransactionRequest::default().to(GOVERNING_CONTRACT).input(input.into());
    let options = CallOptions::default();
    match site.simulation(&options).and_then(|simulation| simulation.call(&request)) {
        Ok(CallOutcome::Success { output, .. }) => {
            C::abi_decode_returns(&output).map_err(|e| e.to_string())
        }
        other => Err(format!("{other:?}")),
    }
}
