//! Calls by chance of the system contracts, from every role, to whole nodes: what a contract
//! accepts ends no node and stops no chain.
//!
//! The ledger's tests drive a `Ledger` with such calls. Here they reach nodes that connect by
//! what was decided, validate and validate no more, stand by, crash, restart and join.

pub mod actors;
mod calls;

use trefoil_crypto::SecretKey;
use trefoil_types::{Kind, Millis};

use crate::{
    machine::secret as secret_of,
    plan::{Act, Expect, Moment, SimPlan},
    random::{CALM_MS, SETTLE_MS},
    rng::Rng,
    wire::Id,
};

/// Machines with a validator's key and no seat, which a decision or a stake gives one.
const RESERVES: usize = 2;

/// The plan of a seed: calls and faults, then calm, in which the chain must live.
pub fn plan(seed: u64) -> SimPlan {
    let rng = &mut Rng::new(seed, "actions");
    let validators = *rng.pick(&[4, 4, 4, 4, 5, 7, 1, 3]);
    // A seat moves to its standby after 64 blocks, in some seeds.
    let storm = *rng.pick(&[15_000, 25_000, 40_000]);
    let mut plan = SimPlan::quiet("actions", seed, validators, Millis(storm + CALM_MS + 2_000));
    plan.chain.kind = *rng.pick(&[Kind::Consortium, Kind::Consortium, Kind::Public]);
    plan.chain.block_interval_ms = *rng.pick(&[250, 500]);
    plan.chain.base_fee = *rng.pick(&[0, 1_000_000_000]);
    // A vote costs up to five million gas.
    plan.chain.gas_limit = 30_000_000;
    plan.chain.decision_delay_s = *rng.pick(&[0, 3]);
    plan.chain.jail_blocks = 10;
    plan.chain.window_blocks = *rng.pick(&[40, 400]);
    plan.chain.snapshot_every = 16;
    let newcomer = validators + RESERVES;
    plan.full_nodes = RESERVES + 1;
    plan.reserves.extend(validators..newcomer);
    plan.late.insert(newcomer);
    // The owner of a stake has one key; its machine would sign with one of two that have seats.
    if plan.chain.kind.has_members() {
        plan.rotating.extend(0..validators);
    }
    let every = Millis(*rng.pick(&[150, 300, 600]));
    plan = plan.at(0, Act::Load(Some(Millis(400)))).at(1_500, Act::Actions(Some(every)));
    for _ in 0..rng.range(2, 6) {
        plan = disturb(plan, rng, storm);
    }
    calm(plan.at(storm - 100, Act::Join(newcomer)), storm)
}

/// Something goes wrong and is put right before `until`: mostly a machine is away, at times for so
/// long that its seat moves.
fn disturb(plan: SimPlan, rng: &mut Rng, until: u64) -> SimPlan {
    let machines = plan.validators + RESERVES;
    let from = rng.range(3_000, until - 500);
    let then = rng.range(from, until);
    match rng.range(0, 5) {
        0 => {
            let (left, right) = (0..plan.machines()).partition(|_| rng.permille(500));
            plan.at(from, Act::Partition(vec![left, right])).at(then, Act::Mend)
        }
        1 => plan.at(from, Act::Reset(rng.index(machines), rng.index(machines))),
        // The power of a whole site.
        2 => (0..machines)
            .fold(plan, |plan, id| plan.outage(id, from, Moment::PowerCut, rng.range(from, until))),
        _ => plan.outage(rng.index(machines), from, *rng.pick(&Moment::USUAL), then),
    }
}

/// The calls and the faults end.
fn calm(plan: SimPlan, at: u64) -> SimPlan {
    let done = at + CALM_MS;
    // Accounts may be shut out and peers cut off by then: what must hold is that blocks come, and
    // come to all whom nobody shuns.
    plan.at(at, Act::Actions(None))
        .at(at, Act::Calm)
        .expect(done, Expect::Grew { since: Millis(at + SETTLE_MS), blocks: 3 })
        .expect(done, Expect::MembersWithin(Millis(5_000)))
}

/// The key of a number that calls are made with (see [`calls`]): of machines first.
fn secret(number: u8) -> SecretKey {
    let (purpose, first) = match number {
        201.. => ("ca", 201),
        101.. => ("node", 101),
        // The machines that hold it are the first ones.
        9.. => ("next-validator", 9),
        _ => ("validator", 1),
    };
    secret_of(purpose, Id::from(number - first))
}
